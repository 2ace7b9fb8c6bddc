//! What the objects that are awake may hold together, and who leaves when that is too much.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test's way to fail is to panic, and its callers are tasks"
)]

use std::{collections::BTreeMap, io::Cursor, pin::pin, sync::Mutex, time::Duration};

use dokit_client::{ObjectId, rpc};
use dokit_embedded::{Builder, Existing, Host};
use dokit_object::{Context, DurableObject, Error, Result, State, durable_object};
use dokit_storage::sql::Sql;
use futures_util::FutureExt;
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};
use tokio::{task::yield_now, time::timeout};

/// What the engine counts for itself, an open database and the pages of a large one, as
/// `Builder::awake_memory` says.
const KEPT: u64 = 2 * 1024;
const OPEN: u64 = 190 * 1024;
const PAGES: u64 = 2000 * 1024;

/// No test takes that long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

#[rpc]
trait HoardApi {
    /// Holds so many bytes from now on, and gives the number of such calls.
    async fn hoard(&mut self, bytes: usize) -> Result<u32>;
    async fn hoard_and_fail(&mut self, bytes: usize) -> Result<()>;
    async fn hoard_and_panic(&mut self, bytes: usize) -> Result<()>;
    /// Panics when it is asked what it holds.
    async fn spoil_the_scales(&mut self) -> Result<()>;
    async fn write(&mut self, text: String) -> Result<()>;
    /// The number of calls, and the text.
    async fn read(&self) -> Result<(u32, String)>;
}

struct Hoard {
    kept: State<(u32, String)>,
    hoard: Vec<u8>,
    spoiled: bool,
}

/// How often each has been woken.
static WOKEN: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

fn woken(name: &str) -> u32 {
    WOKEN.lock().unwrap().get(name).copied().unwrap_or(0)
}

#[durable_object(state = kept)]
impl DurableObject for Hoard {
    type Api = HoardApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let name = ctx.name().unwrap_or_default().to_owned();
        *WOKEN.lock().unwrap().entry(name).or_default() += 1;
        Ok(Self {
            kept: ctx.state(Default::default).load().await?,
            hoard: Vec::new(),
            spoiled: false,
        })
    }

    fn held_bytes(&self) -> usize {
        assert!(!self.spoiled, "the scales are spoiled");
        self.hoard.capacity()
    }
}

impl HoardApi for Hoard {
    async fn hoard(&mut self, bytes: usize) -> Result<u32> {
        self.hoard = vec![1; bytes];
        self.kept.0 += 1;
        Ok(self.kept.0)
    }

    async fn hoard_and_fail(&mut self, bytes: usize) -> Result<()> {
        self.hoard(bytes).await?;
        Err(Error::new(418, "planned", "planned failure"))
    }

    async fn hoard_and_panic(&mut self, bytes: usize) -> Result<()> {
        self.hoard(bytes).await?;
        panic!("planned panic");
    }

    async fn spoil_the_scales(&mut self) -> Result<()> {
        self.spoiled = true;
        Ok(())
    }

    async fn write(&mut self, text: String) -> Result<()> {
        self.kept.1 = text;
        Ok(())
    }

    async fn read(&self) -> Result<(u32, String)> {
        Ok(self.kept.clone())
    }
}

#[rpc]
trait RowsApi {
    /// Adds a row of so many bytes.
    async fn add(&mut self, bytes: usize) -> Result<()>;
    async fn database_size(&self) -> Result<u64>;
}

struct Rows(Sql);

#[durable_object]
impl DurableObject for Rows {
    const SQL: bool = true;

    type Api = RowsApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let name = ctx.name().unwrap_or_default().to_owned();
        *WOKEN.lock().unwrap().entry(name).or_default() += 1;
        let sql = ctx.sql()?;
        sql.migrate(&[("rows", "CREATE TABLE entry (text TEXT)")])?;
        Ok(Self(sql))
    }
}

impl RowsApi for Rows {
    async fn add(&mut self, bytes: usize) -> Result<()> {
        let text = "x".repeat(bytes);
        let _ = self.0.exec("INSERT INTO entry VALUES (?)", (text,))?;
        Ok(())
    }

