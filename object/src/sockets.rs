//! WebSockets that outlive the object's time in memory.
//!
//! What is known of an object's sockets (tags, attachments, the automatic answer) is the host's, not
//! the awake object's. What a call does to them is gathered in the call, like its writes, stands in its
//! [`Outcome`](crate::engine::Outcome), and is performed once those writes are durable.

mod action;
mod broadcast;
mod connection;
mod handshake;
mod limits;
mod line;
mod message;
mod registry;
mod running;
mod switchboard;
mod version;
mod websocket;
mod wire;

pub use action::{SocketAction, SocketActions};
pub use broadcast::Broadcast;
pub use connection::Connection;
pub use line::Outgoing;
pub use message::{
    AutoResponse, Close, Message, SocketCall, SocketEvent, SocketId, WebSocketError,
};
pub use registry::Sockets;
pub use switchboard::{SocketLimits, Switchboard};
pub use websocket::WebSocket;
pub use wire::Wire;

pub(crate) use handshake::ask_for_upgrade;
pub(crate) use running::{Mode, Staged};
