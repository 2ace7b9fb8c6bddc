//! Property tests of machines, with the `proptest` crate: strategies, and a harness that disturbs a
//! persisted machine at every step. Feature `proptest`, for a `[dev-dependencies]` section.
//!
//! A strategy for one event is the user's: `prop_oneof!` of one strategy for each variant, or
//! `any::<Event>()` where the enum derives `Arbitrary`. From it come [`sequences`], events in any order,
//! legal or not; [`walks`], which follow the table; and the [`Harness`].

mod harness;
mod model;
mod walk;

pub use harness::{Counterexample, Harness};
pub use model::{Step, Trouble, View};
pub use walk::{Walk, sequences, walks};
