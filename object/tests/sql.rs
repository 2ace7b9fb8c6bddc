//! SQL objects in the test kit, and what the kit's disk does to their rows.

use dokit_client::rpc;
use dokit_object::{
    Context, DurableObject, Result, Stub, durable_object,
    engine::ObjectType,
    testing::{TestHost, block_on},
};
use dokit_storage::{Batch, Store, sql::Sql};

#[rpc]
trait LedgerApi {
    async fn book(&mut self, amount: i64) -> Result<i64>;
    async fn look(&mut self) -> Result<i64>;
}

struct Ledger {
    sql: Sql,
}

#[durable_object]
impl DurableObject for Ledger {
    const SQL: bool = true;

    type Api = LedgerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&[("entries", "CREATE TABLE entries (amount INTEGER NOT NULL)")])?;
        Ok(Self { sql })
    }
}

impl LedgerApi for Ledger {
    async fn book(&mut self, amount: i64) -> Result<i64> {
        self.sql.exec("INSERT INTO entries VALUES (?)", (amount,))?;
        self.look().await
    }

    async fn look(&mut self) -> Result<i64> {
        let sum = "SELECT coalesce(sum(amount), 0) FROM entries";
        Ok(self.sql.exec(sum, ())?.one()?)
    }
}

/// It asks for SQL where there is none.
struct Keys;

#[durable_object]
impl DurableObject for Keys {
    type Api = ();

    async fn new(ctx: Context) -> Result<Self> {
        ctx.sql()?;
        Ok(Self)
    }

    async fn fetch(&mut self, _: dokit_object::Request) -> Result<dokit_object::Response> {
        Ok(dokit_object::Response::default())
    }
}

fn ledger(host: &TestHost) -> LedgerApiClient<Stub> {
    LedgerApiClient::new(host.namespace::<Ledger>().get_by_name("l"))
}

#[test]
fn a_type_has_sql_where_it_says_so() {
    assert!(ObjectType::of::<Ledger>().unwrap().sql());
    assert!(!ObjectType::of::<Keys>().unwrap().sql());
}

#[test]
fn an_object_that_did_not_ask_for_sql_has_none() {
    let host = TestHost::new().object::<Keys>();
    let mut request = dokit_object::Request::default();
    *request.uri_mut() = "/keys/k/".parse().unwrap();
    let response = block_on(host.handle(request));
    assert_eq!(response.status(), 500);
}

#[test]
fn rows_alone_are_a_commit_that_can_fail() {
    block_on(async {
        let host = TestHost::new().object::<Ledger>();
        let id = host.namespace::<Ledger>().id_from_name("l");
        let disk = host.disk::<Ledger>(&id);
        assert_eq!(ledger(&host).book(5).await.unwrap(), 5);
        let before = disk.commits();
        assert_eq!(ledger(&host).look().await.unwrap(), 5);
        assert_eq!(disk.commits(), before, "it wrote nothing");
        disk.fail_commit(1);
        ledger(&host).book(6).await.unwrap_err();
        assert_eq!(ledger(&host).look().await.unwrap(), 5);
        disk.lose_commit_answer(1);
        ledger(&host).book(7).await.unwrap_err();
        assert_eq!(ledger(&host).look().await.unwrap(), 12);
    });
}

#[test]
fn rows_outlive_a_crash_and_sleep() {
    block_on(async {
        let host = TestHost::new().object::<Ledger>();
        assert_eq!(ledger(&host).book(5).await.unwrap(), 5);
        host.crash();
        assert_eq!(ledger(&host).look().await.unwrap(), 5);
        host.sleep();
        assert_eq!(ledger(&host).look().await.unwrap(), 5);
    });
}

#[test]
fn the_disk_shows_the_rows_and_takes_keys() {
    block_on(async {
        let host = TestHost::new().object::<Ledger>();
        let id = host.namespace::<Ledger>().id_from_name("l");
        ledger(&host).book(5).await.unwrap();
        let mut disk = host.disk::<Ledger>(&id);
        let rows = disk.sql().unwrap();
        let amounts: Vec<i64> = rows
            .exec("SELECT amount FROM entries", ())
            .unwrap()
            .to_vec()
            .unwrap();
        assert_eq!(amounts, [5]);
        let mut batch = Batch::new();
        batch.put("k", "1");
        disk.commit(batch).await.unwrap();
        host.crash();
        assert_eq!(disk.get("k").await.unwrap().as_deref(), Some("1"));
        assert_eq!(ledger(&host).look().await.unwrap(), 5);
    });
}
