//! How many durable increments a second the engine answers, in process, beside what the disk can sync.
//!
//! ```text
//! cargo run --release -p dokit-embedded --example throughput [seconds a row] [data folder]
//! ```
//!
//! The data folder is a new one in the working directory, removed at the end: a folder in memory, such as
//! `/tmp` on many machines, would measure nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures time and runs callers beside each other"
)]

use std::{
    env,
    error::Error,
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use dokit_client::rpc;
use dokit_embedded::Host;
use dokit_object::{Context, DurableObject, Namespace, Result, Storage, durable_object};
use dokit_storage::{Schema, TypedStorage, sql::Sql};
use futures_util::future::try_join_all;

#[rpc]
trait CounterApi {
    async fn increment(&mut self) -> Result<u64>;
    async fn get(&self) -> Result<u64>;
}

#[derive(Schema)]
struct Stored {
    count: u64,
}

struct Counter {
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Counter {
    type Api = CounterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }
}

impl CounterApi for Counter {
    async fn increment(&mut self) -> Result<u64> {
        let count = self.get().await? + 1;
        self.storage.put(Stored::COUNT, &count).await?;
        Ok(count)
    }

    async fn get(&self) -> Result<u64> {
        Ok(self.storage.get(Stored::COUNT).await?.unwrap_or(0))
    }
}

/// The same count in a row of a database of the object's own.
struct SqlCounter {
    sql: Sql,
}

#[durable_object]
impl DurableObject for SqlCounter {
    const SQL: bool = true;

    type Api = CounterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&[(
            "counts",
            "CREATE TABLE counts (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)",
        )])?;
        Ok(Self { sql })
    }
}

impl CounterApi for SqlCounter {
    async fn increment(&mut self) -> Result<u64> {
        let upsert = "INSERT INTO counts VALUES (1, 1) \
                      ON CONFLICT (id) DO UPDATE SET count = count + 1 RETURNING count";
        Ok(self.sql.exec(upsert, ())?.one()?)
    }

    async fn get(&self) -> Result<u64> {
        let count = "SELECT coalesce(max(count), 0) FROM counts";
        Ok(self.sql.exec(count, ())?.one()?)
    }
}

/// What callers saw of one load.
struct Measured {
    per_second: f64,
    /// The time that half of the calls stayed under, and the time that all but a hundredth did.
    p50: Duration,
    p99: Duration,
}

/// Has `callers` call as fast as they are answered, each its own objects in turn.
async fn increments(
    namespace: &Namespace,
    prefix: &str,
    callers: usize,
    objects: usize,
    span: Duration,
) -> std::result::Result<Measured, Box<dyn Error>> {
    let counters: Vec<_> = (0..objects)
        .map(|number| {
            let name = format!("{prefix}-{number}");
            CounterApiClient::new(namespace.get_by_name(&name))
        })
        .collect();
    // Every object is awake and has its row before the clock runs.
    for some in counters.chunks(512) {
        try_join_all(some.iter().map(CounterApiClient::increment)).await?;
    }
    let start = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|caller| {
            let counters = counters.clone();
            tokio::spawn(async move {
                let mut waits = Vec::new();
                let mut at = caller;
                while start.elapsed() < span {
                    let sent = Instant::now();
                    let answer = counters[at % counters.len()].increment().await;
                    answer.map_err(|error| error.to_string())?;
                    waits.push(sent.elapsed());
                    at += callers;
                }
                Ok::<_, String>(waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    let took = start.elapsed();
    waits.sort_unstable();
    let mut stored = 0;
    for counter in &counters {
        stored += counter.get().await?;
    }
    assert_eq!(
        stored,
        (waits.len() + objects) as u64,
        "an increment was lost"
    );
    Ok(Measured {
        per_second: waits.len() as f64 / took.as_secs_f64(),
        p50: waits[waits.len() / 2],
        p99: waits[waits.len() * 99 / 100],
    })
}

/// How often a second the disk syncs 4 KiB that were written over.
fn syncs(folder: &Path, span: Duration) -> std::io::Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    file.write_all(&vec![1; 1024 * 1024])?;
    file.sync_all()?;
    let start = Instant::now();
    let mut syncs = 0_u32;
    while start.elapsed() < span {
        file.seek(SeekFrom::Start(u64::from(syncs % 256) * 4096))?;
        file.write_all(&[2; 4096])?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / start.elapsed().as_secs_f64();
    fs::remove_file(path)?;
    Ok(rate)
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(3.0), |text| text.parse())?;
    let span = Duration::from_secs_f64(seconds);
    let folder = arguments.next().map_or_else(
        || PathBuf::from(format!("throughput-{}", std::process::id())),
        PathBuf::from,
    );
    fs::create_dir_all(&folder)?;
    let host = Host::builder().data(folder.join("data"));
    let host = host.object::<Counter>().object::<SqlCounter>().start()?;
    let keys = host.namespace::<Counter>();
    let sql = host.namespace::<SqlCounter>();

    println!(
        "durable increments in process, {seconds} s a row; the ratio is to the disk's own syncs"
    );
    println!("| load | /s | p50 us | p99 us | syncs/s | ratio |");
    println!("|---|---|---|---|---|---|");
    for (load, namespace, callers, objects) in [
        ("1 object, 1 caller", &keys, 1, 1),
        ("1 object, 64 callers", &keys, 64, 1),
        ("1,000 objects, 64 callers", &keys, 64, 1000),
        ("100,000 objects, 64 callers", &keys, 64, 100_000),
        ("SQL: 1 object, 1 caller", &sql, 1, 1),
        ("SQL: 1 object, 64 callers", &sql, 64, 1),
        ("SQL: 1,000 objects, 64 callers", &sql, 64, 1000),
    ] {
        let disk = syncs(&folder, span.div_f64(3.0))?;
        let prefix = format!("{callers}-{objects}");
        let found = increments(namespace, &prefix, callers, objects, span).await?;
        println!(
            "| {load} | {:.0} | {} | {} | {disk:.0} | {:.2} |",
            found.per_second,
            found.p50.as_micros(),
            found.p99.as_micros(),
            found.per_second / disk
        );
    }
    host.shutdown().await;
    drop(host);
    fs::remove_dir_all(folder.join("data"))?;
    // A folder that was there before may hold more.
    let _ = fs::remove_dir(&folder);
    Ok(())
}
