//! The crate from outside: virtual time only.
#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod action_key;
mod bounded;
#[cfg(feature = "cron")]
mod cron;
mod deadlines;
mod durations;
mod failures;
mod faults;
mod jobs;
mod model;
mod recurring;
mod send;
mod stored;
mod world;
