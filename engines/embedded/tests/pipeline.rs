//! Calls that follow each other faster than the disk: what they are answered, and when.
//!
//! A second connection holds SQLite's write lock, which is a disk that takes its time for as long as the
//! test wants; a trigger that raises an error is one that fails.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "calls have to run beside each other"
)]

use std::{
    collections::HashMap,
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dokit_client::{CallError, rpc};
use dokit_embedded::Host;
use dokit_object::{Alarm, Context, DurableObject, Error, Result, Storage, Stub, durable_object};
use dokit_storage::{Schema, TypedStorage};
use futures_util::{FutureExt, future::join_all};
use rusqlite::Connection;
use tempfile::tempdir;
use tokio::task::{JoinHandle, spawn, yield_now};

#[rpc]
trait CounterApi {
    /// Adds one, in storage and in memory, and gives both.
    async fn add(&mut self) -> Result<(u32, u32)>;
    /// Adds one, and writes what the disk may be made to refuse.
    async fn add_poison(&mut self) -> Result<()>;
    /// Fails, and panics when it is thrown away.
    async fn fall_apart(&mut self) -> Result<()>;
    /// Adds one, and fails.
    async fn add_and_fail(&mut self) -> Result<()>;
    /// The count, in a call that runs alone.
    async fn look(&mut self) -> Result<u32>;
    /// The count.
    async fn get(&self) -> Result<u32>;
    /// Makes durable what was there before, and then acts on the outside world.
    async fn commit_and_act(&mut self) -> Result<()>;
    /// The same, in a call that only reads.
    async fn look_and_act(&self) -> Result<()>;
    /// Sets the alarm, which adds one, for now.
    async fn add_soon(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct Stored {
    count: u32,
    poison: u32,
}

#[derive(Debug)]
struct Counter {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
    count: u32,
    alive: Alive,
}

/// An object in memory. There is never more than one of it.
#[derive(Debug)]
struct Alive {
    name: String,
    falls_apart: bool,
}

impl Alive {
    fn new(name: &str) -> Self {
        note(name, |seen| {
            seen.woken += 1;
            seen.alive += 1;
        });
        assert_eq!(seen(name).alive, 1, "two of one object");
        Self {
            name: name.to_owned(),
            falls_apart: false,
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        note(&self.name, |seen| seen.alive -= 1);
        assert!(!self.falls_apart, "planned panic of a destructor");
    }
}

/// What objects did so far: calls that ran, those that were refused for the disk, and how often one
/// acted on the outside world. Each test has names of its own.
static SEEN: LazyLock<Mutex<HashMap<String, Seen>>> = LazyLock::new(Mutex::default);

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    ran: usize,
    acted: usize,
    failed: usize,
    /// How often the object woke, and how many of it are in memory.
    woken: usize,
    alive: usize,
}

fn seen(name: &str) -> Seen {
    let seen = SEEN.lock().unwrap();
    seen.get(name).copied().unwrap_or_default()
}

fn note(name: &str, note: impl FnOnce(&mut Seen)) {
    note(SEEN.lock().unwrap().entry(name.to_owned()).or_default());
}

impl Counter {
    fn note(&self, change: impl FnOnce(&mut Seen)) {
        note(self.ctx.name().unwrap(), change);
    }
}

#[durable_object]
impl DurableObject for Counter {
    type Api = CounterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let alive = Alive::new(ctx.name().unwrap());
        let storage = TypedStorage::new(ctx.storage());
        let count = storage.get(Stored::COUNT).await?.unwrap_or(0);
        Ok(Self {
            ctx,
            storage,
            count,
            alive,
        })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.add().await?;
        Ok(())
    }
}

impl CounterApi for Counter {
    async fn add_soon(&mut self) -> Result<()> {
        self.storage.set_alarm(self.ctx.now()).await?;
        self.note(|seen| seen.ran += 1);
        Ok(())
    }

    async fn add(&mut self) -> Result<(u32, u32)> {
        self.count += 1;
        let stored = self.storage.get(Stored::COUNT).await?.unwrap_or(0) + 1;
        self.storage.put(Stored::COUNT, &stored).await?;
        self.note(|seen| seen.ran += 1);
        Ok((self.count, stored))
    }

    async fn add_poison(&mut self) -> Result<()> {
        self.storage.put(Stored::POISON, &1_000_000).await?;
        self.add().await?;
        Ok(())
    }

    async fn fall_apart(&mut self) -> Result<()> {
        self.alive.falls_apart = true;
        Err(Error::new(418, "planned", "planned failure"))
    }

    async fn add_and_fail(&mut self) -> Result<()> {
        self.add().await?;
        Err(Error::new(418, "planned", "planned failure"))
    }

    async fn look(&mut self) -> Result<u32> {
        self.get().await
    }

    async fn get(&self) -> Result<u32> {
        let count = self.storage.get(Stored::COUNT).await?.unwrap_or(0);
        self.note(|seen| seen.ran += 1);
        Ok(count)
    }

    async fn commit_and_act(&mut self) -> Result<()> {
        self.look_and_act().await
    }

    async fn look_and_act(&self) -> Result<()> {
        self.note(|seen| seen.ran += 1);
        self.ctx.commit().await?;
        self.note(|seen| seen.acted += 1);
        Ok(())
    }
}

fn start(data: &Path) -> Host {
    let host = Host::builder().data(data).object::<Counter>();
    host.start().unwrap()
}

type Client = CounterApiClient<Stub>;

fn counter(host: &Host, name: &str) -> Client {
    CounterApiClient::new(host.namespace::<Counter>().get_by_name(name))
}

/// The disk, from the side.
struct Disk(Connection);

impl Disk {
    fn of(data: &Path) -> Self {
        let connection = Connection::open(data.join("objects.sqlite")).unwrap();
        connection.busy_timeout(Duration::from_secs(60)).unwrap();
        Self(connection)
    }

    fn sql(&self, sql: &str) {
        self.0.execute_batch(sql).unwrap();
    }

    /// From now on nothing becomes durable, nor does it fail.
    fn hold(&self) {
        self.sql("BEGIN IMMEDIATE");
    }

    /// Lets go, in good order.
    fn release(&self) {
        self.sql("ROLLBACK");
    }

    /// Lets go, and no count of `from` or more can be written.
    fn release_broken(&self, from: u32) {
        self.breaks(from);
        self.sql("COMMIT");
    }

    fn breaks(&self, from: u32) {
        self.sql(&format!(
            "CREATE TRIGGER broken BEFORE INSERT ON entries WHEN CAST(NEW.value AS INTEGER) >= {from} \
             BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END"
        ));
    }

    fn mend(&self) {
        self.sql("DROP TRIGGER broken");
    }

    /// The count of the object that has the largest.
    fn largest_count(&self) -> u32 {
        let count =
            "SELECT coalesce(max(CAST(value AS INTEGER)), 0) FROM entries WHERE key = 'count'";
        self.0.query_row(count, [], |row| row.get(0)).unwrap()
    }
}

type Added = JoinHandle<Result<(u32, u32), String>>;

/// Sends calls one after the other, and returns once all of them ran.
async fn send_adds(counter: &Client, name: &str, calls: usize) -> Vec<Added> {
    let before = seen(name).ran;
    let sent = (0..calls).map(|_| {
        let counter = counter.clone();
        spawn(async move { counter.add().await.map_err(|error| code(&error)) })
    });
    let sent = sent.collect();
    ran(name, before + calls).await;
    sent
}

async fn ran(name: &str, calls: usize) {
    while seen(name).ran < calls {
        yield_now().await;
    }
}

/// The code of a refused call.
fn code(error: &CallError<Error>) -> String {
    error.code().unwrap_or_default().into_owned()
}

#[tokio::test]
async fn calls_run_on_while_the_disk_is_busy_and_no_answer_leaves_before_it_is_durable() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "busy disk";
    let counter = counter(&host, name);

    disk.hold();
    // Also of an object that has no row yet.
    let mut sent = send_adds(&counter, name, 50).await;
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(sent.iter().all(|call| !call.is_finished()));
    disk.release();

    let last = sent.pop().unwrap().await.unwrap().unwrap();
    assert_eq!(last, (50, 50));
    assert_eq!(disk.largest_count(), 50);
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
}

#[tokio::test]
async fn answers_leave_in_the_order_of_the_calls() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "order";
    let counter = counter(&host, name);

    disk.hold();
    let mut calls: Vec<_> = (0..50)
        .map(|_| {
            let counter = counter.clone();
            async move { counter.add().await.unwrap() }.boxed()
        })
        .collect();
    // A call is in its object's queue once it was polled.
    for call in &mut calls {
        assert_eq!(call.as_mut().now_or_never(), None);
    }
    ran(name, 50).await;
    disk.release();
    let last = calls.pop().unwrap().await;
    assert_eq!(last, (50, 50));
    for (n, call) in (1..).zip(calls) {
        assert_eq!(call.now_or_never(), Some((n, n)), "it was overtaken");
    }
}

