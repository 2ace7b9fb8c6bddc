//! A log of events under one prefix, with snapshots.

use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned, de::IgnoredAny};

use crate::{Batch, Error, KeyRange, Result, Store, codec};

/// How many events are read at a time.
const PAGE: usize = 128;

/// A log of events that is only ever added to, and the state that they add up to.
///
/// It keeps nothing in memory: each operation takes the store, and [`append`](Self::append) is one
/// commit. Given a transaction, the log joins it. Its keys begin with its name:
///
/// | key | holds |
/// |---|---|
/// | `{name}:event:{sequence}` | an event; the sequence counts from 1 and has 20 digits |
/// | `{name}:last` | the sequence of the last event |
/// | `{name}:snapshot` | the state after some event, so that reading it need not start over |
///
/// ```
/// use dokit_storage::{EventLog, Memory};
///
/// const BALANCE: EventLog<i64, i64> = EventLog::new("balance", |balance, change| *balance += change);
///
/// # futures_executor::block_on(async {
/// let mut store = Memory::new();
/// BALANCE.append(&mut store, &50).await?;
/// assert_eq!(BALANCE.append(&mut store, &-8).await?, 2);
/// assert_eq!(BALANCE.state(&store).await?, 42);
/// assert_eq!(BALANCE.events(&store, 1, 10).await?, [(2, -8)]);
/// # Ok::<(), dokit_storage::Error>(())
/// # }).unwrap();
/// ```
pub struct EventLog<E, S> {
    name: &'static str,
    fold: fn(&mut S, &E),
    snapshot_every: u64,
    state_version: u32,
}

#[derive(Serialize, Deserialize)]
struct Snapshot<S> {
    version: u32,
    sequence: u64,
    state: S,
}

impl<E, S> EventLog<E, S> {
    /// The log of this name. `fold` applies one event to the state, which starts from its default.
    /// Every 50th append writes a snapshot; the version of the state is 1.
    #[must_use]
    pub const fn new(name: &'static str, fold: fn(&mut S, &E)) -> Self {
        Self {
            name,
            fold,
            snapshot_every: 50,
            state_version: 1,
        }
    }

    /// Writes a snapshot with every `events`-th append; zero is never. A state over the store's
    /// value limit makes that append fail with [`Error::ValueTooLarge`].
    #[must_use]
    pub const fn snapshot_every(self, events: u64) -> Self {
        Self {
            snapshot_every: events,
            ..self
        }
    }

    /// Says which version of the state and of `fold` this is. Raise it when either changes: snapshots
    /// of other versions are passed over, and the state is folded from the events anew.
    #[must_use]
    pub const fn state_version(self, version: u32) -> Self {
        Self {
            state_version: version,
            ..self
        }
    }

    /// How many events there are, which is the sequence of the last one; 0 where there is none.
    pub async fn len<T: Store>(&self, store: &T) -> Result<u64> {
        let key = self.key("last");
        let json = store.get(&key).await?;
        json.map_or(Ok(0), |json| codec::decode(&key, &json))
    }

    fn key(&self, part: &str) -> String {
        format!("{}:{part}", self.name)
    }

    fn event_key(&self, sequence: u64) -> String {
        format!("{}:event:{sequence:020}", self.name)
    }
}

impl<E: Serialize + DeserializeOwned, S: Default + Serialize + DeserializeOwned> EventLog<E, S> {
    /// Adds an event and answers its sequence. The event, its sequence and a snapshot where one is
    /// due are one commit.
    pub async fn append<T: Store>(&self, store: &mut T, event: &E) -> Result<u64> {
        let last = self.len(store).await?;
        let sequence = last.checked_add(1).ok_or_else(|| Error::InvalidValue {
            key: self.key("last"),
            reason: format!("no event can follow the one numbered {last}"),
        })?;
        let mut batch = Batch::new();
        let key = self.event_key(sequence);
        let json = codec::encode(&key, event)?;
        batch.put(key, json);
        let last = self.key("last");
        batch.put(&last, codec::encode(&last, &sequence)?);
        if self.snapshot_every > 0 && sequence.is_multiple_of(self.snapshot_every) {
            let mut state = self.state(store).await?;
            (self.fold)(&mut state, event);
            self.put_snapshot(&mut batch, sequence, &state)?;
        }
        store.commit(batch).await?;
        Ok(sequence)
    }

