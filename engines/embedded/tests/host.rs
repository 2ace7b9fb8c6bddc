//! The host: what it refuses to open, what it does with too much, too slow and too late.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{fs, path::Path};

use dokit_client::{CallError, Namespace, rpc};
use dokit_embedded::{Host, StartError};
use dokit_object::{
    Context, DurableObject, Error, Request, Response, Result, Storage, durable_object,
};
use dokit_storage::{Schema, TypedStorage};
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::Value;
use tempfile::tempdir;

#[rpc]
trait SlowApi {
    /// Adds one, in storage and in memory.
    async fn count(&mut self) -> Result<(u32, u32)>;
    /// Adds one, and never returns.
    async fn count_and_hang(&mut self) -> Result<()>;
    /// Reads, and never returns.
    async fn read_and_hang(&self) -> Result<()>;
    /// Answers once it was let go.
    async fn wait(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct Stored {
    count: u32,
}

#[derive(Debug)]
struct Slow {
    storage: TypedStorage<Stored, Storage>,
    count: u32,
}

/// Lets one [`SlowApi::wait`] go.
static GATE: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(0);

#[durable_object]
impl DurableObject for Slow {
    type Api = SlowApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        if ctx.name() == Some("never wakes") {
            std::future::pending::<()>().await;
        }
        if ctx.name() == Some("cannot wake") {
            return Err(Error::new(500, "asleep", "it cannot wake"));
        }
        let storage = TypedStorage::new(ctx.storage());
        let count = storage.get(Stored::COUNT).await?.unwrap_or(0);
        Ok(Self { storage, count })
    }
}

impl SlowApi for Slow {
    async fn count(&mut self) -> Result<(u32, u32)> {
        self.count += 1;
        let stored = self.storage.get(Stored::COUNT).await?.unwrap_or(0) + 1;
        self.storage.put(Stored::COUNT, &stored).await?;
        Ok((self.count, stored))
    }

    async fn count_and_hang(&mut self) -> Result<()> {
        self.count().await?;
        std::future::pending().await
    }

    async fn read_and_hang(&self) -> Result<()> {
        std::future::pending().await
    }

    async fn wait(&mut self) -> Result<()> {
        self.count().await?;
        GATE.acquire().await.unwrap().forget();
        Ok(())
    }
}

fn start(data: &Path) -> Host {
    let host = Host::builder().data(data).object::<Slow>();
    host.start().unwrap()
}

async fn post(host: &Host, path: &str, timeout_ms: &str) -> (u16, Value) {
    let mut request = Request::new("[]".into());
    *request.method_mut() = http::Method::POST;
    *request.uri_mut() = path.parse().unwrap();
    let headers = request.headers_mut();
    headers.insert("dokit-timeout-ms", timeout_ms.parse().unwrap());
    told(&host.handle(request).await)
}

fn told(response: &Response) -> (u16, Value) {
    let body = serde_json::from_slice(response.body()).unwrap();
    (response.status().as_u16(), body)
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_given_up_and_nothing_of_it_remains() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let slow = SlowApiClient::new(host.namespace::<Slow>().get_by_name("a"));
    assert_eq!(slow.count().await.unwrap(), (1, 1));
    for method in ["count_and_hang", "read_and_hang"] {
        let (status, body) = post(&host, &format!("/slow/a/{method}"), "1").await;
        assert_eq!(
            (status, &body["code"]),
            (504, &Value::from("deadline_exceeded")),
            "{method}"
        );
    }
    assert_eq!(slow.count().await.unwrap(), (2, 2));
}

#[tokio::test]
async fn an_object_that_does_not_wake_is_given_up_too() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let (status, _) = post(&host, "/slow/never%20wakes/count", "1").await;
    assert_eq!(status, 504);
    let (status, body) = post(&host, "/slow/cannot%20wake/count", "10000").await;
    assert_eq!((status, &body["code"]), (500, &Value::from("asleep")));
}

#[tokio::test]
async fn a_timeout_that_is_none_is_refused() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let (status, body) = post(&host, "/slow/a/count", "soon").await;
    assert_eq!(
        (status, &body["code"]),
        (400, &Value::from("invalid_header"))
    );
}

