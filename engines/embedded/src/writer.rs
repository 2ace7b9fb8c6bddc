//! Group commit: all commits that wait are made durable together, with one sync.
//!
//! One at a time writes. As a rule that is a thread of its own, so that callers go on while the disk works.
//! But a hop to a thread and back takes almost as long as a quick disk: where commits have come one by one
//! for a while, the next caller writes for itself.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
    slice,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use dokit_client::ObjectId;
use dokit_storage::{AlarmChange, Batch, Timestamp};
use rusqlite::{ErrorCode, TransactionBehavior};
use tokio::time::Instant;

use crate::{
    checkpoint::{self, Log},
    database::{BUSY, Connections, Object, WriteConnection, apply},
    error::DatabaseError,
    metrics::Metrics,
    store::Lane,
};

/// How many commits one group takes at most, and with how many bytes it takes no more, so that the first of
/// them does not wait for ever.
const GROUP: usize = 1024;
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// How many commits have to come one by one, and how quick the disk has to be each time, before a caller
/// writes for itself.
const ALONE: u32 = 8;
const QUICK: Duration = Duration::from_millis(1);

/// One object's batch on its way to the disk.
#[derive(Debug)]
struct Commit {
    namespace: &'static str,
    id: ObjectId,
    batch: Arc<Batch>,
    /// Its bytes, taken off what is on its way when it is done.
    bytes: usize,
    on_its_way: Arc<AtomicUsize>,
    /// Whom to tell; none once somebody else sees to that.
    lane: Option<Arc<Lane>>,
}

impl Drop for Commit {
    fn drop(&mut self) {
        self.on_its_way.fetch_sub(self.bytes, Ordering::Relaxed);
        // The writer has ended, and this was still in its queue.
        if let Some(lane) = self.lane.take() {
            lane.flight.fail(&closed());
        }
    }
}

/// The way to the database. What was sent before it is stopped is written.
pub(crate) struct Writer {
    inner: Arc<Inner>,
    /// The bytes of all batches that are on their way.
    on_its_way: Arc<AtomicUsize>,
}

struct Inner {
    queue: Mutex<Queue>,
    /// Wakes the thread.
    changed: Condvar,
    /// Whoever has set [`Queue::writing`] uses it.
    connection: Mutex<WriteConnection>,
    /// Told the time of each alarm that is set, once it is durable.
    alarm_set: Box<dyn Fn(Timestamp) + Send + Sync>,
    metrics: Arc<Metrics>,
    /// What the checkpoints are told.
    log: Arc<Log>,
    /// Whether a caller that sends a commit now may be kept waiting for the disk.
    caller_may_wait: Box<dyn Fn() -> bool + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    commits: VecDeque<Commit>,
    /// Somebody writes; all others leave their commits here.
    writing: bool,
    /// The thread sleeps.
    idle: bool,
    /// Nothing is taken any more.
    stopped: bool,
    /// How many commits have come one by one.
    alone: u32,
}

impl Queue {
    fn take_group(&mut self) -> Vec<Commit> {
        let mut bytes = 0;
        let group = self.commits.iter().take(GROUP).take_while(|commit| {
            let fits = bytes < GROUP_BYTES;
            bytes += commit.bytes;
            fits
        });
        let commits = group.count();
        self.commits.drain(..commits).collect()
    }
}

/// The threads that write. They end when the writer is stopped.
#[derive(Debug)]
pub(crate) struct Writing {
    writer: JoinHandle<()>,
    checkpoints: JoinHandle<()>,
    log: Arc<Log>,
}

impl Writing {
    /// Returns when all is written, and nothing has the database open for writing any more.
    pub(crate) fn join(self) {
        // A thread that panicked has ended too.
        let _ = self.writer.join();
        self.log.stop();
        let _ = self.checkpoints.join();
    }
}