    /// Reads at most `limit` events with their sequences, in order, from the one after the sequence
    /// `after`; 0 is before the first.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] where an event is not an `E`; [`Error::InvalidList`] for a limit of zero.
    pub async fn events<T: Store>(
        &self,
        store: &T,
        after: u64,
        limit: usize,
    ) -> Result<Vec<(u64, E)>> {
        if limit == 0 {
            return Err(Error::InvalidList {
                reason: "limit must be positive",
            });
        }
        let Some(first) = after.checked_add(1) else {
            return Ok(Vec::new());
        };
        let prefix = self.key("event:");
        let range = KeyRange {
            start: self.event_key(first),
            // The first character after the digits: keys of another log, named `{name}:event`, are
            // not within it.
            end: Some(format!("{prefix}:")),
            limit: Some(limit),
            reverse: false,
        };
        let entries = store.list(&range).await?;
        entries
            .into_iter()
            .map(|(key, json)| {
                let sequence = key[prefix.len()..].parse();
                let sequence = sequence.map_err(|_| Error::InvalidKey {
                    key: key.clone(),
                    reason: "it does not end in the sequence of an event".to_owned(),
                })?;
                Ok((sequence, codec::decode(&key, &json)?))
            })
            .collect()
    }

    /// The state after all events: that of the last snapshot, and the events after it folded in.
    pub async fn state<T: Store>(&self, store: &T) -> Result<S> {
        let (sequence, state) = self.snapshot(store).await?;
        Ok(self.fold_after(store, sequence, state).await?.1)
    }

    /// Folds the whole log anew, writes a snapshot of the result and answers it: for when a snapshot
    /// may be wrong.
    pub async fn rebuild<T: Store>(&self, store: &mut T) -> Result<S> {
        let (sequence, state) = self.fold_after(store, 0, S::default()).await?;
        let mut batch = Batch::new();
        self.put_snapshot(&mut batch, sequence, &state)?;
        store.commit(batch).await?;
        Ok(state)
    }

    /// The state of the snapshot and the sequence it stands for, or the state before all events.
    async fn snapshot<T: Store>(&self, store: &T) -> Result<(u64, S)> {
        let key = self.key("snapshot");
        let Some(json) = store.get(&key).await? else {
            return Ok((0, S::default()));
        };
        // The state of another version may have another shape, so it is not decoded.
        let found: Snapshot<IgnoredAny> = codec::decode(&key, &json)?;
        if found.version != self.state_version {
            return Ok((0, S::default()));
        }
        let found: Snapshot<S> = codec::decode(&key, &json)?;
        Ok((found.sequence, found.state))
    }

    async fn fold_after<T: Store>(
        &self,
        store: &T,
        mut sequence: u64,
        mut state: S,
    ) -> Result<(u64, S)> {
        loop {
            let page = self.events(store, sequence, PAGE).await?;
            for (at, event) in &page {
                (self.fold)(&mut state, event);
                sequence = *at;
            }
            if page.len() < PAGE {
                return Ok((sequence, state));
            }
        }
    }

    fn put_snapshot(&self, batch: &mut Batch, sequence: u64, state: &S) -> Result<()> {
        let key = self.key("snapshot");
        let snapshot = Snapshot {
            version: self.state_version,
            sequence,
            state,
        };
        let json = codec::encode(&key, &snapshot)?;
        batch.put(key, json);
        Ok(())
    }
}

impl<E, S> Clone for EventLog<E, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E, S> Copy for EventLog<E, S> {}

impl<E, S> fmt::Debug for EventLog<E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog")
            .field("name", &self.name)
            .field("snapshot_every", &self.snapshot_every)
            .field("state_version", &self.state_version)
            .finish_non_exhaustive()
    }
}
