//! The objects that are measured.

use std::sync::atomic::{AtomicU64, Ordering};

use dokit_client::rpc;
use dokit_object::{Alarm, Context, DurableObject, Result, Storage, durable_object};
use dokit_storage::{Schema, Timestamp, TypedStorage, sql::Sql};

/// How many counters are in this process's memory.
static AWAKE: AtomicU64 = AtomicU64::new(0);

/// How many alarms have run to their end in this process.
static FIRED: AtomicU64 = AtomicU64::new(0);

pub(crate) fn awake() -> u64 {
    AWAKE.load(Ordering::SeqCst)
}

pub(crate) fn fired() -> u64 {
    FIRED.load(Ordering::SeqCst)
}

#[rpc]
pub(crate) trait CounterApi {
    async fn increment(&mut self, amount: u64) -> Result<u64>;
    async fn get(&self) -> Result<u64>;
}

#[derive(Schema)]
struct Counted {
    count: u64,
}

/// One number: the smallest object that has something to lose.
pub(crate) struct Counter {
    storage: TypedStorage<Counted, Storage>,
}

#[durable_object]
impl DurableObject for Counter {
    type Api = CounterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        AWAKE.fetch_add(1, Ordering::SeqCst);
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }
}

impl CounterApi for Counter {
    async fn increment(&mut self, amount: u64) -> Result<u64> {
        let count = self.get().await? + amount;
        self.storage.put(Counted::COUNT, &count).await?;
        Ok(count)
    }

    async fn get(&self) -> Result<u64> {
        Ok(self.storage.get(Counted::COUNT).await?.unwrap_or(0))
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        AWAKE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The same number in a SQL database of the object's own.
pub(crate) struct SqlCounter {
    sql: Sql,
}

const TABLES: [(&str, &str); 1] = [(
    "counts",
    "CREATE TABLE counts (id INTEGER PRIMARY KEY, count INTEGER NOT NULL)",
)];

#[durable_object]
impl DurableObject for SqlCounter {
    const SQL: bool = true;

    type Api = CounterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&TABLES)?;
        Ok(Self { sql })
    }
}

impl CounterApi for SqlCounter {
    async fn increment(&mut self, amount: u64) -> Result<u64> {
        let add = "INSERT INTO counts VALUES (1, ?) \
                   ON CONFLICT (id) DO UPDATE SET count = count + excluded.count RETURNING count";
        Ok(self.sql.exec(add, (amount,))?.one()?)
    }

    async fn get(&self) -> Result<u64> {
        let count = self.sql.exec("SELECT count FROM counts WHERE id = 1", ())?;
        Ok(count.to_vec()?.first().copied().unwrap_or(0))
    }
}

#[rpc]
pub(crate) trait DocumentApi {
    async fn write(&mut self, text: String) -> Result<()>;
    async fn read(&self) -> Result<String>;
}

#[derive(Schema)]
struct Written {
    text: String,
}

/// One text of any length.
pub(crate) struct Document {
    storage: TypedStorage<Written, Storage>,
}

#[durable_object]
impl DurableObject for Document {
    type Api = DocumentApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }
}

impl DocumentApi for Document {
    async fn write(&mut self, text: String) -> Result<()> {
        Ok(self.storage.put(Written::TEXT, &text).await?)
    }

    async fn read(&self) -> Result<String> {
        Ok(self.storage.get(Written::TEXT).await?.unwrap_or_default())
    }
}

#[rpc]
pub(crate) trait TickerApi {
    async fn set(&mut self, at_millis: i64) -> Result<()>;
    async fn fired(&self) -> Result<u64>;
}

#[derive(Schema)]
struct Ticked {
    fired: u64,
}

/// One alarm, and how often it has fired.
pub(crate) struct Ticker {
    storage: TypedStorage<Ticked, Storage>,
}

#[durable_object]
impl DurableObject for Ticker {
    type Api = TickerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }

    async fn alarm(&mut self, _alarm: Alarm) -> Result<()> {
        let fired = TickerApi::fired(self).await? + 1;
        self.storage.put(Ticked::FIRED, &fired).await?;
        FIRED.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl TickerApi for Ticker {
    async fn set(&mut self, at_millis: i64) -> Result<()> {
        let at = Timestamp::from_millis(at_millis);
        Ok(self.storage.set_alarm(at).await?)
    }

    async fn fired(&self) -> Result<u64> {
        Ok(self.storage.get(Ticked::FIRED).await?.unwrap_or(0))
    }
}
