//! Calls that are handed over, to be made after the commit.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

mod alarms;
mod crashes;
mod tries;

use dokit_client::{CallError, rpc};
use dokit_object::{
    Alarm, Context, DurableObject, Error, Namespace, Result, State, Stub, Undelivered,
    durable_object,
    testing::{Disk, TestHost, block_on},
};
use dokit_storage::{Batch, Faults, Store, Timestamp};
use serde::{Deserialize, Serialize};

/// It takes orders, and tells a [`Store`] of each.
struct Shop {
    ctx: Context,
    rung: State<Vec<i64>>,
}

#[rpc]
trait ShopApi {
    async fn order(&mut self, depot: String, items: Vec<String>) -> Result<()>;
    async fn order_once(&mut self, key: String, item: String) -> Result<()>;
    async fn order_badly(&mut self, how: String) -> Result<()>;
    async fn order_while_reading(&self) -> Result<()>;
    async fn set_alarm(&mut self, millis: i64) -> Result<()>;
    async fn alarm_time(&self) -> Result<Option<Timestamp>>;
    async fn rung(&self) -> Result<Vec<i64>>;
    async fn undelivered(&self) -> Result<Vec<(u64, String, u32, String)>>;
    async fn revive(&mut self, number: u64) -> Result<bool>;
    async fn forget(&mut self, number: u64) -> Result<bool>;
    async fn delete_all(&mut self) -> Result<()>;
    async fn write(&mut self, key: String) -> Result<()>;
}

#[durable_object(state = rung)]
impl DurableObject for Shop {
    type Api = ShopApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let rung = ctx.state(Vec::new).load().await?;
        Ok(Self { ctx, rung })
    }

    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        self.rung.push(alarm.scheduled.as_millis());
        let depot = self.depot("by-alarm");
        let call = async |depot| DepotApiClient::new(depot).take("bell".to_owned()).await;
        self.ctx.after_commit(&depot, call).await?;
        if self.rung.len() == 1 && alarm.retry_count == 0 {
            return Err(Error::new(500, "planned", "planned failure"));
        }
        Ok(())
    }
}

impl Shop {
    fn depot(&self, name: &str) -> Stub {
        self.ctx.namespace::<Depot>().get_by_name(name)
    }
}

impl ShopApi for Shop {
    async fn order(&mut self, depot: String, items: Vec<String>) -> Result<()> {
        let depot = self.depot(&depot);
        for item in items {
            let call = async |depot| DepotApiClient::new(depot).take(item).await;
            self.ctx.after_commit(&depot, call).await?;
        }
        Ok(())
    }

    async fn order_once(&mut self, key: String, item: String) -> Result<()> {
        let call = async |depot| {
            let depot = DepotApiClient::new(depot).with_idempotency_key(key);
            depot.take(item).await
        };
        self.ctx.after_commit(&self.depot("d"), call).await
    }

    async fn order_badly(&mut self, how: String) -> Result<()> {
        let depot = self.depot(if how == "name" { "" } else { "d" });
        let call = async |depot| {
            let depot = DepotApiClient::new(depot);
            match &*how {
                "none" => return Ok(0),
                "two" => {
                    // Neither answer means anything.
                    let _ = depot.take("one".to_owned()).await;
                    let _ = depot.take("two".to_owned()).await;
                }
                _ => {}
            }
            depot
                .take("x".repeat(if how == "size" { 200_000 } else { 1 }))
                .await
        };
        self.ctx.after_commit(&depot, call).await
    }

    async fn order_while_reading(&self) -> Result<()> {
        let call = async |depot| DepotApiClient::new(depot).take("x".to_owned()).await;
        self.ctx.after_commit(&self.depot("d"), call).await
    }

