#![doc = include_str!("../README.md")]

mod admin;
mod builder;
mod care;
mod checkpoint;
mod clock;
mod connection;
mod database;
mod deadline;
mod doors;
mod engine;
mod error;
mod flight;
mod gateway;
mod held;
mod host;
mod known;
mod listener;
mod load;
mod metrics;
mod object_store;
mod own;
mod resident;
mod residents;
mod scheduler;
mod serving;
mod sockets;
mod store;
mod trace;
mod writer;

pub use builder::Builder;
pub use care::{BackupError, Existing, ExportError, ImportError, Listed};
pub use clock::SystemClock;
pub use error::{DatabaseError, StartError};
pub use host::Host;
pub use listener::Listener;
pub use serving::told_to_stop;
