//! Whatever reads what comes from outside, each as a function that takes any bytes and panics where a
//! promise does not hold.
//!
//! libFuzzer drives them ([README](https://github.com/dokit-rs/dokit/blob/main/fuzz/README.md)); the test
//! `corpus` replays the inputs that are kept.

mod arguments;
mod cron;
mod durations;
mod feed;
mod headers;
mod ids;
mod imports;
mod records;
mod requests;
mod rows;
mod sockets;
mod values;

pub use arguments::arguments;
pub use cron::cron;
pub use durations::durations;
pub use headers::headers;
pub use ids::ids;
pub use imports::imports;
pub use records::{object_records, records};
pub use requests::requests;
pub use rows::rows;
pub use sockets::sockets;
pub use values::values;

/// A function that is fed.
pub type Target = fn(&[u8]);

/// All of them, by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("arguments", arguments),
    ("cron", cron),
    ("durations", durations),
    ("headers", headers),
    ("ids", ids),
    ("imports", imports),
    ("object_records", object_records),
    ("records", records),
    ("requests", requests),
    ("rows", rows),
    ("sockets", sockets),
    ("values", values),
];
