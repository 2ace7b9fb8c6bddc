use std::time::Duration;

use dokit_alarms::{ActionKey, Alarms, Deadline, Failure, wakes};
use dokit_client::rpc;
use dokit_fsm::machine;
use dokit_object::{
    Alarm, Context, DurableObject, Request, Result, State, durable_object,
    testing::{TestHost, block_on},
};
use dokit_storage::{
    Batch, EventLog, Granularity, Memory, Migrations, Schema, Step, Store, TimeSeries, Timestamp,
    TypedStorage,
};
use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};

const NOW: Timestamp = Timestamp::from_millis(1_795_231_096_429);

const LOG: EventLog<i64, i64> = EventLog::new("log", |sum: &mut i64, event| {
    *sum = sum.wrapping_add(*event)
})
.snapshot_every(2);
const HITS: TimeSeries<u64> =
    TimeSeries::new("hits", Granularity::Minute, |sum: &mut u64, more| {
        *sum = sum.wrapping_add(more);
    });
const JOBS: Alarms<Job> = Alarms::new().most_per_wake(4);
const ACTION: ActionKey<Job> = ActionKey::new();
const IDLE: Deadline = Deadline::new("idle");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Job {
    Tidy,
    Fail,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Phase {
    Open,
    Paid { amount: u64 },
    Closed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Pay,
    Close,
}

machine! {
    /// An order with data in a state, and a timeout.
    PHASES: Phase, Event {
        Open   => { Pay => pay -> Paid, Close => Closed } after "1d" => Close
        Paid   => { Close => Closed }
    }
}

fn pay(_: &Phase, _: &Event) -> Phase {
    Phase::Paid { amount: 1 }
}

#[derive(Schema)]
#[schema(version = 2)]
struct Stored {
    sum: u64,
}

async fn double(mut step: Step<'_>) -> dokit_storage::Result<()> {
    let sum: u64 = step.get("sum").await?.unwrap_or(0);
    step.put("sum", &sum.saturating_mul(2)).await
}

/// Keys with values, one a line with a tab between: whatever stands in a store, the library's own records
/// among it, is read or refused, and what is due ends.
pub fn records(bytes: &[u8]) {
    let Some((batch, _)) = read(bytes) else {
        return;
    };
    block_on(async {
        let mut store = Memory::new();
        if store.commit(batch).await.is_err() {
            return;
        }
        let _ = LOG.state(&store).await;
        if let Ok(number) = LOG.append(&mut store, &1).await {
            assert_eq!(LOG.len(&store).await.unwrap(), number);
            let last = LOG.events(&store, number - 1, 1).await.unwrap();
            assert_eq!(last, [(number, 1)]);
        }
        let _ = LOG.rebuild(&mut store).await;
        let _ = HITS.record(&mut store, NOW, 1).await;
        let day = NOW..NOW.saturating_add(Duration::from_secs(86_400));
        let _ = HITS.query(&store, Granularity::Hour, day).await;
        let _ = HITS.roll_up(&mut store, Granularity::Day, NOW).await;
        let _ = HITS.prune(&mut store, Granularity::Minute, NOW).await;

        let machine = PHASES.persisted();
        let _ = machine.history(&store).await;
        if let Ok(before) = machine.state(&store).await
            && let Ok(after) = machine.send(&mut store, NOW, &Event::Close).await
        {
            assert_eq!(after, Phase::Closed);
            assert_ne!(before, Phase::Closed);
            assert_eq!(machine.state(&store).await.unwrap(), after);
        }
        let _ = machine.send_once(&mut store, NOW, "id", &Event::Pay).await;
        let _ = machine.expire(&mut store, NOW).await;

        let _ = ACTION.dead(&store).await;
        let _ = ACTION
            .handle(&mut store, NOW, async |_, job| run(job))
            .await;
        let _ = IDLE.take(&mut store, NOW).await;
        let _ = wakes(&store).await;
        if let Ok(id) = JOBS.schedule(&mut store, NOW, "1s", &Job::Fail).await {
            let job = JOBS.get(&store, &id).await.unwrap().unwrap();
            assert_eq!(job.json(), "\"Fail\"");
        }
        let _ = JOBS.list(&store).await;
        let _ = JOBS.dead(&store).await;
        let mut now = NOW;
        for _ in 0..20 {
            let Ok(report) = JOBS
                .run_due(&mut store, now, async |_, due| run(due.action))
                .await
            else {
                break;
            };
            assert!(report.ran.len() <= 4);
            let Some(next) = report.next else {
                break;
            };
            now = now.max(next);
        }
        let migrations = Migrations::new().step(1, double);
        let mut storage = TypedStorage::<Stored, _>::new(store);
        let _ = storage.get(Stored::SUM).await;
        if storage.migrate(&migrations).await.is_ok() {
            let again = storage.migrate(&migrations).await.unwrap();
            assert_eq!(again, dokit_storage::Migrated::Current);
        }
    });
}

fn run(job: Job) -> Result<(), Failure> {
    match job {
        Job::Tidy => Ok(()),
        Job::Fail => Err(std::io::Error::other("planned").into()),
    }
}

#[rpc]
trait KeeperApi {
    async fn push(&mut self, number: i64) -> Result<usize>;
    async fn send(&mut self) -> Result<()>;
    async fn look(&self) -> Result<usize>;
    async fn clean(&mut self) -> Result<()>;
}

struct Keeper {
    ctx: Context,
    numbers: State<Vec<i64>>,
}

#[durable_object(state = numbers)]
impl DurableObject for Keeper {
    type Api = KeeperApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let numbers = ctx.state(Vec::new).load().await?;
        Ok(Self { ctx, numbers })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.numbers.push(0);
        Ok(())
    }
}

