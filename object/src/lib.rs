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
pub mod engine;
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

pub use address::NAME_BYTES;
pub use alarm::{Alarm, FailedAlarm};
pub use call::{Request, Response};
pub use clock::Clock;
pub use context::Context;
pub use dokit_client::BoxFuture;
pub use dokit_macros::durable_object;
pub use durable_object::DurableObject;
pub use error::{Error, Result};
pub use json::{json_response, read_json};
pub use later::Later;
pub use namespace::{Namespace, Stub};
pub use outbox::Undelivered;
pub use sockets::{AutoResponse, Broadcast, Close, Message, WebSocket, WebSocketError};
pub use state::{SavedState, State, StateLoader};
pub use storage::Storage;
