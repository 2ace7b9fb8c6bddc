use std::{fmt, marker::PhantomData};

use dokit_storage::{Batch, Store, Timestamp, Transaction, decode, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Error, Failure, Result, Retries, When,
    caught::caught,
    deadline::{LEAST_INTERVAL, Table},
    error::cut,
    failure::Advice,
};

/// One action at a time, named under a key, and the alarm that runs it.
///
/// This is the simplest way to say what an alarm is for. For several at once, or for actions with
/// data, there is [`Alarms`](crate::Alarms).
///
/// `A` is an enum whose variants are the actions. Its name stands in the store as a plain string,
/// so that the `match` that runs it is checked by the compiler, and an unknown name is told the
/// known ones.
///
/// | setting | default |
/// |---|---|
/// | [`key`](Self::key) | `__alarm_action` |
/// | [`retries`](Self::retries) | [`Retries::new`] |
///
/// ```
/// use dokit_alarms::{ActionKey, Handled};
/// use dokit_storage::{Memory, Store, Timestamp};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// #[serde(rename_all = "kebab-case")]
/// enum Action {
///     SendReminder,
///     Cleanup,
/// }
/// const ACTION: ActionKey<Action> = ActionKey::new();
///
/// # futures_executor::block_on(async {
/// let mut store = Memory::new();
/// let now = Timestamp::from_millis(1_000);
/// let at = ACTION.schedule(&mut store, now, "1h", &Action::SendReminder).await?;
///
/// let handled = ACTION
///     .handle(&mut store, at, async |txn, action| match action {
///         Action::SendReminder => {
///             ACTION.schedule(txn, at, "1d", &Action::Cleanup).await?;
///             Ok(())
///         }
///         Action::Cleanup => Ok(()),
///     })
///     .await?;
/// assert_eq!(handled, Handled::Done);
/// assert_eq!(store.get("__alarm_action").await?.as_deref(), Some("\"cleanup\""));
/// # Ok::<(), dokit_alarms::Error>(())
/// # }).unwrap();
/// ```
pub struct ActionKey<A> {
    key: &'static str,
    retries: Retries,
    action: PhantomData<fn() -> A>,
}

/// What [`ActionKey::handle`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "it says whether the action failed"]
pub enum Handled {
    /// The action ran, and what it wrote is committed together with the clearing of its name.
    Done,
    /// Its time has not come yet; the alarm stands at it.
    NotDue {
        /// Its time.
        at: Timestamp,
    },
    /// There is no action: the wake-up was a repeated one, or for something else.
    Nothing,
    /// An alarm was due whose action's name is gone from the key. It is not tried again.
    Missing,
    /// The action failed, nothing that it wrote remains, and it is tried again.
    Retrying {
        /// What it said.
        error: String,
        /// How often it has failed so far.
        failed: u32,
        /// When it is tried again.
        at: Timestamp,
    },
    /// The action failed for the last time, or no such action is known. It is
    /// kept as [dead](ActionKey::dead).
    Dead {
        /// What went wrong; for an unknown action it names the known ones.
        error: String,
    },
}

/// An action that has been given up: it is kept until it is revived or another takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadAction {
    /// The action as JSON text: its name.
    pub json: String,
    /// What went wrong.
    pub error: String,
    /// When it was given up.
    pub at: Timestamp,
}

impl<A> ActionKey<A> {
    /// With the default settings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            key: "__alarm_action",
            retries: Retries::new(),
            action: PhantomData,
        }
    }

    /// Keeps the name of the action under another key. Keys that begin with `__` stay out of the
    /// lists of [`TypedStorage`](dokit_storage::TypedStorage).
    #[must_use]
    pub const fn key(mut self, key: &'static str) -> Self {
        self.key = key;
        self
    }

    /// How a failing action is tried again.
    #[must_use]
    pub const fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// Takes the action and its alarm back, and says whether there was one. One commit.
    pub async fn cancel<T: Store>(&self, store: &mut T) -> Result<bool> {
        let mut txn = Transaction::begin(store);
        let existed = txn.get(self.key).await?.is_some();
        self.clear(&mut txn).await?;
        let mut table = Table::read_fired(&txn).await?;
        table.set(&self.slot(), None);
        table.write(&mut txn).await?;
        txn.commit().await?;
        Ok(existed)
    }

    /// The action that was given up last.
    pub async fn dead<T: Store>(&self, store: &T) -> Result<Option<DeadAction>> {
        let key = self.dead_key();
        let json = store.get(&key).await?;
        Ok(json.map(|json| decode(&key, &json)).transpose()?)
    }

    /// Makes the [dead](Self::dead) action the one that is due now, with all its tries, and
    /// says whether there was one. One commit.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyScheduled`] when there is an action under the key.
    pub async fn revive<T: Store>(&self, store: &mut T, now: Timestamp) -> Result<bool> {
        let mut txn = Transaction::begin(store);
        let Some(dead) = self.dead(&txn).await? else {
            return Ok(false);
        };
        if txn.get(self.key).await?.is_some() {
            return Err(Error::AlreadyScheduled {
                id: self.key.to_owned(),
            });
        }
        let mut batch = Batch::new();
        batch.delete(self.dead_key());
        Store::commit(&mut txn, batch).await?;
        self.write(&mut txn, now, When::at(now), dead.json).await?;
        txn.commit().await?;
        Ok(true)
    }

    fn slot(&self) -> String {
        format!("action:{}", self.key)
    }

    fn dead_key(&self) -> String {
        // The name that it has in data written so far.
        format!("{}/parked", self.key)
    }

    async fn clear<T: Store>(&self, txn: &mut Transaction<'_, T>) -> Result<()> {
        if txn.get(self.key).await?.is_some() {
            let mut batch = Batch::new();
            batch.delete(self.key);
            txn.commit(batch).await?;
        }
        Ok(())
    }

    async fn write<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Timestamp,
        when: When,
        json: String,
    ) -> Result<Timestamp> {
        let at = when.resolve(now)?;
        let mut batch = Batch::new();
        batch.put(self.key, json);
        txn.commit(batch).await?;
        let mut table = Table::read_at(txn, now, LEAST_INTERVAL).await?;
        table.set(&self.slot(), Some(at));
        table.write(txn).await?;
        Ok(at)
    }

    /// The last step of a wake-up: the next time of this action, the note of the wake-up, the
    /// engine's alarm.
    async fn settle<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Timestamp,
        next: Option<(Timestamp, u32)>,
    ) -> Result<()> {
        let mut table = Table::read_at(txn, now, LEAST_INTERVAL).await?;
        if let Some((at, failed)) = next {
            table.set_failed(&self.slot(), Some(at), failed);
        }
        table.wake(now, LEAST_INTERVAL, &self.slot());
        table.write(txn).await
    }
}

