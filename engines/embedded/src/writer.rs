//! Group commit: all commits that wait are made durable together, with one sync.
//!
//! One at a time writes. As a rule that is a thread of its own, so that callers go on while the disk works.
//! But a hop to a thread and back takes almost as long as a quick disk: where commits have come one by one
//! for a while, the next caller writes for itself.

mod group;

use std::{
    collections::VecDeque,
    slice,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use dokit_client::ObjectId;
use dokit_storage::{Batch, Timestamp};
use rusqlite::ErrorCode;
use tokio::time::Instant;

use group::{Commit, Part, by_object, closed, is_of_one_batch, write};

use crate::{
    checkpoint::{self, Log},
    database::{BUSY, Connections, Object, WriteConnection},
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
        let number = lane.send(batch, || {
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
        queue.alone = if alone {
            queue.alone.saturating_add(1)
        } else {
            0
        };
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

#[cfg(test)]
mod tests;
