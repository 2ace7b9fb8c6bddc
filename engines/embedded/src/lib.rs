#![doc = include_str!("../README.md")]

mod clock;
mod database;
mod error;
mod gateway;
mod host;
mod resident;
mod scheduler;
mod store;
mod writer;

pub use clock::SystemClock;
pub use error::{DatabaseError, StartError};
pub use gateway::{Listener, told_to_stop};
pub use host::{Builder, Host};
