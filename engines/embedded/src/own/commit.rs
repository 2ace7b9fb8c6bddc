//! How what was kept becomes durable, and what the shared database is told of it.
//!
//! The shared database finds objects and alarms that are due, so it has a row for each object of a SQL type
//! too, with a hint of its alarm. The alarm itself is in the object's own file. A hint that is too early is
//! harmless: the object is woken, finds nothing due, and the hint is put right. One that is too late or
//! missing would be an alarm forgotten. So a hint is moved forward in time, durably, before the commit that
//! does so to the alarm, and backward, or taken away, after it.

use std::sync::{Arc, MutexGuard};

use dokit_storage::{AlarmChange, Batch, Store, Timestamp, sql::SqlError};

use crate::{
    error::DatabaseError,
    own::{OwnStore, State},
};

impl OwnStore {
    /// No call waits: what was kept is committed, and whoever waits for it hears of it.
    pub(crate) fn rest(&self) {
        if self.flight().has_failed() {
            return;
        }
        if self.flight().is_settled() {
            // A call that wrote nothing has left a transaction open, which costs nothing to end.
            let _ = self.own.calls.commit();
            return;
        }
        let mut state = self.state();
        if state.committing {
            state.again = true;
        } else {
            self.launch(state);
        }
    }

    fn launch(&self, mut state: MutexGuard<'_, State>) {
        state.committing = true;
        state.through = self.flight().sent();
        let indexed = state.alarm_changed || !self.index.has_row();
        drop(state);
        let done = self.flight().on_its_way();
        let store = self.clone();
        if indexed {
            self.own.runtime.spawn(async move {
                let committed = store.indexed(None, done).await;
                store.finish(done, committed);
            });
        } else {
            self.own.runtime.spawn_blocking(move || {
                let commit = || store.own.calls.commit();
                let committed = store.own.metrics.commit(done, is_of_the_disk, commit);
                store.finish(done, committed.map_err(|error| DatabaseError::of(&error)));
            });
        }
    }

    /// Commits what the running call has written so far, with `batch`. Gives the number to wait for.
    pub(super) fn commit_early(&self, batch: Batch) -> dokit_storage::Result<u64> {
        let number = self.mark()?;
        let mut state = self.state();
        state.committing = true;
        state.through = number;
        state.early = true;
        state.alarm_changed |= batch.alarm() != AlarmChange::Keep;
        drop(state);
        let done = self.flight().on_its_way();
        let store = self.clone();
        // By itself, since the call may stop waiting for it.
        self.own.runtime.spawn(async move {
            let committed = store.indexed(Some(batch), done).await;
            store.finish(done, committed);
        });
        Ok(number)
    }

    /// Commits, with the index before and after it.
    async fn indexed(&self, early: Option<Batch>, done: usize) -> Result<(), DatabaseError> {
        let database = self.own.calls.database();
        let now = database.alarm().await;
        let alarm = match &early {
            Some(batch) => batch.alarm_over(database).await,
            None => now,
        };
        let alarm = alarm.map_err(|error| DatabaseError::of(&error))?;
        let hint = self.hint().await?;
        let before = earliest(hint, alarm);
        if before != hint || !self.index.has_row() {
            self.set_hint(before).await?;
        }
        let calls = self.own.calls.clone();
        let commit = move || match early {
            Some(batch) => calls.commit_early(&batch),
            None => calls.commit(),
        };
        let metrics = Arc::clone(&self.own.metrics);
        let counted = move || metrics.commit(done, is_of_the_disk, commit);
        let committed = self.own.runtime.spawn_blocking(counted).await;
        match committed {
            Ok(committed) => committed.map_err(|error| DatabaseError::of(&error))?,
            // The runtime is going, and everybody with it.
            Err(_) => return Err(DatabaseError::new("the store is closed")),
        }
        if before != alarm
            && let Err(error) = self.set_hint(alarm).await
        {
            // The commit stands. The hint is put right when the object is opened anew.
            tracing::error!(id = %self.id(), "write the hint of an alarm: {error}");
            self.state().alarm_changed = true;
        } else {
            self.state().alarm_changed = false;
        }
        Ok(())
    }

    /// Puts the hint right where a crash or a failure has left it too early.
    pub(super) async fn mend_hint(&self) -> Result<(), DatabaseError> {
        let alarm = self.own.calls.database().alarm().await;
        let alarm = alarm.map_err(|error| DatabaseError::of(&error))?;
        if self.hint().await? != alarm {
            self.set_hint(alarm).await?;
        }
        Ok(())
    }

    async fn hint(&self) -> Result<Option<Timestamp>, DatabaseError> {
        let hint = self.index.alarm().await;
        hint.map_err(|error| DatabaseError::of(&error))
    }

