//! What an object may count on of its typed state.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use dokit_client::{CallError, rpc};
use dokit_object::{
    Alarm, Context, DurableObject, Error, Request, Response, Result, State, durable_object,
    testing::{Disk, TestHost, block_on},
};
use dokit_storage::{Batch, Faults, Migrations, Schema, Step, Store, TypedStorage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, Serialize, Deserialize)]
struct Items {
    names: Vec<String>,
    /// When it was made, which is at no two wakes the same.
    since: i64,
}

fn at_most_three(items: &Items) -> Result<(), String> {
    match items.names.len() {
        0..=3 => Ok(()),
        many => Err(format!("names: {many} are more than 3")),
    }
}

#[rpc]
trait CartApi {
    async fn add(&mut self, name: String) -> Result<usize>;
    async fn add_then_fail(&mut self, name: String) -> Result<()>;
    async fn add_then_panic(&mut self, name: String) -> Result<()>;
    async fn add_and_commit_then_fail(&mut self, early: String, late: String) -> Result<()>;
    async fn touch(&mut self) -> Result<()>;
    async fn nothing(&mut self) -> Result<()>;
    async fn write_its_key(&mut self) -> Result<()>;
    async fn delete_all(&mut self) -> Result<()>;
    async fn add_then_delete_all(&mut self, name: String) -> Result<()>;
    async fn delete_all_then_add(&mut self, name: String) -> Result<()>;
    async fn remind(&mut self) -> Result<()>;
    async fn names(&self) -> Result<Vec<String>>;
    async fn since(&self) -> Result<i64>;
}

struct Cart {
    ctx: Context,
    items: State<Items>,
}

#[durable_object(state = items)]
impl DurableObject for Cart {
    type Api = CartApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let own = ctx.clone();
        let begin = move || Items {
            names: vec![],
            since: own.now().as_millis(),
        };
        let items = ctx.state(begin).check(at_most_three).load().await?;
        Ok(Self { ctx, items })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        self.items.names.push(request.uri().path().to_owned());
        Ok(Response::default())
    }

    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        self.items.names.push("alarm".to_owned());
        if alarm.retry_count == 0 {
            return Err(planned());
        }
        Ok(())
    }
}

fn planned() -> Error {
    Error::new(418, "planned", "planned failure")
}

impl Cart {
    async fn wipe(&self) -> Result<()> {
        Ok(self.ctx.storage().delete_all().await?)
    }
}

impl CartApi for Cart {
    async fn add(&mut self, name: String) -> Result<usize> {
        self.items.names.push(name);
        Ok(self.items.names.len())
    }

    async fn add_then_fail(&mut self, name: String) -> Result<()> {
        self.items.names.push(name);
        Err(planned())
    }

    async fn add_then_panic(&mut self, name: String) -> Result<()> {
        self.items.names.push(name);
        panic!("planned panic");
    }

    async fn add_and_commit_then_fail(&mut self, early: String, late: String) -> Result<()> {
        self.items.names.push(early);
        self.items.save()?;
        self.items.names.push(late);
        self.ctx.commit().await?;
        Err(planned())
    }

    async fn touch(&mut self) -> Result<()> {
        self.items.names.retain(|_| true);
        Ok(())
    }