#[tokio::test]
async fn more_calls_than_may_be_on_their_way_wait_for_the_disk() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "many";
    let counter = counter(&host, name);
    disk.hold();
    let calls: Vec<_> = (0..300)
        .map(|_| {
            let counter = counter.clone();
            spawn(async move { counter.add().await.unwrap() })
        })
        .collect();
    ran(name, 64).await;
    for _ in 0..1000 {
        yield_now().await;
    }
    assert_eq!(seen(name).ran, 64, "the bound of what is on its way");
    disk.release();
    for (n, call) in (1..).zip(calls) {
        assert_eq!(call.await.unwrap(), (n, n));
    }
}

#[tokio::test]
async fn a_host_with_too_many_bytes_on_their_way_takes_no_more_writes_and_reads_on() {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Counter>();
    let host = host.waiting_bytes(100).start().unwrap();
    let disk = Disk::of(data.path());
    let (name, other_name) = ("heavy", "light");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    disk.hold();
    // A key of five bytes and a count.
    let mut sent = Vec::new();
    for _ in 0..16 {
        sent.extend(send_adds(&counter, name, 1).await);
    }
    let error = other.add().await.unwrap_err();
    assert!(error.is_overloaded() && !error.may_have_run(), "{error}");
    assert_eq!(other.get().await.unwrap(), 0);
    disk.release();
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
    while let Err(error) = other.add().await {
        assert!(error.is_overloaded(), "{error}");
    }
}