impl Writer {
    /// Starts the threads. `caller_may_wait` says whether nobody but a caller itself is kept from anything
    /// when it waits for the disk. `alarm_set` is told the time of each alarm that is set,
    /// once it is durable.
    pub(crate) fn start(
        connections: Connections,
        log: Log,
        caller_may_wait: impl Fn() -> bool + Send + Sync + 'static,
        alarm_set: impl Fn(Timestamp) + Send + Sync + 'static,
        metrics: Arc<Metrics>,
    ) -> (Self, Writing) {
        let log = Arc::new(log);
        let inner = Arc::new(Inner {
            queue: Mutex::default(),
            changed: Condvar::new(),
            connection: Mutex::new(connections.writer),
            alarm_set: Box::new(alarm_set),
            metrics,
            log: Arc::clone(&log),
            caller_may_wait: Box::new(caller_may_wait),
        });
        let writer = {
            let inner = Arc::clone(&inner);
            start_thread("dokit-writer", move || inner.run())
        };
        let checkpoints = {
            let log = Arc::clone(&log);
            let connection = connections.checkpoints;
            start_thread("dokit-checkpoint", move || {
                checkpoint::run(&connection, &log)
            })
        };
        let writing = Writing {
            writer,
            checkpoints,
            log,
        };
        let on_its_way = Arc::default();
        (Self { inner, on_its_way }, writing)
    }

    /// Sends a batch on its way, and puts it into its object's flight, which tells what becomes of it.
    /// Gives its number there.
    pub(crate) fn send(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        batch: Batch,
        lane: &Arc<Lane>,
    ) -> Result<u64, DatabaseError> {
        let bytes = batch.bytes();
        self.on_its_way.fetch_add(bytes, Ordering::Relaxed);
        let batch = Arc::new(batch);
        let commit = Commit {
            namespace,
            id: id.clone(),
            batch: Arc::clone(&batch),
            bytes,
            on_its_way: Arc::clone(&self.on_its_way),
            lane: None,
        };
        let mut own = None;
        let number = lane.flight.send(batch, || {
            own = self.inner.enqueue(commit, lane)?;
            Ok(())
        })?;
        if let Some(commit) = own {
            self.inner.write_own(commit);
        }
        Ok(number)
    }

