#![doc = include_str!("../README.md")]

#[cfg(target_arch = "wasm32")]
mod at_once;
mod binding;
#[cfg(target_arch = "wasm32")]
mod bound;
#[cfg(target_arch = "wasm32")]
mod calls;
#[cfg(target_arch = "wasm32")]
mod clock;
#[cfg(not(target_arch = "wasm32"))]
mod configuration;
mod export;
#[cfg(target_arch = "wasm32")]
mod gateway;
#[cfg(target_arch = "wasm32")]
mod json_text;
#[cfg(target_arch = "wasm32")]
mod last_words;
#[cfg(target_arch = "wasm32")]
mod message;
#[cfg(target_arch = "wasm32")]
mod name;
#[cfg(target_arch = "wasm32")]
mod object;
#[cfg(target_arch = "wasm32")]
mod platform;
#[cfg(target_arch = "wasm32")]
mod router;
#[cfg(target_arch = "wasm32")]
mod serve;
#[cfg(target_arch = "wasm32")]
mod sockets;
#[cfg(target_arch = "wasm32")]
mod sql;
#[cfg(any(target_arch = "wasm32", test))]
mod statements;
#[cfg(target_arch = "wasm32")]
mod store;

pub use binding::binding_name;
#[cfg(target_arch = "wasm32")]
pub use bound::{BoundNamespace, BoundStub};
#[cfg(target_arch = "wasm32")]
pub use clock::now;
#[cfg(not(target_arch = "wasm32"))]
pub use configuration::{Configuration, ConfigurationError};
#[doc(hidden)]
pub use export::__private;
#[cfg(target_arch = "wasm32")]
pub use serve::serve;
#[cfg(target_arch = "wasm32")]
pub use store::ObjectStore;
