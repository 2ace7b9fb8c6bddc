//! One test suite that every store and every engine of dokit must pass.
//!
//! The bodies are written once; what differs is behind [`Engine`], for sockets behind
//! [`SocketEngine`], and for stores behind [`store`]. A new promise is a new case here first.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test's way to fail is to panic"
)]

pub mod engine;
mod probe;
mod room;
pub mod sockets;
pub mod store;

pub use engine::{Engine, Session};
pub use probe::{
    Fired, Kinds, Plain, PlainApi, PlainApiClient, PlainApiServer, Probe, ProbeApi, ProbeApiClient,
    ProbeApiServer,
};
pub use room::{Room, RoomApi, RoomApiClient, RoomApiServer};
pub use sockets::{Peer, Rooms, SocketEngine};
