use std::{borrow::Cow, fmt, time::Duration};

use dokit_storage::{Store, Timestamp};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    HistoryEntry, Hooks, Machine, Migration, NoHooks, RecordError,
    history::History,
    once::Ids,
    record::{Record, Records},
};

/// A machine that is kept in a store.
///
/// It holds no state in memory: each operation reads the record from the store that it is given, and
/// each that changes something is one commit of it, so what a program sees is what is stored, after a
/// crash as well. The store may be a transaction, or an object's storage: then the step commits with
/// whatever else is written there. `&mut` keeps two steps from interleaving.
///
/// A store without a record is a machine in its initial state. Nothing is written until the first step,
/// or [`start`](Self::start), from which the initial state's timeout counts.
///
/// | option | default |
/// |---|---|
/// | [`key`](Self::key), where the record is | `__fsm:` and the machine's name |
/// | [`keep_history`](Self::keep_history), how many steps are kept | 100 |
/// | [`remembered_ids`](Self::remembered_ids), for `send_once` | 100 |
/// | [`migrations`](Self::migrations) | none; the record has version 1 |
/// | [`timeout`](Self::timeout), per state | the table's `after` |
/// | [`hooks`](Self::hooks) | none |
///
/// # Time
///
/// `now` is what the caller says; nothing here reads a clock. A state with a timeout has a deadline from
/// the moment it is entered, stored with it: [`deadline`](Self::deadline) says when
/// [`expire`](Self::expire) is to be called, and a call that comes early, late, twice or for a state
/// long left is harmless. Leaving the state cancels it, entering it again (a self transition too) sets
/// it anew, an internal transition leaves it as it is. An event that arrives after the deadline and
/// before `expire` is taken as any other.
pub struct Persisted<S: 'static, E: 'static, H = NoHooks> {
    machine: Machine<S, E>,
    key: Cow<'static, str>,
    history: usize,
    remembered_ids: usize,
    migrations: &'static [Migration],
    /// By the index of the state.
    timeouts: Vec<(usize, Duration)>,
    pub(crate) hooks: H,
}

impl<S, E> Persisted<S, E> {
    pub(crate) const fn new(machine: Machine<S, E>) -> Self {
        Self {
            machine,
            key: Cow::Borrowed(machine.key()),
            history: 100,
            remembered_ids: 100,
            migrations: &[],
            timeouts: Vec::new(),
            hooks: NoHooks,
        }
    }
}

impl<S, E, H> Persisted<S, E, H> {
    /// Keeps the record under this key, and the history and ids under keys that begin with it: for
    /// several machines of one table in one store, or of two tables whose constants have one name. Keys that begin with `__` are left out of
    /// [`TypedStorage::list`](dokit_storage::TypedStorage::list).
    #[must_use]
    pub fn key(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.key = key.into();
        self
    }

    /// Keeps the newest `steps` of the history; 0 keeps none.
    #[must_use]
    pub const fn keep_history(mut self, steps: usize) -> Self {
        self.history = steps;
        self
    }

    /// Remembers the newest `ids` that were given to [`send_once`](Self::send_once), with the state
    /// that each led to; 0 remembers none.
    #[must_use]
    pub const fn remembered_ids(mut self, ids: usize) -> Self {
        self.remembered_ids = ids;
        self
    }

    /// Migrates records of older versions: the first step takes version 1 to version 2, the next one 2
    /// to 3, and so on, so a program with two steps writes version 3. Steps are only ever added at the
    /// end. A record of a newer version is refused.
    #[must_use]
    pub const fn migrations(mut self, steps: &'static [Migration]) -> Self {
        self.migrations = steps;
        self
    }

    /// Gives a state (its data are not looked at) another timeout than the table's `after`, from the
    /// next time it is entered.
    ///
    /// # Panics
    ///
    /// If the table has no `after` for this state, and so no event to send.
    #[must_use]
    #[track_caller]
    pub fn timeout(mut self, state: &S, length: Duration) -> Self {
        assert!(
            self.machine.timeout(state).is_some(),
            "state {:?} of machine {:?} has no `after` in its table",
            self.machine.state_name(state),
            self.machine.name(),
        );
        let index = self.machine.state_index(state);
        self.timeouts.retain(|(state, _)| *state != index);
        self.timeouts.push((index, length));
        self
    }

    /// Runs these hooks with every step, in place of those it has.
    #[must_use]
    pub fn hooks<G: Hooks<S, E>>(self, hooks: G) -> Persisted<S, E, G> {
        self.with_hooks(hooks)
    }

