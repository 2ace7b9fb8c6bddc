//! Calls that are handed over, to be made after the commit.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use dokit_client::{CallError, rpc};
use dokit_object::{
    Alarm, Clock, Context, DurableObject, Error, Namespace, Result, State, Stub, Undelivered,
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

#[test]
fn calls_are_made_in_order_also_when_the_first_is_tried_again() {
    both(async |kit| {
        kit.depot("d").refuse(503).await.unwrap();
        kit.order("d", &["a", "b"]).await;
        kit.order("e", &["c"]).await;
        kit.host.settle().await;
        kit.order("d", &["d"]).await;
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, [""; 0]);
        assert_eq!(
            kit.depot("d").tries().await.unwrap().len(),
            1,
            "the others wait"
        );
        assert_eq!(kit.items("e").await, ["c"], "another object does not");
        kit.depot("d").refuse(0).await.unwrap();
        kit.host.crash();
        kit.host.advance("3s").await;
        assert_eq!(kit.items("d").await, ["a", "b", "d"]);
        assert_eq!(kit.shop().undelivered().await.unwrap(), []);
    });
}

#[test]
fn many_calls_to_many_objects_are_all_made() {
    both(async |kit| {
        let items: Vec<String> = (0..100).map(|item| format!("{item}")).collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        kit.order("d", &items).await;
        for depot in 0..100 {
            kit.order(&format!("depot-{depot}"), &["x"]).await;
        }
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, items);
        for depot in 0..100 {
            assert_eq!(kit.items(&format!("depot-{depot}")).await, ["x"]);
        }
        // Nothing is left to do, nor to wake for.
        assert_eq!(kit.disk().alarm().await.unwrap(), None);
    });
}

#[test]
fn a_call_whose_tries_are_used_up_is_kept_and_the_next_is_made() {
    both(async |kit| {
        kit.depot("d").refuse(500).await.unwrap();
        kit.order("d", &["a", "b"]).await;
        kit.host.advance("12h").await;
        let tries = kit.depot("d").tries().await.unwrap();
        assert_eq!(tries.len(), 32);
        let waits: Vec<u64> = tries[..16]
            .windows(2)
            .map(|pair| pair[1].saturating_duration_since(pair[0]).as_secs())
            .collect();
        for (at, wait) in waits.iter().enumerate() {
            let base = (2 << at.min(20)).min(3600);
            assert!((base..=base * 5 / 4).contains(wait), "{waits:?}");
        }
        let error = "closed (500): the depot is closed".to_owned();
        assert_eq!(
            kit.shop().undelivered().await.unwrap(),
            [
                (1, "d [\"a\"]".to_owned(), 16, error.clone()),
                (2, "d [\"b\"]".to_owned(), 16, error)
            ]
        );
        kit.depot("d").refuse(0).await.unwrap();
        kit.order("d", &["c"]).await;
        assert!(kit.shop().revive(2).await.unwrap());
        assert!(!kit.shop().revive(2).await.unwrap());
        assert!(kit.shop().forget(1).await.unwrap());
        kit.host.crash();
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, ["c", "b"]);
        assert_eq!(kit.shop().undelivered().await.unwrap(), []);
    });
}

#[test]
fn a_refusal_is_final_unless_it_says_not_now() {
    both(async |kit| {
        for (status, is_final) in [(404, true), (409, true), (408, false), (429, false)] {
            let depot = format!("depot-{status}");
            kit.depot(&depot).refuse(status).await.unwrap();
            kit.order(&depot, &["x"]).await;
            kit.host.settle().await;
            let undelivered = kit.shop().undelivered().await.unwrap();
            let kept = undelivered.iter().any(|dead| dead.1.starts_with(&depot));
            assert_eq!(kept, is_final, "{status}");
        }
    });
}

/// What the receiver answered is lost, and the call is made again: it runs once.
#[test]
fn a_call_whose_answer_was_lost_runs_once() {
    both(async |kit| {
        kit.order("d", &["a", "b"]).await;
        // The next commit, which takes note of what is on its way, is written; what became of it is not.
        kit.disk().fail_commits_from(2);
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, ["a", "b"]);
        let again = kit.disk().alarm().await.unwrap().unwrap();
        let now = kit.host.clock().now();
        assert_eq!(again.saturating_duration_since(now).as_secs(), 60);
        kit.disk().heal();
        kit.order("d", &["c"]).await;
        kit.host.settle().await;
        assert_eq!(
            kit.items("d").await,
            ["a", "b"],
            "it may still be on its way"
        );
        kit.host.advance("2m").await;
        assert_eq!(kit.items("d").await, ["a", "b", "c"]);
        assert_eq!(kit.disk().alarm().await.unwrap(), None);
    });
}

