//! What is this engine's own about objects that have a database to themselves.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]
use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use dokit_client::rpc;
use dokit_embedded::{Builder, Existing, Host};
use dokit_object::{
    Alarm, Clock, Context, DurableObject, Error, Result, Stub, durable_object, testing::ManualClock,
};
use dokit_storage::{Batch, Store, Timestamp, sql::Sql};
use futures_util::{
    FutureExt,
    future::{join_all, maybe_done},
};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};
use tokio::{sync::Semaphore, task::yield_now};

#[rpc]
trait NotesApi {
    /// Writes a row.
    async fn note(&mut self, text: String) -> Result<()>;
    /// Writes a row, and then waits for the gate.
    async fn note_and_wait(&mut self, text: String) -> Result<()>;
    /// Reads or writes, and never ends by itself.
    async fn run_for_ever(&mut self, writes: bool) -> Result<()>;
    /// The rows.
    async fn notes(&self) -> Result<Vec<String>>;
    /// Sets the alarm.
    async fn wake_at(&mut self, at: Timestamp) -> Result<()>;
    /// Commits half way, and then fails.
    async fn commit_and_fail(&mut self, at: Timestamp) -> Result<()>;
}

struct Notes {
    ctx: Context,
    sql: Sql,
}

/// What tells the test that a call has come to its gate, and what lets it go on.
struct Gate {
    reached: Semaphore,
    open: Semaphore,
}

impl Gate {
    const fn new() -> Self {
        Self {
            reached: Semaphore::const_new(0),
            open: Semaphore::const_new(0),
        }
    }

    async fn pass(&self) {
        // Whatever the test does meanwhile, the call has waited.
        yield_now().await;
        self.reached.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }
}

static GATE: Gate = Gate::new();

#[durable_object]
impl DurableObject for Notes {
    const SQL: bool = true;

    type Api = NotesApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&[("notes", "CREATE TABLE notes (text TEXT NOT NULL)")])?;
        Ok(Self { ctx, sql })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.note("alarm".to_owned()).await
    }
}

impl NotesApi for Notes {
    async fn note(&mut self, text: String) -> Result<()> {
        self.sql.exec("INSERT INTO notes VALUES (?)", (text,))?;
        Ok(())
    }

    async fn note_and_wait(&mut self, text: String) -> Result<()> {
        self.note(text).await?;
        GATE.pass().await;
        Ok(())
    }

    async fn run_for_ever(&mut self, writes: bool) -> Result<()> {
        let numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
        let statement = if writes {
            format!("{numbers} INSERT INTO notes SELECT i FROM n")
        } else {
            format!("{numbers} SELECT count(*) FROM n")
        };
        self.sql.exec(&statement, ())?;
        Ok(())
    }

    async fn notes(&self) -> Result<Vec<String>> {
        Ok(self.sql.exec("SELECT text FROM notes", ())?.to_vec()?)
    }

    async fn wake_at(&mut self, at: Timestamp) -> Result<()> {
        let mut batch = Batch::new();
        batch.set_alarm(at);
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn commit_and_fail(&mut self, at: Timestamp) -> Result<()> {
        self.note("early".to_owned()).await?;
        self.wake_at(at).await?;
        self.ctx.commit().await?;
        self.note("late".to_owned()).await?;
        Err(Error::new(418, "planned", "planned failure"))
    }
}

struct Folder {
    data: TempDir,
    clock: ManualClock,
}

impl Folder {
    fn new() -> Self {
        Self {
            data: tempdir().unwrap(),
            clock: ManualClock::new(),
        }
    }

    fn start(&self) -> Host {
        self.start_with(|host| host)
    }

    fn start_with(&self, build: impl FnOnce(Builder) -> Builder) -> Host {
        start(self.data.path(), &self.clock, build)
    }

    fn shared(&self) -> Connection {
        open(&self.data.path().join("objects.sqlite"))
    }

    /// What the shared database says of the only object's alarm.
    fn hint(&self) -> Option<i64> {
        let alarm = "SELECT alarm FROM objects";
        self.shared()
            .query_row(alarm, [], |row| row.get(0))
            .unwrap()
    }

    fn set_hint(&self, at: Option<Timestamp>) {
        let at = at.map(Timestamp::as_millis);
        let set = "UPDATE objects SET alarm = ?1";
        assert_eq!(self.shared().execute(set, [at]).unwrap(), 1);
    }
}

fn start(data: &Path, clock: &ManualClock, build: impl FnOnce(Builder) -> Builder) -> Host {
    let host = Host::builder().data(data).clock(clock.clone());
    build(host.object::<Notes>()).start().unwrap()
}

fn open(file: &Path) -> Connection {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path);
        }
    }
    files
}