    async fn database_size(&self) -> Result<u64> {
        Ok(self.0.database_size()?)
    }
}

fn start(build: impl FnOnce(Builder) -> Builder) -> (TempDir, Host) {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path());
    let host = host.object::<Hoard>().object::<Rows>();
    let host = host.sleep_after(Duration::from_secs(3600));
    let host = build(host).start().unwrap();
    (data, host)
}

fn hoard(host: &Host, name: &str) -> HoardApiClient<dokit_object::Stub> {
    HoardApiClient::new(host.namespace::<Hoard>().get_by_name(name))
}

fn rows(host: &Host, name: &str) -> RowsApiClient<dokit_object::Stub> {
    RowsApiClient::new(host.namespace::<Rows>().get_by_name(name))
}

fn gauge(host: &Host, name: &str) -> u64 {
    let metrics = host.metrics();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name));
    value.unwrap().trim().parse().unwrap()
}

fn held(host: &Host) -> u64 {
    gauge(host, "dokit_objects_awake_bytes ")
}

/// Waits until that is so.
async fn until(host: &Host, what: &str, is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            yield_now().await;
        }
    };
    if timeout(PATIENCE, wait).await.is_err() {
        panic!("{what}, not {} bytes", held(host));
    }
}

async fn holds(host: &Host, bytes: u64) {
    until(host, &format!("{bytes} bytes are held"), || {
        held(host) == bytes
    })
    .await;
}

/// What an object counts for of which nothing is stored and that holds nothing.
async fn base() -> u64 {
    let (_data, host) = start(|host| host);
    assert_eq!(held(&host), 0);
    hoard(&host, "base").read().await.unwrap();
    until(&host, "it is weighed", || held(&host) > KEPT).await;
    held(&host)
}

/// An object as it should be.
#[derive(Clone, Debug)]
struct Model {
    /// The state on disk.
    stored: Option<(u32, String)>,
    holds: Holds,
}

#[derive(Clone, Debug, PartialEq)]
enum Holds {
    Nothing,
    /// Its memory was thrown away, and its place is there.
    Place,
    /// The bytes of its own, and those of the text of its state.
    Awake {
        hoard: u64,
        state: u64,
    },
    /// The same, but a commit of it has failed: the next call finds what is on disk.
    Failed {
        hoard: u64,
        state: u64,
    },
}

fn text_bytes(state: Option<&(u32, String)>) -> u64 {
    state.map_or(0, |state| {
        serde_json::to_string(state).unwrap().len() as u64
    })
}

impl Model {
    /// A call wakes it where it is not awake.
    fn wake(&mut self) {
        if !matches!(self.holds, Holds::Awake { .. }) {
            let state = text_bytes(self.stored.as_ref());
            self.holds = Holds::Awake { hoard: 0, state };
        }
    }

    fn store(&mut self, change: impl FnOnce(&mut (u32, String))) {
        self.wake();
        change(self.stored.get_or_insert_default());
        let stored = text_bytes(self.stored.as_ref());
        if let Holds::Awake { state, .. } = &mut self.holds {
            *state = stored;
        }
    }

    fn bytes(&self, base: u64) -> u64 {
        match self.holds {
            Holds::Nothing => 0,
            Holds::Place => KEPT,
            Holds::Awake { hoard, state } | Holds::Failed { hoard, state } => {
                base + hoard + 2 * state
            }
        }
    }
}

/// A number below `end`, the same in each run.
fn draw(seed: &mut u64, end: u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    (*seed >> 33) % end
}

