use std::future::Future;

use crate::{Batch, KeyRange, Limits, MaybeSend, MaybeSync, Result, Timestamp, sql::Sql};

/// What an engine gives: one key-value store with one alarm.
///
/// Everything else in this crate is written once, on top of these four operations. Values are JSON
/// text. A store has one writer, the holder of `&mut`; handles that share one store (clones of
/// [`Memory`](crate::Memory), of an object's storage) see each other's commits, and who holds them
/// says who may write when.
///
/// [`Transaction`](crate::Transaction) is itself a store: its commits gather in memory until they
/// are committed below. That makes a transaction within a transaction a savepoint.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a store",
    note = "use `Memory`, the storage of an object's context, or implement `dokit_storage::Store`"
)]
pub trait Store: MaybeSend + MaybeSync {
    /// Reads a value as JSON text.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<String>>> + MaybeSend;

    /// Lists the keys of a range with their values as JSON text, in the order of the keys' bytes, or
    /// the reverse of it.
    fn list(
        &self,
        range: &KeyRange,
    ) -> impl Future<Output = Result<Vec<(String, String)>>> + MaybeSend;

    /// Reads the time of the alarm.
    fn alarm(&self) -> impl Future<Output = Result<Option<Timestamp>>> + MaybeSend;

    /// Checks the batch against [`limits`](Self::limits), then makes all of it take effect, or none.
    ///
    /// Once it has returned `Ok`, the store's next reads see it, and it is as durable as the store
    /// makes things; so is all that reads saw before, which is what an empty batch is for. Once it has returned an error that is not [`Error::Engine`](crate::Error::Engine),
    /// nothing has changed.
    fn commit(&mut self, batch: Batch) -> impl Future<Output = Result<()>> + MaybeSend;

    /// The sizes that this store accepts.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// The SQL of a store that keeps rows beside its keys, in the same commit. Most have none.
    fn sql(&self) -> Option<Sql> {
        None
    }
}

impl<T: Store + ?Sized> Store for &mut T {
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<String>>> + MaybeSend {
        (**self).get(key)
    }

    fn list(
        &self,
        range: &KeyRange,
    ) -> impl Future<Output = Result<Vec<(String, String)>>> + MaybeSend {
        (**self).list(range)
    }

    fn alarm(&self) -> impl Future<Output = Result<Option<Timestamp>>> + MaybeSend {
        (**self).alarm()
    }

    fn commit(&mut self, batch: Batch) -> impl Future<Output = Result<()>> + MaybeSend {
        (**self).commit(batch)
    }

    fn limits(&self) -> Limits {
        (**self).limits()
    }

    fn sql(&self) -> Option<Sql> {
        (**self).sql()
    }
}