    async fn set_alarm(&mut self, millis: i64) -> Result<()> {
        let mut batch = Batch::new();
        batch.set_alarm(Timestamp::from_millis(self.ctx.now().as_millis() + millis));
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn alarm_time(&self) -> Result<Option<Timestamp>> {
        Ok(self.ctx.storage().alarm().await?)
    }

    async fn rung(&self) -> Result<Vec<i64>> {
        Ok(self.rung.clone())
    }

    async fn undelivered(&self) -> Result<Vec<(u64, String, u32, String)>> {
        let told = |dead: Undelivered| {
            assert_eq!((&*dead.namespace, &*dead.method), ("depot", "take"));
            let depot = dead.id.name().unwrap_or_default();
            (
                dead.number,
                format!("{depot} {}", dead.arguments),
                dead.tries,
                dead.error,
            )
        };
        let undelivered = self.ctx.undelivered().await?;
        Ok(undelivered.into_iter().map(told).collect())
    }

    async fn revive(&mut self, number: u64) -> Result<bool> {
        self.ctx.revive_undelivered(number).await
    }

    async fn forget(&mut self, number: u64) -> Result<bool> {
        self.ctx.forget_undelivered(number).await
    }

    async fn delete_all(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete_all();
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn write(&mut self, key: String) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(key, "1");
        Ok(self.ctx.storage().commit(batch).await?)
    }
}

/// What a depot answers from now on, and what it took.
#[derive(Default, Serialize, Deserialize)]
struct Taken {
    refuse: u16,
    items: Vec<String>,
    tries: Vec<Timestamp>,
}

struct Depot {
    ctx: Context,
    taken: State<Taken>,
}

#[rpc]
trait DepotApi {
    async fn take(&mut self, item: String) -> Result<usize>;
    async fn refuse(&mut self, status: u16) -> Result<()>;
    async fn items(&self) -> Result<Vec<String>>;
    async fn tries(&self) -> Result<Vec<Timestamp>>;
}

#[durable_object(state = taken)]
impl DurableObject for Depot {
    type Api = DepotApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let taken = ctx.state(Taken::default).load().await?;
        Ok(Self { ctx, taken })
    }
}

impl DepotApi for Depot {
    async fn take(&mut self, item: String) -> Result<usize> {
        if self.taken.refuse > 0 {
            self.taken.tries.push(self.ctx.now());
            self.taken.save()?;
            self.ctx.commit().await?;
            let refused = self.taken.refuse;
            return Err(Error::new(refused, "closed", "the depot is closed"));
        }
        if item == "begin anew" {
            // While the shop waits to hear of this very call.
            let shop = self.ctx.namespace::<Shop>().get_by_name("s");
            let shop = ShopApiClient::new(shop);
            let failed = |error: CallError<Error>| Error::internal(error);
            shop.delete_all().await.map_err(failed)?;
            let order = shop.order("e".to_owned(), vec!["new".to_owned()]);
            order.await.map_err(failed)?;
        }
        self.taken.items.push(item);
        Ok(self.taken.items.len())
    }

    async fn refuse(&mut self, status: u16) -> Result<()> {
        self.taken.refuse = status;
        Ok(())
    }

    async fn items(&self) -> Result<Vec<String>> {
        Ok(self.taken.items.clone())
    }

    async fn tries(&self) -> Result<Vec<Timestamp>> {
        Ok(self.taken.tries.clone())
    }
}

struct Kit {
    host: TestHost,
    sleepy: bool,
}

impl Kit {
    fn objects<T: DurableObject>(&self) -> Namespace {
        if self.sleepy {
            self.host.sleep();
        }
        self.host.namespace::<T>()
    }

    fn shop(&self) -> ShopApiClient<Stub> {
        ShopApiClient::new(self.objects::<Shop>().get_by_name("s"))
    }

    fn depot(&self, name: &str) -> DepotApiClient<Stub> {
        DepotApiClient::new(self.objects::<Depot>().get_by_name(name))
    }

    fn disk(&self) -> Faults<Disk> {
        let id = self.host.namespace::<Shop>().id_from_name("s");
        self.host.disk::<Shop>(&id)
    }

    async fn order(&self, depot: &str, items: &[&str]) {
        let items = items.iter().map(|item| (*item).to_owned()).collect();
        self.shop().order(depot.to_owned(), items).await.unwrap();
    }

    async fn items(&self, depot: &str) -> Vec<String> {
        self.depot(depot).items().await.unwrap()
    }
}

fn both(test: impl AsyncFn(Kit)) {
    for sleepy in [false, true] {
        let host = TestHost::new().object::<Shop>().object::<Depot>();
        block_on(test(Kit { host, sleepy }));
    }
}
