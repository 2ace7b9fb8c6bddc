//! What an operator does with the data: list, export, import, back up, restore.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

mod backups;
mod exports;
mod tables;

use std::{io::Cursor, path::Path, time::Duration};

use dokit_client::{ObjectId, rpc};
use dokit_embedded::{Existing, Host, ImportError};
use dokit_object::{
    Alarm, Context, DurableObject, Result, Storage, durable_object, testing::ManualClock,
};
use dokit_storage::{Batch, Schema, Store, TypedStorage, sql::Sql};

#[rpc]
trait AccountApi {
    async fn deposit(&mut self, amount: u64) -> Result<u64>;
    async fn balance(&self) -> Result<u64>;
    /// Puts text under a key as it is, whether or not it is JSON.
    async fn put_raw(&mut self, key: String, text: String) -> Result<()>;
    async fn get_raw(&self, key: String) -> Result<Option<String>>;
    async fn close(&mut self) -> Result<()>;
    /// Adds interest of 1 in an hour.
    async fn add_interest(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct Stored {
    balance: u64,
}

struct Account {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Account {
    type Api = AccountApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.deposit(1).await?;
        Ok(())
    }
}

impl AccountApi for Account {
    async fn deposit(&mut self, amount: u64) -> Result<u64> {
        let balance = self.balance().await? + amount;
        self.storage.put(Stored::BALANCE, &balance).await?;
        Ok(balance)
    }

    async fn balance(&self) -> Result<u64> {
        Ok(self.storage.get(Stored::BALANCE).await?.unwrap_or(0))
    }

    async fn put_raw(&mut self, key: String, text: String) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(key, text);
        self.ctx.storage().commit(batch).await?;
        Ok(())
    }

    async fn get_raw(&self, key: String) -> Result<Option<String>> {
        Ok(self.ctx.storage().get(&key).await?)
    }

    async fn close(&mut self) -> Result<()> {
        self.storage.delete_all().await?;
        Ok(())
    }

    async fn add_interest(&mut self) -> Result<()> {
        let at = self.ctx.now().saturating_add(Duration::from_secs(3600));
        self.storage.set_alarm(at).await?;
        Ok(())
    }
}

#[rpc]
trait LedgerApi {
    async fn book(&mut self, amount: i64) -> Result<i64>;
    async fn total(&self) -> Result<i64>;
    async fn book_in_an_hour(&mut self) -> Result<()>;
}

/// An object with tables.
struct Ledger {
    ctx: Context,
    sql: Sql,
}

#[durable_object]
impl DurableObject for Ledger {
    const SQL: bool = true;
    type Api = LedgerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        let table = "CREATE TABLE entries (amount INTEGER NOT NULL, note, paper BLOB)";
        sql.migrate(&[("entries", table)])?;
        Ok(Self { ctx, sql })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.book(1000).await?;
        Ok(())
    }
}

impl LedgerApi for Ledger {
    async fn book(&mut self, amount: i64) -> Result<i64> {
        let entry = "INSERT INTO entries VALUES (?, ?, ?)";
        self.sql
            .exec(entry, (amount, "it's 1.0", [0_u8, 255].as_slice()))?;
        let mut batch = Batch::new();
        batch.put("last", amount.to_string());
        self.ctx.storage().commit(batch).await?;
        self.total().await
    }

    async fn total(&self) -> Result<i64> {
        let total = "SELECT coalesce(sum(amount), 0) FROM entries";
        Ok(self.sql.exec(total, ())?.one()?)
    }

    async fn book_in_an_hour(&mut self) -> Result<()> {
        let at = self.ctx.now().saturating_add(Duration::from_secs(3600));
        let mut batch = Batch::new();
        batch.set_alarm(at);
        self.ctx.storage().commit(batch).await?;
        Ok(())
    }
}

/// Another type, whose exports are not of accounts.
struct Note;

#[durable_object]
impl DurableObject for Note {
    async fn new(_: Context) -> Result<Self> {
        Ok(Self)
    }
}

fn start(data: &Path, clock: &ManualClock) -> Host {
    let host = Host::builder().data(data).clock(clock.clone());
    let host = host.object::<Account>().object::<Ledger>();
    host.object::<Note>().start().unwrap()
}

fn account(host: &Host, name: &str) -> AccountApiClient<dokit_object::Stub> {
    AccountApiClient::new(host.namespace::<Account>().get_by_name(name))
}

fn ledger(host: &Host, name: &str) -> LedgerApiClient<dokit_object::Stub> {
    LedgerApiClient::new(host.namespace::<Ledger>().get_by_name(name))
}

fn id(name: &str) -> ObjectId {
    ObjectId::from_name(Account::NAMESPACE, name)
}

async fn export(host: &Host, name: &str) -> String {
    let lines = host.export::<Account, _>(&id(name), Vec::new()).await;
    String::from_utf8(lines.unwrap()).unwrap()
}

async fn import(
    host: &Host,
    name: &str,
    existing: Existing,
    lines: &str,
) -> Result<(), ImportError> {
    let lines = Cursor::new(lines.to_owned());
    host.import::<Account, _>(&id(name), existing, lines).await
}

fn clock_time(clock: &ManualClock) -> i64 {
    dokit_object::Clock::now(clock).as_millis()
}