#[tokio::test]
async fn the_sum_is_right_whatever_becomes_of_the_objects() {
    let base = base().await;
    let (data, host) = start(|host| host);
    let disk = Connection::open(data.path().join("objects.sqlite")).unwrap();
    disk.busy_timeout(PATIENCE).unwrap();
    let names = ["a", "b", "c", "d"];
    let mut models = names.map(|_| Model {
        stored: None,
        holds: Holds::Nothing,
    });
    let seed = &mut 7;
    for step in 0..300 {
        let number = usize::try_from(draw(seed, 4)).unwrap();
        let (object, model) = (hoard(&host, names[number]), &mut models[number]);
        let bytes = draw(seed, 100_000);
        let size = usize::try_from(bytes).unwrap();
        let action = draw(seed, 10);
        match action {
            0..=2 => {
                let count = object.hoard(size).await.unwrap();
                model.store(|state| state.0 += 1);
                if let Holds::Awake { hoard, .. } = &mut model.holds {
                    *hoard = bytes;
                }
                assert_eq!(Some(count), model.stored.as_ref().map(|state| state.0));
            }
            3 => {
                let text = "x".repeat(size % 1000);
                object.write(text.clone()).await.unwrap();
                model.store(|state| state.1 = text);
            }
            4 => {
                object.hoard_and_fail(size).await.unwrap_err();
                model.holds = Holds::Place;
            }
            5 => {
                object.hoard_and_panic(size).await.unwrap_err();
                model.holds = Holds::Place;
            }
            6 => {
                object.spoil_the_scales().await.unwrap();
                model.store(|_| {});
                model.holds = Holds::Place;
            }
            7 => {
                let read = object.read().await.unwrap();
                model.wake();
                assert_eq!(read, model.stored.clone().unwrap_or_default());
            }
            8 => {
                disk.execute_batch(
                    "CREATE TRIGGER broken BEFORE INSERT ON entries \
                     BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END",
                )
                .unwrap();
                object.write(format!("lost {step}")).await.unwrap_err();
                disk.execute_batch("DROP TRIGGER broken").unwrap();
                let mut lost = model.clone();
                lost.store(|state| state.1 = format!("lost {step}"));
                if let Holds::Awake { hoard, state } = lost.holds {
                    model.holds = Holds::Failed { hoard, state };
                }
            }
            _ if model.stored.is_some() && bytes.is_multiple_of(2) => {
                let id = ObjectId::from_name(Hoard::NAMESPACE, names[number]);
                // What an object was exported as while it sleeps is what it has stored.
                let lines = host.export::<Hoard, _>(&id, Vec::new()).await.unwrap();
                let import = host.import::<Hoard, _>(&id, Existing::Replace, Cursor::new(lines));
                import.await.unwrap();
                model.holds = Holds::Place;
            }
            _ => {
                host.sleep().await;
                models
                    .iter_mut()
                    .for_each(|model| model.holds = Holds::Nothing);
            }
        }
        holds(&host, models.iter().map(|model| model.bytes(base)).sum()).await;
    }
    host.sleep().await;
    holds(&host, 0).await;
}

