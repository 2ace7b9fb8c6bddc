//! Calls that follow each other faster than the disk: what they are answered, and when.
//!
//! A second connection holds SQLite's write lock, which is a disk that takes its time for as long as the
//! test wants; a trigger that raises an error is one that fails.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "calls have to run beside each other"
)]

mod asleep;
mod broken;
mod durable;
mod stopped;

use std::{
    collections::HashMap,
    path::Path,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use dokit_client::{CallError, rpc};
use dokit_embedded::Host;
use dokit_object::{Alarm, Context, DurableObject, Error, Result, Storage, Stub, durable_object};
use dokit_storage::{Schema, TypedStorage};
use rusqlite::Connection;
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