/// Nothing that is on its way outlives a crash, so none of it is waited for.
#[test]
fn a_call_that_was_on_its_way_at_a_crash_is_made_again_at_once() {
    for alarm in [None, Some(30_000), Some(0)] {
        both(async |kit| {
            kit.order("d", &["a", "b"]).await;
            // What is on its way is written, and what became of it not.
            kit.disk().fail_commits_from(2);
            kit.host.settle().await;
            kit.disk().heal();
            let start = kit.host.clock().now().as_millis();
            if let Some(alarm) = alarm {
                kit.shop().set_alarm(alarm).await.unwrap();
            }
            kit.host.crash();
            kit.host.settle().await;
            assert_eq!(kit.items("d").await, ["a", "b"]);
            // The alarm's handler fails the first time.
            let next = alarm.map(|alarm| start + alarm.max(2000));
            let set = kit.disk().alarm().await.unwrap();
            let slack = |at: Timestamp| at.as_millis() - next.unwrap();
            assert_eq!(set.is_some(), alarm.is_some(), "{set:?}");
            assert!(
                set.is_none_or(|at| (0..1000).contains(&slack(at))),
                "{set:?}"
            );
            kit.host.advance("1m").await;
            let rung = usize::from(alarm.is_some());
            assert_eq!(kit.shop().rung().await.unwrap().len(), rung);
        });
    }
}

#[test]
fn a_call_that_waits_for_its_next_try_waits_after_a_crash_too() {
    both(async |kit| {
        kit.depot("d").refuse(503).await.unwrap();
        kit.order("d", &["a"]).await;
        kit.host.settle().await;
        kit.host.crash();
        kit.host.settle().await;
        kit.order("e", &["b"]).await;
        kit.host.settle().await;
        assert_eq!(kit.depot("d").tries().await.unwrap().len(), 1);
        kit.host.advance("3s").await;
        assert_eq!(kit.depot("d").tries().await.unwrap().len(), 2);
    });
}

#[test]
fn a_call_that_is_handed_over_twice_with_a_key_of_the_users_own_runs_once() {
    both(async |kit| {
        for (key, item) in [("1", "a"), ("1", "a"), ("2", "a"), ("1", "b")] {
            let shop = kit.shop();
            shop.order_once(key.to_owned(), item.to_owned())
                .await
                .unwrap();
            kit.host.settle().await;
        }
        assert_eq!(kit.items("d").await, ["a", "a"]);
        // The same key for another call is a mistake, and told.
        let undelivered = kit.shop().undelivered().await.unwrap();
        assert_eq!(undelivered.len(), 1);
        assert_eq!(undelivered[0].1, "d [\"b\"]");
    });
}

/// At every commit of the sender there may be a crash.
#[test]
fn wherever_the_disk_breaks_every_call_is_made_once_in_order() {
    for broken in 1..12 {
        both(async |kit| {
            kit.depot("e").refuse(429).await.unwrap();
            kit.disk().fail_commit(broken);
            let mut ordered = Vec::new();
            for item in ["a", "b", "c", "d"] {
                let items = vec![item.to_owned()];
                let shop = kit.shop();
                if shop.order("d".to_owned(), items.clone()).await.is_ok() {
                    ordered.push(item);
                }
                // It does not stand in the way.
                let _ = shop.order("e".to_owned(), items).await;
                kit.host.settle().await;
                kit.host.crash();
            }
            kit.host.advance("10m").await;
            assert_eq!(kit.items("d").await, ordered, "commit {broken} failed");
        });
    }
}

#[test]
fn the_alarm_of_the_user_rings_at_its_time_also_when_its_handler_fails_and_hands_calls_over() {
    both(async |kit| {
        kit.depot("d").refuse(503).await.unwrap();
        let start = kit.host.clock().now().as_millis();
        kit.order("d", &["a"]).await;
        kit.shop().set_alarm(30_000).await.unwrap();
        kit.order("d", &["b"]).await;
        let set = kit.shop().alarm_time().await.unwrap();
        assert_eq!(set.map(Timestamp::as_millis), Some(start + 30_000));
        kit.host.advance("29s").await;
        assert_eq!(kit.shop().rung().await.unwrap(), [0; 0]);
        kit.host.advance("1s").await;
        assert_eq!(kit.items("by-alarm").await, [""; 0], "the handler failed");
        let again = kit.shop().alarm_time().await.unwrap().unwrap();
        assert!(again.as_millis() >= start + 32_000, "{again}");
        kit.host.advance("3s").await;
        assert_eq!(kit.shop().rung().await.unwrap(), [start + 30_000]);
        assert_eq!(kit.items("by-alarm").await, ["bell"]);
        assert_eq!(kit.shop().alarm_time().await.unwrap(), None);
        // An alarm that is set to the very moment at which a call is due.
        kit.depot("d").refuse(0).await.unwrap();
        kit.shop().set_alarm(0).await.unwrap();
        kit.order("f", &["x"]).await;
        kit.host.settle().await;
        assert_eq!(kit.shop().rung().await.unwrap().len(), 2);
        assert_eq!(kit.items("f").await, ["x"]);
        kit.host.advance("1h").await;
        assert_eq!(kit.items("d").await, ["a", "b"]);
        assert_eq!(kit.shop().rung().await.unwrap().len(), 2);
    });
}

