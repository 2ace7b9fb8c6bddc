//! What `.ci/workerd` has built, in workerd, over HTTP. `.ci/workerd` runs it.

#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

mod bindings;
mod conformance;
mod driven;
mod listening;
mod page;
// The client of the embedded engine's tests.
#[path = "../../../embedded/tests/peer/mod.rs"]
mod peer;
mod process;
mod script;
mod sockets;
mod store;
mod toolkit;
mod trouble;
mod typescript;