#[tokio::test]
async fn a_host_with_little_memory_and_many_large_objects_stays_within_it_and_answers_right() {
    const CEILING: usize = 1024 * 1024;
    const LARGE: usize = 100_000;
    let (_data, host) = start(|host| host.awake_memory(CEILING));
    let ceiling = CEILING as u64;
    let one_more = LARGE as u64 + 2 * KEPT;
    for round in 1..=3 {
        for number in 0..100 {
            let object = hoard(&host, &format!("large {number}"));
            assert_eq!(object.hoard(LARGE).await.unwrap(), round);
            assert!(held(&host) <= ceiling + one_more, "{}", held(&host));
            until(&host, "less is held", || held(&host) <= ceiling).await;
        }
        // No more leave than have to.
        assert!(held(&host) + one_more > ceiling, "{}", held(&host));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_from_all_sides_lose_nothing_where_memory_is_short_and_it_is_kept_in_the_end() {
    let (_data, host) = start(|host| host.awake_memory(500_000));
    let callers: Vec<_> = (0..8_u64)
        .map(|caller| {
            let host = host.clone();
            tokio::spawn(async move {
                for call in 0..100 {
                    let object = hoard(&host, &format!("pressed {}", call % 20));
                    let bytes = 1000 * (caller * 100 + call);
                    let _ = object.hoard(usize::try_from(bytes).unwrap()).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    for number in 0..20 {
        let object = hoard(&host, &format!("pressed {number}"));
        assert_eq!(object.read().await.unwrap().0, 8 * 5);
    }
    until(&host, "less is held", || held(&host) <= 500_000).await;
    host.sleep().await;
    holds(&host, 0).await;
}

#[tokio::test]
async fn one_that_alone_holds_too_much_leaves_when_it_is_idle_and_answers_anew() {
    let (_data, host) = start(|host| host.awake_memory(100_000));
    let object = hoard(&host, "whale");
    for call in 1..=3 {
        assert_eq!(object.hoard(1_000_000).await.unwrap(), call);
        holds(&host, 0).await;
        assert_eq!(woken("whale"), call);
    }
}

#[tokio::test]
async fn one_that_panics_when_it_is_asked_what_it_holds_starts_anew() {
    let (_data, host) = start(|host| host);
    let object = hoard(&host, "scales");
    object.spoil_the_scales().await.unwrap();
    assert_eq!(object.hoard(10).await.unwrap(), 1);
    assert_eq!(woken("scales"), 2);
}

#[tokio::test]
async fn an_open_database_counts_with_what_may_be_kept_of_its_pages() {
    let (_data, host) = start(|host| host);
    let object = rows(&host, "small");
    object.add(100_000).await.unwrap();
    host.sleep().await;
    holds(&host, 0).await;
    // It is looked at when it is opened.
    let small = object.database_size().await.unwrap();
    assert!((100_000..PAGES).contains(&small), "{small}");
    let base = held(&host) - small - OPEN;
    assert!((KEPT..2 * KEPT).contains(&base), "{base}");

    for _ in 0..64 {
        object.add(100_000).await.unwrap();
    }
    assert!(object.database_size().await.unwrap() > PAGES);
    holds(&host, base + OPEN + PAGES).await;
    host.sleep().await;
    holds(&host, 0).await;
    assert!(object.database_size().await.unwrap() > PAGES);
    holds(&host, base + OPEN + PAGES).await;
}

#[tokio::test]
async fn those_leave_first_that_were_idle_longest_whether_they_have_a_database_or_not() {
    let (_data, host) = start(|host| host.awake_memory(1_000_000));
    let all = async |names: [&'static str; 3]| {
        for name in names {
            hoard(&host, name).hoard(200_000).await.unwrap();
        }
    };
    all(["first", "second", "third"]).await;
    rows(&host, "database").add(1).await.unwrap();
    assert_eq!(gauge(&host, "dokit_objects_awake "), 4);
    hoard(&host, "first").read().await.unwrap();

    // The second was idle longest, and the third; then the one that has a database.
    all(["fourth", "fifth", "sixth"]).await;
    until(&host, "less is held", || held(&host) <= 1_000_000).await;
    let awake = gauge(&host, "dokit_objects_awake ");
    assert_eq!(awake, 4, "{} bytes are held", held(&host));
    for (name, times) in [
        ("first", 1),
        ("fourth", 1),
        ("second", 2),
        ("third", 2),
        ("database", 2),
    ] {
        match name {
            "database" => rows(&host, name).add(1).await.unwrap(),
            _ => drop(hoard(&host, name).read().await.unwrap()),
        }
        assert_eq!(woken(name), times, "{name}");
    }
}

#[tokio::test]
async fn one_whose_disk_takes_its_time_keeps_no_other_awake() {
    let (data, host) = start(|host| host.sleep_after(Duration::ZERO));
    let disk = Connection::open(data.path().join("objects.sqlite")).unwrap();
    disk.busy_timeout(PATIENCE).unwrap();
    // A commit waits ten seconds for the disk and then fails. Where the machine is slower than that, it says
    // nothing.
    for name in ["slow", "slow too", "slow as well"] {
        disk.execute_batch("BEGIN IMMEDIATE").unwrap();
        // Its first commit needs a row there.
        let object = rows(&host, name);
        let mut slow = pin!(object.add(1));
        assert!(slow.as_mut().now_or_never().is_none());
        // Then it runs to its end, and is the first to be put to sleep.
        until(&host, "it is woken", || woken(name) == 1).await;
        hoard(&host, "quick").read().await.unwrap();
        let quick_has_left = || gauge(&host, "dokit_objects_awake ") <= 1;
        until(&host, "the quick one has left", quick_has_left).await;
        let held = slow.as_mut().now_or_never().is_none();
        disk.execute_batch("ROLLBACK").unwrap();
        if held {
            slow.await.unwrap();
            return holds(&host, 0).await;
        }
        holds(&host, 0).await;
    }
    panic!("the quick one waited for the slow one");
}
