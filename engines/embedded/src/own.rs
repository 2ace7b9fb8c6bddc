//! The database that an object of a SQL type has to itself: keys, rows and alarm in one file, one commit.
//!
//! Calls that follow each other share a transaction, in which each is a savepoint: one that fails is
//! undone alone. When no more calls wait, or 64 do, the transaction is committed on a thread that may wait
//! for the disk, and only then their answers go. Meanwhile the next call waits, for the connection is busy.
//!
//! An answer must not wait for somebody else's call, which may take long or even wait for whoever gets that
//! answer. So only methods that were seen to run without waiting share a transaction with those before
//! them: see [`Pace`].

mod commit;
mod databases;
mod pace;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dokit_client::{Access, ObjectId};
use dokit_object::engine::Call;
use dokit_storage::{
    AlarmChange, Batch, Error, KeyRange, Limits, Result, Store, Timestamp,
    sql::{Sql, SqlError},
    sqlite::Calls,
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

pub(crate) use databases::Databases;
pub(crate) use pace::kind;

use crate::{
    error::DatabaseError, flight::Flight, metrics::Metrics, own::pace::Pace, store::SharedStore,
    weight::Weight,
};

/// How many bytes an open database takes, of which next to nothing is stored: measured.
const OPEN: usize = 190 * 1024;

/// How many bytes of its pages SQLite keeps at most, where nobody tells it otherwise.
const PAGES: u64 = 2000 * 1024;

/// One object's own database.
#[derive(Clone, Debug)]
pub(crate) struct OwnStore {
    own: Arc<Own>,
    /// The object's row in the shared database: its name, and a hint of its alarm.
    index: SharedStore,
}

#[derive(Debug)]
struct Own {
    calls: Calls,
    limits: Limits,
    flight: Flight,
    state: Mutex<State>,
    runtime: Handle,
    metrics: Arc<Metrics>,
    /// None once the object has let go of it.
    weight: Mutex<Option<Weight>>,
    /// Given back when the connection has been closed.
    place: Option<OwnedSemaphorePermit>,
}

impl Drop for Own {
    fn drop(&mut self) {
        // To close the last connection writes the log into the file, which may wait for the disk.
        let last = (self.calls.clone(), self.place.take());
        self.runtime.spawn_blocking(move || drop(last));
    }
}

#[derive(Debug, Default)]
struct State {
    /// Whether a call runs.
    running: bool,
    /// Whether a commit is under way, or about to end.
    committing: bool,
    /// The number of the last call that is in it.
    through: u64,
    /// Whether another has to follow it.
    again: bool,
    /// Whether it is one in the middle of a call.
    early: bool,
    /// Whether that call was given up meanwhile, and has to be undone.
    given_up: bool,
    /// Whether the alarm was changed since the index has seen it.
    alarm_changed: bool,
    /// How often it has committed since it was opened.
    commits: u64,
    pace: Pace,
}

impl OwnStore {
    pub(crate) fn id(&self) -> &ObjectId {
        self.index.id()
    }

    /// What is on its way.
    pub(crate) fn flight(&self) -> &Flight {
        &self.own.flight
    }

    /// Whether another call may run now.
    pub(crate) fn has_room(&self) -> bool {
        !self.is_busy() && self.flight().has_room()
    }

    /// Returns once another call may run.
    pub(crate) async fn room(&self) {
        if !self.flight().has_room() {
            self.rest();
        }
        if self.is_busy() {
            self.flight().settled().await;
        }
    }

    /// Returns once `call` may run: one that may have to wait for something, not before all others are
    /// durable.
    pub(crate) async fn ready_for(&self, call: &Call) {
        let prompt = call.access() == Access::Shared || self.state().pace.is_prompt(call);
        if !prompt {
            self.settle().await;
        }
        self.room().await;
    }

    /// Makes durable all that was kept, and waits for it.
    pub(crate) async fn settle(&self) {
        self.rest();
        self.flight().settled().await;
    }

    /// Remembers whether a method had to wait for something.
    pub(crate) fn pace(&self, call: &'static str, waited: bool) {
        self.state().pace.note(call, waited);
    }

    /// Begins a call, which [`ready_for`](Self::ready_for) has let in.
    pub(crate) fn begin(&self) -> Result<()> {
        if self.flight().has_failed() {
            return Err(Error::engine("begin", "an earlier commit failed"));
        }
        self.own.calls.begin().map_err(|error| self.failed(error))?;
        self.state().running = true;
        Ok(())
    }

    /// Keeps what the call has written, and `batch`. Gives the number of the last call that wrote.
    pub(crate) fn keep(&self, batch: &Batch) -> Result<u64> {
        let own = &*self.own;
        self.state().running = false;
        let kept = own.limits.check(batch).and_then(|()| {
            let kept = own.calls.keep(batch);
            kept.map_err(|error| self.failed(error))
        });
        if let Err(error) = kept {
            // It is undone already, unless its keys are too large. What was wrong with it may have taken
            // the whole transaction along.
            let _ = own.calls.undo();
            own.calls.check().map_err(|error| self.failed(error))?;
            return Err(error);
        }
        if !own.calls.is_uncommitted() {
            return Ok(own.flight.sent());
        }
        if batch.alarm() != AlarmChange::Keep {
            self.state().alarm_changed = true;
        }
        self.mark()
    }

    /// Undoes what the call has written.
    pub(crate) fn undo(&self) {
        let mut state = self.state();
        if state.early {
            // The connection is in use; whoever uses it sees to it.
            state.given_up = true;
            return;
        }
        let running = std::mem::take(&mut state.running);
        drop(state);
        if running && let Err(error) = self.own.calls.undo() {
            self.failed(error);
        }
    }

    /// Counts one more call whose writes are not durable yet.
    fn mark(&self) -> Result<u64> {
        let sent = self.own.flight.send(Arc::new(Batch::new()), || Ok(()));
        sent.map_err(|error| {
            // It came after a failure, and goes with it.
            let _ = self.own.calls.abandon();
            Error::engine("commit", error)
        })
    }

    /// Notices when all that has not committed is lost.
    fn failed(&self, error: SqlError) -> Error {
        if matches!(error, SqlError::Engine { .. }) {
            self.fail(&DatabaseError::of(&error));
        }
        Error::engine("commit", error)
    }

    fn fail(&self, error: &DatabaseError) {
        if !self.flight().has_failed() {
            tracing::error!(id = %self.id(), name = self.id().name(), "commit: {error}");
        }
        // First, so that nothing becomes durable that is answered as failed. Where not even this works,
        // nothing else will on this connection.
        let _ = self.own.calls.abandon();
        self.state().running = false;
        self.own.flight.fail(error);
    }

    /// Counts what the open database holds. To ask for its size takes a tenth of the time of a small commit, so
    /// that is done less and less often, and then after each 64th.
    fn weigh(&self) {
        let commits = {
            let mut state = self.state();
            state.commits += 1;
            state.commits
        };
        if !commits.is_power_of_two() && !commits.is_multiple_of(64) {
            return;
        }
        let size = self.own.calls.database().sql().database_size();
        if let (Ok(size), Some(weight)) = (size, &mut *self.weight()) {
            weight.set(weight_of(size));
        }
    }

    /// The object lets go of it. Whoever still holds it, such as the end of a commit, soon does too.
    pub(crate) fn leave(&self) {
        *self.weight() = None;
    }

    fn weight(&self) -> MutexGuard<'_, Option<Weight>> {
        let weight = self.own.weight.lock();
        weight.unwrap_or_else(PoisonError::into_inner)
    }

    fn is_busy(&self) -> bool {
        let state = self.state();
        state.again || (state.committing && !self.flight().is_decided(state.through))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.own
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the connection rather than block a thread on it.
    async fn free(&self) {
        if self.is_busy() {
            self.flight().settled().await;
        }
    }
}

impl Store for OwnStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.free().await;
        self.own.calls.database().get(key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.free().await;
        self.own.calls.database().list(range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.free().await;
        self.own.calls.database().alarm().await
    }

    /// In a call, an early commit; else a way to wait for what was read.
    async fn commit(&mut self, batch: Batch) -> Result<()> {
        let number = if self.state().running {
            self.own.limits.check(&batch)?;
            self.commit_early(batch)?
        } else {
            self.rest();
            self.flight().sent()
        };
        let durable = self.flight().durable(number).await;
        durable.map_err(|error| Error::engine("commit", error))
    }

    fn limits(&self) -> Limits {
        self.own.limits
    }

    fn sql(&self) -> Option<Sql> {
        Some(self.own.calls.database().sql())
    }
}

/// What an open database of so many bytes holds in memory: SQLite may keep all of its pages, up to a limit.
fn weight_of(size: u64) -> usize {
    OPEN + usize::try_from(size.min(PAGES)).unwrap_or(usize::MAX)
}
