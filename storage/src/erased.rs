//! A store whose type is forgotten, for code that is compiled before the store is known.

use std::{future::Future, pin::Pin};

use crate::{Batch, KeyRange, Limits, MaybeSend, MaybeSync, Result, Store, Timestamp};

/// A boxed future, `Send` where there are threads.
#[cfg(not(all(target_arch = "wasm32", target_os = "unknown")))]
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
/// A boxed future, `Send` where there are threads.
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// [`Store`] as a trait object can have it. Every store has it, so the names differ from the
/// trait's.
pub(crate) trait ErasedStore: MaybeSend + MaybeSync {
    fn boxed_get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>>>;
    fn boxed_list<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>>>;
    fn boxed_alarm(&self) -> BoxFuture<'_, Result<Option<Timestamp>>>;
    fn boxed_commit(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>>;
    fn erased_limits(&self) -> Limits;
}

impl<T: Store> ErasedStore for T {
    fn boxed_get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>>> {
        Box::pin(Store::get(self, key))
    }

    fn boxed_list<'a>(
        &'a self,
        range: &'a KeyRange,
    ) -> BoxFuture<'a, Result<Vec<(String, String)>>> {
        Box::pin(Store::list(self, range))
    }

    fn boxed_alarm(&self) -> BoxFuture<'_, Result<Option<Timestamp>>> {
        Box::pin(Store::alarm(self))
    }

    fn boxed_commit(&mut self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        Box::pin(Store::commit(self, batch))
    }

    fn erased_limits(&self) -> Limits {
        Store::limits(self)
    }
}