impl<A: Serialize + DeserializeOwned> ActionKey<A> {
    /// Stores the name of the action and sets the alarm, in place of the action that was there, and
    /// answers the moment. One commit.
    ///
    /// # Errors
    ///
    /// Those of [`When::resolve`], and the storage's.
    pub async fn schedule<T: Store>(
        &self,
        store: &mut T,
        now: Timestamp,
        when: impl Into<When>,
        action: &A,
    ) -> Result<Timestamp> {
        let json = encode(self.key, action)?;
        let mut txn = Transaction::begin(store);
        let at = self.write(&mut txn, now, when.into(), json).await?;
        txn.commit().await?;
        Ok(at)
    }

    /// Runs the action that is due and clears its name, in one transaction. Call it when the
    /// engine's alarm fires; late, early or twice does no harm.
    ///
    /// The name is cleared before the action runs, so an action may schedule the next one. A name
    /// that was put under the key by hand, without [`schedule`](Self::schedule), is run at once.
    ///
    /// # Errors
    ///
    /// Only those of the storage: an action that fails is tried again later, and one that cannot
    /// run is kept as [dead](Self::dead), so that neither wakes the object without end.
    pub async fn handle<T, F>(&self, store: &mut T, now: Timestamp, run: F) -> Result<Handled>
    where
        T: Store,
        F: AsyncFnOnce(&mut Transaction<'_, T>, A) -> Result<(), Failure>,
    {
        let mut txn = Transaction::begin(&mut *store);
        let mut table = Table::read_at(&txn, now, LEAST_INTERVAL).await?;
        let entry = table.get(&self.slot());
        let json = txn.get(self.key).await?;
        let not_due = entry.filter(|entry| entry.at > now);
        if json.is_none() || not_due.is_some() {
            let handled = match (&json, not_due) {
                (Some(_), Some(entry)) => Handled::NotDue { at: entry.at },
                _ if entry.is_some() => Handled::Missing,
                _ => Handled::Nothing,
            };
            if json.is_none() {
                table.set(&self.slot(), None);
            }
            table.write(&mut txn).await?;
            txn.commit().await?;
            return Ok(handled);
        }
        let json = json.unwrap_or_default();
        let failed = entry.map_or(0, |entry| entry.failed);
        self.clear(&mut txn).await?;
        table.set(&self.slot(), None);
        table.write(&mut txn).await?;
        let action: A = match serde_json::from_str(&json) {
            Ok(action) => action,
            Err(error) => {
                let error = format!("decode action {}: {error}", cut(&json, 64));
                self.bury(&mut txn, now, json, &error).await?;
                txn.commit().await?;
                return Ok(Handled::Dead { error });
            }
        };
        let failure = match caught(run(&mut txn, action)).await {
            Ok(()) => {
                self.settle(&mut txn, now, None).await?;
                match txn.commit().await {
                    Ok(()) => return Ok(Handled::Done),
                    Err(error) if error.is_retryable() => return Err(error.into()),
                    Err(error) => Failure::from(error),
                }
            }
            Err(failure) => {
                txn.rollback();
                failure
            }
        };
        let error = failure.text().to_owned();
        let failed = failed.saturating_add(1);
        let mut txn = Transaction::begin(store);
        let handled = if failure.advice == Advice::GiveUp || failed >= self.retries.tries {
            self.clear(&mut txn).await?;
            let mut table = Table::read(&txn).await?;
            table.set(&self.slot(), None);
            table.write(&mut txn).await?;
            self.bury(&mut txn, now, json, &error).await?;
            Handled::Dead { error }
        } else {
            let at = match failure.advice {
                Advice::RetryAfter(delay) => now.saturating_add(delay).min(Timestamp::LAST),
                _ => {
                    let due = entry.map_or(now, |entry| entry.at).as_millis();
                    let seed = format!("{} {due}", self.key);
                    self.retries.next(now, failed, &seed)
                }
            };
            self.settle(&mut txn, now, Some((at, failed))).await?;
            Handled::Retrying { error, failed, at }
        };
        txn.commit().await?;
        Ok(handled)
    }

    async fn bury<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        at: Timestamp,
        json: String,
        error: &str,
    ) -> Result<()> {
        let key = self.dead_key();
        let error = error.to_owned();
        let json = encode(&key, &DeadAction { json, error, at })?;
        let mut batch = Batch::new();
        batch.put(key, json);
        txn.commit(batch).await?;
        self.settle(txn, at, None).await
    }
}

impl<A> Clone for ActionKey<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for ActionKey<A> {}

impl<A> Default for ActionKey<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> fmt::Debug for ActionKey<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ActionKey")
            .field("key", &self.key)
            .field("retries", &self.retries)
            .finish()
    }
}
