//! One test suite that every store and every engine of dokit must pass.
//!
//! The bodies are written once; what differs is behind [`Engine`], for sockets behind
//! [`SocketEngine`], and for stores behind [`store`]. A new promise is a new case here first.

#![expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a test's way to fail is to panic"
)]

mod echo;
pub mod engine;
mod probe;
mod room;
mod rows;
#[cfg(not(target_arch = "wasm32"))]
pub mod script;
pub mod sockets;
pub mod sql;
pub mod store;
mod suites;

pub use echo::{Echo, EchoApi, EchoApiClient, EchoApiServer};
pub use engine::{Engine, Session};
pub use probe::{
    AnyProbe, Fired, Kinds, Plain, PlainApi, PlainApiClient, PlainApiServer, Probe, ProbeApi,
    ProbeApiClient, ProbeApiServer, SqlProbe,
};
pub use room::{Room, RoomApi, RoomApiClient, RoomApiServer};
pub use rows::{Cells, Ending, Rows, RowsApi, RowsApiClient, RowsApiServer, Seen, Wrong};
pub use sockets::{Peer, Rooms, SocketEngine};
