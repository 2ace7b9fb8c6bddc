//! One step of a migration, as its author writes it.

use std::{error::Error as StdError, fmt, future::Future};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Batch, Entry, KeyRange, Limits, ListOptions, MaybeSend, MaybeSync, Result, Store, Timestamp,
    codec,
    entry::list_own,
    erased::{BoxFuture, ErasedStore},
};

/// Why a step failed.
type Failure = Box<dyn StdError + Send + Sync>;

/// What [`Migrations::step`](crate::Migrations::step) takes: every async function that takes a
/// [`Step`] and answers `Ok(())` or any error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a migration step",
    label = "not an async function that takes a `Step`",
    note = "a step is an `async fn name(mut step: Step<'_>) -> Result<(), E>`, whose future is `Send` natively"
)]
pub trait MigrationStep<'a> {
    /// Starts the step. The future is `Send` natively.
    fn run(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<(), Failure>>;
}

impl<'a, F, R, E> MigrationStep<'a> for F
where
    F: Fn(Step<'a>) -> R,
    R: Future<Output = Result<(), E>> + MaybeSend + 'a,
    E: Into<Failure>,
{
    fn run(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        let running = self(step);
        Box::pin(async { running.await.map_err(Into::into) })
    }
}

/// A step of whatever type, so that a list can hold it.
pub(crate) trait ErasedStep: MaybeSend + MaybeSync {
    fn run_erased<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<(), Failure>>;
}

impl<F> ErasedStep for F
where
    F: for<'a> MigrationStep<'a> + MaybeSend + MaybeSync,
{
    fn run_erased<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<(), Failure>> {
        self.run(step)
    }
}

/// The store as a migration step sees it: keys are text and values of any type, for the schema of
/// today does not describe the data of yesterday.
///
/// It is the transaction of the whole migration, so it shows what earlier steps wrote. It is also a
/// [`Store`]: `TypedStorage::<OldSchema, _>::new(step)` gives the typed view where the old schema is
/// still at hand.
pub struct Step<'a> {
    store: &'a mut (dyn ErasedStore + 'a),
}

impl<'a> Step<'a> {
    pub(crate) fn new(store: &'a mut (dyn ErasedStore + 'a)) -> Self {
        Self { store }
    }

    /// Reads a value; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`](crate::Error::Decode) where the stored value is not a `V`.
    pub async fn get<V: DeserializeOwned>(&self, key: &str) -> Result<Option<V>> {
        let json = self.store.boxed_get(key).await?;
        json.map(|json| codec::decode(key, &json)).transpose()
    }

    /// Writes a value.
    pub async fn put<V: Serialize + ?Sized + MaybeSync>(
        &mut self,
        key: &str,
        value: &V,
    ) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(key, codec::encode(key, value)?);
        self.store.boxed_commit(batch).await
    }

    /// Deletes a value and says whether there was one.
    pub async fn delete(&mut self, key: &str) -> Result<bool> {
        let existed = self.store.boxed_get(key).await?.is_some();
        let mut batch = Batch::new();
        batch.delete(key);
        self.store.boxed_commit(batch).await?;
        Ok(existed)
    }

    /// Moves a value to another key, as it is, and says whether there was one. A value that stood
    /// there is replaced.
    pub async fn rename(&mut self, from: &str, to: &str) -> Result<bool> {
        let Some(json) = self.store.boxed_get(from).await? else {
            return Ok(false);
        };
        let mut batch = Batch::new();
        batch.delete(from);
        batch.put(to, json);
        self.store.boxed_commit(batch).await?;
        Ok(true)
    }

    /// Lists keys with their values, as [`TypedStorage::list`](crate::TypedStorage::list) does.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidList`](crate::Error::InvalidList) for options that contradict each other.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Entry>> {
        list_own(self, &options).await
    }
}

impl Store for Step<'_> {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.store.boxed_get(key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.store.boxed_list(range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.store.boxed_alarm().await
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        self.store.boxed_commit(batch).await
    }

    fn limits(&self) -> Limits {
        self.store.erased_limits()
    }
}

impl fmt::Debug for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step").finish_non_exhaustive()
    }
}
