//! Clocks that jump, and objects that panic or hang: nothing is lost, nothing happens twice, and nobody
//! else notices.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{
    collections::HashMap,
    path::Path,
    sync::{LazyLock, Mutex},
    time::Duration,
};

use dokit_client::{CallError, rpc};
use dokit_embedded::Host;
use dokit_object::{
    Alarm, Clock, Context, DurableObject, Error, Result, Storage, Stub, durable_object,
    testing::ManualClock,
};
use dokit_storage::{Schema, Timestamp, TypedStorage};
use futures_util::future::{join, join_all};
use serde::{Deserialize, Serialize};
use tempfile::tempdir;
use tokio::{sync::Semaphore, task::yield_now};

#[rpc]
trait FrailApi {
    /// Adds one.
    async fn add(&mut self) -> Result<u32>;
    /// The count.
    async fn count(&self) -> Result<u32>;
    /// The count, once [`GATE`] is open.
    async fn count_later(&self) -> Result<u32>;
    /// Panics, and opens [`GATE`] before.
    async fn panic(&self) -> Result<()>;
    /// Sets the alarm.
    async fn ring_at(&mut self, at: Timestamp) -> Result<()>;
    /// The runs of the alarm that succeeded.
    async fn rings(&self) -> Result<Vec<Ring>>;
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ring {
    scheduled: Timestamp,
    at: Timestamp,
    retry_count: u32,
}

#[derive(Schema)]
struct Stored {
    count: u32,
    rings: Vec<Ring>,
}

#[derive(Debug)]
struct Frail {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

/// Closed until somebody panics.
static GATE: Semaphore = Semaphore::const_new(0);

/// Says that an alarm hangs.
static HANGS: Semaphore = Semaphore::const_new(0);

/// What objects are to do wrong, by their names, which each test has for itself.
static PLANS: LazyLock<Mutex<HashMap<String, Plan>>> = LazyLock::new(Mutex::default);

/// How often each is still to happen.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    panics_in_new: u32,
    panics_in_alarm: u32,
    hangs_in_alarm: u32,
    panics_in_drop: u32,
}

fn plan(name: &str, plan: Plan) {
    PLANS.lock().unwrap().insert(name.to_owned(), plan);
}

/// Whether it is to happen once more.
fn is_planned(ctx: &Context, left: impl Fn(&mut Plan) -> &mut u32) -> bool {
    let mut plans = PLANS.lock().unwrap();
    let Some(plan) = plans.get_mut(ctx.name().unwrap_or_default()) else {
        return false;
    };
    let left = left(plan);
    let planned = *left > 0;
    *left = left.saturating_sub(1);
    planned
}

/// How many alarms of one test run, and how many did so at once.
static RUNNING: Mutex<(usize, usize)> = Mutex::new((0, 0));

#[durable_object]
impl DurableObject for Frail {
    type Api = FrailApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        assert!(!is_planned(&ctx, |plan| &mut plan.panics_in_new), "planned");
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        let counts = self
            .ctx
            .name()
            .is_some_and(|name| name.starts_with("one of many"));
        if counts {
            let (running, most) = &mut *RUNNING.lock().unwrap();
            *running += 1;
            *most = (*most).max(*running);
        }
        let mut rings = self.rings().await?;
        rings.push(Ring {
            scheduled: alarm.scheduled,
            at: self.ctx.now(),
            retry_count: alarm.retry_count,
        });
        self.storage.put(Stored::RINGS, &rings).await?;
        for _ in 0..10 {
            yield_now().await;
        }
        RUNNING.lock().unwrap().0 -= usize::from(counts);
        assert!(
            !is_planned(&self.ctx, |plan| &mut plan.panics_in_alarm),
            "planned"
        );
        if is_planned(&self.ctx, |plan| &mut plan.hangs_in_alarm) {
            HANGS.add_permits(1);
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl Drop for Frail {
    fn drop(&mut self) {
        let planned = is_planned(&self.ctx, |plan| &mut plan.panics_in_drop);
        // A second panic while one unwinds would end the process.
        assert!(!planned || std::thread::panicking(), "planned");
    }
}

impl FrailApi for Frail {
    async fn add(&mut self) -> Result<u32> {
        let count = self.count().await? + 1;
        self.storage.put(Stored::COUNT, &count).await?;
        Ok(count)
    }

    async fn count(&self) -> Result<u32> {
        Ok(self.storage.get(Stored::COUNT).await?.unwrap_or(0))
    }

    async fn count_later(&self) -> Result<u32> {
        GATE.acquire().await.unwrap().forget();
        self.count().await
    }

    async fn panic(&self) -> Result<()> {
        GATE.add_permits(1);
        panic!("planned");
    }

    async fn ring_at(&mut self, at: Timestamp) -> Result<()> {
        Ok(self.storage.set_alarm(at).await?)
    }

    async fn rings(&self) -> Result<Vec<Ring>> {
        Ok(self.storage.get(Stored::RINGS).await?.unwrap_or_default())
    }
}

fn start(data: &Path, clock: &ManualClock) -> Host {
    let host = Host::builder().data(data).object::<Frail>();
    host.clock(clock.clone()).start().unwrap()
}

type Client = FrailApiClient<Stub>;

fn frail(host: &Host, name: &str) -> Client {
    FrailApiClient::new(host.namespace::<Frail>().get_by_name(name))
}

fn code(error: &CallError<Error>) -> String {
    error.code().unwrap_or_default().into_owned()
}

const SECOND: Duration = Duration::from_secs(1);
const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

#[tokio::test]
async fn a_clock_that_is_set_far_forward_rings_every_alarm_once_and_not_all_together() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = start(data.path(), &clock);
    let objects: Vec<Client> = (0..600)
        .map(|number| frail(&host, &format!("one of many {number}")))
        .collect();
    let at = clock.now().saturating_add(SECOND);
    for set in join_all(objects.iter().map(|object| object.ring_at(at))).await {
        set.unwrap();
    }
    clock.advance(YEAR * 10);
    host.alarms_settled().await;
    let ring = Ring {
        scheduled: at,
        at: clock.now(),
        retry_count: 0,
    };
    for object in &objects {
        assert_eq!(object.rings().await.unwrap(), std::slice::from_ref(&ring));
    }
    let (_, most) = *RUNNING.lock().unwrap();
    assert!((2..=256).contains(&most), "{most} at once");
}

#[tokio::test]
async fn a_clock_that_is_set_back_rings_nothing_twice_and_nothing_before_its_time() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let mut host = start(data.path(), &clock);
    let noon = clock.now();
    let (soon, late) = (
        noon.saturating_add(SECOND),
        noon.saturating_add(SECOND * 60),
    );
    frail(&host, "soon").ring_at(soon).await.unwrap();
    frail(&host, "late").ring_at(late).await.unwrap();
    let rings = async |host: &Host, name: &str| {
        host.alarms_settled().await;
        frail(host, name).rings().await.unwrap().len()
    };
    clock.set(soon);
    assert_eq!(
        (rings(&host, "soon").await, rings(&host, "late").await),
        (1, 0)
    );

