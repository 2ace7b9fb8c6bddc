//! Group commit: one thread takes all commits that are waiting and makes them durable with one sync.

use std::{
    borrow::Cow,
    collections::HashMap,
    slice,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

use dokit_client::ObjectId;
use dokit_storage::{AlarmChange, Batch, Timestamp};
use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use tokio::time::Instant;

use crate::{
    database::{Object, apply},
    error::DatabaseError,
    metrics::Metrics,
    store::Lane,
};

/// How many commits one group takes at most, so that the first of them does not wait for ever.
const GROUP: usize = 1024;

/// One object's batch on its way to the disk.
#[derive(Debug)]
struct Commit {
    namespace: &'static str,
    id: ObjectId,
    batch: Arc<Batch>,
    /// Whom to tell; none once somebody else sees to that.
    lane: Option<Arc<Lane>>,
}

impl Drop for Commit {
    fn drop(&mut self) {
        // The writer has ended, and this was still in its queue.
        if let Some(lane) = self.lane.take() {
            lane.flight.fail(&closed());
        }
    }
}

#[derive(Debug)]
enum Message {
    Commit(Commit),
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
        metrics: Arc<Metrics>,
    ) -> (Self, JoinHandle<()>) {
        let (queue, waiting) = mpsc::channel();
        let run = move || write_groups(connection, &waiting, &alarm_set, &metrics);
        let thread = thread::Builder::new().name("dokit-writer".to_owned());
        let thread = thread.spawn(run).expect("the system can start a thread");
        (Self { queue }, thread)
    }

    /// Puts a batch into the queue, and into its object's flight, which tells what becomes of it.
    /// Gives its number there.
    pub(crate) fn send(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        batch: Batch,
        lane: &Arc<Lane>,
    ) -> Result<u64, DatabaseError> {
        let batch = Arc::new(batch);
        let mut commit = Commit {
            namespace,
            id: id.clone(),
            batch: Arc::clone(&batch),
            lane: None,
        };
        lane.flight.send(batch, || {
            commit.lane = Some(Arc::clone(lane));
            self.queue.send(Message::Commit(commit)).map_err(|refused| {
                if let Message::Commit(mut commit) = refused.0 {
                    // The flight has not taken it, and hears of it from us.
                    commit.lane = None;
                }
                closed()
            })
        })
    }

    /// Has the writer end. Commits that come after this fail.
    pub(crate) fn stop(&self) {
        // It has ended already where nobody listens.
        let _ = self.queue.send(Message::Stop);
    }
}

fn closed() -> DatabaseError {
    DatabaseError::new("the store is closed")
}

fn write_groups(
    mut connection: Connection,
    waiting: &Receiver<Message>,
    alarm_set: &impl Fn(Timestamp),
    metrics: &Metrics,
) {
    let mut next = None;
    while let Some(message) = next.take().or_else(|| waiting.recv().ok()) {
        let first = match message {
            Message::Commit(commit) => commit,
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
        let parts = by_object(group);
        let commits = parts.iter().map(|part| part.commits.len()).sum();
        let span = tracing::debug_span!("dokit.commit", objects = parts.len(), commits);
        let began = Instant::now();
        let written = span.in_scope(|| write(&mut connection, &parts));
        let error = written.as_ref().err();
        let disk_failed = error.is_some_and(|error| !is_of_one_batch(error));
        if commits > 0 {
            metrics.committed(commits, began.elapsed(), disk_failed);
        }
        match written {
            Ok(rows) => landed(parts, rows, alarm_set),
            // One bad batch does not spoil the others.
            Err(error) if is_of_one_batch(&error) => {
                for part in parts {
                    write_apart(&mut connection, part, alarm_set);
                }
            }
            Err(error) => parts.iter().for_each(|part| part.fail(&error)),
        }
    }
}

/// The commits of one object in a group, in their order: they are written as one.
#[derive(Debug)]
struct Part {
    lane: Arc<Lane>,
    commits: Vec<Commit>,
}

impl Drop for Part {
    fn drop(&mut self) {
        // The writer has panicked; or it has said so already, and this changes nothing.
        if !self.commits.is_empty() {
            self.lane.flight.fail(&closed());
        }
    }
}

impl Part {
    /// What the commits do together.
    fn batch(&self) -> Cow<'_, Batch> {
        let (first, later) = self.commits.split_first().expect("a part has commits");
        let mut batch = Cow::Borrowed(&*first.batch);
        for commit in later {
            batch.to_mut().merge((*commit.batch).clone());
        }
        batch
    }

    /// The last commit, which knows the object's name if one does.
    fn last(&self) -> &Commit {
        self.commits.last().expect("a part has commits")
    }

    fn landed(mut self, row: Object, alarm_set: &impl Fn(Timestamp)) {
        let named = self.last().id.name().is_some();
        let commits = std::mem::take(&mut self.commits);
        for commit in &commits {
            if let AlarmChange::Set(at) = commit.batch.alarm() {
                alarm_set(at);
            }
        }
        self.lane.landed(commits.len(), row, named);
    }

    fn fail(&self, error: &rusqlite::Error) {
        let Commit { namespace, id, .. } = self.last();
        // Once here, however many calls it fails.
        tracing::error!(namespace, %id, name = id.name(), "commit: {error}");
        self.lane.flight.fail(&DatabaseError::sqlite(error));
    }
}

