#![doc = include_str!("../README.md")]

extern crate self as dokit_storage;

#[doc(hidden)]
pub mod __private;
mod batch;
mod codec;
mod entry;
mod erased;
mod error;
mod event_log;
mod faults;
mod granularity;
mod key;
mod limits;
mod list;
mod lossless;
mod maybe_send;
mod memory;
mod migration;
mod schema;
mod step;
mod store;
mod time_series;
mod timestamp;
mod transaction;
mod typed;

pub use batch::{AlarmChange, Batch};
pub use codec::{decode, encode};
pub use dokit_macros::Schema;
pub use entry::Entry;
pub use error::{Error, Result};
pub use event_log::EventLog;
pub use faults::Faults;
pub use granularity::Granularity;
pub use key::{Family, Key};
pub use limits::Limits;
pub use list::{KeyRange, ListOptions};
pub use maybe_send::{MaybeSend, MaybeSync};
pub use memory::Memory;
pub use migration::{Migrated, Migrations};
pub use schema::Schema;
pub use step::{MigrationStep, Step};
pub use store::Store;
pub use time_series::TimeSeries;
pub use timestamp::Timestamp;
pub use transaction::Transaction;
pub use typed::TypedStorage;
