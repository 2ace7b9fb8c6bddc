//! The host: what it refuses to open, what it does with too much, too slow and too late.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "some calls have to run beside others"
)]

use std::{fs, path::Path, time::Duration};

use dokit_client::{CallError, rpc};
use dokit_embedded::{Host, StartError};
use dokit_object::{
    Alarm, Context, DurableObject, Error, Request, Response, Result, Storage, durable_object,
    testing::ManualClock,
};
use dokit_storage::{Family, ListOptions, Schema, Timestamp, TypedStorage};
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
    /// Adds one, leaves a mark, and commits both early.
    async fn mark(&mut self, mark: String) -> Result<()>;
    /// The count, and how many marks there are.
    async fn tally(&self) -> Result<(u32, usize)>;
    /// Sets the alarm for now.
    async fn alarm_now(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct Stored {
    count: u32,
    #[schema(prefix = "mark:")]
    marks: Family<bool>,
}

#[derive(Debug)]
struct Slow {
    ctx: Context,
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
        Ok(Self {
            ctx,
            storage,
            count,
        })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        if self.ctx.name() == Some("alarm hangs") {
            std::future::pending::<()>().await;
        }
        self.count().await?;
        Ok(())
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

    async fn mark(&mut self, mark: String) -> Result<()> {
        self.count().await?;
        self.storage.put(Stored::MARKS.key(mark), &true).await?;
        self.ctx.commit().await
    }

    async fn tally(&self) -> Result<(u32, usize)> {
        let count = self.storage.get(Stored::COUNT).await?.unwrap_or(0);
        let marks = self.storage.list_family(Stored::MARKS, ListOptions::new());
        Ok((count, marks.await?.len()))
    }

    async fn alarm_now(&mut self) -> Result<()> {
        let now = self.ctx.now();
        Ok(self.storage.set_alarm(now).await?)
    }
}

/// Another type, for the same methods.
#[derive(Debug)]
struct Other(Slow);

#[durable_object]
impl DurableObject for Other {
    async fn new(ctx: Context) -> Result<Self> {
        let mut slow = Slow::new(ctx).await?;
        if slow.storage.alarm().await?.is_none() {
            slow.storage.set_alarm(Timestamp::from_millis(1000)).await?;
        }
        Ok(Self(slow))
    }

    async fn fetch(&mut self, _: Request) -> Result<Response> {
        Ok(Response::new("null".into()))
    }

    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        self.0.alarm(alarm).await
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
        assert_eq!(error.retry_after(), Some(Duration::from_secs(1)));
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
            "the data folder {:?} is in use by another host",
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

/// A call that is given up while its early commit is on its way to the disk: the next one waits to see
/// what became of it, so that none works on what is no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_commit_that_was_given_up_the_object_sees_what_became_of_it() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let slow = SlowApiClient::new(host.namespace::<Slow>().get_by_name("a"));
    slow.mark("first".to_owned()).await.unwrap();

    let other = rusqlite::Connection::open(data.path().join("objects.sqlite")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let given_up = slow.with_deadline(Duration::from_millis(100));
    given_up.mark("second".to_owned()).await.unwrap_err();
    let third = tokio::task::spawn({
        let slow = slow.clone();
        async move { slow.mark("third".to_owned()).await }
    });
    tokio::task::yield_now().await;
    other.execute_batch("ROLLBACK").unwrap();
    third.await.unwrap().unwrap();

    let (count, marks) = slow.tally().await.unwrap();
    assert_eq!(usize::try_from(count), Ok(marks), "an update was lost");
    host.sleep().await;
    assert_eq!(slow.tally().await.unwrap(), (count, marks));
}

#[tokio::test]
async fn alarms_of_types_that_are_not_served_wait_and_hold_up_no_other() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = Host::builder().data(data.path()).clock(clock.clone());
    let host = host.object::<Slow>().object::<Other>().start().unwrap();
    clock.set(Timestamp::from_millis(1));
    for number in 0..300 {
        let path = format!("/other/{number}/fetch");
        assert_eq!(post(&host, &path, "10000").await.0, 200);
    }
    let slow = SlowApiClient::new(host.namespace::<Slow>().get_by_name("a"));
    host.shutdown().await;

    // More alarms of `Other` are due than one look at the database finds; then comes the one of `Slow`.
    clock.set(Timestamp::from_millis(2000));
    let host = Host::builder().data(data.path()).clock(clock.clone());
    let host = host.object::<Slow>().start().unwrap();
    let slow_again = SlowApiClient::new(host.namespace::<Slow>().get_by_name("a"));
    slow_again.alarm_now().await.unwrap();
    host.alarms_settled().await;
    assert_eq!(slow_again.tally().await.unwrap().0, 1);
    assert!(slow.tally().await.is_err(), "the first host is closed");
}

#[tokio::test]
async fn a_shut_down_host_lets_go_of_its_data_though_handles_remain() {
    let data = tempdir().unwrap();
    let first = start(data.path());
    let slow = first.namespace::<Slow>();
    futures_util::future::join(first.shutdown(), first.shutdown()).await;
    first.alarms_settled().await;
    let second = start(data.path());
    let other = SlowApiClient::new(second.namespace::<Slow>().get_by_name("a"));
    assert_eq!(other.count().await.unwrap(), (1, 1));
    let closed = SlowApiClient::new(slow.get_by_name("a"));
    let error = closed.count().await.unwrap_err();
    assert_eq!(error.code().as_deref(), Some("shutting_down"));
}

#[tokio::test]
async fn a_dropped_host_stops_though_an_alarm_hangs() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let slow = host.namespace::<Slow>();
    let hangs = SlowApiClient::new(slow.get_by_name("alarm hangs"));
    hangs.alarm_now().await.unwrap();
    drop(host);
    let error = hangs.count().await.unwrap_err();
    assert_eq!(error.code().as_deref(), Some("shutting_down"));
    // Its tasks end when the runtime comes to them.
    let open = || Host::builder().data(data.path()).object::<Slow>().start();
    while let Err(StartError::InUse { .. }) = open() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_name_that_no_address_could_have_is_refused_in_the_process_too() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    for (name, code) in [("", "invalid_name"), (&*"x".repeat(1025), "name_too_long")] {
        let slow = SlowApiClient::new(host.namespace::<Slow>().get_by_name(name));
        let error = slow.count().await.unwrap_err();
        assert_eq!(error.code().as_deref(), Some(code));
    }
}