#[tokio::test]
async fn a_failed_commit_fails_those_that_depend_on_it_and_none_before() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let (name, other_name) = ("depends", "does not depend");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    counter.add().await.unwrap();

    disk.hold();
    let sent = send_adds(&counter, name, 20).await;
    let others = send_adds(&other, other_name, 5).await;
    // The commits of 2 to 9 can be written, the one of 10 cannot, and 11 to 21 are built on it.
    disk.release_broken(10);
    let mut answers = Vec::new();
    for call in sent {
        answers.push(call.await.unwrap());
    }
    let expected: Vec<_> = (2..=21)
        .map(|n| {
            if n < 10 {
                Ok((n, n))
            } else {
                Err("commit_failed".to_owned())
            }
        })
        .collect();
    assert_eq!(answers, expected);
    for (n, call) in (1..).zip(others) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n), "another object");
    }

    // What comes after starts from what is durable, in memory too.
    assert_eq!(counter.get().await.unwrap(), 9);
    assert_eq!(code(&counter.add().await.unwrap_err()), "commit_failed");
    disk.mend();
    assert_eq!(counter.add().await.unwrap(), (10, 10));
    host.shutdown().await;
    let host = start(data.path());
    assert_eq!(self::counter(&host, name).get().await.unwrap(), 10);
}

/// The writes of the later calls could be written by themselves, but must not be.
#[tokio::test]
async fn nothing_is_written_that_was_built_on_a_commit_that_failed() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let (name, other_name) = ("poisoned", "writer's last");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    // The poison is the first of its group, in its middle, or alone.
    for before in [0, 1, 5] {
        disk.hold();
        let start = disk.largest_count();
        let good = send_adds(&counter, name, before).await;
        let ran_before = seen(name).ran;
        let poisoned = spawn({
            let counter = counter.clone();
            async move { code(&counter.add_poison().await.unwrap_err()) }
        });
        ran(name, ran_before + 1).await;
        let lost = send_adds(&counter, name, 10).await;
        disk.release_broken(1_000_000);
        assert_eq!(poisoned.await.unwrap(), "commit_failed");
        for call in good {
            call.await.unwrap().unwrap();
        }
        for call in lost {
            assert_eq!(call.await.unwrap().unwrap_err(), "commit_failed");
        }
        // The writer has come past all of them.
        other.add().await.unwrap();
        let left = start + u32::try_from(before).unwrap();
        assert_eq!(disk.largest_count(), left.max(other.get().await.unwrap()));
        assert_eq!(counter.get().await.unwrap(), left);
        disk.mend();
        assert_eq!(counter.add().await.unwrap(), (left + 1, left + 1));
    }
}

