#![doc = include_str!("../README.md")]

mod builder;
mod care;
mod clock;
mod database;
mod engine;
mod error;
mod flight;
mod gateway;
mod host;
mod object_store;
mod own;
mod resident;
mod residents;
mod scheduler;
mod store;
mod writer;

pub use builder::Builder;
pub use care::{BackupError, Existing, ExportError, ImportError, Listed};
pub use clock::SystemClock;
pub use error::{DatabaseError, StartError};
pub use gateway::{Listener, told_to_stop};
pub use host::Host;
