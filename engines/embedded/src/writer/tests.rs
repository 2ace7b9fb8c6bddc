//! Groups, and who writes them.

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
fn however_many_commits_have_come_one_by_one_the_next_is_written_too() {
    let folder = tempdir().expect("there is room");
    let (writer, writing) = open(folder.path(), Log::default(), || true);
    let lane = Arc::new(Lane::default());
    writer.inner.queue().alone = u32::MAX;
    drop(Turn::begin(&writer.inner, 1));
    let number = send(&writer, &lane).expect("it is open");
    assert!(block_on(lane.flight.durable(number)).is_ok());
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
