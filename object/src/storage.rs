//! An object's storage, as its calls see it: what they write gathers until they end.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dokit_storage::{
    AlarmChange, Batch, Error, KeyRange, Limits, MaybeSend, MaybeSync, Result, Store, Timestamp,
    sql::{Sql, SqlError},
};

use crate::{BoxFuture, alarm, engine::NAME_KEY, idempotency, outbox, state};

/// What keys of the engine's own begin with.
const RESERVED: [&str; 4] = [alarm::RECORD, idempotency::PREFIX, outbox::PREFIX, NAME_KEY];

/// An object's storage, as its methods see it.
///
/// It is a [`Store`], so `TypedStorage`, a persisted machine and alarms work on it. Writes gather in
/// the call that makes them: reads see them at once, and they are committed together when the call
/// has returned `Ok`. Clones are handles to the same storage.
///
/// A commit on it is therefore not durable when it returns, but when the call's answer leaves; a call
/// that acts on the outside world says [`Context::commit`](crate::Context::commit) first.
#[derive(Clone, Debug)]
pub struct Storage {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    below: Erased,
    alarm_handler: bool,
    call: Mutex<CallState>,
}

/// What the running call may do, and what it has done.
#[derive(Debug)]
struct CallState {
    mode: Mode,
    batch: Arc<Batch>,
    /// Why an early commit failed: whatever the call makes of it, it has failed.
    failed: Option<String>,
    /// Whether an early commit is under way. Where the call ends so, it has failed too.
    committing: bool,
    /// How often everything was deleted since the object woke.
    wipes: u64,
    /// Whether the object has a typed state, whose key is then nobody else's to write.
    has_state: bool,
    /// Whether the object has an outbox, once that was asked.
    has_outbox: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No call runs, or only calls that take `&self`.
    Reading,
    /// One exclusive call runs.
    Writing,
    /// The alarm's handler runs. The alarm stays in the store until its outcome is committed, so that
    /// a crash before that finds it there; the handler does not see it any more.
    Alarm,
}

/// What a call has written before it commits early.
#[must_use = "the call has failed where it is not committed"]
pub(crate) struct Early {
    batch: Batch,
    /// Whether it comes from a call that may write.
    writing: bool,
}

/// How an exclusive call left the storage.
pub(crate) struct Ended {
    /// What it wrote and has not committed.
    pub(crate) batch: Batch,
    /// Why an early commit of it failed, for the log.
    pub(crate) failed: Option<String>,
}

/// What an object without keys of its own needs of it; a `TypedStorage` has these, too.
impl Storage {
    /// Sets the alarm, in place of one that is set already. A time that has passed is due at once.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidAlarm`] for a moment before 1970 or after 2188; [`Error::Refused`] where the object
    /// has no alarm handler, or no call that takes `&mut self` is running.
    pub async fn set_alarm(&mut self, at: Timestamp) -> Result<()> {
        let mut batch = Batch::new();
        batch.set_alarm(at);
        self.commit(batch).await
    }

    /// Removes the alarm; no error where there is none.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where no call that takes `&mut self` is running.
    pub async fn delete_alarm(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete_alarm();
        self.commit(batch).await
    }

    /// Deletes all that the object has stored: its keys, those of the library included, its rows, its
    /// alarm, and the calls that wait to be [made after a commit](crate::Context::after_commit).
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] where no call that takes `&mut self` is running.
    pub async fn delete_all(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete_all();
        self.commit(batch).await
    }
}

impl Storage {
    pub(crate) fn new(store: impl Store + Clone + 'static, alarm_handler: bool) -> Self {
        Self {
            shared: Arc::new(Shared {
                below: Erased(Arc::new(store)),
                alarm_handler,
                call: Mutex::new(CallState {
                    mode: Mode::Reading,
                    batch: Arc::default(),
                    failed: None,
                    committing: false,
                    wipes: 0,
                    has_state: false,
                    has_outbox: None,
                }),
            }),
        }
    }

    /// Begins an exclusive call.
    pub(crate) fn begin(&self, mode: Mode) {
        let mut call = self.call();
        call.mode = mode;
        call.batch = Arc::default();
        call.failed = None;
        call.committing = false;
    }

