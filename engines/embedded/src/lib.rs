#![doc = include_str!("../README.md")]

mod builder;
mod clock;
mod database;
mod engine;
mod error;
mod flight;
mod gateway;
mod host;
mod resident;
mod residents;
mod scheduler;
mod sockets;
mod store;
mod writer;

pub use builder::Builder;
pub use clock::SystemClock;
pub use error::{DatabaseError, StartError};
pub use gateway::{Listener, told_to_stop};
pub use host::Host;