    async fn nothing(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_its_key(&mut self) -> Result<()> {
        let mut batch = Batch::new();
        batch.put("state", "1");
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn delete_all(&mut self) -> Result<()> {
        self.wipe().await
    }

    async fn add_then_delete_all(&mut self, name: String) -> Result<()> {
        self.items.names.push(name);
        self.wipe().await
    }

    async fn delete_all_then_add(&mut self, name: String) -> Result<()> {
        self.wipe().await?;
        self.items.names.push(name);
        Ok(())
    }

    async fn remind(&mut self) -> Result<()> {
        Ok(self.ctx.storage().set_alarm(self.ctx.now()).await?)
    }

    async fn names(&self) -> Result<Vec<String>> {
        Ok(self.items.names.clone())
    }

    async fn since(&self) -> Result<i64> {
        Ok(self.items.since)
    }
}

struct Kit {
    host: TestHost,
    /// Whether the object sleeps between any two calls.
    sleepy: bool,
}

impl Kit {
    fn cart(&self) -> CartApiClient<dokit_object::Stub> {
        if self.sleepy {
            self.host.sleep();
        }
        CartApiClient::new(self.host.namespace::<Cart>().get_by_name("c"))
    }

    fn disk(&self) -> Faults<Disk> {
        let id = self.host.namespace::<Cart>().id_from_name("c");
        self.host.disk::<Cart>(&id)
    }

    async fn stored(&self) -> Option<String> {
        self.disk().get("state").await.unwrap()
    }

    async fn names(&self) -> Vec<String> {
        self.cart().names().await.unwrap()
    }
}

/// Each test runs awake, and with sleep between any two calls.
fn both(test: impl AsyncFn(Kit)) {
    for sleepy in [false, true] {
        let host = TestHost::new().object::<Cart>();
        block_on(test(Kit { host, sleepy }));
    }
}

fn code(error: &CallError<Error>) -> (Option<u16>, String) {
    (
        error.status(),
        error.code().unwrap_or_default().into_owned(),
    )
}

#[test]
fn what_a_call_made_of_the_state_is_there_after_a_crash() {
    both(async |kit| {
        assert_eq!(kit.cart().add("tea".into()).await.unwrap(), 1);
        assert_eq!(kit.cart().add("milk".into()).await.unwrap(), 2);
        kit.host.crash();
        assert_eq!(kit.names().await, ["tea", "milk"]);
        let request = Request::new(bytes::Bytes::new());
        let (mut head, body) = request.into_parts();
        head.uri = "/cart/c/by-fetch".parse().unwrap();
        let answer = kit.host.handle(Request::from_parts(head, body)).await;
        assert_eq!(answer.status(), 200);
        kit.host.crash();
        assert_eq!(kit.names().await, ["tea", "milk", "/by-fetch"]);
    });
}

#[test]
fn a_call_that_fails_leaves_the_state_as_it_was() {
    both(async |kit| {
        kit.cart().add("tea".into()).await.unwrap();
        let failed = kit.cart().add_then_fail("no".into()).await.unwrap_err();
        assert_eq!(code(&failed), (Some(418), "planned".to_owned()));
        assert_eq!(kit.names().await, ["tea"]);
        kit.cart().add_then_panic("no".into()).await.unwrap_err();
        assert_eq!(kit.names().await, ["tea"]);
        kit.disk().fail_commits_from(1);
        let failed = kit.cart().add("no".into()).await.unwrap_err();
        assert_eq!(code(&failed).1, "commit_failed");
        kit.disk().heal();
        assert_eq!(kit.names().await, ["tea"]);
    });
}

#[test]
fn an_alarm_that_fails_leaves_the_state_as_it_was_and_its_retry_changes_it_once() {
    both(async |kit| {
        kit.cart().remind().await.unwrap();
        kit.host.settle().await;
        assert_eq!(kit.names().await, [""; 0]);
        kit.host.advance("10s").await;
        assert_eq!(kit.names().await, ["alarm"]);
    });
}

#[test]
fn an_early_commit_holds_the_state_as_it_was_saved() {
    both(async |kit| {
        let cart = kit.cart();
        let failed = cart.add_and_commit_then_fail("early".into(), "late".into());
        assert_eq!(code(&failed.await.unwrap_err()).1, "planned");
        kit.host.crash();
        assert_eq!(kit.names().await, ["early"]);
    });
}

#[test]
fn a_state_that_the_check_refuses_fails_the_call_and_nothing_of_it_remains() {
    both(async |kit| {
        for name in ["a", "b", "c"] {
            kit.cart().add(name.into()).await.unwrap();
        }
        let refused = kit.cart().add("d".into()).await.unwrap_err();
        let CallError::Object(error) = &refused else {
            panic!("{refused:?}");
        };
        let reply = error.clone().into_reply();
        assert_eq!(reply.status, 400);
        let body: Value = serde_json::from_str(&reply.to_body()).unwrap();
        assert_eq!(
            body,
            json!({
                "error": "invalid state: names: 4 are more than 3",
                "code": "invalid_state",
                "details": {"reason": "names: 4 are more than 3"},
            })
        );
        assert_eq!(kit.names().await, ["a", "b", "c"]);
    });
}

#[test]
fn a_state_over_the_size_limit_fails_the_call_with_the_sizes() {
    both(async |kit| {
        kit.cart().add("small".into()).await.unwrap();
        let refused = kit.cart().add("x".repeat(200_000)).await.unwrap_err();
        assert_eq!(code(&refused), (Some(413), "value_too_large".to_owned()));
        assert!(refused.to_string().contains("131072"), "{refused}");
        assert_eq!(kit.names().await, ["small"]);
    });
}

#[test]
fn a_call_that_changes_nothing_writes_nothing() {
    both(async |kit| {
        kit.cart().add("tea".into()).await.unwrap();
        let before = kit.disk().commits();
        kit.cart().nothing().await.unwrap();
        kit.cart().touch().await.unwrap();
        kit.names().await;
        assert_eq!(kit.disk().commits(), before);
    });
}

#[test]
fn the_first_value_is_stored_with_the_first_exclusive_call_and_not_by_a_read() {
    both(async |kit| {
        kit.cart().since().await.unwrap();
        assert_eq!(kit.disk().commits(), 0, "an object that was only read");
        kit.cart().add_then_fail("no".into()).await.unwrap_err();
        assert_eq!(kit.stored().await, None);
        kit.cart().nothing().await.unwrap();
        let since = kit.cart().since().await.unwrap();
        kit.host.advance("1h").await;
        kit.host.crash();
        assert_eq!(kit.cart().since().await.unwrap(), since);
    });
}

#[test]
fn deleting_everything_deletes_the_state_unless_it_is_changed_after_that() {
    both(async |kit| {
        for delete in ["before", "after", "alone"] {
            kit.cart().add("old".into()).await.unwrap();
            match delete {
                "before" => kit.cart().delete_all_then_add("new".into()).await.unwrap(),
                "after" => kit.cart().add_then_delete_all("gone".into()).await.unwrap(),
                _ => kit.cart().delete_all().await.unwrap(),
            }
            if delete == "before" {
                assert_eq!(kit.names().await, ["old", "new"]);
                kit.cart().delete_all().await.unwrap();
            }
            assert_eq!(kit.stored().await, None, "{delete}");
            assert_eq!(kit.names().await, [""; 0], "{delete}");
        }
        kit.cart().add("again".into()).await.unwrap();
        kit.host.crash();
        assert_eq!(kit.names().await, ["again"]);
    });
}

#[test]
fn nobody_else_writes_the_key_of_the_state() {
    both(async |kit| {
        kit.cart().add("tea".into()).await.unwrap();
        let refused = kit.cart().write_its_key().await.unwrap_err();
        assert_eq!(code(&refused).1, "internal");
        assert_eq!(kit.names().await, ["tea"]);
    });
}

#[test]
fn a_stored_state_that_does_not_decode_or_is_refused_is_an_error_and_is_left_as_it_is() {
    let torn = [
        r#"{"names": ["tea"], "since": "noon"}"#,
        r#"{"names": ["tea"]"#,
        "null",
        r#"{"names": ["a", "b", "c", "d"], "since": 0}"#,
    ];
    for torn in torn {
        both(async |kit| {
            let mut disk = kit.disk();
            let mut batch = Batch::new();
            batch.put("state", torn);
            disk.commit(batch).await.unwrap();
            for _ in 0..2 {
                let failed = kit.cart().names().await.unwrap_err();
                assert_eq!(code(&failed), (Some(500), "internal".to_owned()));
                kit.cart().add("x".into()).await.unwrap_err();
            }
            assert_eq!(kit.stored().await.as_deref(), Some(torn));
        });
    }
}

/// What the log is told, which callers do not see.
#[test]
fn the_log_names_the_type_and_the_place_of_a_state_that_does_not_decode() {
    block_on(async {
        let error =
            dokit_storage::decode::<Items>("state", r#"{"names": ["tea", 2]}"#).unwrap_err();
        let log = Error::from(error).into_reply().log.unwrap();
        for part in ["\"state\"", "Items", "names[1]", "column 19"] {
            assert!(log.contains(part), "{part}: {log}");
        }
    });
}

#[rpc]
trait ProfileApi {
    async fn name(&self) -> Result<String>;
}

#[derive(Default, Serialize, Deserialize)]
struct Person {
    full_name: String,
}

#[derive(Schema)]
#[schema(version = 2)]
struct Versions {
    unused: (),
}

async fn join_the_names(mut step: Step<'_>) -> dokit_storage::Result<()> {
    #[derive(Deserialize)]
    struct Before {
        first: String,
        last: String,
    }
    if let Some(Before { first, last }) = step.get("state").await? {
        let full_name = format!("{first} {last}");
        step.put("state", &Person { full_name }).await?;
    }
    Ok(())
}

struct Profile {
    person: State<Person>,
}

#[durable_object(state = person)]
impl DurableObject for Profile {
    type Api = ProfileApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let mut storage = TypedStorage::<Versions, _>::new(ctx.storage());
        let migrations = Migrations::new().step(1, join_the_names);
        storage.migrate(&migrations).await?;
        let person = ctx.state(Person::default).load().await?;
        Ok(Self { person })
    }
}

impl ProfileApi for Profile {
    async fn name(&self) -> Result<String> {
        Ok(self.person.full_name.clone())
    }
}

#[test]
fn migrations_of_the_schema_change_the_shape_of_the_state() {
    block_on(async {
        let host = TestHost::new().object::<Profile>();
        let profiles = host.namespace::<Profile>();
        let mut disk = host.disk::<Profile>(&profiles.id_from_name("p"));
        let mut batch = Batch::new();
        batch.put("state", r#"{"first": "Ada", "last": "Lovelace"}"#);
        disk.commit(batch).await.unwrap();
        let profile = ProfileApiClient::new(profiles.get_by_name("p"));
        assert_eq!(profile.name().await.unwrap(), "Ada Lovelace");
        host.crash();
        assert_eq!(profile.name().await.unwrap(), "Ada Lovelace");
    });
}

#[rpc]
trait CountApi {
    async fn wakes(&self) -> Result<u32>;
}

/// It counts its wakes, in its state. The variable `ALSO` says what else it does.
struct Wakes {
    count: State<u32>,
}

#[durable_object(state = count)]
impl DurableObject for Wakes {
    type Api = CountApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let mut count = ctx.state(|| 0).load().await?;
        *count += 1;
        match ctx.variable("ALSO") {
            Some("twice") => drop(ctx.state(|| "second".to_owned()).load().await?),
            Some("wipe") => {
                let mut batch = Batch::new();
                batch.delete_all();
                ctx.storage().commit(batch).await?;
            }
            _ => {}
        }
        Ok(Self { count })
    }
}

impl CountApi for Wakes {
    async fn wakes(&self) -> Result<u32> {
        Ok(*self.count)
    }
}

/// It has a state and does not say where.
struct Lost {
    count: State<u32>,
}

#[durable_object]
impl DurableObject for Lost {
    type Api = CountApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let count = ctx.state(|| 0).load().await?;
        Ok(Self { count })
    }
}

impl CountApi for Lost {
    async fn wakes(&self) -> Result<u32> {
        Ok(*self.count)
    }
}

#[test]
fn a_state_that_new_changes_is_stored_before_the_first_call() {
    block_on(async {
        let host = TestHost::new().object::<Wakes>();
        let wakes = CountApiClient::new(host.namespace::<Wakes>().get_by_name("w"));
        for wake in 1..4 {
            assert_eq!(wakes.wakes().await.unwrap(), wake);
            assert_eq!(wakes.wakes().await.unwrap(), wake);
            host.crash();
        }
        let host = host.variable("ALSO", "wipe");
        host.sleep();
        assert_eq!(wakes.wakes().await.unwrap(), 0, "all is deleted");
    });
}

#[test]
fn an_object_that_would_not_store_its_state_does_not_wake() {
    block_on(async {
        let host = TestHost::new().object::<Lost>();
        let lost = CountApiClient::new(host.namespace::<Lost>().get_by_name("l"));
        assert_eq!(code(&lost.wakes().await.unwrap_err()).1, "internal");
        let host = TestHost::new().object::<Wakes>().variable("ALSO", "twice");
        let wakes = CountApiClient::new(host.namespace::<Wakes>().get_by_name("w"));
        assert_eq!(code(&wakes.wakes().await.unwrap_err()).1, "internal");
    });
}

#[cfg(feature = "garde")]
mod validated {
    use garde::Validate;

