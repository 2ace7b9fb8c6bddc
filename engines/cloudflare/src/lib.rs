#![doc = include_str!("../README.md")]

mod binding;
#[cfg(target_arch = "wasm32")]
mod clock;
mod export;
#[cfg(target_arch = "wasm32")]
mod gateway;
#[cfg(target_arch = "wasm32")]
mod message;
#[cfg(target_arch = "wasm32")]
mod object;
#[cfg(target_arch = "wasm32")]
mod platform;
#[cfg(target_arch = "wasm32")]
mod router;
#[cfg(target_arch = "wasm32")]
mod sockets;
#[cfg(target_arch = "wasm32")]
mod store;

pub use binding::binding_name;
#[doc(hidden)]
pub use export::__private;