    pub(crate) fn with_hooks<G>(&self, hooks: G) -> Persisted<S, E, G> {
        Persisted {
            machine: self.machine,
            key: self.key.clone(),
            history: self.history,
            remembered_ids: self.remembered_ids,
            migrations: self.migrations,
            timeouts: self.timeouts.clone(),
            hooks,
        }
    }

    /// The table.
    #[must_use]
    pub fn machine(&self) -> Machine<S, E> {
        self.machine
    }

    pub(crate) fn records(&self) -> Records<'_, S, E> {
        Records {
            machine: self.machine,
            key: &self.key,
            migrations: self.migrations,
        }
    }

    pub(crate) fn entries(&self) -> History<'_> {
        History {
            key: &self.key,
            bound: self.history,
        }
    }

    pub(crate) fn ids(&self) -> Ids<'_> {
        Ids {
            key: &self.key,
            bound: self.remembered_ids,
        }
    }

    /// When a state that is entered at `now` is to be left by itself.
    pub(crate) fn deadline_of(&self, state: &S, now: Timestamp) -> Option<Timestamp> {
        let index = self.machine.state_index(state);
        let chosen = self.timeouts.iter().find(|(state, _)| *state == index);
        let table = self.machine.timeout(state)?;
        let length = chosen.map_or(table, |(_, length)| *length);
        // Beyond the last moment that an alarm can be set for is as good as never.
        Some(now.saturating_add(length).min(Timestamp::LAST))
    }
}

impl<S: Serialize + DeserializeOwned, E, H> Persisted<S, E, H> {
    /// The state that the machine is in.
    ///
    /// # Errors
    ///
    /// [`RecordError`] where the record is newer than the program, in a state that the table does not
    /// have, or does not decode. It is never taken for a missing one.
    pub async fn state(&self, store: &impl Store) -> Result<S, RecordError> {
        Ok(self.load(store).await?.state)
    }

    /// Whether `event` leads anywhere from the state that the machine is in, its guards asked.
    ///
    /// # Errors
    ///
    /// As [`state`](Self::state).
    pub async fn can(&self, store: &impl Store, event: &E) -> Result<bool, RecordError> {
        Ok(self.machine.can(&self.state(store).await?, event))
    }

    /// The names of the events that the machine's state handles: see
    /// [`Machine::valid_events`].
    ///
    /// # Errors
    ///
    /// As [`state`](Self::state).
    pub async fn valid_events(&self, store: &impl Store) -> Result<Vec<&'static str>, RecordError> {
        Ok(self.machine.valid_events(&self.state(store).await?))
    }

    /// When the machine's state was entered; `None` where nothing is stored yet.
    ///
    /// # Errors
    ///
    /// As [`state`](Self::state).
    pub async fn entered_at(&self, store: &impl Store) -> Result<Option<Timestamp>, RecordError> {
        let record = self.records().read(store).await?;
        Ok(record.map(|record| record.entered))
    }

    /// When the machine's state is to be left by itself: the time to call [`expire`](Self::expire).
    /// `None` where the state has no timeout, or nothing is stored yet.
    ///
    /// # Errors
    ///
    /// As [`state`](Self::state).
    pub async fn deadline(&self, store: &impl Store) -> Result<Option<Timestamp>, RecordError> {
        let current = self.load(store).await?;
        // The table may have lost the timeout since the record was written.
        let timed = self.machine.timeout(&current.state).is_some();
        Ok(current.record.and_then(|it| it.deadline).filter(|_| timed))
    }

    /// The newest steps, the oldest of them first, at most as many as
    /// [`keep_history`](Self::keep_history) says.
    ///
    /// # Errors
    ///
    /// As [`state`](Self::state).
    pub async fn history(&self, store: &impl Store) -> Result<Vec<HistoryEntry>, RecordError> {
        Ok(self.entries().read(store).await?)
    }

    pub(crate) async fn load(&self, store: &impl Store) -> Result<Current<S>, RecordError> {
        let record = self.records().read(store).await?;
        let state = match &record {
            Some(record) => self.records().state(record)?,
            None => self.machine.initial(),
        };
        Ok(Current { state, record })
    }
}

/// What a machine's record says, or the initial state where there is none.
pub(crate) struct Current<S> {
    pub(crate) state: S,
    pub(crate) record: Option<Record>,
}

impl<S, E, H: Clone> Clone for Persisted<S, E, H> {
    fn clone(&self) -> Self {
        self.with_hooks(self.hooks.clone())
    }
}

impl<S, E, H> fmt::Debug for Persisted<S, E, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Persisted")
            .field("machine", &self.machine.name())
            .field("key", &self.key)
            .field("history", &self.history)
            .field("remembered_ids", &self.remembered_ids)
            .field("migrations", &self.migrations.len())
            .finish_non_exhaustive()
    }
}
