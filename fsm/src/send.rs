//! The operations of a persisted machine that change something. Each is one transaction: decide by the
//! table, write, run the hooks, commit.

use dokit_storage::{Batch, Store, Timestamp, Transaction};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    HistoryEntry, Hooks, Persisted, RecordError, SendError, Transition,
    machine::Decision,
    once::{Answered, LONGEST_ID, fingerprint},
    persisted::Current,
    record::Record,
};

/// What makes a machine take a step.
struct Cause<'a, E> {
    event: &'a E,
    now: Timestamp,
    /// Whether the state's timeout sends the event.
    expired: bool,
    id: Option<Id<'a>>,
}

struct Id<'a> {
    id: &'a str,
    fingerprint: String,
}

impl<S, E, H> Persisted<S, E, H>
where
    S: Serialize + DeserializeOwned,
    H: Hooks<S, E>,
{
    /// Takes the step that the table has for `event`, and answers the new state.
    ///
    /// Once it has returned `Ok`, the state, the history, the deadline and what the hooks wrote are as
    /// durable as the store makes a commit. Where it returns an error, none of them has changed, unless
    /// the commit itself failed without saying whether it took effect: then
    /// [`send_once`](Self::send_once) is the way to try again.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the state does not handle the event, a guard refused it, a hook failed, or the
    /// record could not be read or written.
    pub async fn send(
        &self,
        store: &mut impl Store,
        now: Timestamp,
        event: &E,
    ) -> Result<S, SendError<H::Error>> {
        let mut txn = Transaction::begin(store);
        let current = self.load(&txn).await?;
        let cause = Cause {
            event,
            now,
            expired: false,
            id: None,
        };
        let state = self.step(&mut txn, current, cause).await?;
        txn.commit().await?;
        Ok(state)
    }

    /// As [`send`](Self::send), but the same `id` again takes no second step: it answers the state that
    /// the first one led to, and runs no hooks. So it is safe to repeat when the first answer was lost.
    ///
    /// An id is remembered when its step was taken, in the same commit; one whose event was refused may
    /// be tried again. The newest [`remembered_ids`](Self::remembered_ids) are known.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send); [`SendError::IdReused`] for an id that came with another event, or with
    /// the same one and other data; [`SendError::InvalidId`] for an id that is empty or longer than 512
    /// bytes.
    pub async fn send_once(
        &self,
        store: &mut impl Store,
        now: Timestamp,
        id: &str,
        event: &E,
    ) -> Result<S, SendError<H::Error>>
    where
        E: Serialize,
    {
        if id.is_empty() || id.len() > LONGEST_ID {
            return Err(SendError::InvalidId {
                bytes: id.len(),
                limit: LONGEST_ID,
            });
        }
        let fingerprint = fingerprint(id, event)?;
        let mut txn = Transaction::begin(store);
        let current = self.load(&txn).await?;
        if let Some(answered) = self.ids().find(&txn, id).await? {
            if answered.fingerprint != fingerprint {
                return Err(SendError::IdReused {
                    id: id.to_owned(),
                    event: self.machine().event_name(event),
                    earlier: answered.event,
                });
            }
            return Ok(self.records().decode(answered.version, &answered.state)?);
        }
        let cause = Cause {
            event,
            now,
            expired: false,
            id: Some(Id { id, fingerprint }),
        };
        let state = self.step(&mut txn, current, cause).await?;
        txn.commit().await?;
        Ok(state)
    }

    /// Sends the event of the state's timeout if its [`deadline`](Self::deadline) is not after `now`,
    /// and answers the new state; `None` where nothing is due.
    ///
    /// The deadline is gone with the step, so calling this again, or late, or for a state that was left
    /// long ago, does nothing.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send). The deadline stays then, and the next call tries again.
    pub async fn expire(
        &self,
        store: &mut impl Store,
        now: Timestamp,
    ) -> Result<Option<S>, SendError<H::Error>> {
        let mut txn = Transaction::begin(store);
        let current = self.load(&txn).await?;
        let deadline = current.record.as_ref().and_then(|record| record.deadline);
        let event = self.machine().timeout_event(&current.state);
        let (Some(deadline), Some(event)) = (deadline, event) else {
            return Ok(None);
        };
        if deadline > now {
            return Ok(None);
        }
        let cause = Cause {
            event: &event,
            now,
            expired: true,
            id: None,
        };
        let state = self.step(&mut txn, current, cause).await?;
        txn.commit().await?;
        Ok(Some(state))
    }

    /// Writes the initial state where nothing is stored yet, so that its timeout counts from `now`.
    /// Answers whether it did; a machine that is started already is left as it is.
    ///
    /// No step is taken: of the hooks only `on_deadline` runs, and the history stays empty.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub async fn start(
        &self,
        store: &mut impl Store,
        now: Timestamp,
    ) -> Result<bool, SendError<H::Error>> {
        let mut txn = Transaction::begin(store);
        if self.records().read(&txn).await?.is_some() {
            return Ok(false);
        }
        let record = self.initial_record(now)?;
        let mut batch = Batch::new();
        self.records().write(&record, &mut batch)?;
        Store::commit(&mut txn, batch).await?;
        let name = self.machine().state_name(&self.machine().initial());
        self.tell_deadline(&mut txn, None, record.deadline, now, [name, name])
            .await?;
        txn.commit().await?;
        Ok(true)
    }

    /// Puts the machine back into its initial state, whatever state it is in, and answers that state.
    ///
    /// The history keeps it, as an entry without an event; remembered ids stay. The old deadline is
    /// cancelled and the initial state's timeout counts from `now`. It is not a transition of the table:
    /// of the hooks only `on_deadline` runs. A record in a state that the table does not have any more,
    /// or that does not decode, is reset too.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send), and [`RecordError::NewerVersion`] for a record of a newer program.
    pub async fn reset(
        &self,
        store: &mut impl Store,
        now: Timestamp,
    ) -> Result<S, SendError<H::Error>> {
        let mut txn = Transaction::begin(store);
        let before = self.records().read(&txn).await?;
        let mut record = self.initial_record(now)?;
        let mut entry = HistoryEntry {
            from: record.name.clone(),
            event: None,
            to: record.name.clone(),
            at: now,
        };
        let mut old_deadline = None;
        if let Some(before) = before {
            entry.from = before.name;
            old_deadline = before.deadline;
            record.history = before.history;
            record.ids = before.ids;
        }
        let mut batch = Batch::new();
        record.history = self.entries().push(record.history, &entry, &mut batch)?;
        self.records().write(&record, &mut batch)?;
        Store::commit(&mut txn, batch).await?;
        let state = self.machine().initial();
        let name = self.machine().state_name(&state);
        self.tell_deadline(&mut txn, old_deadline, record.deadline, now, [name, name])
            .await?;
        txn.commit().await?;
        Ok(state)
    }

    /// Takes a step in an open transaction.
    async fn step(
        &self,
        txn: &mut impl Store,
        current: Current<S>,
        cause: Cause<'_, E>,
    ) -> Result<S, SendError<H::Error>> {
        let Cause { event, now, .. } = cause;
        let Current {
            state: from,
            record,
        } = current;
        let Decision { to, internal } = self.machine().decide(&from, event)?;
        let names = [&from, &to].map(|state| self.machine().state_name(state));

        let old_deadline = record.as_ref().and_then(|record| record.deadline);
        let mut record = match record {
            Some(record) => record,
            None => self.initial_record(now)?,
        };
        if !internal {
            record.entered = now;
            record.deadline = self.deadline_of(&to, now);
        } else if cause.expired {
            record.deadline = None;
        }
        self.set_state(&mut record, &to)?;

        let mut batch = Batch::new();
        let entry = HistoryEntry {
            from: names[0].to_owned(),
            event: Some(self.machine().event_name(event).to_owned()),
            to: names[1].to_owned(),
            at: now,
        };
        record.history = self.entries().push(record.history, &entry, &mut batch)?;
        if let Some(Id { id, fingerprint }) = cause.id {
            let answered = Answered {
                event: self.machine().event_name(event).to_owned(),
                fingerprint,
                state: record.state.clone(),
                version: record.version,
            };
            let ids = self.ids();
            record.ids = ids.push(txn, record.ids, id, &answered, &mut batch).await?;
        }
        self.records().write(&record, &mut batch)?;
        txn.commit(batch).await?;

        // The record is written first, so that hooks see the machine where it now is, and a hook that
        // sends a further event to it does not have its step overwritten.
        let step = Transition {
            from: &from,
            event,
            to: &to,
            at: now,
            internal,
        };
        let failed = |hook: &'static str| hook_failed(hook, names);
        if !internal {
            let left = self.hooks.on_exit(&step, txn).await;
            left.map_err(failed("on_exit"))?;
        }
        let taken = self.hooks.on_transition(&step, txn).await;
        taken.map_err(failed("on_transition"))?;
        if !internal {
            let entered = self.hooks.on_entry(&step, txn).await;
            entered.map_err(failed("on_entry"))?;
        }
        // Not the deadline written above: a hook may have sent the machine on.
        let stored = self.records().read(txn).await?;
        let deadline = stored.and_then(|record| record.deadline);
        self.tell_deadline(txn, old_deadline, deadline, now, names)
            .await?;
        Ok(to)
    }

    async fn tell_deadline(
        &self,
        txn: &mut impl Store,
        old: Option<Timestamp>,
        new: Option<Timestamp>,
        now: Timestamp,
        names: [&'static str; 2],
    ) -> Result<(), SendError<H::Error>> {
        if old == new {
            return Ok(());
        }
        let told = self.hooks.on_deadline(new, now, txn).await;
        told.map_err(hook_failed("on_deadline", names))
    }

    /// The record of a machine that enters its initial state at `now`.
    fn initial_record(&self, now: Timestamp) -> Result<Record, RecordError> {
        let state = self.machine().initial();
        Ok(Record {
            version: self.records().version(),
            name: self.machine().state_name(&state).to_owned(),
            state: self.records().encode(&state)?,
            entered: now,
            deadline: self.deadline_of(&state, now),
            history: Default::default(),
            ids: Default::default(),
        })
    }

    fn set_state(&self, record: &mut Record, state: &S) -> Result<(), RecordError> {
        record.version = self.records().version();
        record.name = self.machine().state_name(state).to_owned();
        record.state = self.records().encode(state)?;
        Ok(())
    }
}

fn hook_failed<H>(hook: &'static str, [from, to]: [&'static str; 2]) -> impl Fn(H) -> SendError<H> {
    move |source| SendError::Hook {
        hook,
        from,
        to,
        source,
    }
}
