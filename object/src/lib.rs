#![doc = include_str!("../README.md")]
#![cfg_attr(
    all(target_arch = "wasm32", target_os = "unknown"),
    expect(clippy::arc_with_non_send_sync, reason = "there are no threads")
)]

extern crate self as dokit_object;

mod activation;
mod address;
mod alarm;
mod call;
mod chain;
mod clock;
mod context;
mod durable_object;
mod error;
mod handlers;
mod idempotency;
mod json;
mod later;
mod namespace;
mod object_type;
mod outbox;
mod sockets;
mod state;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;

pub use activation::Activation;
pub use address::{Address, NAME_BYTES, NAME_KEY, deadline, route, traceparent};
pub use alarm::{Alarm, FailedAlarm, fail_alarm, gives_up_alarm, postpone_alarm};
pub use call::{Call, Outcome, Request, Response, RpcCall, error_response, to_call_reply};
pub use chain::Chain;
pub use clock::Clock;
pub use context::{Context, Surroundings};
pub use dokit_client::BoxFuture;
pub use dokit_macros::durable_object;
pub use durable_object::DurableObject;
pub use error::{Error, Result};
pub use handlers::Handlers;
pub use json::{json_response, read_json};
pub use later::Later;
pub use namespace::{Namespace, Router, Stub};
pub use object_type::{InvalidNamespace, ObjectType};
pub use outbox::{Delivered, Delivery, Undelivered};
pub use sockets::{
    AutoResponse, Broadcast, Close, Connection, Message, Outgoing, SocketAction, SocketActions,
    SocketCall, SocketEvent, SocketId, SocketLimits, Sockets, Switchboard, WebSocket,
    WebSocketError, Wire,
};
pub use state::{SavedState, State, StateLoader};
pub use storage::Storage;
