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
pub mod sql;
#[cfg(all(
    feature = "sqlite",
    not(all(target_arch = "wasm32", target_os = "unknown"))
))]
pub mod sqlite;
mod step;
mod store;
mod time_series;
mod timestamp;
mod transaction;
mod typed;

pub use batch::{AlarmChange, Batch};
pub use codec::{decode, encode};
/// Turns a struct with a field for each key into a [`Schema`](trait@Schema): `last_seen: Timestamp`
/// becomes the constant `LAST_SEEN` of type [`Key`], and `prefs: Family<Preference>` the constant
/// `PREFS` of type [`Family`]. They have the field's visibility and its docs.
///
/// | on the struct | meaning | default |
/// |---|---|---|
/// | `rename_all = "camelCase"` | the letter case of the keys, as serde spells it | as the fields are written |
/// | `version = 2` | the version of the stored shape: see [`Migrations`] | 1 |
/// | `crate = path` | where this crate is, for who re-exports it | `dokit_storage`, or `dokit::storage` |
///
/// | on a field | meaning |
/// |---|---|
/// | `rename = "key"` | the key, whatever the case |
/// | `prefix = "pref:"` | the prefix of a family, which needs one |
/// | `check = path` | a `fn(&V) -> Result<(), String>` that each value written or read must pass |
/// | `validate` | the value's own `garde::Validate` must pass; feature `garde` |
///
/// Empty and duplicate keys, keys that begin with `__` (they are the library's) and prefixes under
/// which another key or prefix stands do not compile.
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
pub use timestamp::{InvalidTimestamp, Timestamp};
pub use transaction::Transaction;
pub use typed::TypedStorage;
