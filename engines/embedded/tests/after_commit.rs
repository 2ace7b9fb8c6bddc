//! Calls that were handed over and are on their way when the process ends.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::path::Path;

use dokit_client::rpc;
use dokit_embedded::Host;
use dokit_object::{
    Alarm, Clock, Context, DurableObject, Result, State, Storage, Stub, durable_object,
    testing::ManualClock,
};
use dokit_storage::Timestamp;
use tempfile::tempdir;
use tokio::{
    runtime::{Builder, Runtime},
    sync::Semaphore,
};

#[rpc]
trait SenderApi {
    /// Has the receiver take these, after the commit.
    async fn send(&mut self, items: Vec<String>) -> Result<()>;
    async fn ring_at(&mut self, at: Timestamp) -> Result<()>;
}

/// What both kinds of senders do.
struct Sending(Context);

impl SenderApi for Sending {
    async fn send(&mut self, items: Vec<String>) -> Result<()> {
        let receiver = self.0.namespace::<Receiver>().get_by_name("r");
        for item in items {
            let take = async |receiver| ReceiverApiClient::new(receiver).take(item).await;
            self.0.after_commit(&receiver, take).await?;
        }
        Ok(())
    }

    async fn ring_at(&mut self, at: Timestamp) -> Result<()> {
        Ok(Storage::set_alarm(&mut self.0.storage(), at).await?)
    }
}

macro_rules! sender {
    ($name:ident, $sql:literal) => {
        struct $name(Sending);

        #[durable_object]
        impl DurableObject for $name {
            const SQL: bool = $sql;

            type Api = SenderApiServer;

            async fn new(ctx: Context) -> Result<Self> {
                Ok(Self(Sending(ctx)))
            }

            async fn alarm(&mut self, _: Alarm) -> Result<()> {
                Ok(())
            }
        }

        impl SenderApi for $name {
            async fn send(&mut self, items: Vec<String>) -> Result<()> {
                self.0.send(items).await
            }

            async fn ring_at(&mut self, at: Timestamp) -> Result<()> {
                self.0.ring_at(at).await
            }
        }
    };
}

sender!(KeySender, false);
sender!(SqlSender, true);

struct Receiver {
    items: State<Vec<String>>,
}

#[rpc]
trait ReceiverApi {
    async fn take(&mut self, item: String) -> Result<()>;
    async fn items(&self) -> Result<Vec<String>>;
}

/// Says that a call has come that hangs.
static HANGS: Semaphore = Semaphore::const_new(0);

/// How many calls are not to hang.
static GATE: Semaphore = Semaphore::const_new(0);

#[durable_object(state = items)]
impl DurableObject for Receiver {
    type Api = ReceiverApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let items = ctx.state(Vec::new).load().await?;
        Ok(Self { items })
    }
}

impl ReceiverApi for Receiver {
    async fn take(&mut self, item: String) -> Result<()> {
        HANGS.add_permits(1);
        GATE.acquire().await.unwrap().forget();
        self.items.push(item);
        Ok(())
    }

    async fn items(&self) -> Result<Vec<String>> {
        Ok(self.items.clone())
    }
}

/// A host on a runtime of its own: to drop the runtime with all that runs on it is the crash.
fn start(data: &Path, clock: &ManualClock) -> (Runtime, Host) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let inside = runtime.enter();
    let host = Host::builder()
        .data(data)
        .object::<KeySender>()
        .object::<SqlSender>()
        .object::<Receiver>()
        .clock(clock.clone())
        .start()
        .unwrap();
    drop(inside);
    (runtime, host)
}

fn sender<T: DurableObject>(host: &Host, name: &str) -> SenderApiClient<Stub> {
    SenderApiClient::new(host.namespace::<T>().get_by_name(name))
}

fn comes_again<T: DurableObject>() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let (runtime, host) = start(data.path(), &clock);
    let items = vec!["a".to_owned(), "b".to_owned()];
    let sender = sender::<T>(&host, "s");
    runtime.block_on(async {
        sender.send(items.clone()).await.unwrap();
        // What is on its way is on disk.
        HANGS.acquire().await.unwrap().forget();
    });
    drop((sender, host, runtime));

    GATE.add_permits(items.len());
    let (runtime, host) = start(data.path(), &clock);
    let receiver = ReceiverApiClient::new(host.namespace::<Receiver>().get_by_name("r"));
    runtime.block_on(async {
        // No time passes.
        host.alarms_settled().await;
        assert_eq!(receiver.items().await.unwrap(), items);
        let once = "dokit_deliveries_total{result=\"made\"} 2\n";
        let metrics = host.metrics();
        assert!(metrics.contains(once), "{metrics}");
        assert!(metrics.contains("dokit_deliveries_total{result=\"failed\"} 0\n"));
        HANGS.acquire_many(2).await.unwrap().forget();
    });
}

#[test]
fn what_was_on_its_way_when_the_process_ended_is_sent_again_by_the_next() {
    comes_again::<KeySender>();
    comes_again::<SqlSender>();
}

#[test]
fn an_object_that_has_handed_nothing_over_is_not_woken_by_the_start() {
    let (data, clock) = (tempdir().unwrap(), ManualClock::new());
    let (runtime, host) = start(data.path(), &clock);
    let soon = Timestamp::from_millis(clock.now().as_millis() + 1000);
    runtime.block_on(async {
        let sender = sender::<KeySender>(&host, "s");
        sender.ring_at(soon).await.unwrap();
    });
    drop((host, runtime));
    let (runtime, host) = start(data.path(), &clock);
    runtime.block_on(async {
        host.alarms_settled().await;
        assert!(host.metrics().contains("\ndokit_objects_awake 0\n"));
    });
}
