//! `Send` where there are threads, nothing where there are none.

use std::pin::Pin;

#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
mod bounds {
    /// `Send` natively; no bound on `wasm32-unknown-unknown`, where there are no threads and the
    /// platform's handles cannot be sent.
    pub trait MaybeSend: Send {}
    impl<T: Send + ?Sized> MaybeSend for T {}

    /// `Sync` natively; no bound on `wasm32-unknown-unknown`.
    pub trait MaybeSync: Sync {}
    impl<T: Sync + ?Sized> MaybeSync for T {}
}

#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
mod bounds {
    /// `Send` natively; no bound on `wasm32-unknown-unknown`, where there are no threads and the
    /// platform's handles cannot be sent.
    pub trait MaybeSend {}
    impl<T: ?Sized> MaybeSend for T {}

    /// `Sync` natively; no bound on `wasm32-unknown-unknown`.
    pub trait MaybeSync {}
    impl<T: ?Sized> MaybeSync for T {}
}

pub use bounds::{MaybeSend, MaybeSync};

/// A boxed future that is `Send` natively and need not be on `wasm32-unknown-unknown`.
#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A boxed future that is `Send` natively and need not be on `wasm32-unknown-unknown`.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;
