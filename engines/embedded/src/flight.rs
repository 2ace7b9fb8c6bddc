//! The writes of one object that are on their way to the disk, and the answers that wait for them.
//!
//! The object sends batches and goes on to the next call; whoever writes them says of each, in the order
//! in which they were sent, that it is durable, or of the first that cannot be written that it failed.
//! A failure is final: nothing of this flight is written after it, all answers that wait get
//! `commit_failed`, and the object goes on with a new flight, from what is durable.
//!
//! Nothing here knows what the batches are written to.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dokit_client::ErrorReply;
use dokit_object::engine::SocketActions;
use dokit_storage::{Batch, KeyRange};
use tokio::sync::Notify;

use crate::{
    error::{DatabaseError, with_source},
    metrics::Metrics,
    resident::{Answer, Reply},
};

/// How many batches of one object are on their way at most.
const BATCHES: usize = 64;

/// How many answers of one object wait for the disk at most.
const ANSWERS: usize = 1024;

/// How many bytes of one object, batches and answers, are on their way when the next call waits. One call
/// may go beyond it.
const BYTES: usize = 1024 * 1024;

/// What a call lets out of its object, once all that it may tell of is durable.
#[derive(Debug)]
pub(crate) struct Release {
    pub(crate) sockets: SocketActions,
    pub(crate) reply: Reply,
    pub(crate) answer: Answer,
    /// Where the call was an alarm's last try: who counts that it is kept as failed.
    pub(crate) gave_up: Option<Arc<Metrics>>,
}

impl Release {
    /// Does what the call does to sockets. Under the flight's lock, so that it is done in the order of
    /// the calls.
    fn perform(&mut self) {
        std::mem::take(&mut self.sockets).perform();
    }

    fn go(self) {
        if let Some(metrics) = self.gave_up {
            metrics.alarm_given_up();
        }
        // The caller may have gone; the call has happened all the same.
        let _ = self.reply.send(self.answer);
    }

    /// What it may tell of is no more.
    fn fail(self, error: &DatabaseError) {
        let _ = self.reply.send(Err(commit_failed(error)));
    }

    fn bytes(&self) -> usize {
        let answer = match &self.answer {
            Ok(response) => response.body().len(),
            Err(error) => error.message.len(),
        };
        answer + self.sockets.bytes()
    }
}

/// What one activation of an object, or several in a row, have sent, and how far the disk has come.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
    moved: Notify,
}

/// With nothing on its way it holds no room for any.
#[derive(Debug, Default)]
struct State {
    /// How many batches were sent, which is also the number of the last of them.
    sent: u64,
    /// The number of the last batch that is durable.
    durable: u64,
    /// The batches after `durable`, in order.
    batches: VecDeque<Arc<Batch>>,
    /// In the order in which the calls ended, which is that of `after` too.
    held: VecDeque<Held>,
    /// Those of `batches` and `held`.
    bytes: usize,
    failed: Option<DatabaseError>,
}

/// What may tell of what is not durable yet.
#[derive(Debug)]
struct Held {
    /// The last batch that it may tell of.
    after: u64,
    release: Release,
}

