use std::{fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Batch, Entry, Error, Family, Key, ListOptions, Result, Schema, Store, Timestamp, Transaction,
    entry::list_own, migration::stamp,
};

/// A store seen through a schema: keys are constants, values have types.
///
/// Reading takes `&self` and writing `&mut self`, so the borrow checker keeps a read, a change and a
/// write apart from anybody else's. Each writing method is one commit of the store under it; several
/// writes in one commit are a [`transaction`](Self::transaction) or [`put_many`](Self::put_many).
/// What a commit promises once it has returned is the store's to say: see [`Store::commit`].
pub struct TypedStorage<S, T> {
    store: T,
    schema: PhantomData<fn() -> S>,
}

impl<S, T> TypedStorage<S, T> {
    /// Sees `store` through the schema `S`. Nothing is read or written; where the schema has a
    /// version, call [`migrate`](Self::migrate) before anything else.
    // The bounds stand here, so that the compiler says of a wrong type what it should be.
    pub fn new(store: T) -> Self
    where
        S: Schema,
        T: Store,
    {
        Self {
            store,
            schema: PhantomData,
        }
    }
}

impl<S: Schema, T: Store> TypedStorage<S, T> {
    /// The store under it.
    pub fn store(&self) -> &T {
        &self.store
    }

    /// The store under it, to hand it to whatever else works on a store.
    pub fn store_mut(&mut self) -> &mut T {
        &mut self.store
    }

    /// The store under it.
    pub fn into_store(self) -> T {
        self.store
    }

    /// Reads a value; `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] where the stored value is not of the key's type; it is never read as
    /// missing.
    pub async fn get<V: DeserializeOwned>(&self, key: Key<S, V>) -> Result<Option<V>> {
        let json = self.store.get(key.name()).await?;
        json.map(|json| key.decode(&json)).transpose()
    }

    /// Reads several values of one type, in the order of the keys given.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and [`Error::BatchTooLarge`].
    pub async fn get_many<V: DeserializeOwned>(
        &self,
        keys: &[Key<S, V>],
    ) -> Result<Vec<Option<V>>> {
        self.store.limits().check_count(keys.len())?;
        let mut values = Vec::with_capacity(keys.len());
        for key in keys {
            values.push(self.get(key.clone()).await?);
        }
        Ok(values)
    }

