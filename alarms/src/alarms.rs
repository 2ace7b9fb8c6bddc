use std::{fmt, marker::PhantomData, time::Duration};

use dokit_storage::{Batch, Error as StorageError, Store, Timestamp, Transaction, decode, encode};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, Interval, Missed, Repeat, Result, Retries, Scheduled, When,
    deadline::{LEAST_INTERVAL, Table},
    record::{self, Keys, Record},
};

/// Any number of jobs in one object, each a value of `A` and a time, over the engine's one alarm.
///
/// It holds only settings, which stand in a constant; all that it knows of jobs is in the store
/// that each operation is given.
///
/// | setting | default |
/// |---|---|
/// | [`name`](Self::name) | none |
/// | [`retries`](Self::retries) | [`Retries::new`]: ten tries over twenty minutes |
/// | [`missed`](Self::missed) | [`Missed::RunOnce`] |
/// | [`least_interval`](Self::least_interval) | 100 ms |
/// | [`most_per_wake`](Self::most_per_wake) | 100 |
///
/// # The protocol
///
/// Schedule at any time, in a call or in an action. When the engine's alarm fires, call
/// [`run_due`](Self::run_due) with the time; called late, early or twice it does what is due at
/// that time and no more. Each operation is one commit, and leaves the engine's alarm at the
/// earliest job, or at the earliest [`Deadline`](crate::Deadline), whichever comes first.
///
/// # Ids
///
/// [`schedule`](Self::schedule) makes an id that the object has not had since it was empty; it
/// begins with `#`. The other forms take one of at most 512 bytes: scheduling again under it
/// replaces the job, so that code which runs at each wake-up leaves one.
///
/// # What is stored
///
/// `A` as serde writes it, in JSON, so its variants may gain fields with a default, and a variant
/// that is renamed keeps its old name by `#[serde(alias = "..")]`. A job whose action no longer
/// decodes is [dead](Self::dead) when it falls due, and can be [revived](Self::revive) by a version
/// that knows it.
pub struct Alarms<A> {
    pub(crate) name: &'static str,
    pub(crate) retries: Retries,
    pub(crate) missed: Missed,
    pub(crate) least: Duration,
    pub(crate) most: usize,
    action: PhantomData<fn() -> A>,
}