#[tokio::test]
async fn what_was_read_of_writes_on_their_way_is_answered_when_they_are_durable() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "reads";
    let counter = counter(&host, name);
    counter.add().await.unwrap();

    for broken in [false, true] {
        disk.hold();
        let before = seen(name).ran;
        let added = send_adds(&counter, name, 1).await.pop().unwrap();
        let failing = spawn({
            let counter = counter.clone();
            async move { code(&counter.add_and_fail().await.unwrap_err()) }
        });
        let reads: Vec<JoinHandle<Result<u32, String>>> = [true, false, false]
            .into_iter()
            .map(|alone| {
                let counter = counter.clone();
                spawn(async move {
                    let answer = if alone {
                        counter.look().await
                    } else {
                        counter.get().await
                    };
                    answer.map_err(|error| code(&error))
                })
            })
            .collect();
        ran(name, before + 5).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!added.is_finished() && !failing.is_finished());
        assert!(reads.iter().all(|read| !read.is_finished()));
        if broken {
            disk.release_broken(3);
        } else {
            disk.release();
        }
        let expected = if broken {
            Err("commit_failed".to_owned())
        } else {
            Ok(2)
        };
        assert_eq!(added.await.unwrap().map(|(_, count)| count), expected);
        for read in reads {
            assert_eq!(read.await.unwrap(), expected);
        }
        let failed = if broken { "commit_failed" } else { "planned" };
        assert_eq!(failing.await.unwrap(), failed);
        assert_eq!(counter.get().await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_read_of_what_is_durable_does_not_wait() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let (name, other_name) = ("durable", "on its way");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    counter.add().await.unwrap();
    disk.hold();
    let sent = send_adds(&other, other_name, 3).await;
    assert_eq!(counter.get().await.unwrap(), 1);
    assert_eq!(counter.look().await.unwrap(), 1);
    host.sleep().await;
    assert_eq!(counter.get().await.unwrap(), 1);
    assert!(sent.iter().all(|call| !call.is_finished()));
    disk.release();
    join_all(sent).await;
}

#[tokio::test]
async fn an_object_told_to_sleep_keeps_what_is_on_its_way() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "sleepy";
    let counter = counter(&host, name);
    disk.hold();
    let mut sent = send_adds(&counter, name, 3).await;
    host.sleep().await;
    sent.extend(send_adds(&counter, name, 3).await);
    disk.release();
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
}

#[tokio::test]
async fn an_object_whose_destructor_panics_loses_nothing_that_is_on_its_way() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "falls apart";
    let counter = counter(&host, name);
    disk.hold();
    let mut sent = send_adds(&counter, name, 5).await;
    let falling = spawn({
        let counter = counter.clone();
        async move { code(&counter.fall_apart().await.unwrap_err()) }
    });
    sent.extend(send_adds(&counter, name, 5).await);
    assert_eq!((seen(name).woken, seen(name).alive), (2, 1));
    disk.release();
    assert_eq!(falling.await.unwrap(), "planned");
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
}

#[tokio::test]
async fn an_early_commit_waits_for_all_before_it() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "early";
    let counter = counter(&host, name);
    counter.add().await.unwrap();

    for (alone, broken) in [(true, false), (false, false), (true, true), (false, true)] {
        disk.hold();
        let added = send_adds(&counter, name, 1).await.pop().unwrap();
        let before = seen(name);
        let acting = spawn({
            let counter = counter.clone();
            async move {
                let acted = if alone {
                    counter.commit_and_act().await
                } else {
                    counter.look_and_act().await
                };
                acted.map_err(|error| code(&error))
            }
        });
        ran(name, before.ran + 1).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(seen(name).acted, before.acted);
        if broken {
            disk.release_broken(0);
            assert_eq!(acting.await.unwrap(), Err("commit_failed".to_owned()));
            assert_eq!(seen(name).acted, before.acted, "it acted on what was lost");
            disk.mend();
        } else {
            disk.release();
            assert_eq!(acting.await.unwrap(), Ok(()));
            assert_eq!(seen(name).acted, before.acted + 1);
        }
        assert_eq!(added.await.unwrap().is_err(), broken);
    }
    assert_eq!(counter.add().await.unwrap(), (4, 4));
}

