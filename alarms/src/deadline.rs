//! The one alarm of the engine, shared: a table of deadlines, of which the first is the alarm.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use dokit_storage::{Batch, Store, Timestamp, Transaction, decode, encode};
use serde::{Deserialize, Serialize};

use crate::{Result, Retries, When};

/// Where the table of deadlines is stored.
const TABLE: &str = "__deadlines";

/// The deadline of [`schedule_alarm`]: the wake-up itself is all there is to do for it.
const WAKE: &str = "wake";

/// Before the names of the user's own deadlines.
const OWN: &str = "own:";

/// The least time between two wake-ups, where nobody says otherwise.
pub(crate) const LEAST_INTERVAL: Duration = Duration::from_millis(100);

/// A moment by a name, one of many that share the engine's one alarm.
///
/// The engine's alarm always stands at the earliest of all deadlines, of the jobs of
/// [`Alarms`](crate::Alarms) and of the action of an [`ActionKey`](crate::ActionKey), and moves in
/// the same commit as they do. Whoever uses this crate in an object sets no alarm beside it: it
/// would be replaced.
///
/// When the time has come the object is woken. [`take`](Self::take) then says so once, and forgets
/// the deadline. A deadline that is due and that nobody takes is woken for again after 2 s, 4 s and
/// so on up to an hour, so that a crash does not lose it and a forgotten one does not keep the
/// object busy.
///
/// ```
/// use dokit_alarms::Deadline;
/// use dokit_storage::{Memory, Store, Timestamp};
///
/// const IDLE: Deadline = Deadline::new("idle");
///
/// # futures_executor::block_on(async {
/// let mut store = Memory::new();
/// let now = Timestamp::from_millis(1_000);
/// let at = IDLE.set(&mut store, now, "5m").await?;
/// assert_eq!(store.alarm().await?, Some(at));
/// assert_eq!(IDLE.take(&mut store, now).await?, None);
/// assert_eq!(IDLE.take(&mut store, at).await?, Some(at));
/// assert_eq!(store.alarm().await?, None);
/// # Ok::<(), dokit_alarms::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    name: Cow<'static, str>,
}

impl Deadline {
    /// The deadline of this name. The same name is the same deadline.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
        }
    }

    /// The deadline of a name that is known only when the program runs. There should be a handful:
    /// all deadlines of an object are stored in one value. For more there is
    /// [`Alarms`](crate::Alarms).
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
        }
    }

    /// Sets it, in place of the moment it had, and answers the moment. One commit.
    ///
    /// # Errors
    ///
    /// Those of [`When::resolve`], and the storage's.
    pub async fn set<T: Store>(
        &self,
        store: &mut T,
        now: Timestamp,
        when: impl Into<When>,
    ) -> Result<Timestamp> {
        set(store, now, &self.slot(), when.into()).await
    }

    /// Forgets it and says whether it was set. One commit.
    pub async fn clear<T: Store>(&self, store: &mut T) -> Result<bool> {
        clear(store, &self.slot()).await
    }

    /// The moment it is set to.
    pub async fn get<T: Store>(&self, store: &T) -> Result<Option<Timestamp>> {
        let table = Table::read(store).await?;
        Ok(table.get(&self.slot()).map(|entry| entry.at))
    }

    /// Forgets it and answers its moment, if that has come; else `None`. One commit.
    ///
    /// Call it in a [`Transaction`] together with what is to be done, so that both are durable or
    /// neither is. Too early, or a second time, it only sees to the engine's alarm.
    pub async fn take<T: Store>(&self, store: &mut T, now: Timestamp) -> Result<Option<Timestamp>> {
        let slot = self.slot();
        let mut txn = Transaction::begin(store);
        let mut table = Table::read_at(&txn, now, LEAST_INTERVAL).await?;
        let due = table.get(&slot).map(|entry| entry.at);
        let due = due.filter(|at| *at <= now);
        if due.is_some() {
            table.set(&slot, None);
            table.wake(now, LEAST_INTERVAL, &slot);
        }
        table.write(&mut txn).await?;
        txn.commit().await?;
        Ok(due)
    }

    fn slot(&self) -> String {
        format!("{OWN}{}", self.name)
    }
}