impl KeeperApi for Keeper {
    async fn push(&mut self, number: i64) -> Result<usize> {
        self.numbers.push(number);
        Ok(self.numbers.len())
    }

    async fn send(&mut self) -> Result<()> {
        let other = self.ctx.namespace::<Self>().get_by_name("other");
        let call = async |other| KeeperApiClient::new(other).push(1).await;
        self.ctx.after_commit(&other, call).await
    }

    async fn look(&self) -> Result<usize> {
        self.ctx.failed_alarm().await?;
        Ok(self.ctx.undelivered().await?.len())
    }

    async fn clean(&mut self) -> Result<()> {
        for dead in self.ctx.undelivered().await? {
            self.ctx.revive_undelivered(dead.number).await?;
        }
        Ok(())
    }
}

/// The same for what stands in the storage of an object, with an alarm.
pub fn object_records(bytes: &[u8]) {
    let Some((mut batch, alarm)) = read(bytes) else {
        return;
    };
    batch.set_alarm(alarm);
    block_on(async {
        let host = TestHost::new().object::<Keeper>();
        let keepers = host.namespace::<Keeper>();
        let mut disk = host.disk::<Keeper>(&keepers.id_from_name("k"));
        if disk.commit(batch).await.is_err() {
            return;
        }
        host.settle().await;
        let keeper = KeeperApiClient::new(keepers.get_by_name("k"));
        let before = disk.get("state").await.unwrap();
        let pushed = keeper.push(7).await;
        let stored = disk.get("state").await.unwrap();
        match pushed {
            Ok(count) => {
                let numbers: Vec<i64> = serde_json::from_str(&stored.unwrap()).unwrap();
                assert_eq!((numbers.len(), numbers.last()), (count, Some(&7)));
            }
            // It did not wake, and what it could not read is as it was.
            Err(_) => assert_eq!(stored, before),
        }
        let _ = keeper.look().await;
        let _ = keeper.send().await;
        let _ = keeper.clean().await;
        let mut request = Request::new(bytes::Bytes::from_static(b"[1]"));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = http::Uri::from_static("/keeper/k/push");
        let key = HeaderValue::from_static("key");
        request.headers_mut().insert("idempotency-key", key);
        let first = host.handle(request.clone()).await;
        let second = host.handle(request).await;
        if first.status() == 200 {
            assert_eq!(first.body(), second.body());
        }
        host.advance("2h").await;
    });
}

/// The keys with their values, and the time that the last line says, where it is one.
fn read(bytes: &[u8]) -> Option<(Batch, Timestamp)> {
    let text = str::from_utf8(bytes).ok()?;
    let mut batch = Batch::new();
    let mut alarm = NOW;
    for line in text.lines() {
        match line.split_once('\t') {
            Some((key, value)) => batch.put(key, value),
            None => alarm = Timestamp::from_millis(line.parse().ok()?),
        }
    }
    Some((batch, alarm))
}