    /// The bytes of all batches that are on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.on_its_way.load(Ordering::Relaxed)
    }

    /// Has the threads end once all is written. Commits that come after this fail.
    pub(crate) fn stop(&self) {
        self.inner.queue().stopped = true;
        self.inner.changed.notify_one();
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

fn start_thread(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread.spawn(run).expect("the system can start a thread")
}

fn closed() -> DatabaseError {
    DatabaseError::new("the store is closed")
}

impl Inner {
    /// Takes a commit, or gives it back to be written by its caller.
    fn enqueue(
        &self,
        mut commit: Commit,
        lane: &Arc<Lane>,
    ) -> Result<Option<Commit>, DatabaseError> {
        let mut queue = self.queue();
        if queue.stopped {
            return Err(closed());
        }
        commit.lane = Some(Arc::clone(lane));
        if queue.alone >= ALONE
            && !queue.writing
            // What was sent before comes first: it may be the same object's.
            && queue.commits.is_empty()
            && (self.caller_may_wait)()
            && !self.log.waits_for_writer()
        {
            queue.writing = true;
            return Ok(Some(commit));
        }
        queue.commits.push_back(commit);
        if queue.idle && !queue.writing {
            self.changed.notify_one();
        }
        Ok(None)
    }

    /// The thread.
    fn run(&self) {
        let _ended = Ended(self);
        while let Some(group) = self.next_group() {
            let turn = Turn::begin(self, group.len());
            let connection = &mut *self.connection();
            if self.log.waits_for_writer() {
                self.log.finish(&connection.connection);
            }
            self.write(connection, group);
            drop(turn);
        }
    }

    /// What waits, once nobody writes; none when all is done and no more will come.
    fn next_group(&self) -> Option<Vec<Commit>> {
        let mut queue = self.queue();
        loop {
            if !queue.writing && !queue.commits.is_empty() {
                queue.writing = true;
                return Some(queue.take_group());
            }
            if queue.stopped && !queue.writing {
                return None;
            }
            queue.idle = true;
            let woken = self.changed.wait(queue);
            queue = woken.unwrap_or_else(PoisonError::into_inner);
            queue.idle = false;
        }
    }

    /// Writes the commit of the caller that this runs in.
    fn write_own(&self, mut commit: Commit) {
        let _turn = Turn::begin(self, 1);
        let Some(lane) = commit.lane.take() else {
            return;
        };
        let commits = vec![commit];
        let mut part = Part { lane, commits };
        let connection = &mut *self.connection();
        let _ = connection.connection.busy_timeout(Duration::ZERO);
        let written = self.write_group(connection, slice::from_ref(&part));
        let _ = connection.connection.busy_timeout(BUSY);
        match written {
            Ok(rows) => self.landed(vec![part], rows),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                // Another process has the database locked: that is for the thread to wait for.
                if let Some(mut commit) = part.commits.pop() {
                    commit.lane = Some(Arc::clone(&part.lane));
                    self.queue().commits.push_front(commit);
                }
            }
            Err(error) => part.fail(&error),
        }
    }

    /// Writes parts, and counts that.
    fn write_group(
        &self,
        connection: &mut WriteConnection,
        parts: &[Part],
    ) -> rusqlite::Result<Vec<Object>> {
        let commits = parts.iter().map(|part| part.commits.len()).sum();
        let of_disk = |error: &rusqlite::Error| {
            let busy = error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy);
            !busy && !is_of_one_batch(error)
        };
        let commit = || write(connection, parts);
        self.metrics.commit(commits, of_disk, commit)
    }

    fn write(&self, connection: &mut WriteConnection, group: Vec<Commit>) {
        let parts = by_object(group);
        match self.write_group(connection, &parts) {
            Ok(rows) => self.landed(parts, rows),
            // One bad batch does not spoil the others.
            Err(error) if is_of_one_batch(&error) => {
                for part in parts {
                    self.write_apart(connection, part);
                }
            }
            Err(error) => parts.iter().for_each(|part| part.fail(&error)),
        }
    }

    /// Writes one object's commits: together, or else each by itself up to the first that is bad.
    fn write_apart(&self, connection: &mut WriteConnection, mut part: Part) {
        match write(connection, slice::from_ref(&part)) {
            Ok(rows) => self.landed(vec![part], rows),
            Err(error) if part.commits.len() > 1 && is_of_one_batch(&error) => {
                for commit in std::mem::take(&mut part.commits) {
                    let lane = Arc::clone(&part.lane);
                    let commits = vec![commit];
                    let one = vec![Part { lane, commits }];
                    match write(connection, &one) {
                        Ok(rows) => self.landed(one, rows),
                        Err(error) => return one.iter().for_each(|one| one.fail(&error)),
                    }
                }
            }
            Err(error) => part.fail(&error),
        }
    }

    fn landed(&self, parts: Vec<Part>, rows: Vec<Object>) {
        self.log
            .grew(parts.len(), parts.iter().map(Part::bytes).sum());
        for (part, row) in parts.into_iter().zip(rows) {
            part.landed(row, &self.alarm_set);
        }
    }

    fn connection(&self) -> MutexGuard<'_, WriteConnection> {
        let connection = self.connection.lock();
        connection.unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time in which one writes and all others wait.
struct Turn<'a> {
    inner: &'a Inner,
    commits: usize,
    began: Instant,
}

