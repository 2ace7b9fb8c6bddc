//! The writes of one object that are on their way to the disk, and the answers that wait for them.
//!
//! The object's task sends batches and goes on to the next call; the writer says of each, in the order
//! in which they were sent, that it is durable, or of the first that cannot be written that it failed.
//! A failure is final: nothing of this flight is written after it, all answers that wait get
//! `commit_failed`, and the object goes on with a new flight, from what is durable.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dokit_client::ErrorReply;
use dokit_storage::{Batch, KeyRange};
use tokio::sync::Notify;

use crate::{
    database::Object,
    error::DatabaseError,
    resident::{Answer, Reply},
};

/// How many batches of one object are on their way at most.
const BATCHES: usize = 64;

/// How many answers of one object wait for the disk at most.
const ANSWERS: usize = 1024;

/// What one activation of an object, or several in a row, have sent, and how far the disk has come.
#[derive(Debug)]
pub(crate) struct Flight {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Debug)]
struct State {
    /// The object's row. An object of which nothing is durable has none.
    row: Option<Object>,
    /// Whether the row does not have the name yet, because the object was reached by its id before.
    nameless: bool,
    /// How many batches were sent, which is also the number of the last of them.
    sent: u64,
    /// The number of the last batch that is durable.
    durable: u64,
    /// The batches after `durable`, in order.
    batches: VecDeque<Arc<Batch>>,
    /// In the order in which the calls ended, which is that of `after` too.
    held: VecDeque<Held>,
    failed: Option<DatabaseError>,
}

/// An answer that may tell of what is not durable yet.
#[derive(Debug)]
struct Held {
    /// The last batch that it may tell of.
    after: u64,
    answer: Answer,
    reply: Reply,
}

impl Flight {
    /// A flight with nothing in it, of the object with this row.
    pub(crate) fn new(row: Option<Object>, nameless: bool) -> Self {
        Self {
            state: Mutex::new(State {
                row,
                nameless,
                sent: 0,
                durable: 0,
                batches: VecDeque::new(),
                held: VecDeque::new(),
                failed: None,
            }),
            moved: Notify::new(),
        }
    }

    /// Sends a batch: `send` puts it into the writer's queue, in which it comes after those before it.
    /// Gives its number.
    pub(crate) fn send(
        &self,
        batch: Arc<Batch>,
        send: impl FnOnce() -> Result<(), DatabaseError>,
    ) -> Result<u64, DatabaseError> {
        let mut state = self.state();
        if let Some(failed) = &state.failed {
            return Err(failed.clone());
        }
        // Under the lock, so that the numbers are in the order of the queue.
        send()?;
        state.sent += 1;
        state.batches.push_back(batch);
        Ok(state.sent)
    }

    /// The number of the last batch that was sent.
    pub(crate) fn sent(&self) -> u64 {
        self.state().sent
    }

    /// Lets an answer go once all that was sent so far is durable.
    pub(crate) fn answer(&self, reply: Reply, answer: Answer) {
        let mut state = self.state();
        let answer = match &state.failed {
            Some(failed) => Err(commit_failed(failed)),
            None if state.batches.is_empty() => answer,
            None => {
                let after = state.sent;
                state.held.push_back(Held {
                    after,
                    answer,
                    reply,
                });
                return;
            }
        };
        drop(state);
        // The caller may have gone; the call has happened all the same.
        let _ = reply.send(answer);
    }

    /// What is on its way within a range, as one batch, and the row that it lies over.
    pub(crate) fn view(&self, range: &KeyRange) -> (Batch, Option<Object>) {
        let (batches, row) = {
            let state = self.state();
            (state.batches.clone(), state.row)
        };
        let mut view = Batch::new();
        for batch in batches {
            if batch.deletes_all() {
                view.delete_all();
            }
            for (key, value) in batch.writes().filter(|(key, _)| range.contains(key)) {
                match value {
                    Some(json) => view.put(key, json),
                    None => view.delete(key),
                }
            }
        }
        (view, row)
    }

    /// What the latest batch on its way that says something says; or else the row that has it.
    pub(crate) fn find<R>(&self, find: impl Fn(&Batch) -> Option<R>) -> Result<R, Option<Object>> {
        let state = self.state();
        let found = state.batches.iter().rev().find_map(|batch| find(batch));
        found.ok_or(state.row)
    }

    /// The row to write to; none where it has to be made, or to be given the name.
    pub(crate) fn row(&self) -> Option<Object> {
        let state = self.state();
        state.row.filter(|_| !state.nameless)
    }

    /// The object has a name from now on, which its row may not have.
    pub(crate) fn named(&self) {
        self.state().nameless = true;
    }

    /// The writer says that the next `batches` are durable, in this row, which has the name if
    /// `named`.
    pub(crate) fn landed(&self, batches: usize, row: Object, named: bool) {
        let mut state = self.state();
        state.row = Some(row);
        if named {
            state.nameless = false;
        }
        state.durable += batches as u64;
        state.batches.drain(..batches);
        let ready = state
            .held
            .partition_point(|held| held.after <= state.durable);
        let ready: Vec<Held> = state.held.drain(..ready).collect();
        drop(state);
        for Held { answer, reply, .. } in ready {
            let _ = reply.send(answer);
        }
        self.moved.notify_waiters();
    }

    /// The writer says that the next batch cannot be written. Only the first failure counts.
    pub(crate) fn fail(&self, error: &DatabaseError) {
        let mut state = self.state();
        state.failed.get_or_insert_with(|| error.clone());
        state.batches.clear();
        let held = std::mem::take(&mut state.held);
        drop(state);
        for Held { reply, .. } in held {
            let _ = reply.send(Err(commit_failed(error)));
        }
        self.moved.notify_waiters();
    }

    /// Whether a batch could not be written. Nothing that was sent after it will be.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().failed.is_some()
    }

    /// Whether another call may run before the disk has come further.
    pub(crate) fn has_room(&self) -> bool {
        self.state().has_room()
    }

    /// Returns once another call may run.
    pub(crate) async fn room(&self) {
        self.until(|state| state.has_room().then_some(())).await;
    }

    /// Whether nothing is on its way any more.
    pub(crate) fn is_settled(&self) -> bool {
        self.state().batches.is_empty()
    }

    /// Returns once nothing is on its way any more.
    pub(crate) async fn settled(&self) {
        self.until(|state| state.batches.is_empty().then_some(()))
            .await;
    }

    /// Returns once a batch, and with it all before it, is durable.
    pub(crate) async fn durable(&self, number: u64) -> Result<(), DatabaseError> {
        self.until(|state| match &state.failed {
            // What is durable is that, whatever failed after it.
            _ if state.durable >= number => Some(Ok(())),
            Some(failed) => Some(Err(failed.clone())),
            None => None,
        })
        .await
    }

    async fn until<R>(&self, reached: impl Fn(&State) -> Option<R>) -> R {
        loop {
            // Before the look, so that nothing moves unseen between the two.
            let mut moved = pin!(self.moved.notified());
            moved.as_mut().enable();
            if let Some(reached) = reached(&self.state()) {
                return reached;
            }
            moved.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn has_room(&self) -> bool {
        self.batches.len() < BATCHES && self.held.len() < ANSWERS
    }
}

/// What a call is answered whose writes, or what it had seen, could not be made durable.
pub(crate) fn commit_failed(cause: &impl std::error::Error) -> ErrorReply {
    let mut failed = ErrorReply::commit_failed();
    let source = cause.source().map(ToString::to_string);
    failed.log = Some(match source {
        Some(source) => format!("{cause}: {source}"),
        None => cause.to_string(),
    });
    failed
}
