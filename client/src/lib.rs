#![doc = include_str!("../README.md")]

extern crate self as dokit_client;

#[doc(hidden)]
pub mod __private;
mod arguments;
mod call;
mod call_error;
mod caller;
pub mod code;
mod dispatch;
mod error_reply;
mod faulty;
pub mod header;
#[cfg(feature = "reqwest")]
mod http;
mod in_process;
mod maybe_send;
mod method;
mod mock;
mod namespace;
mod object_id;
mod retry;
mod rpc;
mod rpc_error;
mod text;
mod timer;
#[cfg(all(feature = "reqwest", not(target_arch = "wasm32")))]
mod tokio_timer;
mod transport;

pub use call::{CallReply, CallRequest, PAYLOAD_BYTES};
pub use call_error::{CallError, Tried};
pub use caller::{Caller, DEFAULT_DEADLINE};
pub use dispatch::{Dispatch, Failure};
pub use error_reply::ErrorReply;
pub use faulty::{Fault, Faulty};
#[cfg(feature = "reqwest")]
pub use http::{HttpNamespace, HttpStub, InvalidAddress};
pub use in_process::InProcess;
pub use maybe_send::{BoxFuture, MaybeSend, MaybeSync};
pub use method::{Access, Method, find_method};
pub use mock::MockTransport;
pub use namespace::{Namespace, singleton};
pub use object_id::{IdError, ObjectId};
pub use retry::Retry;
pub use rpc::rpc;
pub use rpc_error::RpcError;
pub use timer::{TestTimer, Timer};
#[cfg(all(feature = "reqwest", not(target_arch = "wasm32")))]
pub use tokio_timer::TokioTimer;
pub use transport::{Transport, TransportError};