/// Sorts a group by object. What was sent after a batch that failed is left out: it builds on what is
/// no more, and its calls have been answered.
fn by_object(group: Vec<Commit>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut places = HashMap::new();
    for mut commit in group {
        let Some(lane) = commit.lane.take() else {
            continue;
        };
        let place = *places.entry(Arc::as_ptr(&lane)).or_insert(parts.len());
        if place == parts.len() {
            parts.push(Part {
                lane,
                commits: Vec::new(),
            });
        }
        parts[place].commits.push(commit);
    }
    parts.retain(|part| !part.lane.flight.has_failed());
    parts
}

fn landed(parts: Vec<Part>, rows: Vec<Object>, alarm_set: &impl Fn(Timestamp)) {
    for (part, row) in parts.into_iter().zip(rows) {
        part.landed(row, alarm_set);
    }
}

/// Writes one object's commits: together, or else each by itself up to the first that is bad.
fn write_apart(connection: &mut Connection, mut part: Part, alarm_set: &impl Fn(Timestamp)) {
    match write(connection, slice::from_ref(&part)) {
        Ok(rows) => landed(vec![part], rows, alarm_set),
        Err(error) if part.commits.len() > 1 && is_of_one_batch(&error) => {
            for commit in std::mem::take(&mut part.commits) {
                let lane = Arc::clone(&part.lane);
                let commits = vec![commit];
                let one = vec![Part { lane, commits }];
                match write(connection, &one) {
                    Ok(rows) => landed(one, rows, alarm_set),
                    Err(error) => return one.iter().for_each(|one| one.fail(&error)),
                }
            }
        }
        Err(error) => part.fail(&error),
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

/// Writes all parts in one transaction. After an error none of them is written, as far as SQLite can
/// tell.
fn write(connection: &mut Connection, parts: &[Part]) -> rusqlite::Result<Vec<Object>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut objects = Vec::with_capacity(parts.len());
    for part in parts {
        let Commit { namespace, id, .. } = part.last();
        let row = part.lane.row_to_write();
        objects.push(apply(&transaction, namespace, id, row, &part.batch())?);
    }
    transaction.commit()?;
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(lane: &Arc<Lane>, key: &str) -> Commit {
        let mut batch = Batch::new();
        batch.put(key, "1");
        let batch = Arc::new(batch);
        // As the way to the writer does it.
        let sent = lane.flight.send(Arc::clone(&batch), || Ok(()));
        sent.expect("it has not failed yet");
        Commit {
            namespace: "test",
            id: ObjectId::from_name("test", "a"),
            batch,
            lane: Some(Arc::clone(lane)),
        }
    }

    #[test]
    fn a_group_is_sorted_by_object_and_what_follows_a_failure_is_left_out() {
        let [good, failed] = [(); 2].map(|()| Arc::new(Lane::default()));
        let group = vec![
            commit(&failed, "lost"),
            commit(&good, "first"),
            commit(&failed, "lost too"),
            commit(&good, "second"),
        ];
        failed.flight.fail(&closed());
        let parts = by_object(group);
        assert_eq!(parts.len(), 1);
        let batch = parts[0].batch();
        let keys: Vec<_> = batch.writes().map(|(key, _)| key).collect();
        assert_eq!(keys, ["first", "second"]);
    }

    #[test]
    fn a_commit_that_the_writer_never_came_to_has_failed() {
        let lane = Arc::new(Lane::default());
        drop(commit(&lane, "in the queue"));
        assert!(lane.flight.has_failed());
        let lane = Arc::new(Lane::default());
        drop(by_object(vec![commit(&lane, "in its hands")]));
        assert!(lane.flight.has_failed());
    }

    #[test]
    fn a_closed_store_takes_no_commit() {
        let connection = Connection::open_in_memory().expect("memory can be opened");
        let metrics = Arc::new(Metrics::new([]));
        let (writer, writing) = Writer::start(connection, |_| {}, metrics);
        writer.stop();
        writing.join().expect("it ends");
        let lane = Arc::new(Lane::default());
        let mut batch = Batch::new();
        batch.put("key", "1");
        let id = ObjectId::from_name("test", "a");
        let refused = writer.send("test", &id, batch, &lane).unwrap_err();
        assert_eq!(refused.to_string(), "the store is closed");
        assert!(lane.flight.is_settled());
    }
}
