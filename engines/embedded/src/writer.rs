//! Group commit: one thread takes all commits that are waiting and makes them durable with one sync.

use std::{
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

use dokit_client::ObjectId;
use dokit_storage::{AlarmChange, Batch, Timestamp};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use tokio::sync::oneshot;

use crate::{
    database::{Object, apply},
    error::DatabaseError,
};

/// How many commits one group takes at most, so that the first of them does not wait for ever.
const GROUP: usize = 1024;

/// One object's batch on its way to the disk.
#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) namespace: &'static str,
    pub(crate) id: ObjectId,
    /// The object's row, where it has one.
    pub(crate) object: Option<Object>,
    pub(crate) batch: Batch,
    /// Told the object's row once the batch is on disk.
    pub(crate) done: oneshot::Sender<Result<Object, DatabaseError>>,
}

#[derive(Debug)]
enum Message {
    Commit(Commit),
    /// Tells when all that was sent before is done, one way or the other.
    Barrier(oneshot::Sender<()>),
    Stop,
}

/// The way to the writer. It finishes what it was sent before it was stopped, or before the last of
/// these was dropped.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    queue: Sender<Message>,
}

impl Writer {
    /// Starts the writer's thread. `alarm_set` is told the time of each alarm that is set, once it is
    /// durable.
    pub(crate) fn start(
        connection: Connection,
        alarm_set: impl Fn(Timestamp) + Send + 'static,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel();
        let run = move || write_groups(connection, &waiting, &alarm_set);
        let thread = thread::Builder::new().name("dokit-writer".to_owned());
        let thread = thread.spawn(run).expect("the system can start a thread");
        (Self { queue }, thread)
    }

    /// Makes a batch durable. Once it has returned `Ok`, every read sees it, also after a crash.
    pub(crate) async fn commit(
        &self,
        namespace: &'static str,
        id: ObjectId,
        object: Option<Object>,
        batch: Batch,
    ) -> Result<Object, DatabaseError> {
        let (done, result) = oneshot::channel();
        let commit = Commit {
            namespace,
            id,
            object,
            batch,
            done,
        };
        let gone = || DatabaseError::new("the store is closed");
        self.queue
            .send(Message::Commit(commit))
            .map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Returns when all commits that were sent before are done, one way or the other.
    pub(crate) async fn barrier(&self) {
        let (done, reached) = oneshot::channel();
        // A writer that has ended has nothing left to do.
        let _ = self.queue.send(Message::Barrier(done));
        let _ = reached.await;
    }

    /// Has the writer end. Commits that come after this fail.
    pub(crate) fn stop(&self) {
        // It has ended already where nobody listens.
        let _ = self.queue.send(Message::Stop);
    }
}

fn write_groups(
    mut connection: Connection,
    waiting: &Receiver<Message>,
    alarm_set: &impl Fn(Timestamp),
) {
    let mut next = None;
    while let Some(message) = next.take().or_else(|| waiting.recv().ok()) {
        let first = match message {
            Message::Commit(commit) => commit,
            Message::Barrier(done) => {
                // Who asked may have gone.
                let _ = done.send(());
                continue;
            }
            Message::Stop => return,
        };
        let mut group = vec![first];
        while group.len() < GROUP && next.is_none() {
            match waiting.try_recv() {
                Ok(Message::Commit(commit)) => group.push(commit),
                Ok(other) => next = Some(other),
                Err(_) => break,
            }
        }
        match write(&mut connection, &group) {
            Ok(objects) => answer(group, objects, alarm_set),
            // One bad batch does not spoil the others: each goes alone.
            Err(error) if group.len() > 1 && is_of_one_batch(&error) => {
                for commit in group {
                    match write(&mut connection, std::slice::from_ref(&commit)) {
                        Ok(objects) => answer(vec![commit], objects, alarm_set),
                        Err(error) => refuse(commit, &error),
                    }
                }
            }
            Err(error) => group.into_iter().for_each(|commit| refuse(commit, &error)),
        }
    }
}

/// Whether an error can be due to what one batch wants to write, and not to the disk or to another
/// process, which every batch would meet.
fn is_of_one_batch(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch
        ),
        None => true,
    }
}

/// Writes all batches in one transaction. After an error none of them is written, as far as SQLite
/// can tell.
fn write(connection: &mut Connection, group: &[Commit]) -> rusqlite::Result<Vec<Object>> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut objects = Vec::with_capacity(group.len());
    for commit in group {
        objects.push(apply(
            &transaction,
            commit.namespace,
            &commit.id,
            commit.object,
            &commit.batch,
        )?);
    }
    transaction.commit()?;
    Ok(objects)
}

fn answer(group: Vec<Commit>, objects: Vec<Object>, alarm_set: &impl Fn(Timestamp)) {
    for (commit, object) in group.into_iter().zip(objects) {
        if let AlarmChange::Set(at) = commit.batch.alarm() {
            alarm_set(at);
        }
        // Nobody waits where the call was given up; the writes stand all the same.
        let _ = commit.done.send(Ok(object));
    }
}

fn refuse(commit: Commit, error: &rusqlite::Error) {
    let _ = commit.done.send(Err(DatabaseError::sqlite(error)));
}