#[tokio::test]
async fn an_alarm_on_its_way_fires_when_it_is_durable_and_one_that_is_lost_does_not() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "alarm";
    let counter = counter(&host, name);
    for (broken, count) in [(false, 2), (true, 2), (false, 4)] {
        disk.hold();
        let before = seen(name).ran;
        let sent = send_adds(&counter, name, 1).await.pop().unwrap();
        let soon = spawn({
            let counter = counter.clone();
            async move { counter.add_soon().await.map_err(|error| code(&error)) }
        });
        ran(name, before + 2).await;
        host.alarms_settled().await;
        assert_eq!(seen(name).ran, before + 2, "it fired before it was durable");
        if broken {
            disk.release_broken(0);
        } else {
            disk.release();
        }
        assert_eq!(sent.await.unwrap().is_err(), broken);
        assert_eq!(soon.await.unwrap().is_err(), broken);
        if broken {
            disk.mend();
        }
        host.alarms_settled().await;
        assert_eq!(counter.get().await.unwrap(), count);
    }
}

#[tokio::test]
async fn a_caller_that_waits_no_longer_for_the_disk_is_told_so_and_the_call_stands() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "impatient";
    let counter = counter(&host, name);
    disk.hold();
    let impatient = counter.with_deadline(Duration::from_millis(50));
    let error = impatient.add().await.unwrap_err();
    assert_eq!(code(&error), "deadline_exceeded");
    assert!(error.may_have_run());
    disk.release();
    // One, unless the machine was so slow that it came too late to run at all.
    let stands = u32::try_from(seen(name).ran).unwrap();
    assert_eq!(counter.add().await.unwrap(), (stands + 1, stands + 1));
}

#[tokio::test]
async fn a_shutdown_waits_for_the_answers_that_are_held() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "held";
    let counter = counter(&host, name);
    disk.hold();
    let sent = send_adds(&counter, name, 10).await;
    let closing = spawn({
        let host = host.clone();
        async move { host.shutdown().await }
    });
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(!closing.is_finished());
    disk.release();
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
    closing.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_that_was_given_up_is_no_reason_for_the_next_to_hurry() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "held again";
    let counter = counter(&host, name);
    disk.hold();
    let sent = send_adds(&counter, name, 10).await;
    assert!(host.shutdown().now_or_never().is_none());
    let closing = spawn({
        let host = host.clone();
        async move { host.shutdown().await }
    });
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(!closing.is_finished());
    disk.release();
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
    closing.await.unwrap();
}

/// Adds until told to stop, and looks whether what it is told is durable.
async fn add_and_read(counter: Client, name: &str, data: &Path, stop: &AtomicBool) -> Vec<u32> {
    let disk = Disk::of(data);
    let mut added = Vec::new();
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let answer = match turn % 8 {
            0 => counter.get().await,
            1 => counter.look().await,
            2 => {
                let error = code(&counter.add_and_fail().await.unwrap_err());
                assert!(["planned", "commit_failed"].contains(&&*error), "{error}");
                continue;
            }
            _ => match counter.add().await {
                Ok((memory, stored)) => {
                    assert_eq!(memory, stored, "memory and storage differ");
                    added.push(stored);
                    Ok(stored)
                }
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(count) => {
                let durable = disk.largest_count();
                assert!(
                    count <= durable,
                    "{count} was answered, {durable} is durable"
                );
            }
            Err(error) => {
                assert_eq!(code(&error), "commit_failed");
                note(name, |seen| seen.failed += 1);
            }
        }
    }
    added
}