/// Wakes the object once, after a while or at a moment, and answers the moment. One commit.
///
/// This is the plain form, for an object whose `alarm` method knows by itself what to do. It
/// replaces the moment that it was called with before, and nothing else: other deadlines and jobs
/// of the object keep theirs.
///
/// # Errors
///
/// Those of [`When::resolve`], and the storage's.
///
/// ```
/// use dokit_alarms::schedule_alarm;
/// use dokit_storage::{Memory, Store, Timestamp};
///
/// # futures_executor::block_on(async {
/// let mut store = Memory::new();
/// let at = schedule_alarm(&mut store, Timestamp::from_millis(1_000), "30s").await?;
/// assert_eq!(at, Timestamp::from_millis(31_000));
/// assert_eq!(store.alarm().await?, Some(at));
/// # Ok::<(), dokit_alarms::Error>(())
/// # }).unwrap();
/// ```
pub async fn schedule_alarm<T: Store>(
    store: &mut T,
    now: Timestamp,
    when: impl Into<When>,
) -> Result<Timestamp> {
    set(store, now, WAKE, when.into()).await
}

/// Takes back what [`schedule_alarm`] set, and says whether there was anything. One commit.
pub async fn cancel_alarm<T: Store>(store: &mut T) -> Result<bool> {
    clear(store, WAKE).await
}

/// What wakes an object: an answer to "why is this awake, and how often?".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wakes {
    /// How many wake-ups had something to do.
    pub count: u64,
    /// When the last of them was.
    pub last: Option<Timestamp>,
    /// What the engine's alarm is set for.
    pub next: Option<Timestamp>,
    /// All that waits, by name: `alarms` or `alarms.NAME` for the jobs of an
    /// [`Alarms`](crate::Alarms), `action:KEY`, `own:NAME` for a [`Deadline`], `wake` for
    /// [`schedule_alarm`].
    pub waiting: BTreeMap<String, Timestamp>,
}

/// Reads what wakes this object.
pub async fn wakes<T: Store>(store: &T) -> Result<Wakes> {
    let table = Table::read(store).await?;
    Ok(Wakes {
        count: table.wakes,
        last: table.woke,
        next: store.alarm().await?,
        waiting: table
            .deadlines
            .into_iter()
            .map(|(name, entry)| (name, entry.due()))
            .collect(),
    })
}

async fn set<T: Store>(store: &mut T, now: Timestamp, slot: &str, when: When) -> Result<Timestamp> {
    let at = when.resolve(now)?;
    let mut txn = Transaction::begin(store);
    let mut table = Table::read_at(&txn, now, LEAST_INTERVAL).await?;
    table.set(slot, Some(at));
    table.write(&mut txn).await?;
    txn.commit().await?;
    Ok(at)
}

async fn clear<T: Store>(store: &mut T, slot: &str) -> Result<bool> {
    let mut txn = Transaction::begin(store);
    let mut table = Table::read_fired(&txn).await?;
    let was_set = table.set(slot, None);
    table.write(&mut txn).await?;
    txn.commit().await?;
    Ok(was_set)
}

/// All deadlines of an object, as stored. The one place that sets the engine's alarm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Table {
    deadlines: BTreeMap<String, Entry>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    woke: Option<Timestamp>,
    /// No wake-up before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quiet_until: Option<Timestamp>,
    #[serde(default)]
    wakes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    /// How often the action behind it failed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) failed: u32,
    /// How often it was due at a wake-up and nobody dealt with it.
    #[serde(default, skip_serializing_if = "is_zero")]
    passed: u32,
    /// When to wake for it after it was passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    again: Option<Timestamp>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Entry {
    fn due(self) -> Timestamp {
        self.again.unwrap_or(self.at)
    }
}

impl Table {
    pub(crate) async fn read<T: Store>(store: &T) -> Result<Self> {
        match store.get(TABLE).await? {
            Some(json) => Ok(decode(TABLE, &json)?),
            None => Ok(Self::default()),
        }
    }

    /// Reads the table for an operation at `now`.
    ///
    /// Where something is due and the engine's alarm is gone, the alarm has fired for it. That is noted
    /// whatever the operation is, since it may be the only one of the wake-up: the alarm would be set to
    /// what is due, and fire again, without end.
    pub(crate) async fn read_at<T: Store>(
        store: &T,
        now: Timestamp,
        least: Duration,
    ) -> Result<Self> {
        let mut table = Self::read(store).await?;
        table.forget_future(now);
        table.note_fired(store, now, least).await?;
        Ok(table)
    }

    /// As [`read_at`](Self::read_at), for an operation that does not know the time: where the alarm has
    /// fired, it is at least what that stood at.
    pub(crate) async fn read_fired<T: Store>(store: &T) -> Result<Self> {
        let mut table = Self::read(store).await?;
        if let Some(at) = table.next() {
            table.note_fired(store, at, LEAST_INTERVAL).await?;
        }
        Ok(table)
    }