    /// Ends the exclusive call and gives what it left; a write after this is refused.
    pub(crate) fn end(&self) -> Ended {
        let mut call = self.call();
        let mode = std::mem::replace(&mut call.mode, Mode::Reading);
        let mut batch = Arc::unwrap_or_clone(std::mem::take(&mut call.batch));
        if mode == Mode::Alarm && batch.alarm() == AlarmChange::Keep {
            batch.delete_alarm();
        }
        Ended {
            batch,
            failed: match call.failed.take() {
                None if std::mem::take(&mut call.committing) => {
                    Some("an early commit was given up half way".to_owned())
                }
                failed => failed,
            },
        }
    }

    /// Takes what the running call has written so far, to be [committed](Self::commit_early) early.
    pub(crate) fn take_early(&self) -> Result<Early> {
        let mut call = self.call();
        if call.failed.is_some() || call.committing {
            return Err(Error::Refused {
                operation: "commit",
                reason: "an earlier commit of this call failed, or is still under way",
            });
        }
        let mut batch = Arc::unwrap_or_clone(std::mem::take(&mut call.batch));
        if call.mode == Mode::Alarm {
            // What becomes of the alarm is part of the handler's outcome.
            let rest = Arc::make_mut(&mut call.batch);
            match batch.alarm() {
                AlarmChange::Keep => {}
                AlarmChange::Set(at) => rest.set_alarm(at),
                AlarmChange::Delete => rest.delete_alarm(),
            }
            batch.keep_alarm();
        }
        let writing = call.mode != Mode::Reading;
        // Until it is known to be durable it may not be: the call may stop waiting for it.
        call.committing = writing;
        Ok(Early { batch, writing })
    }

    /// Makes durable what was taken.
    pub(crate) async fn commit_early(&self, early: Early) -> Result<()> {
        let Early { mut batch, writing } = early;
        if !writing {
            // There is nothing to write, but what was read may not be durable yet.
            return self.shared.below.0.commit(batch).await;
        }
        let committed = async {
            self.seal(&mut batch).await?;
            self.shared.below.0.commit(batch).await
        };
        let committed = committed.await;
        let mut call = self.call();
        call.committing = false;
        call.failed = committed.as_ref().err().map(|error| {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        });
        drop(call);
        committed
    }

    fn call(&self) -> MutexGuard<'_, CallState> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.shared
            .call
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn written(&self) -> Arc<Batch> {
        Arc::clone(&self.call().batch)
    }

    /// Adds writes of the engine's own to those of the running call.
    pub(crate) fn add(&self, batch: Batch) -> Result<()> {
        Store::limits(self).check(&batch)?;
        Arc::make_mut(&mut self.call().batch).merge(batch);
        Ok(())
    }

    /// How often everything was deleted since the object woke.
    pub(crate) fn wipes(&self) -> u64 {
        self.call().wipes
    }

    /// Takes the key of the typed state for it. False where it has been taken already.
    pub(crate) fn take_state(&self) -> bool {
        !std::mem::replace(&mut self.call().has_state, true)
    }

    /// Whether the object has loaded a typed state since it woke.
    pub(crate) fn has_state(&self) -> bool {
        self.call().has_state
    }

    /// Adds writes of the engine's own that the running call asked for.
    pub(crate) fn write_own(&self, batch: Batch) -> Result<()> {
        self.call().check_writing()?;
        self.add(batch)
    }

    /// Makes the engine's alarm of the user's in what a call has written.
    pub(crate) async fn seal(&self, batch: &mut Batch) -> Result<()> {
        if outbox::is_plain(batch)
            && (batch.alarm() == AlarmChange::Keep || !self.has_outbox().await?)
        {
            return Ok(());
        }
        self.call().has_outbox = Some(true);
        outbox::seal(&self.shared.below, batch).await
    }

    /// Whether the object has an outbox on disk, which then says what the user's alarm is.
    pub(crate) async fn has_outbox(&self) -> Result<bool> {
        let known = self.call().has_outbox;
        if let Some(known) = known {
            return Ok(known);
        }
        let there = outbox::is_there(&self.shared.below).await?;
        self.call().has_outbox = Some(there);
        Ok(there)
    }

    /// Whether the rows that the running call has written could be committed.
    pub(crate) fn check_rows(&self) -> std::result::Result<(), SqlError> {
        Store::sql(&self.shared.below).map_or(Ok(()), |sql| sql.check_deferred())
    }