impl<'a> Turn<'a> {
    /// [`Queue::writing`] is set already.
    fn begin(inner: &'a Inner, commits: usize) -> Self {
        let began = Instant::now();
        Self {
            inner,
            commits,
            began,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut queue = self.inner.queue();
        queue.writing = false;
        let alone = self.commits == 1 && queue.commits.is_empty() && self.began.elapsed() < QUICK;
        queue.alone = if alone { queue.alone + 1 } else { 0 };
        if queue.idle && (queue.stopped || !queue.commits.is_empty()) {
            self.inner.changed.notify_one();
        }
    }
}

/// The thread has ended, as it should or by a panic: nothing is written after this.
struct Ended<'a>(&'a Inner);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let mut queue = self.0.queue();
        queue.stopped = true;
        let lost = std::mem::take(&mut queue.commits);
        // Their drop tells their objects.
        drop(queue);
        drop(lost);
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

    fn bytes(&self) -> usize {
        self.commits.iter().map(|one| one.bytes).sum()
    }

    fn landed(mut self, row: Object, alarm_set: &dyn Fn(Timestamp)) {
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
fn write(connection: &mut WriteConnection, parts: &[Part]) -> rusqlite::Result<Vec<Object>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let WriteConnection { connection, log } = connection;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut objects = Vec::with_capacity(parts.len());
    for part in parts {
        let Commit { namespace, id, .. } = part.last();
        let row = part.lane.row_to_write();
        objects.push(apply(&transaction, namespace, id, row, &part.batch())?);
    }
    log.lengthen();
    transaction.commit()?;
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use futures_executor::block_on;
    use rusqlite::Connection;
    use tempfile::tempdir;

    use super::*;
    use crate::database;

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
            bytes: 0,
            on_its_way: Arc::default(),
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
    fn a_group_is_bounded_by_its_commits_and_by_its_bytes() {
        let lane = Arc::new(Lane::default());
        let mut queue = Queue::default();
        for number in 0..GROUP + 10 {
            let mut commit = commit(&lane, "key");
            if number < 3 {
                commit.bytes = GROUP_BYTES / 2;
                commit.on_its_way.store(commit.bytes, Ordering::Relaxed);
            }
            queue.commits.push_back(commit);
        }
        let groups = [(); 3].map(|()| queue.take_group().len());
        assert_eq!(groups, [2, GROUP, 8]);
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
    fn a_caller_that_writes_for_itself_overtakes_nobody() {
        let folder = tempdir().expect("there is room for a folder");
        let opened = database::open(folder.path(), ["test"].into_iter());
        let (_, connections) = opened.expect("the folder is ours");
        // Without the thread, as while it has not woken yet.
        let inner = Inner {
            queue: Mutex::default(),
            changed: Condvar::new(),
            connection: Mutex::new(connections.writer),
            alarm_set: Box::new(|_| {}),
            metrics: Arc::new(Metrics::new([])),
            log: Arc::default(),
            caller_may_wait: Box::new(|| true),
        };
        let enqueue = |key| {
            let lane = Arc::new(Lane::default());
            let commit = commit(&lane, key);
            inner.enqueue(commit, &lane).expect("it is open")
        };
        assert!(
            enqueue("first").is_none(),
            "commits do not come one by one yet"
        );
        inner.queue().alone = ALONE;
        assert!(enqueue("second").is_none(), "the first one waits");
        assert_eq!(inner.queue().commits.len(), 2);
        inner.queue().commits.clear();
        assert!(enqueue("third").is_some());
        assert!(
            enqueue("fourth").is_none(),
            "the third one is being written"
        );
    }

    fn open(folder: &Path, log: Log, may_wait: fn() -> bool) -> (Writer, Writing) {
        let opened = database::open(folder, ["test"].into_iter());
        let (_, connections) = opened.expect("the folder is ours");
        let metrics = Arc::new(Metrics::new([]));
        Writer::start(connections, log, may_wait, |_| {}, metrics)
    }

    fn send(writer: &Writer, lane: &Arc<Lane>) -> Result<u64, DatabaseError> {
        let mut batch = Batch::new();
        // Another value each time: SQLite writes nothing where nothing changes.
        batch.put("key", format!("{:01000}", lane.flight.sent()));
        writer.send("test", &ObjectId::from_name("test", "a"), batch, lane)
    }

    #[test]
    fn a_closed_store_takes_no_commit() {
        let folder = tempdir().expect("there is room");
        let (writer, writing) = open(folder.path(), Log::default(), || true);
        writer.stop();
        writing.join();
        let lane = Arc::new(Lane::default());
        let refused = send(&writer, &lane).unwrap_err();
        assert_eq!(refused.to_string(), "the store is closed");
        assert!(lane.flight.is_settled());
    }

    #[test]
    fn a_caller_that_is_alone_writes_for_itself_unless_it_would_have_to_wait() {
        let folder = tempdir().expect("there is room");
        let (writer, writing) = open(folder.path(), Log::default(), || true);
        let lane = Arc::new(Lane::default());
        writer.inner.queue().alone = ALONE;
        send(&writer, &lane).expect("it is open");
        assert!(lane.flight.is_settled(), "it is written when this returns");

        let other = Connection::open(folder.path().join("objects.sqlite")).expect("it is there");
        other
            .execute_batch("BEGIN IMMEDIATE")
            .expect("nobody writes");
        writer.inner.queue().alone = ALONE;
        send(&writer, &lane).expect("it is open");
        assert!(!lane.flight.is_settled());
        other.execute_batch("COMMIT").expect("it holds the lock");
        assert!(block_on(lane.flight.durable(2)).is_ok());
        writer.stop();
        writing.join();
    }

    #[test]
    fn a_caller_that_others_wait_for_does_not_write_for_itself() {
        let folder = tempdir().expect("there is room");
        for (may_wait, writes) in [(true, true), (false, false)] {
            let may_wait = if may_wait { || true } else { || false };
            let (writer, writing) = open(folder.path(), Log::default(), may_wait);
            let lane = Arc::new(Lane::default());
            writer.inner.queue().alone = ALONE;
            let own = writer.inner.enqueue(commit(&lane, "key"), &lane);
            let own = own.expect("it is open");
            assert_eq!(own.is_some(), writes);
            if let Some(commit) = own {
                writer.inner.write_own(commit);
            }
            writer.stop();
            writing.join();
            assert!(lane.flight.is_settled() && !lane.flight.has_failed());
        }
    }

    #[test]
    fn a_caller_that_is_alone_does_not_write_before_what_was_sent_before() {
        let folder = tempdir().expect("there is room");
        let (writer, writing) = open(folder.path(), Log::default(), || true);
        let queue = || writer.inner.queue();
        while !queue().idle {
            thread::yield_now();
        }
        let lane = Arc::new(Lane::default());
        // The thread has not come to it yet.
        queue().writing = true;
        send(&writer, &lane).expect("it is open");
        queue().writing = false;
        queue().alone = ALONE;
        let own = writer.inner.enqueue(commit(&lane, "key"), &lane);
        assert!(own.expect("it is open").is_none());
        assert!(block_on(lane.flight.durable(2)).is_ok());
        writer.stop();
        writing.join();
    }

    #[test]
    fn the_log_is_moved_into_the_database_and_begins_anew() {
        let folder = tempdir().expect("there is room");
        let (writer, writing) = open(folder.path(), Log::new(100_000, 50), || true);
        let lane = Arc::new(Lane::default());
        // The header of the log counts how often it has begun, from its 12th byte on.
        let begun = || {
            let log = fs::read(folder.path().join("objects.sqlite-wal")).expect("it is there");
            log[12..16].to_owned()
        };
        let write = || {
            let number = send(&writer, &lane).expect("it is open");
            assert!(block_on(lane.flight.durable(number)).is_ok());
        };
        write();
        let first = begun();
        // Not while somebody reads from it; and nobody waits for that.
        let reader = Connection::open(folder.path().join("objects.sqlite")).expect("it is there");
        reader
            .execute_batch("BEGIN; SELECT * FROM entries")
            .expect("it can be read");
        for _ in 0..200 {
            write();
        }
        assert_eq!(begun(), first);
        reader.execute_batch("COMMIT").expect("it reads");
        while begun() == first {
            write();
        }
        writer.stop();
        writing.join();
    }
}