impl<A> Alarms<A> {
    /// With the default settings.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            name: "",
            retries: Retries::new(),
            missed: Missed::RunOnce,
            least: LEAST_INTERVAL,
            most: 100,
            action: PhantomData,
        }
    }

    /// Keeps these jobs apart from those of other names in the same object, for a library that has
    /// jobs of its own. All share the engine's alarm.
    #[must_use]
    pub const fn name(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// How failing actions are tried again. It holds for jobs that are there already, too.
    #[must_use]
    pub const fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// What happens to missed runs of recurring jobs that are scheduled from now on with these
    /// settings.
    #[must_use]
    pub const fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// The least time between two wake-ups that had something to do, and so the shortest interval
    /// of a recurring job. What falls due sooner runs later. This bounds what a mistake can cost:
    /// an action that always schedules itself for now wakes its object ten times a second by
    /// default, not without a pause.
    #[must_use]
    pub const fn least_interval(mut self, least: Duration) -> Self {
        self.least = least;
        self
    }

    /// How many jobs one [`run_due`](Self::run_due) runs at most, so that a wake-up ends; the rest
    /// follow in the next one. Zero counts as one.
    #[must_use]
    pub const fn most_per_wake(mut self, most: usize) -> Self {
        self.most = if most == 0 { 1 } else { most };
        self
    }

    pub(crate) fn keys(&self) -> Keys {
        Keys::new(self.name)
    }

    /// The name of the earliest job's time among all deadlines.
    pub(crate) fn slot(&self) -> String {
        let dot = if self.name.is_empty() { "" } else { "." };
        format!("alarms{dot}{}", self.name)
    }

    /// The time of the earliest job.
    pub(crate) async fn earliest<T: Store>(&self, store: &T) -> Result<Option<Timestamp>> {
        let keys = self.keys();
        let first = store.list(&keys.all_due().limit(1).to_range()?).await?;
        Ok(first.first().map(|(key, _)| keys.due_parts(key).0))
    }

    /// Moves the engine's alarm to where the jobs are now.
    async fn arm<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Option<Timestamp>,
    ) -> Result<()> {
        let earliest = self.earliest(txn).await?;
        let mut table = match now {
            Some(now) => Table::read_at(txn, now, self.least).await?,
            None => Table::read_fired(txn).await?,
        };
        table.set(&self.slot(), earliest);
        table.write(txn).await
    }

    /// The time and the record of a job.
    async fn find<T: Store>(&self, store: &T, id: &str) -> Result<Option<(Timestamp, Record)>> {
        let keys = self.keys();
        let pointer = keys.id(id);
        let Some(at) = store.get(&pointer).await? else {
            return Ok(None);
        };
        let at: Timestamp = decode(&pointer, &at)?;
        let key = keys.due(at, id);
        match store.get(&key).await? {
            Some(json) => Ok(Some((at, decode(&key, &json)?))),
            None => Ok(None),
        }
    }

    /// Removes a job from the transaction and says whether there was one.
    pub(crate) async fn remove<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        id: &str,
    ) -> Result<bool> {
        let keys = self.keys();
        let pointer = keys.id(id);
        let Some(at) = txn.get(&pointer).await? else {
            return Ok(false);
        };
        let mut batch = Batch::new();
        batch.delete(keys.due(decode(&pointer, &at)?, id));
        batch.delete(pointer);
        txn.commit(batch).await?;
        Ok(true)
    }

    /// Writes a job, in place of one of the same id.
    pub(crate) async fn insert<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        id: &str,
        at: Timestamp,
        job: &Record,
    ) -> Result<()> {
        self.remove(txn, id).await?;
        let keys = self.keys();
        let key = keys.due(at, id);
        let json = encode(&key, job)?;
        let mut batch = Batch::new();
        batch.put(key, json);
        let pointer = keys.id(id);
        let at = encode(&pointer, &at)?;
        batch.put(pointer, at);
        Ok(txn.commit(batch).await?)
    }

    /// Takes a job back, and says whether there was one. One commit.
    ///
    /// In an action, its own job is removed already, and the next run of a recurring one is there:
    /// to cancel it ends the series.
    pub async fn cancel<T: Store>(&self, store: &mut T, id: &str) -> Result<bool> {
        let mut txn = Transaction::begin(store);
        let existed = self.remove(&mut txn, id).await?;
        if existed {
            self.arm(&mut txn, None).await?;
        }
        txn.commit().await?;
        Ok(existed)
    }

    /// Brings a job that is [dead](Self::dead) back to life, due at once and with all its tries,
    /// and says whether there was one. One commit.
    ///
    /// For a recurring job that has gone on meanwhile it brings the next run forward to now, beside
    /// those it has planned.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyScheduled`] when another job has been scheduled under the id.
    pub async fn revive<T: Store>(&self, store: &mut T, now: Timestamp, id: &str) -> Result<bool> {
        let at = When::at(now).resolve(now)?;
        let mut txn = Transaction::begin(store);
        let Some(grave) = self.grave(&txn, id).await? else {
            return Ok(false);
        };
        let mut job = match self.find(&txn, id).await? {
            None => grave.job,
            Some((_, live)) if live.repeat.is_some() && grave.job.repeat.is_some() => live,
            Some(_) => return Err(Error::AlreadyScheduled { id: id.to_owned() }),
        };
        job.failed = 0;
        job.error = None;
        self.insert(&mut txn, id, at, &job).await?;
        let mut batch = Batch::new();
        batch.delete(self.keys().dead(id));
        Store::commit(&mut txn, batch).await?;
        self.arm(&mut txn, Some(now)).await?;
        txn.commit().await?;
        Ok(true)
    }
}

impl<A: Serialize + DeserializeOwned> Alarms<A> {
    /// Schedules `action` once and answers the id of the new job. One commit.
    ///
    /// # Errors
    ///
    /// Those of [`When::resolve`], [`Error::ActionTooLarge`], and the storage's.
    pub async fn schedule<T: Store>(
        &self,
        store: &mut T,
        now: Timestamp,
        when: impl Into<When>,
        action: &A,
    ) -> Result<String> {
        let at = when.into().resolve(now)?;
        let mut txn = Transaction::begin(store);
        let key = self.keys().next();
        let number: u64 = match txn.get(&key).await? {
            Some(json) => decode(&key, &json)?,
            None => 1,
        };
        let next = number
            .checked_add(1)
            .ok_or_else(|| StorageError::InvalidValue {
                key: key.clone(),
                reason: format!("no job can follow the one numbered {number}"),
            })?;
        let mut batch = Batch::new();
        batch.put(key, next.to_string());
        Store::commit(&mut txn, batch).await?;
        // Of one width, so that jobs of the same time run in the order they were scheduled in.
        let id = format!("#{number:08}");
        self.put(&mut txn, now, &id, at, action, None).await?;
        txn.commit().await?;
        Ok(id)
    }

    /// Schedules `action` once under an id of the user's, in place of the job that has it, and
    /// answers the moment. One commit.
    ///
    /// A duration counts from `now`: called again at each wake-up, it would never fall due. Call it
    /// where the wait begins.
    ///
    /// # Errors
    ///
    /// As [`schedule`](Self::schedule), and [`Error::InvalidId`].
    pub async fn schedule_as<T: Store>(
        &self,
        store: &mut T,
        now: Timestamp,
        id: &str,
        when: impl Into<When>,
        action: &A,
    ) -> Result<Timestamp> {
        record::check_id(id)?;
        let at = when.into().resolve(now)?;
        let mut txn = Transaction::begin(store);
        self.put(&mut txn, now, id, at, action, None).await?;
        txn.commit().await?;
        Ok(at)
    }