    /// Whether the store's alarm is the one that is being handled.
    fn alarm_is_taken(&self) -> bool {
        self.call().mode == Mode::Alarm
    }
}

impl CallState {
    fn check_writing(&self) -> Result<()> {
        if self.mode == Mode::Reading {
            return Err(Error::Refused {
                operation: "write",
                reason: "no call that takes `&mut self` is running",
            });
        }
        if self.failed.is_some() {
            return Err(Error::Refused {
                operation: "write",
                reason: "an earlier commit of this call failed",
            });
        }
        Ok(())
    }
}

impl Store for Storage {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.written().get_over(&self.shared.below, key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.written().list_over(&self.shared.below, range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        let written = self.written();
        if written.alarm() == AlarmChange::Keep && self.alarm_is_taken() {
            return Ok(None);
        }
        match written.alarm() {
            AlarmChange::Keep if self.has_outbox().await? => {
                outbox::user_alarm(&self.shared.below).await
            }
            _ => written.alarm_over(&self.shared.below).await,
        }
    }

    async fn commit(&mut self, mut batch: Batch) -> Result<()> {
        self.limits().check(&batch)?;
        let reserved = |key: &str| RESERVED.iter().any(|prefix| key.starts_with(prefix));
        if batch.writes().any(|(key, _)| reserved(key)) {
            return Err(Error::Refused {
                operation: "write",
                reason: "keys that begin with `__alarm_failure`, `__idempotency`, `__object_name` or `__outbox` are the engine's own",
            });
        }
        if matches!(batch.alarm(), AlarmChange::Set(_)) && !self.shared.alarm_handler {
            return Err(Error::Refused {
                operation: "set the alarm",
                reason: "the object has no alarm handler",
            });
        }
        let mut call = self.call();
        call.check_writing()?;
        if call.has_state && batch.writes().any(|(key, _)| key == state::KEY) {
            return Err(Error::Refused {
                operation: "write",
                reason: "the key `state` is that of the object's typed state",
            });
        }
        if batch.deletes_all() {
            if let Some(sql) = Store::sql(&self.shared.below) {
                // Keys gather in the batch, but rows are written at once: those to come stay.
                let deleted = sql.delete_all();
                deleted.map_err(|error| Error::engine("delete all rows", error))?;
            }
            call.wipes += 1;
        }
        if matches!(batch.alarm(), AlarmChange::Set(_)) {
            // Another alarm takes the place of one that had failed.
            batch.delete(alarm::RECORD);
        }
        Arc::make_mut(&mut call.batch).merge(batch);
        Ok(())
    }

    fn limits(&self) -> Limits {
        Store::limits(&self.shared.below)
    }

    fn sql(&self) -> Option<Sql> {
        Store::sql(&self.shared.below)
    }
}

/// Any engine's store behind one type, so that an object does not name its engine.
#[derive(Clone)]
struct Erased(Arc<dyn DynStore>);

impl std::fmt::Debug for Erased {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

/// [`Store`] with boxed futures, which can be a trait object.
trait DynStore: MaybeSend + MaybeSync {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>>>;
    fn list<'a>(&'a self, range: &'a KeyRange) -> BoxFuture<'a, Result<Vec<(String, String)>>>;
    fn alarm(&self) -> BoxFuture<'_, Result<Option<Timestamp>>>;
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<()>>;
    fn limits(&self) -> Limits;
    fn sql(&self) -> Option<Sql>;
}

impl<T: Store + Clone + 'static> DynStore for T {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<String>>> {
        Box::pin(Store::get(self, key))
    }

    fn list<'a>(&'a self, range: &'a KeyRange) -> BoxFuture<'a, Result<Vec<(String, String)>>> {
        Box::pin(Store::list(self, range))
    }

    fn alarm(&self) -> BoxFuture<'_, Result<Option<Timestamp>>> {
        Box::pin(Store::alarm(self))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<()>> {
        let mut handle = self.clone();
        Box::pin(async move { Store::commit(&mut handle, batch).await })
    }

    fn limits(&self) -> Limits {
        Store::limits(self)
    }

    fn sql(&self) -> Option<Sql> {
        Store::sql(self)
    }
}

impl Store for Erased {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.0.get(key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.0.list(range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.0.alarm().await
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        self.0.commit(batch).await
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }

    fn sql(&self) -> Option<Sql> {
        self.0.sql()
    }
}