#[tokio::test]
async fn a_full_queue_answers_overloaded_and_no_other_object_notices() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let slow = host.namespace::<Slow>();
    let busy = SlowApiClient::new(slow.get_by_name("busy"));
    let mut calls: FuturesUnordered<_> = (0..1100).map(|_| busy.count_and_hang()).collect();
    // One runs, or is about to, and 1,024 wait; the others are answered at once.
    for _ in 0..75 {
        let error = calls.next().await.unwrap().unwrap_err();
        assert!(error.is_overloaded() && !error.may_have_run(), "{error}");
    }
    let other = SlowApiClient::new(slow.get_by_name("other"));
    assert_eq!(other.count().await.unwrap(), (1, 1));
}

#[tokio::test]
async fn a_shutdown_finishes_what_runs_and_refuses_what_comes() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let slow = SlowApiClient::new(host.namespace::<Slow>().get_by_name("a"));
    let running = tokio::task::spawn({
        let slow = slow.clone();
        async move { slow.wait().await }
    });
    // The call holds the object once it is counted, which only a look at the database can tell.
    while GATE.available_permits() == 0 && !running.is_finished() {
        GATE.add_permits(1);
        tokio::task::yield_now().await;
    }
    host.shutdown().await;
    let answered = running.await.unwrap();
    let late = slow.count().await.unwrap_err();
    assert_eq!(late.code().as_deref(), Some("shutting_down"));
    drop(host);

    let host = start(data.path());
    let slow = SlowApiClient::new(host.namespace::<Slow>().get_by_name("a"));
    let (_, count) = slow.count().await.unwrap();
    match answered {
        Ok(()) => assert_eq!(count, 2, "it was answered, so it is there"),
        Err(CallError::Remote { .. }) => assert_eq!(count, 1, "it came too late"),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn a_data_folder_is_used_by_one_host_at_a_time() {
    let data = tempdir().unwrap();
    let first = start(data.path());
    let second = Host::builder().data(data.path()).object::<Slow>().start();
    assert_eq!(
        second.unwrap_err().to_string(),
        format!(
            "the data folder {:?} is in use by another process",
            data.path()
        )
    );
    first.shutdown().await;
    drop(first);
    start(data.path());
}

#[tokio::test]
async fn a_file_that_is_not_ours_or_newer_is_left_as_it_is() {
    let open = |data: &Path| Host::builder().data(data).object::<Slow>().start();

    let garbage = tempdir().unwrap();
    let file = garbage.path().join("objects.sqlite");
    fs::write(
        &file,
        "this is no database, and long enough to be looked at",
    )
    .unwrap();
    let before = fs::read(&file).unwrap();
    assert!(matches!(
        open(garbage.path()),
        Err(StartError::Database { .. })
    ));
    assert_eq!(fs::read(&file).unwrap(), before);

    let other = tempdir().unwrap();
    let file = other.path().join("objects.sqlite");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch("CREATE TABLE mine (a)").unwrap();
    drop(connection);
    assert!(matches!(
        open(other.path()),
        Err(StartError::NotOurs { .. })
    ));

    let newer = tempdir().unwrap();
    open(newer.path()).unwrap().shutdown().await;
    let file = newer.path().join("objects.sqlite");
    let connection = rusqlite::Connection::open(&file).unwrap();
    connection
        .execute_batch("PRAGMA user_version = 99")
        .unwrap();
    drop(connection);
    let Err(StartError::NewerFormat { found, .. }) = open(newer.path()) else {
        panic!("a newer format was opened");
    };
    assert_eq!(found, 99);
}

#[tokio::test]
async fn a_host_needs_object_types_of_different_namespaces() {
    let data = tempdir().unwrap();
    let none = Host::builder().data(data.path()).start();
    assert_eq!(
        none.unwrap_err().to_string(),
        "no object type is registered"
    );
    let twice = Host::builder()
        .data(data.path())
        .object::<Slow>()
        .object::<Slow>()
        .start();
    assert_eq!(
        twice.unwrap_err().to_string(),
        "two object types have the namespace \"slow\""
    );
}

#[tokio::test]
async fn what_an_older_release_wrote_is_still_read() {
    let data = tempdir().unwrap();
    let connection = rusqlite::Connection::open(data.path().join("objects.sqlite")).unwrap();
    connection
        .execute_batch(include_str!("format_1.sql"))
        .unwrap();
    drop(connection);
    let host = start(data.path());
    let slow = SlowApiClient::new(host.namespace::<Slow>().get_by_name("a"));
    assert_eq!(slow.count().await.unwrap(), (42, 42));
}
