//! When calls of an object that has SQL are answered, beside calls that take their time.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{pin::pin, time::Duration};

use dokit_client::rpc;
use dokit_embedded::Host;
use dokit_object::{Context, DurableObject, Result, durable_object};
use futures_util::FutureExt;
use tempfile::tempdir;
use tokio::sync::Semaphore;

#[rpc]
trait RowsApi {
    async fn add(&mut self) -> Result<()>;
    /// Answers once it was let go.
    async fn look_and_wait(&self) -> Result<()>;
}

struct Rows(Context);

static GATE: Semaphore = Semaphore::const_new(0);

#[durable_object]
impl DurableObject for Rows {
    const SQL: bool = true;

    type Api = RowsApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let rows = [("rows", "CREATE TABLE entry (number INTEGER PRIMARY KEY)")];
        ctx.sql()?.migrate(&rows)?;
        Ok(Self(ctx))
    }
}

impl RowsApi for Rows {
    async fn add(&mut self) -> Result<()> {
        let _ = self.0.sql()?.exec("INSERT INTO entry DEFAULT VALUES", ())?;
        Ok(())
    }

    async fn look_and_wait(&self) -> Result<()> {
        GATE.acquire().await.unwrap().forget();
        Ok(())
    }
}

/// Whoever lets it go may be waiting for that answer.
#[tokio::test]
async fn an_answer_does_not_wait_for_the_reading_call_after_it_however_many_follow() {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Rows>();
    let host = host.deadline(Duration::from_secs(20)).start().unwrap();
    let rows = RowsApiClient::new(host.namespace::<Rows>().get_by_name("a"));
    // From now on it is known to run without waiting.
    rows.add().await.unwrap();

    let mut first = pin!(rows.add());
    let mut waiting = pin!(rows.look_and_wait());
    let mut second = pin!(rows.add());
    let mut third = pin!(rows.add());
    assert!(first.as_mut().now_or_never().is_none());
    assert!(waiting.as_mut().now_or_never().is_none());
    assert!(second.as_mut().now_or_never().is_none());
    assert!(third.as_mut().now_or_never().is_none());
    first.await.unwrap();
    GATE.add_permits(1);
    waiting.await.unwrap();
    second.await.unwrap();
    third.await.unwrap();
}
