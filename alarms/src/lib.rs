#![doc = include_str!("../README.md")]

extern crate self as dokit_alarms;

mod action_key;
mod alarms;
mod caught;
#[cfg(feature = "cron")]
mod cron;
mod deadline;
mod duration;
mod error;
mod failure;
mod record;
mod repeat;
mod retries;
mod run;
mod scheduled;
mod when;

pub use action_key::{ActionKey, DeadAction, Handled};
pub use alarms::Alarms;
pub use deadline::{Deadline, Wakes, cancel_alarm, schedule_alarm, wakes};
pub use duration::{DurationError, format_duration, parse_duration};
pub use error::{Error, Result};
pub use failure::Failure;
pub use record::Cause;
pub use repeat::{Missed, Repeat};
pub use retries::Retries;
pub use run::{Due, Outcome, Ran, Report};
pub use scheduled::{Dead, Scheduled};
pub use when::{Interval, When};
