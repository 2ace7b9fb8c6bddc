#![doc = include_str!("../README.md")]

extern crate self as dokit_fsm;

#[cfg(feature = "alarms")]
mod alarm;
mod check;
mod drawing;
mod error;
mod history;
mod hooks;
mod machine;
mod once;
mod persisted;
#[cfg(feature = "proptest")]
pub mod proptest;
mod record;
mod send;
mod table;

#[cfg(feature = "alarms")]
pub use alarm::{DeadlineAlarm, DeadlineAlarmError};
pub use check::Report;
#[doc = include_str!("machine.md")]
pub use dokit_macros::machine;
pub use error::{
    GuardRefused, InvalidTransition, RecordError, Refused, SendError, UndeclaredTarget,
};
pub use history::HistoryEntry;
pub use hooks::{Hooks, NoHooks, Transition};
pub use machine::{Edge, Machine};
pub use persisted::Persisted;
pub use record::Migration;

#[doc(hidden)]
pub mod __private {
    pub use crate::table::{Guard, Move, State, Table, Timeout, refusal};
}
