//! What the test kit can do to an object, and what an object may count on meanwhile.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{future::Future, pin::pin, sync::OnceLock, task::Poll, time::Duration};

use dokit_client::{CallError, rpc};
use dokit_object::{
    Alarm, Clock, Context, DurableObject, Error, Result, Storage, durable_object,
    engine::{Handlers, ObjectType},
    testing::{ManualClock, TestHost, block_on},
};
use dokit_storage::{Batch, Schema, Store, Timestamp, TypedStorage};
use futures_util::poll;

#[rpc]
trait TimerApi {
    async fn start(&mut self, millis: i64) -> Result<()>;
    async fn runs(&self) -> Result<u32>;
    async fn begun(&self) -> Result<u32>;
}

#[derive(Schema)]
struct Stored {
    begun: u32,
    runs: u32,
}

/// Its alarm commits early that it has begun. Where the variable `HANG` is set it never ends.
struct Timer {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Timer {
    type Api = TimerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        assert_eq!(
            self.storage.alarm().await?,
            None,
            "an alarm that runs is taken"
        );
        let begun = self.begun().await? + 1;
        self.storage.put(Stored::BEGUN, &begun).await?;
        self.ctx.commit().await?;
        if self.ctx.variable("HANG").is_some() {
            std::future::pending::<()>().await;
        }
        let runs = self.runs().await? + 1;
        self.storage.put(Stored::RUNS, &runs).await?;
        Ok(())
    }
}

impl TimerApi for Timer {
    async fn start(&mut self, millis: i64) -> Result<()> {
        let now = self.ctx.now().as_millis();
        let at = Timestamp::from_millis(now + millis);
        Ok(self.storage.set_alarm(at).await?)
    }

    async fn runs(&self) -> Result<u32> {
        Ok(self.storage.get(Stored::RUNS).await?.unwrap_or(0))
    }

    async fn begun(&self) -> Result<u32> {
        Ok(self.storage.get(Stored::BEGUN).await?.unwrap_or(0))
    }
}

/// Runs a future until it waits for something that never comes.
async fn abandon(future: impl Future) {
    let waits = poll!(pin!(future));
    assert!(matches!(waits, Poll::Pending));
}

#[test]
fn a_crash_after_an_early_commit_leaves_the_alarm_to_run_again() {
    block_on(async {
        let host = TestHost::new().object::<Timer>().variable("HANG", "yes");
        let timer = TimerApiClient::new(host.namespace::<Timer>().get_by_name("t"));
        timer.start(1000).await.unwrap();
        abandon(host.advance("1s")).await;
        host.crash();
        assert_eq!(timer.begun().await.unwrap(), 1, "it was committed early");
        assert_eq!(timer.runs().await.unwrap(), 0);

        let host = host.variable("OTHER", "value");
        abandon(host.settle()).await;
        host.crash();
        assert_eq!(timer.begun().await.unwrap(), 2, "the alarm was still there");
    });
}

#[test]
fn a_day_passes_at_once_and_alarms_see_their_own_time() {
    block_on(async {
        let host = TestHost::new().object::<Timer>();
        let timers = host.namespace::<Timer>();
        for (name, millis) in [("late", 90_000_000), ("soon", 60_000), ("now", 0)] {
            let timer = TimerApiClient::new(timers.get_by_name(name));
            timer.start(millis).await.unwrap();
        }
        let start = host.clock().now();
        host.advance("1d").await;
        let day = Duration::from_secs(86_400);
        assert_eq!(host.clock().now(), start.saturating_add(day));
        for (name, runs) in [("late", 0), ("soon", 1), ("now", 1)] {
            let timer = TimerApiClient::new(timers.get_by_name(name));
            assert_eq!(timer.runs().await.unwrap(), runs, "{name}");
        }
        host.advance("2h").await;
        let late = TimerApiClient::new(timers.get_by_name("late"));
        assert_eq!(late.runs().await.unwrap(), 1);
    });
}

#[test]
#[should_panic(expected = "invalid duration \"soon\"")]
fn a_text_that_is_no_duration_is_refused() {
    block_on(TestHost::new().advance("soon"));
}

#[test]
fn a_broken_disk_fails_the_call_and_what_is_on_it_can_be_looked_at() {
    block_on(async {
        let host = TestHost::new().object::<Timer>();
        let timers = host.namespace::<Timer>();
        let timer = TimerApiClient::new(timers.get_by_name("t"));
        timer.start(1000).await.unwrap();
        let disk = host.disk::<Timer>(&timers.id_from_name("t"));
        let before = disk.alarm().await.unwrap();
        disk.fail_commit(1);
        let failed = timer.start(5000).await.unwrap_err();
        assert_eq!(failed.code().as_deref(), Some("commit_failed"));
        assert!(failed.may_have_run());
        assert_eq!(disk.alarm().await.unwrap(), before);
        timer.start(5000).await.unwrap();
        assert_ne!(disk.alarm().await.unwrap(), before);
    });
}

/// It takes five seconds to fail.
struct Slow {
    ctx: Context,
}