    let yesterday = noon.saturating_sub(Duration::from_secs(24 * 60 * 60));
    clock.set(yesterday);
    assert_eq!(
        (rings(&host, "soon").await, rings(&host, "late").await),
        (1, 0)
    );
    // One that is set now rings by the clock as it is now.
    let meanwhile = yesterday.saturating_add(SECOND);
    frail(&host, "meanwhile").ring_at(meanwhile).await.unwrap();
    assert_eq!(rings(&host, "meanwhile").await, 0);
    clock.set(meanwhile);
    assert_eq!(rings(&host, "meanwhile").await, 1);

    host.shutdown().await;
    host = start(data.path(), &clock);
    assert_eq!(
        (rings(&host, "soon").await, rings(&host, "late").await),
        (1, 0)
    );
    clock.set(late.saturating_sub(Duration::from_millis(1)));
    assert_eq!(
        (rings(&host, "soon").await, rings(&host, "late").await),
        (1, 0)
    );
    clock.set(late);
    assert_eq!(
        (rings(&host, "soon").await, rings(&host, "late").await),
        (1, 1)
    );
    assert_eq!(rings(&host, "meanwhile").await, 1);
}

#[tokio::test]
async fn an_alarm_that_failed_is_tried_again_though_the_clock_is_set_back() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = start(data.path(), &clock);
    let (name, noon) = ("fails and the clock goes back", clock.now());
    let panics_in_alarm = 1;
    plan(
        name,
        Plan {
            panics_in_alarm,
            ..Plan::default()
        },
    );
    let object = frail(&host, name);
    object.ring_at(noon).await.unwrap();
    host.alarms_settled().await;
    assert_eq!(object.rings().await.unwrap(), []);
    clock.set(noon.saturating_sub(YEAR));
    host.alarms_settled().await;
    assert_eq!(object.rings().await.unwrap(), []);
    // The next try is 2 s after the first, or up to a quarter more.
    let again = noon.saturating_add(SECOND * 3);
    clock.set(again);
    host.alarms_settled().await;
    let ring = Ring {
        scheduled: noon,
        at: again,
        retry_count: 1,
    };
    assert_eq!(object.rings().await.unwrap(), [ring]);
}