    use super::*;

    #[derive(Default, Serialize, Deserialize, Validate)]
    struct Settings {
        #[garde(range(max = 100))]
        volume: u8,
    }

    #[rpc]
    trait PlayerApi {
        async fn set_volume(&mut self, volume: u8) -> Result<()>;
        async fn volume(&self) -> Result<u8>;
    }

    struct Player {
        settings: State<Settings>,
    }

    #[durable_object(state = settings)]
    impl DurableObject for Player {
        type Api = PlayerApiServer;

        async fn new(ctx: Context) -> Result<Self> {
            let settings = ctx.state(Settings::default).validate().load().await?;
            Ok(Self { settings })
        }
    }

    impl PlayerApi for Player {
        async fn set_volume(&mut self, volume: u8) -> Result<()> {
            self.settings.volume = volume;
            Ok(())
        }

        async fn volume(&self) -> Result<u8> {
            Ok(self.settings.volume)
        }
    }

    #[test]
    fn a_state_that_garde_refuses_fails_the_call() {
        block_on(async {
            let host = TestHost::new().object::<Player>();
            let player = PlayerApiClient::new(host.namespace::<Player>().get_by_name("p"));
            player.set_volume(100).await.unwrap();
            let refused = player.set_volume(101).await.unwrap_err();
            assert_eq!(code(&refused), (Some(400), "invalid_state".to_owned()));
            assert!(refused.to_string().contains("volume: "), "{refused}");
            assert_eq!(player.volume().await.unwrap(), 100);
        });
    }
}