impl Flight {
    /// Sends a batch: `send` hands it to whoever writes, after those before it. Gives its number.
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
        state.bytes += batch.bytes();
        state.batches.push_back(batch);
        Ok(state.sent)
    }

    /// The number of the last batch that was sent.
    pub(crate) fn sent(&self) -> u64 {
        self.state().sent
    }

    /// Does something before any other batch is sent, unless one was after that with the number `sent`.
    pub(crate) fn unless_sent_since(&self, sent: u64, then: impl FnOnce()) {
        let state = self.state();
        if state.sent == sent {
            then();
        }
    }

    /// Lets go what a call gives once all that was sent so far is durable.
    pub(crate) fn release(&self, mut release: Release) {
        let mut state = self.state();
        if let Some(failed) = state.failed.clone() {
            drop(state);
            release.fail(&failed);
        } else if state.batches.is_empty() {
            release.perform();
            drop(state);
            release.go();
        } else {
            let after = state.sent;
            state.bytes += release.bytes();
            state.held.push_back(Held { after, release });
        }
    }

    /// What is on its way within a range, as one batch.
    pub(crate) fn view(&self, range: &KeyRange) -> Batch {
        let batches = self.state().batches.clone();
        let mut view = Batch::new();
        for batch in batches {
            view.merge(batch.within(range));
        }
        view
    }

    /// What the latest batch on its way that says something says.
    pub(crate) fn find<R>(&self, find: impl Fn(&Batch) -> Option<R>) -> Option<R> {
        let state = self.state();
        state.batches.iter().rev().find_map(|batch| find(batch))
    }

    /// The next `batches` are durable.
    pub(crate) fn landed(&self, batches: usize) {
        let mut state = self.state();
        state.durable += batches as u64;
        let landed: usize = state.batches.drain(..batches).map(|one| one.bytes()).sum();
        let mut ready = if state.batches.is_empty() {
            state.batches = VecDeque::new();
            std::mem::take(&mut state.held)
        } else {
            let durable = state.durable;
            let ready = state.held.partition_point(|held| held.after <= durable);
            state.held.drain(..ready).collect()
        };
        let answered: usize = ready.iter().map(|held| held.release.bytes()).sum();
        state.bytes -= landed + answered;
        // Before anybody sees that they have landed, who may have more to do to the same sockets.
        for held in &mut ready {
            held.release.perform();
        }
        drop(state);
        for held in ready {
            held.release.go();
        }
        self.moved.notify_waiters();
    }

    /// The next batch cannot be written. Only the first failure counts.
    pub(crate) fn fail(&self, error: &DatabaseError) {
        let mut state = self.state();
        state.failed.get_or_insert_with(|| error.clone());
        state.batches = VecDeque::new();
        state.bytes = 0;
        let held = std::mem::take(&mut state.held);
        drop(state);
        for held in held {
            held.release.fail(error);
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

    /// How many batches are on their way.
    pub(crate) fn on_its_way(&self) -> usize {
        self.state().batches.len()
    }

    /// Whether it is known of a batch that it is durable, or that it will never be.
    pub(crate) fn is_decided(&self, number: u64) -> bool {
        let state = self.state();
        state.durable >= number || state.failed.is_some()
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
        self.batches.len() < BATCHES && self.held.len() < ANSWERS && self.bytes < BYTES
    }
}

/// What a call is answered whose writes, or what it had seen, could not be made durable.
pub(crate) fn commit_failed(cause: &impl std::error::Error) -> ErrorReply {
    let mut failed = ErrorReply::commit_failed();
    failed.log = Some(with_source(cause));
    failed
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    fn batch(bytes: usize) -> Arc<Batch> {
        let mut batch = Batch::new();
        batch.put("key", "1".repeat(bytes));
        Arc::new(batch)
    }

    fn release(bytes: usize) -> (Release, oneshot::Receiver<Answer>) {
        let (reply, answered) = oneshot::channel();
        let answer = Ok(http::Response::new("1".repeat(bytes).into()));
        let sockets = SocketActions::default();
        let release = Release {
            sockets,
            reply,
            answer,
            gave_up: None,
        };
        (release, answered)
    }

    #[test]
    fn what_is_on_its_way_is_bounded_by_its_bytes_too() {
        let flight = Flight::default();
        assert!(flight.send(batch(BYTES / 2), || Ok(())).is_ok());
        assert!(flight.has_room());
        assert!(flight.send(batch(BYTES / 2), || Ok(())).is_ok());
        assert!(!flight.has_room());
        flight.landed(1);
        assert!(flight.has_room());

        let (held, answered) = release(BYTES);
        flight.release(held);
        assert!(!flight.has_room(), "the answer counts");
        flight.landed(1);
        assert!(flight.has_room());
        assert!(answered.blocking_recv().is_ok());
        let state = flight.state();
        assert_eq!((state.bytes, state.held.capacity()), (0, 0));
    }

    #[test]
    fn a_flight_that_failed_holds_nothing() {
        let flight = Flight::default();
        assert!(flight.send(batch(BYTES), || Ok(())).is_ok());
        let (held, answered) = release(BYTES);
        flight.release(held);
        flight.fail(&DatabaseError::new("planned"));
        assert!(flight.has_room());
        let answer = answered.blocking_recv().expect("it is answered");
        assert_eq!(answer.unwrap_err().code, "commit_failed");
    }
}