    async fn set_hint(&self, alarm: Option<Timestamp>) -> Result<(), DatabaseError> {
        let mut batch = Batch::new();
        match alarm {
            Some(at) => batch.set_alarm(at),
            None => batch.delete_alarm(),
        }
        let sent = self.index.send(batch);
        let number = sent.map_err(|error| DatabaseError::of(&error))?;
        self.index.flight().durable(number).await
    }

    /// Tells what became of the first `done` calls that are on their way.
    fn finish(&self, done: usize, committed: Result<(), DatabaseError>) {
        let mut state = self.state();
        state.early = false;
        let given_up = std::mem::take(&mut state.given_up);
        let through = state.through;
        drop(state);
        if given_up {
            self.undo();
        }
        self.weigh();
        match committed {
            Ok(()) => self.flight().landed(done),
            Err(error) => self.fail(&error),
        }
        if self.index.flight().has_failed() {
            // To be opened anew, with the row.
            self.fail(&DatabaseError::new("the shared database failed"));
        }
        let mut state = self.state();
        if state.through != through {
            // The call went on before this did, and commits early once more: that is for it to end.
            return;
        }
        if std::mem::take(&mut state.again) && !self.flight().is_settled() {
            // No call has begun meanwhile, since it would have found no room.
            self.launch(state);
        } else {
            state.committing = false;
        }
    }
}

fn earliest(hint: Option<Timestamp>, alarm: Option<Timestamp>) -> Option<Timestamp> {
    match (hint, alarm) {
        (Some(hint), Some(alarm)) => Some(hint.min(alarm)),
        (one, None) | (None, one) => one,
    }
}

/// What was wrong with a statement its call was told when it ran.
fn is_of_the_disk(error: &SqlError) -> bool {
    matches!(error, SqlError::Engine { .. })
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, mpsc},
        task::{Context, Wake, Waker},
    };

    use dokit_client::ObjectId;
    use dokit_object::BoxFuture;
    use dokit_storage::Limits;
    use tempfile::tempdir;
    use tokio::{
        runtime::{Builder, Handle},
        task::yield_now,
    };

    use super::*;
    use crate::{
        checkpoint::Log,
        database,
        metrics::Metrics,
        own::Databases,
        store::{Shared, SharedStore},
        weight::Ceiling,
        writer::Writer,
    };

    /// A call that goes on within the wake-up itself, before whoever woke it does.
    struct AtOnce(Mutex<BoxFuture<'static, ()>>);

    impl Wake for AtOnce {
        fn wake(self: Arc<Self>) {
            let waker = Waker::from(Arc::clone(&self));
            let mut call = self.0.lock().expect("nobody has panicked");
            let _ = call.as_mut().poll(&mut Context::from_waker(&waker));
        }
    }

    #[test]
    fn a_call_that_commits_again_at_once_keeps_the_next_call_waiting() {
        let folder = tempdir().expect("there is room");
        let (database, connections) =
            database::open(folder.path(), ["test"].into_iter()).expect("the folder is ours");
        let metrics = Arc::new(Metrics::new([]));
        let counted = Arc::clone(&metrics);
        let (writer, _) = Writer::start(connections, Log::default(), || false, |_| {}, counted);
        let shared = Arc::new(Shared {
            database,
            writer,
            limits: Limits::default(),
        });
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(1).build();
        runtime.expect("it can be started").block_on(async {
            let limits = Limits::default();
            let (handle, path) = (Handle::current(), folder.path());
            let ceiling = Arc::new(Ceiling::new(usize::MAX, Arc::default()));
            let databases = Databases::new(path, limits, 1, handle, metrics, ceiling);
            let databases = Arc::new(databases);
            let id = ObjectId::from_name("test", "a");
            let index = SharedStore::open(shared, "test", id).expect("it is new");
            let store = databases.open("test", index).await.expect("it is new");
            store.begin().expect("nothing runs");
            let (release, held) = mpsc::channel::<()>();
            let mut own = store.clone();
            let call = Arc::new(AtOnce(Mutex::new(Box::pin(async move {
                own.commit(batch("1")).await.expect("there is room");
                // The one thread that could make the next one durable.
                own.own.runtime.spawn_blocking(move || held.recv());
                own.commit(batch("2")).await.expect("there is room");
            }))));
            call.wake();
            while !store.flight().is_decided(1) {
                yield_now().await;
            }
            assert!(!store.has_room(), "the second commit is under way");
            release.send(()).expect("it is waited for");
            store.flight().durable(2).await.expect("there is room");
            while !store.has_room() {
                yield_now().await;
            }
        });
    }

    fn batch(value: &str) -> Batch {
        let mut batch = Batch::new();
        batch.put("key", value);
        batch
    }
}