/// The clock of the one test that has a [`Slow`].
static CLOCK: OnceLock<ManualClock> = OnceLock::new();

#[rpc]
trait SlowApi {
    async fn start(&mut self) -> Result<()>;
    async fn given_up(&self) -> Result<Option<u32>>;
}

#[durable_object]
impl DurableObject for Slow {
    type Api = SlowApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        CLOCK.get().unwrap().advance(Duration::from_secs(5));
        Err(Error::new(500, "planned", "planned failure"))
    }
}

impl SlowApi for Slow {
    async fn start(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.set_alarm(self.ctx.now());
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn given_up(&self) -> Result<Option<u32>> {
        Ok(self.ctx.failed_alarm().await?.map(|failed| failed.tries))
    }
}

#[test]
fn a_handler_that_outlasts_its_own_backoff_still_waits_and_is_given_up_in_the_end() {
    block_on(async {
        let host = TestHost::new().object::<Slow>();
        CLOCK.set(host.clock().clone()).unwrap();
        let slow = host.namespace::<Slow>();
        let id = slow.id_from_name("s");
        let client = SlowApiClient::new(slow.get_by_name("s"));
        client.start().await.unwrap();
        host.settle().await;
        let next = host.disk::<Slow>(&id).alarm().await.unwrap().unwrap();
        let wait = next.saturating_duration_since(host.clock().now());
        assert!(wait >= Duration::from_secs(2), "{wait:?}");
        host.advance("1h").await;
        assert_eq!(client.given_up().await.unwrap(), Some(7));
    });
}

/// A commit that failed is not healed by asking again.
#[test]
fn after_a_failed_early_commit_the_next_one_is_refused() {
    block_on(async {
        let host = TestHost::new().object::<Stubborn>();
        let stubborn = host.namespace::<Stubborn>();
        let disk = host.disk::<Stubborn>(&stubborn.id_from_name("s"));
        disk.fail_commit(1);
        let client = StubbornApiClient::new(stubborn.get_by_name("s"));
        let error = client.commit_until_it_works().await.unwrap_err();
        assert_eq!(error.code().as_deref(), Some("commit_failed"));
        assert_eq!(disk.get("k").await.unwrap(), None);
        assert_eq!(disk.commits(), 1);
        client.commit_until_it_works().await.unwrap();
    });
}

/// It takes no for no answer.
struct Stubborn {
    ctx: Context,
}

#[rpc]
trait StubbornApi {
    async fn commit_until_it_works(&mut self) -> Result<()>;
}

#[durable_object]
impl DurableObject for Stubborn {
    type Api = StubbornApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }
}

impl StubbornApi for Stubborn {
    async fn commit_until_it_works(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.put("k", "1");
        self.ctx.storage().commit(batch).await?;
        if self.ctx.commit().await.is_err() {
            assert!(
                self.ctx.commit().await.is_err(),
                "it worked the second time"
            );
        }
        Ok(())
    }
}

/// It has neither an alarm handler nor `fetch`.
struct Plain {
    ctx: Context,
}

#[rpc]
trait PlainApi {
    async fn set_alarm(&mut self) -> Result<()>;
    async fn keep_a_handle(&mut self) -> Result<()>;
}

#[durable_object]
impl DurableObject for Plain {
    const NAMESPACE: &'static str = "plain-thing";
    type Api = PlainApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }
}

impl PlainApi for Plain {
    async fn set_alarm(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.set_alarm(self.ctx.now());
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn keep_a_handle(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.put("k", "1");
        let mut storage = self.ctx.storage();
        storage.commit(batch).await?;
        Err(Error::new(418, "planned", "planned failure"))
    }
}

#[test]
fn the_attribute_fills_in_what_is_left_out() {
    assert_eq!(Timer::NAMESPACE, "timer");
    assert_eq!(Timer::HANDLERS, Handlers::NONE.with_alarm());
    assert_eq!(Plain::NAMESPACE, "plain-thing");
    assert_eq!(Plain::HANDLERS, Handlers::NONE);
    let methods = ObjectType::of::<Timer>().unwrap().methods();
    let names: Vec<_> = methods.iter().map(|method| method.name()).collect();
    assert_eq!(names, ["start", "runs", "begun"]);
}

#[test]
fn an_alarm_without_a_handler_is_refused_when_it_is_set() {
    block_on(async {
        let host = TestHost::new().object::<Plain>();
        let plain = PlainApiClient::new(host.namespace::<Plain>().get_by_name("p"));
        let CallError::Remote { .. } = plain.set_alarm().await.unwrap_err() else {
            panic!("the cause is for the log, not for the caller");
        };
        let disk = host.disk::<Plain>(&host.namespace::<Plain>().id_from_name("p"));
        assert_eq!(disk.alarm().await.unwrap(), None);
        let failed = plain.keep_a_handle().await.unwrap_err();
        assert_eq!(failed.status(), Some(418));
        assert_eq!(disk.get("k").await.unwrap(), None);
    });
}