    /// Writes a value.
    pub async fn put<V: Serialize>(&mut self, key: Key<S, V>, value: &V) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(key.name(), key.encode(value)?);
        self.store.commit(batch).await
    }

    /// Writes several values of one type in one commit: all of them, or none.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and [`Error::BatchTooLarge`].
    pub async fn put_many<'v, V: Serialize + 'v>(
        &mut self,
        entries: impl IntoIterator<Item = (Key<S, V>, &'v V)>,
    ) -> Result<()> {
        let mut batch = Batch::new();
        let mut keys = 0;
        for (key, value) in entries {
            keys += 1;
            batch.put(key.name(), key.encode(value)?);
        }
        self.store.limits().check_count(keys)?;
        self.store.commit(batch).await
    }

    /// Deletes a value and says whether there was one.
    pub async fn delete<V>(&mut self, key: Key<S, V>) -> Result<bool> {
        Ok(self.delete_many([key]).await? == 1)
    }

    /// Deletes several values in one commit and says how many there were.
    ///
    /// # Errors
    ///
    /// [`Error::BatchTooLarge`].
    pub async fn delete_many<V>(
        &mut self,
        keys: impl IntoIterator<Item = Key<S, V>>,
    ) -> Result<usize> {
        let mut batch = Batch::new();
        for key in keys {
            batch.delete(key.name());
        }
        let names: Vec<&str> = batch.writes().map(|(key, _)| key).collect();
        self.store.limits().check_count(names.len())?;
        let mut existed = 0;
        for name in names {
            existed += usize::from(self.store.get(name).await?.is_some());
        }
        self.store.commit(batch).await?;
        Ok(existed)
    }

    /// Deletes every key, those of the library included, and the alarm.
    ///
    /// Where the schema's version is above 1 it is written again in the same commit: without it, what
    /// is stored from now on would pass for data of version 1 at the next
    /// [`migrate`](Self::migrate).
    pub async fn delete_all(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete_all();
        if S::VERSION > 1 {
            stamp::<S>(&mut batch)?;
        }
        self.store.commit(batch).await
    }

    /// Lists keys with their values. Keys that begin with `__` are the library's own and are left
    /// out; a limit counts only what is listed.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidList`] for options that contradict each other.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Entry>> {
        list_own(&self.store, &options).await
    }

    /// Lists the members of a family, each with its name within the family. The keys in `options`
    /// are names within the family too.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list) and [`get`](Self::get).
    pub async fn list_family<V: DeserializeOwned>(
        &self,
        family: Family<V, S>,
        options: ListOptions,
    ) -> Result<Vec<(String, V)>> {
        let range = options.within(family.prefix()).to_range()?;
        let entries = self.store.list(&range).await?;
        entries
            .into_iter()
            .map(|(key, json)| {
                let member = key[family.prefix().len()..].to_owned();
                let value = family.key(&member).decode(&json)?;
                Ok((member, value))
            })
            .collect()
    }

    /// Reads the time of the alarm.
    pub async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.store.alarm().await
    }

    /// Sets the alarm, in place of one that is set already. A time that has passed is due at once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAlarm`] for a moment before 1970 or after 2188.
    pub async fn set_alarm(&mut self, at: Timestamp) -> Result<()> {
        let mut batch = Batch::new();
        batch.set_alarm(at);
        self.store.commit(batch).await
    }

    /// Removes the alarm; no error where there is none.
    pub async fn delete_alarm(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete_alarm();
        self.store.commit(batch).await
    }

    /// Begins a transaction. Dropped without a commit, it is rolled back. Begun on another
    /// transaction, it is a savepoint.
    pub fn begin(&mut self) -> TypedStorage<S, Transaction<'_, T>> {
        TypedStorage::new(Transaction::begin(&mut self.store))
    }

    /// Runs `work` in a transaction: `Ok` commits all that it wrote as one batch, `Err` leaves
    /// nothing of it, and so does a future that is dropped before its end. The result is what `work`
    /// answered.
    ///
    /// For a savepoint within the closure use [`begin`](Self::begin) and
    /// [`commit`](TypedStorage::commit). A `transaction` within a `transaction` works too, but rustc
    /// 1.95 cannot see that its future is `Send` (<https://github.com/rust-lang/rust/issues/110338>).
    ///
    /// ```
    /// # use dokit_storage::{Error, Memory, Schema, TypedStorage};
    /// # #[derive(Schema)]
    /// # struct Counter { count: u64 }
    /// # futures_executor::block_on(async {
    /// # let mut storage = TypedStorage::<Counter, _>::new(Memory::new());
    /// let count = storage
    ///     .transaction(async |txn| {
    ///         let count = txn.get(Counter::COUNT).await?.unwrap_or(0) + 1;
    ///         txn.put(Counter::COUNT, &count).await?;
    ///         Ok::<_, Error>(count)
    ///     })
    ///     .await?;
    /// assert_eq!(count, 1);
    /// # Ok::<(), Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// What `work` answered, or why the commit failed.
    pub async fn transaction<R, E, F>(&mut self, work: F) -> Result<R, E>
    where
        F: AsyncFnOnce(&mut TypedStorage<S, Transaction<'_, T>>) -> Result<R, E>,
        E: From<Error>,
    {
        let mut transaction = self.begin();
        let result = work(&mut transaction).await?;
        transaction.commit().await?;
        Ok(result)
    }
}

impl<S: Schema, T: Store> TypedStorage<S, Transaction<'_, T>> {
    /// Hands all writes down as one batch: see [`Transaction::commit`].
    pub async fn commit(self) -> Result<()> {
        self.store.commit().await
    }

    /// Drops all writes; the same as dropping the transaction, said aloud.
    pub fn rollback(self) {
        self.store.rollback();
    }
}

impl<S, T: fmt::Debug> fmt::Debug for TypedStorage<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedStorage").field(&self.store).finish()
    }
}