#[test]
fn deleting_everything_deletes_what_has_not_been_made_and_numbers_begin_anew() {
    both(async |kit| {
        kit.depot("d").refuse(503).await.unwrap();
        kit.order("d", &["gone"]).await;
        kit.host.settle().await;
        kit.shop().delete_all().await.unwrap();
        assert_eq!(kit.disk().alarm().await.unwrap(), None);
        kit.depot("d").refuse(0).await.unwrap();
        kit.order("d", &["new"]).await;
        kit.host.advance("10m").await;
        assert_eq!(kit.items("d").await, ["new"]);
    });
}

/// As after a restore by hand: the engine's alarm stands for nothing.
#[test]
fn an_alarm_that_nothing_is_due_for_is_set_right_and_does_not_ring_without_end() {
    both(async |kit| {
        kit.order("d", &["a"]).await;
        kit.host.settle().await;
        for alarm in [None, Some(60_000)] {
            if let Some(millis) = alarm {
                kit.shop().set_alarm(millis).await.unwrap();
            }
            let mut batch = Batch::new();
            batch.set_alarm(kit.host.clock().now());
            kit.disk().commit(batch).await.unwrap();
            let expected = kit.shop().alarm_time().await.unwrap();
            kit.host.settle().await;
            assert_eq!(kit.disk().alarm().await.unwrap(), expected);
        }
    });
}

#[test]
fn what_becomes_of_a_call_is_not_taken_for_that_of_another_which_has_its_number_since() {
    both(async |kit| {
        kit.order("d", &["begin anew"]).await;
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, ["begin anew"]);
        assert_eq!(kit.items("e").await, ["new"]);
    });
}

#[test]
fn what_cannot_be_handed_over_fails_the_call() {
    both(async |kit| {
        for (how, status, code) in [
            ("name", 500, "internal"),
            ("size", 413, "value_too_large"),
            ("none", 500, "internal"),
            ("two", 500, "internal"),
        ] {
            let failed = kit.shop().order_badly(how.to_owned()).await.unwrap_err();
            assert_eq!(
                (failed.status(), failed.code().as_deref()),
                (Some(status), Some(code))
            );
        }
        let failed = kit.shop().order_while_reading().await.unwrap_err();
        assert_eq!(failed.code().as_deref(), Some("internal"));
        let failed = kit.shop().write("__outbox".to_owned()).await.unwrap_err();
        assert_eq!(failed.code().as_deref(), Some("internal"));
        kit.host.advance("1h").await;
        assert_eq!(kit.items("d").await, [""; 0]);
        kit.depot("d").refuse(503).await.unwrap();
        let many: Vec<String> = (0..1000).map(|item| format!("{item}")).collect();
        kit.shop().order("d".to_owned(), many).await.unwrap();
        let more = vec!["one more".to_owned()];
        let full = kit.shop().order("d".to_owned(), more).await.unwrap_err();
        assert_eq!(full.code().as_deref(), Some("outbox_full"));
    });
}

/// An object that has no alarm handler of its own hands calls over too.
struct Teller {
    ctx: Context,
}

#[rpc]
trait TellerApi {
    async fn tell(&mut self, item: String) -> Result<()>;
}

#[durable_object]
impl DurableObject for Teller {
    type Api = TellerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }
}

impl TellerApi for Teller {
    async fn tell(&mut self, item: String) -> Result<()> {
        let depot = self.ctx.namespace::<Depot>().get_by_name("d");
        let call = async |depot| DepotApiClient::new(depot).take(item).await;
        self.ctx.after_commit(&depot, call).await
    }
}

#[test]
fn an_object_without_an_alarm_handler_hands_calls_over_too() {
    block_on(async {
        let host = TestHost::new().object::<Teller>().object::<Depot>();
        let teller = TellerApiClient::new(host.namespace::<Teller>().get_by_name("t"));
        teller.tell("hello".to_owned()).await.unwrap();
        host.settle().await;
        let depot = DepotApiClient::new(host.namespace::<Depot>().get_by_name("d"));
        assert_eq!(depot.items().await.unwrap(), ["hello"]);
    });
}