    async fn note_fired<T: Store>(
        &mut self,
        store: &T,
        now: Timestamp,
        least: Duration,
    ) -> Result<()> {
        if self.is_due(now, "") && store.alarm().await?.is_none() {
            if self.get(WAKE).is_some_and(|wake| wake.due() <= now) {
                self.set(WAKE, None);
            }
            self.wake(now, least, "");
        }
        Ok(())
    }

    pub(crate) fn get(&self, slot: &str) -> Option<Entry> {
        self.deadlines.get(slot).copied()
    }

    /// Sets or removes a deadline, and says whether it was set before.
    pub(crate) fn set(&mut self, slot: &str, at: Option<Timestamp>) -> bool {
        self.set_failed(slot, at, 0)
    }

    /// Sets a deadline to the next try of an action that failed so often.
    pub(crate) fn set_failed(&mut self, slot: &str, at: Option<Timestamp>, failed: u32) -> bool {
        let entry = at.map(|at| Entry {
            at,
            failed,
            passed: 0,
            again: None,
        });
        match entry {
            Some(entry) => self.deadlines.insert(slot.to_owned(), entry).is_some(),
            None => self.deadlines.remove(slot).is_some(),
        }
    }

    /// Notes a wake-up that has something to do: none follows within `least`. Deadlines other than
    /// `handled` that are due are put off, in case that nobody deals with them.
    pub(crate) fn wake(&mut self, now: Timestamp, least: Duration, handled: &str) {
        let mut quiet_until = now.saturating_add(least);
        if self.woke == Some(now) {
            quiet_until = quiet_until.max(self.quiet_until.unwrap_or(now));
        } else {
            self.wakes = self.wakes.saturating_add(1);
        }
        self.woke = Some(now);
        self.quiet_until = Some(quiet_until);
        self.deadlines.retain(|name, entry| {
            if name == handled || entry.due() > now {
                return true;
            }
            // The engine's alarm is still to fire for this one, unless it is left standing.
            if name == WAKE && entry.passed >= Retries::new().tries {
                return false;
            }
            entry.passed = entry.passed.saturating_add(1);
            entry.again = Some(Retries::new().next(now, entry.passed, name));
            true
        });
    }

    /// The names of the user's own deadlines that are due.
    pub(crate) fn own_due(&self, now: Timestamp) -> Vec<String> {
        let due = self.deadlines.iter().filter(|(_, entry)| entry.at <= now);
        due.filter_map(|(name, _)| name.strip_prefix(OWN).map(str::to_owned))
            .collect()
    }

    /// Whether any deadline but `handled` is due.
    pub(crate) fn is_due(&self, now: Timestamp, handled: &str) -> bool {
        let mut others = self.deadlines.iter().filter(|(name, _)| *name != handled);
        others.any(|(_, entry)| entry.due() <= now)
    }

    /// Forgets a wake-up that lies ahead, which means that the clock was set back; else nothing
    /// could wake the object until the clock has come there again.
    fn forget_future(&mut self, now: Timestamp) {
        if self.woke.is_some_and(|woke| woke > now) {
            self.woke = None;
            self.quiet_until = None;
        }
    }

    /// Writes the table and moves the engine's alarm to the earliest deadline, where they are not
    /// so already. After the transaction deleted everything, nothing is left to remember.
    pub(crate) async fn write<T: Store>(&self, txn: &mut Transaction<'_, T>) -> Result<()> {
        let stored = txn.get(TABLE).await?;
        let forgotten = txn.batch().deletes_all() && stored.is_none() && self.deadlines.is_empty();
        let mut batch = Batch::new();
        if !forgotten && (stored.is_some() || *self != Self::default()) {
            let json = encode(TABLE, self)?;
            if stored.as_ref() != Some(&json) {
                batch.put(TABLE, json);
            }
        }
        let next = self.next();
        if next != txn.alarm().await? {
            match next {
                Some(at) => batch.set_alarm(at),
                None => batch.delete_alarm(),
            }
        }
        Ok(txn.commit(batch).await?)
    }

    /// What the engine's alarm should stand at.
    fn next(&self) -> Option<Timestamp> {
        let earliest = self.deadlines.values().map(|entry| entry.due()).min()?;
        let quiet_until = self.quiet_until.unwrap_or(earliest);
        Some(earliest.max(quiet_until).min(Timestamp::LAST))
    }
}