async fn break_and_mend(sleep_after: Duration) {
    let data = tempdir().unwrap();
    let open = || {
        let host = Host::builder().data(data.path()).object::<Counter>();
        host.sleep_after(sleep_after).start().unwrap()
    };
    let host = open();
    let name = format!("campaign {sleep_after:?}");
    let counter = counter(&host, &name);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (counter, stop) = (counter.clone(), Arc::clone(&stop));
            let (name, data) = (name.clone(), data.path().to_owned());
            spawn(async move { add_and_read(counter, &name, &data, &stop).await })
        })
        .collect();
    let disk = Disk::of(data.path());
    for round in 0..40 {
        let before = seen(&name);
        ran(&name, before.ran + 50 + round % 7).await;
        if round % 2 == 0 {
            disk.breaks(0);
        } else {
            disk.hold();
            for _ in 0..100 {
                yield_now().await;
            }
            disk.release_broken(0);
        }
        while seen(&name).failed < before.failed + 1 + round % 5 {
            yield_now().await;
        }
        disk.mend();
    }
    stop.store(true, Ordering::SeqCst);
    let mut added = Vec::new();
    for caller in callers {
        added.extend(caller.await.unwrap());
    }
    added.sort_unstable();
    let count = u32::try_from(added.len()).unwrap();
    assert_eq!(
        added,
        (1..=count).collect::<Vec<_>>(),
        "a gap, or one twice"
    );
    assert_eq!(
        disk.largest_count(),
        count,
        "what was answered is what is there"
    );
    host.shutdown().await;
    let host = open();
    assert_eq!(self::counter(&host, &name).get().await.unwrap(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_what_is_stored_however_often_the_disk_breaks() {
    break_and_mend(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_what_is_stored_though_the_object_falls_asleep_whenever_it_can() {
    break_and_mend(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_objects_fall_asleep_no_call_is_lost_and_none_lives_twice() {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Counter>();
    let host = host.sleep_after(Duration::ZERO).start().unwrap();
    let name = |object: usize| format!("drowsy {object}");
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let host = host.clone();
            spawn(async move {
                for turn in 0..300 {
                    // Sometimes many call one object, sometimes each its own.
                    let object = if turn % 3 == 0 { 0 } else { caller % 5 };
                    let counter = counter(&host, &name(object));
                    match turn % 4 {
                        0 => drop(counter.get().await.unwrap()),
                        1 => drop(
                            counter
                                .add_and_fail()
                                .await
                                .unwrap_err()
                                .into_object()
                                .unwrap(),
                        ),
                        _ => drop(counter.add().await.unwrap()),
                    }
                    if turn % 50 == 0 {
                        host.sleep().await;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let mut count = 0;
    for object in 0..5 {
        count += counter(&host, &name(object)).get().await.unwrap();
    }
    assert_eq!(count, 16 * 150);
    for object in 0..5 {
        while seen(&name(object)).alive > 0 {
            yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_object_stays_awake_as_long_as_the_host_says() {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Counter>();
    let host = host.sleep_after(Duration::from_secs(3600)).start().unwrap();
    let counter = counter(&host, "wide awake");
    for n in 1..=20 {
        assert_eq!(counter.add().await.unwrap(), (n, n));
        for _ in 0..50 {
            yield_now().await;
        }
    }
    assert_eq!(seen("wide awake").woken, 1);
}

/// The process that the test below kills: it never ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run by the test that kills it"]
async fn adds_until_it_is_killed() {
    let data = env::var_os("DOKIT_TEST_DATA").expect("the test that kills it says where");
    let host = start(Path::new(&data));
    let callers = (0..16_usize).map(|caller| {
        let counter = counter(&host, &format!("victim {}", caller % 3));
        spawn(async move {
            loop {
                let (memory, stored) = counter.add().await.unwrap();
                assert_eq!(memory, stored);
                // In one piece, so that lines of callers do not mix.
                println!("\nadded {} {stored}", caller % 3);
            }
        })
    });
    join_all(callers).await;
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_when_the_process_is_killed() {
    let data = tempdir().unwrap();
    let mut told = [0; 3];
    for round in 1..=5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "adds_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("DOKIT_TEST_DATA", data.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = |line: &str| {
            let Some(("added", rest)) = line.split_once(' ') else {
                return false;
            };
            // The last line may be cut off.
            if let Some((object, count)) = rest.split_once(' ')
                && let (Ok(object), Ok(count)) = (object.parse::<usize>(), count.parse::<u32>())
            {
                told[object] = told[object].max(count);
            }
            true
        };
        let mut answers = 0;
        while answers < 300 * round {
            let line = lines.next().expect("it runs until it is killed").unwrap();
            answers += usize::from(read(&line));
        }
        child.kill().unwrap();
        lines.map_while(std::result::Result::ok).for_each(|line| {
            read(&line);
        });
        child.wait().unwrap();

        let host = start(data.path());
        for (object, told) in told.iter().enumerate() {
            let stored = counter(&host, &format!("victim {object}")).get().await;
            let stored = stored.unwrap();
            assert!(stored >= *told, "{told} was answered, {stored} is there");
        }
        host.shutdown().await;
    }
}
