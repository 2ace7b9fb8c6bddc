//! Calls on their way, beside the object's alarm.

use dokit_client::rpc;
use dokit_object::{
    Clock, Context, DurableObject, Result, durable_object,
    testing::{TestHost, block_on},
};
use dokit_storage::{Batch, Store, Timestamp};

use crate::{Depot, DepotApiClient, both};

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
