//! Which objects are in memory, and what those cost that are not.

use dokit_client::rpc;
use dokit_object::{Context, DurableObject, Namespace, Result, durable_object};
use futures_util::FutureExt;
use tempfile::tempdir;
use tokio::{sync::Semaphore, task::yield_now};

use super::*;
use crate::{Builder, Host, resident::KEPT};

#[rpc]
trait EchoApi {
    async fn echo(&mut self, text: String) -> Result<String>;
    /// The object's name.
    async fn name(&self) -> Result<Option<String>>;
    /// Answers once it was let go.
    async fn wait(&self) -> Result<()>;
}

struct Echo(Context);

static GATE: Semaphore = Semaphore::const_new(0);

#[durable_object]
impl DurableObject for Echo {
    type Api = EchoApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self(ctx))
    }
}

impl EchoApi for Echo {
    async fn echo(&mut self, text: String) -> Result<String> {
        Ok(text)
    }

    async fn name(&self) -> Result<Option<String>> {
        Ok(self.0.name().map(str::to_owned))
    }

    async fn wait(&self) -> Result<()> {
        GATE.acquire().await.unwrap().forget();
        Ok(())
    }
}

fn start(build: impl FnOnce(Builder) -> Builder) -> (tempfile::TempDir, Host) {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Echo>();
    let host = build(host).start().unwrap();
    (data, host)
}

fn namespace(host: &Host) -> Namespace {
    host.namespace::<Echo>()
}

async fn call_fifty(host: &Host) {
    for number in 0..50 {
        let name = number.to_string();
        let echo = EchoApiClient::new(namespace(host).get_by_name(&name));
        assert_eq!(echo.echo(name.clone()).await.unwrap(), name);
    }
}

fn in_memory(host: &Host) -> usize {
    host.engine().residents().len()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

#[tokio::test]
async fn an_object_that_is_asleep_has_no_task_no_queue_and_no_place_in_memory() {
    let (_data, host) = start(|host| host.sleep_after(Duration::ZERO));
    let before = tasks();
    call_fifty(&host).await;
    while in_memory(&host) > 0 || tasks() > before {
        yield_now().await;
    }
}

#[tokio::test]
async fn an_object_that_is_awake_and_idle_has_no_task() {
    let (_data, host) = start(|host| host.sleep_after(Duration::from_secs(3600)));
    let before = tasks();
    call_fifty(&host).await;
    while tasks() > before {
        yield_now().await;
    }
    assert_eq!(in_memory(&host), 50);
}

#[tokio::test]
async fn objects_that_are_told_to_sleep_leave_memory_too() {
    let (_data, host) = start(|host| host.sleep_after(Duration::from_secs(3600)));
    call_fifty(&host).await;
    assert_eq!(in_memory(&host), 50);
    host.sleep().await;
    while in_memory(&host) > 0 {
        yield_now().await;
    }
}

#[tokio::test]
async fn one_that_is_told_to_leave_again_takes_nobody_elses_place() {
    let (_data, host) = start(|host| host.sleep_after(Duration::from_secs(3600)));
    call_fifty(&host).await;
    let left = host.engine().residents().all();
    host.sleep().await;
    while in_memory(&host) > 0 {
        yield_now().await;
    }
    call_fifty(&host).await;
    for resident in left {
        resident.put_to_sleep().await;
    }
    assert_eq!(in_memory(&host), 50);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_used_stays_and_one_that_is_not_leaves() {
    let (_data, host) = start(|host| host.sleep_after(Duration::from_secs(10)));
    call_fifty(&host).await;
    let used = EchoApiClient::new(namespace(&host).get_by_name("7"));
    for _ in 0..20 {
        tokio::time::advance(Duration::from_secs(3)).await;
        used.name().await.unwrap();
    }
    while in_memory(&host) > 1 {
        yield_now().await;
    }
    tokio::time::advance(Duration::from_secs(20)).await;
    while in_memory(&host) > 0 {
        yield_now().await;
    }
}

#[tokio::test]
async fn where_objects_hold_more_than_they_may_those_leave_that_were_idle_longest() {
    let (_data, host) = start(|host| {
        let host = host.sleep_after(Duration::from_secs(3600));
        host.awake_memory(10 * (KEPT + size_of::<Echo>()) + KEPT / 2)
    });
    call_fifty(&host).await;
    while in_memory(&host) > 10 {
        yield_now().await;
    }
    let left = host.engine().residents().all();
    let mut left: Vec<_> = left.iter().map(|one| one.key()).collect();
    let last = (40..50).map(|number| namespace(&host).id_from_name(&number.to_string()));
    let mut last: Vec<_> = last.map(|id| *id.as_bytes()).collect();
    left.sort_unstable();
    last.sort_unstable();
    assert_eq!(left, last);
}

#[tokio::test]
async fn an_object_that_has_something_to_do_stays_however_many_are_awake() {
    let (_data, host) = start(|host| host.awake_memory(0));
    let busy = EchoApiClient::new(namespace(&host).get_by_name("busy"));
    let mut waits = std::pin::pin!(busy.wait());
    assert!(waits.as_mut().now_or_never().is_none());
    call_fifty(&host).await;
    while in_memory(&host) > 1 {
        yield_now().await;
    }
    GATE.add_permits(1);
    waits.await.unwrap();
    while in_memory(&host) > 0 {
        yield_now().await;
    }
}

#[tokio::test]
async fn a_reading_call_beside_one_that_came_by_id_sees_the_name() {
    let (_data, host) = start(|host| host);
    let named = namespace(&host).get_by_name("named");
    let by_id = namespace(&host).id_from_string(&named.id().to_string());
    let by_id = EchoApiClient::new(namespace(&host).get(&by_id.unwrap()));
    let mut waits = std::pin::pin!(by_id.wait());
    assert!(waits.as_mut().now_or_never().is_none());
    assert_eq!(by_id.name().await.unwrap(), None);
    let by_name = EchoApiClient::new(named);
    let mut name = std::pin::pin!(by_name.name());
    assert!(name.as_mut().now_or_never().is_none());
    yield_now().await;
    GATE.add_permits(1);
    assert_eq!(name.await.unwrap().as_deref(), Some("named"));
    waits.await.unwrap();
}