fn notes(host: &Host, name: &str) -> NotesApiClient<Stub> {
    NotesApiClient::new(host.namespace::<Notes>().get_by_name(name))
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_has_a_file_that_is_named_by_its_id_and_is_all_there_after_a_shutdown() {
    let folder = Folder::new();
    let host = folder.start();
    let name = "../../etc/passwd";
    notes(&host, name).note(text("x")).await.unwrap();
    let id = host.namespace::<Notes>().id_from_name(name).to_string();
    host.shutdown().await;
    let file = format!("sql/notes/{}/{id}.sqlite", &id[..2]);
    let file = folder.data.path().join(file);
    // Its log has been written into it and is gone.
    let there = files(&folder.data.path().join("sql"));
    assert_eq!(there, std::slice::from_ref(&file));
    let text: String = open(&file)
        .query_row("SELECT text FROM notes", [], |row| row.get(0))
        .unwrap();
    assert_eq!(text, "x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_objects_are_served_than_may_be_open() {
    let folder = Folder::new();
    let host = folder.start_with(|host| host.sql_limit(2));
    for round in 0..3 {
        let calls = (0..20).map(|number| {
            let one = notes(&host, &number.to_string());
            async move { one.note(format!("{round}")).await }
        });
        for noted in join_all(calls).await {
            noted.unwrap();
        }
    }
    for number in 0..20 {
        let noted = notes(&host, &number.to_string()).notes().await.unwrap();
        assert_eq!(noted, ["0", "1", "2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_that_runs_past_the_deadline_is_stopped_and_the_object_serves_on() {
    let folder = Folder::new();
    let host = folder.start();
    let one = notes(&host, "a");
    one.note(text("before")).await.unwrap();
    let hasty = one.with_deadline(Duration::from_millis(300));
    for writes in [false, true] {
        hasty.run_for_ever(writes).await.unwrap_err();
        assert_eq!(one.notes().await.unwrap(), ["before"]);
    }
    one.note(text("after")).await.unwrap();
    host.shutdown().await;
    let host = folder.start();
    assert_eq!(
        notes(&host, "a").notes().await.unwrap(),
        ["before", "after"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_waits_for_the_disk_and_not_for_the_call_after_it() {
    let folder = Folder::new();
    let host = folder.start();
    let one = notes(&host, "a");
    // From now on it is known to run without waiting.
    one.note(text("0")).await.unwrap();
    for round in ["1", "2"] {
        // Asked once, each is in the queue. A disk that is quick may have answered the first one then.
        let mut noted = pin!(maybe_done(one.note(text(round))));
        let _ = noted.as_mut().now_or_never();
        let mut waiting = pin!(one.note_and_wait(text("waits")));
        assert!(waiting.as_mut().now_or_never().is_none());
        GATE.reached().await;
        // The second one runs. The first one's answer comes all the same.
        noted.as_mut().await;
        noted.take_output().unwrap().unwrap();
        assert!(waiting.as_mut().now_or_never().is_none());
        GATE.open.add_permits(1);
        waiting.await.unwrap();
    }
    let mut all = one.notes().await.unwrap();
    all.sort_unstable();
    assert_eq!(all, ["0", "1", "2", "waits", "waits"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_leaves_no_row_and_what_was_kept_stays() {
    let folder = Folder::new();
    let host = folder.start();
    let one = notes(&host, "a");
    one.note(text("before")).await.unwrap();
    one.commit_and_fail(folder.clock.now()).await.unwrap_err();
    assert_eq!(one.notes().await.unwrap()[..2], ["before", "early"]);
    host.shutdown().await;
    let host = folder.start();
    host.alarms_settled().await;
    let all = notes(&host, "a").notes().await.unwrap();
    assert_eq!(all, ["before", "early", "alarm"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_of_which_only_the_hint_is_there_was_never_set() {
    let folder = Folder::new();
    let host = folder.start();
    notes(&host, "a").note(text("x")).await.unwrap();
    host.shutdown().await;
    drop(host);
    // As a crash leaves it between the two commits.
    folder.set_hint(Some(folder.clock.now()));
    let host = folder.start();
    host.alarms_settled().await;
    assert_eq!(notes(&host, "a").notes().await.unwrap(), ["x"]);
    assert_eq!(folder.hint(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_alarm_whose_hint_is_too_early_fires_at_its_own_time() {
    let folder = Folder::new();
    let host = folder.start();
    let at = folder.clock.now().saturating_add(Duration::from_secs(60));
    notes(&host, "a").wake_at(at).await.unwrap();
    assert_eq!(folder.hint(), Some(at.as_millis()));
    host.shutdown().await;
    drop(host);
    folder.set_hint(Some(folder.clock.now()));
    let host = folder.start();
    host.alarms_settled().await;
    assert_eq!(notes(&host, "a").notes().await.unwrap(), [""; 0]);
    while folder.hint() != Some(at.as_millis()) {
        yield_now().await;
    }
    folder.clock.advance(Duration::from_secs(60));
    host.alarms_settled().await;
    assert_eq!(notes(&host, "a").notes().await.unwrap(), ["alarm"]);
    assert_eq!(folder.hint(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hint_is_there_when_the_alarm_is_and_never_later() {
    let folder = Folder::new();
    let host = folder.start();
    let one = notes(&host, "a");
    let now = folder.clock.now();
    for seconds in [60, 30, 90, 10, 3600] {
        let at = now.saturating_add(Duration::from_secs(seconds));
        one.wake_at(at).await.unwrap();
        assert_eq!(folder.hint(), Some(at.as_millis()));
    }
}

/// An object that was reached by its id learns its name from the next call, however close that follows:
/// also on the heels of the answer, while the commit before it is being put away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_learned_while_a_commit_ends_is_stored() {
    let folder = Folder::new();
    let host = folder.start();
    let namespace = host.namespace::<Notes>();
    for number in 0..100 {
        let name = number.to_string();
        let digits = namespace.id_from_name(&name).to_string();
        let id = namespace.id_from_string(&digits).unwrap();
        let by_id = NotesApiClient::new(namespace.get(&id));
        by_id.note(text("by its id")).await.unwrap();
        notes(&host, &name).note(text("by its name")).await.unwrap();
    }
    let unnamed = "SELECT count(*) FROM objects WHERE name IS NULL";
    let unnamed: i64 = folder
        .shared()
        .query_row(unnamed, [], |row| row.get(0))
        .unwrap();
    assert_eq!(unnamed, 0);
}

#[rpc]
trait TallyApi {
    /// Adds one to what is stored under a key.
    async fn count(&mut self) -> Result<u64>;
}

/// A type that changes its kind from one release of a program to the next.
struct Tally<const SQL: bool> {
    ctx: Context,
}

#[durable_object]
impl<const SQL: bool> DurableObject for Tally<SQL> {
    const NAMESPACE: &'static str = "tally";
    const SQL: bool = SQL;

    type Api = TallyApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }
}

impl<const SQL: bool> TallyApi for Tally<SQL> {
    async fn count(&mut self) -> Result<u64> {
        let mut storage = self.ctx.storage();
        let before = storage.get("count").await?;
        let count = before.map_or(0, |text| text.parse::<u64>().unwrap()) + 1;
        let mut batch = Batch::new();
        batch.put("count", count.to_string());
        storage.commit(batch).await?;
        Ok(count)
    }
}

/// Counts in the object of this name, as of a type of this kind, and exports it. None where it is refused.
async fn count_and_export<const SQL: bool>(data: &Path, name: &str) -> Option<(u64, Vec<u8>)> {
    let host = Host::builder().data(data).object::<Tally<SQL>>();
    let host = host.start().unwrap();
    let namespace = host.namespace::<Tally<SQL>>();
    let counted = TallyApiClient::new(namespace.get_by_name(name))
        .count()
        .await;
    let counted = match counted {
        Ok(count) => {
            let id = namespace.id_from_name(name);
            let lines = host.export::<Tally<SQL>, _>(&id, Vec::new()).await;
            Some((count, lines.unwrap()))
        }
        Err(refused) => {
            assert_eq!(refused.code().as_deref(), Some("internal"));
            None
        }
    };
    host.shutdown().await;
    counted
}

/// Begins the other kind with what was exported, in a data folder of its own.
async fn import<const SQL: bool>(name: &str, lines: Vec<u8>) -> u64 {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Tally<SQL>>();
    let host = host.start().unwrap();
    let namespace = host.namespace::<Tally<SQL>>();
    let id = namespace.id_from_name(name);
    let lines = Cursor::new(lines);
    let imported = host.import::<Tally<SQL>, _>(&id, Existing::Refuse, lines);
    imported.await.unwrap();
    let tally = TallyApiClient::new(namespace.get_by_name(name));
    let count = tally.count().await.unwrap();
    host.shutdown().await;
    count
}

#[tokio::test]
async fn an_object_whose_type_has_become_another_kind_is_refused_and_never_found_empty() {
    let data = tempdir().unwrap();
    let (_, keys) = count_and_export::<false>(data.path(), "a").await.unwrap();
    assert_eq!(count_and_export::<true>(data.path(), "a").await, None);
    // New objects are of the new kind.
    let (_, rows) = count_and_export::<true>(data.path(), "b").await.unwrap();
    assert_eq!(count_and_export::<false>(data.path(), "b").await, None);
    for (kind, name) in [(false, "a"), (true, "b")] {
        let again = match kind {
            false => count_and_export::<false>(data.path(), name).await,
            true => count_and_export::<true>(data.path(), name).await,
        };
        assert_eq!(again.unwrap().0, 2, "the refusal has harmed nothing");
    }
    assert_eq!(import::<true>("a", keys).await, 2);
    assert_eq!(import::<false>("b", rows).await, 2);
}