    /// Schedules `action` at a fixed interval, the first time one interval from `now`, and answers
    /// the moment of the next run. One commit.
    ///
    /// May be called at each wake-up: a job that has this id and this interval keeps its rhythm,
    /// and only its action is renewed.
    ///
    /// # Errors
    ///
    /// As [`schedule_as`](Self::schedule_as), and [`Error::InvalidInterval`].
    pub async fn every<T: Store>(
        &self,
        store: &mut T,
        now: Timestamp,
        id: &str,
        interval: impl Into<Interval>,
        action: &A,
    ) -> Result<Timestamp> {
        let millis = interval.into().millis(self.least)?;
        let interval = Duration::from_millis(millis);
        let at = When::after(interval).resolve(now)?;
        self.recur(store, now, id, at, Repeat::Every(interval), action)
            .await
    }

    /// Schedules `action` by a cron expression in a time zone, and answers the moment of the next
    /// run. One commit.
    ///
    /// The expression has five fields (minute, hour, day of month, month, day of week), or six with
    /// seconds first, or seven with years last; `MON-FRI`, `*/15`, `L`, `#` and `@daily` are known.
    /// Where both days are given, either will do. Prefer names of days to numbers, which mean
    /// different days elsewhere; here 0 and 7 are Sunday. The zone is an IANA name such as
    /// `Europe/Berlin`, or `UTC`.
    ///
    /// A time that the clock skips in spring runs at the end of the gap; one that it repeats in
    /// autumn runs once, the first time, but `*` hours and minutes run through both.
    ///
    /// May be called at each wake-up: a job that has this id, expression and zone keeps its next
    /// run, and only its action is renewed.
    ///
    /// # Errors
    ///
    /// As [`schedule_as`](Self::schedule_as), and [`Error::InvalidCron`], also for an expression
    /// that never fires.
    #[cfg(feature = "cron")]
    pub async fn cron<T: Store>(
        &self,
        store: &mut T,
        now: Timestamp,
        id: &str,
        expression: &str,
        zone: &str,
        action: &A,
    ) -> Result<Timestamp> {
        let at = crate::cron::first(expression, zone, now)?;
        let repeat = Repeat::Cron {
            expression: expression.to_owned(),
            zone: zone.to_owned(),
        };
        self.recur(store, now, id, at, repeat, action).await
    }

    async fn recur<T: Store>(
        &self,
        store: &mut T,
        now: Timestamp,
        id: &str,
        at: Timestamp,
        repeat: Repeat,
        action: &A,
    ) -> Result<Timestamp> {
        record::check_id(id)?;
        let mut txn = Transaction::begin(store);
        let mut next = at;
        match self.find(&txn, id).await? {
            Some((at, mut job)) if job.repeat.as_ref() == Some(&repeat) => {
                next = at;
                let action = record::encode_action(id, action)?;
                if job.action.get() != action.get() || job.missed != self.missed {
                    job.action = action;
                    job.missed = self.missed;
                    record::check_size(txn.limits(), id, &job)?;
                    self.insert(&mut txn, id, at, &job).await?;
                }
                self.arm(&mut txn, Some(now)).await?;
            }
            _ => {
                self.put(&mut txn, now, id, at, action, Some(repeat))
                    .await?;
            }
        }
        txn.commit().await?;
        Ok(next)
    }

    async fn put<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Timestamp,
        id: &str,
        at: Timestamp,
        action: &A,
        repeat: Option<Repeat>,
    ) -> Result<()> {
        let job = Record {
            action: record::encode_action(id, action)?,
            planned: at,
            created: now,
            failed: 0,
            error: None,
            missed: if repeat.is_some() {
                self.missed
            } else {
                Missed::default()
            },
            repeat,
        };
        record::check_size(txn.limits(), id, &job)?;
        self.insert(txn, id, at, &job).await?;
        self.arm(txn, Some(now)).await
    }

    /// All jobs, in the order in which they will run.
    pub async fn list<T: Store>(&self, store: &T) -> Result<Vec<Scheduled<A>>> {
        let keys = self.keys();
        let entries = store.list(&keys.all_due().to_range()?).await?;
        entries
            .into_iter()
            .map(|(key, json)| {
                let (at, id) = keys.due_parts(&key);
                Ok(Scheduled::new(id, at, decode(&key, &json)?))
            })
            .collect()
    }

    /// One job.
    pub async fn get<T: Store>(&self, store: &T, id: &str) -> Result<Option<Scheduled<A>>> {
        let found = self.find(store, id).await?;
        Ok(found.map(|(at, job)| Scheduled::new(id, at, job)))
    }
}

impl<A> Clone for Alarms<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for Alarms<A> {}

impl<A> Default for Alarms<A> {
    fn default() -> Self {
        Self::new()
    }
}

impl<A> fmt::Debug for Alarms<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alarms")
            .field("name", &self.name)
            .field("retries", &self.retries)
            .field("missed", &self.missed)
            .field("least_interval", &self.least)
            .field("most_per_wake", &self.most)
            .finish()
    }
}