#[tokio::test]
async fn an_object_that_panics_as_it_wakes_wakes_with_the_next_call() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = start(data.path(), &clock);
    let name = "panics as it wakes";
    let object = frail(&host, name);
    assert_eq!(object.add().await.unwrap(), 1);
    host.sleep().await;
    let panics_in_new = 1;
    plan(
        name,
        Plan {
            panics_in_new,
            ..Plan::default()
        },
    );
    let error = object.add().await.unwrap_err();
    assert_eq!(code(&error), "internal");
    assert!(!error.to_string().contains("planned"), "{error}");
    assert_eq!(object.add().await.unwrap(), 2);
}

#[tokio::test]
async fn an_alarm_is_not_lost_when_its_object_panics_as_it_wakes() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = start(data.path(), &clock);
    let (name, noon) = ("panics as its alarm wakes it", clock.now());
    let object = frail(&host, name);
    object.ring_at(noon.saturating_add(SECOND)).await.unwrap();
    host.sleep().await;
    let panics_in_new = 3;
    plan(
        name,
        Plan {
            panics_in_new,
            ..Plan::default()
        },
    );
    clock.advance(SECOND);
    host.alarms_settled().await;
    // It is held back for 1 s, 2 s and 4 s.
    for seconds in [1, 2, 4] {
        let left = PLANS.lock().unwrap()[name].panics_in_new;
        assert!(left < 3, "it has not been tried");
        clock.advance(SECOND * seconds);
        host.alarms_settled().await;
    }
    assert_eq!(object.rings().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_object_that_panics_as_it_leaves_memory_is_there_with_the_next_call() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = start(data.path(), &clock);
    let name = "panics as it leaves";
    let panics_in_drop = 2;
    plan(
        name,
        Plan {
            panics_in_drop,
            ..Plan::default()
        },
    );
    let (object, other) = (frail(&host, name), frail(&host, "leaves in peace"));
    for count in 1..=3 {
        assert_eq!(object.add().await.unwrap(), count);
        assert_eq!(other.add().await.unwrap(), count);
        host.sleep().await;
    }
    plan(
        name,
        Plan {
            panics_in_drop,
            ..Plan::default()
        },
    );
    assert_eq!(object.add().await.unwrap(), 4);
    host.shutdown().await;
    let host = start(data.path(), &clock);
    assert_eq!(frail(&host, name).count().await.unwrap(), 4);
}

#[tokio::test]
async fn a_host_that_is_dropped_is_closed_though_its_objects_panic_as_they_leave_memory() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    let names = ["dropped with its host", "dropped with it too"];
    for name in names {
        assert_eq!(frail(&host, name).add().await.unwrap(), 1);
        plan(
            name,
            Plan {
                panics_in_drop: 1,
                ..Plan::default()
            },
        );
    }
    drop(host);
    let host = start(data.path(), &clock);
    for name in names {
        assert_eq!(frail(&host, name).count().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_read_that_panics_ends_no_other_read() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = start(data.path(), &clock);
    let object = frail(&host, "panics in a read");
    assert_eq!(object.add().await.unwrap(), 1);
    let (count, panicked) = join(object.count_later(), object.panic()).await;
    assert_eq!(count.unwrap(), 1);
    assert_eq!(code(&panicked.unwrap_err()), "internal");
    assert_eq!(object.add().await.unwrap(), 2);
}

/// An alarm that hangs is given up after 15 minutes, of the runtime's time, and has then failed once.
#[tokio::test]
async fn an_alarm_that_never_returns_is_given_up_and_tried_again() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let host = start(data.path(), &clock);
    let (name, noon) = ("hangs in its alarm", clock.now());
    let hangs_in_alarm = 1;
    plan(
        name,
        Plan {
            hangs_in_alarm,
            ..Plan::default()
        },
    );
    let object = frail(&host, name);
    let begun = tokio::time::Instant::now();
    object.ring_at(noon).await.unwrap();
    HANGS.acquire().await.unwrap().forget();
    // From here on the runtime's time jumps when nothing else is to do.
    tokio::time::pause();
    host.alarms_settled().await;
    assert!(begun.elapsed() >= SECOND * 15 * 60);
    tokio::time::resume();
    assert_eq!(object.rings().await.unwrap(), []);
    clock.advance(SECOND * 3);
    host.alarms_settled().await;
    let rings = object.rings().await.unwrap();
    assert_eq!((rings.len(), rings[0].retry_count), (1, 1));
}
