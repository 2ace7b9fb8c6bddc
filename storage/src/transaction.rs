use crate::{Batch, KeyRange, Limits, Result, Store, Timestamp};

/// Writes that gather in memory until [`commit`](Self::commit) hands them down as one batch.
///
/// Reads see them at once. Dropped without a commit, nothing of them remains. A transaction is a
/// [`Store`], so one begun on another is a savepoint, and whatever works on a store works inside it.
#[derive(Debug)]
#[must_use = "a transaction that is not committed is rolled back"]
pub struct Transaction<'a, T: Store> {
    below: &'a mut T,
    batch: Batch,
}

impl<'a, T: Store> Transaction<'a, T> {
    /// Begins a transaction on `store`, which nobody else can write to while it is open.
    pub fn begin(store: &'a mut T) -> Self {
        Self {
            below: store,
            batch: Batch::new(),
        }
    }

    /// Hands all writes down as one batch. After an error nothing of them was written; see
    /// [`Store::commit`].
    pub async fn commit(self) -> Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.below.commit(self.batch).await
    }

    /// Drops all writes; the same as dropping the transaction, said aloud.
    pub fn rollback(self) {}

    /// The writes so far.
    #[must_use]
    pub fn batch(&self) -> &Batch {
        &self.batch
    }
}

impl<T: Store> Store for Transaction<'_, T> {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.batch.get_over(&*self.below, key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.batch.list_over(&*self.below, range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.batch.alarm_over(&*self.below).await
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        self.limits().check(&batch)?;
        self.batch.merge(batch);
        Ok(())
    }

    fn limits(&self) -> Limits {
        self.below.limits()
    }
}
