//! Disks that are full, fail, lie or belong to somebody else: what was answered is there, or its loss is
//! told, and nothing is there by halves.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

#[path = "disk/faults.rs"]
mod faults;

use std::{
    env,
    fs::{self, OpenOptions, Permissions},
    io::{BufRead, BufReader, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
    process::{Child, Command, Stdio},
};

use dokit_client::{CallError, rpc};
use dokit_embedded::{Host, StartError};
use dokit_object::{Context, DurableObject, Error, Result, Storage, Stub, durable_object};
use dokit_storage::{Family, ListOptions, Schema, TypedStorage, sql::Sql};
use rusqlite::Connection;
use tempfile::{TempDir, tempdir};
use tokio::task::yield_now;

#[rpc]
trait VaultApi {
    /// Adds an item of so many bytes, and gives the number of items.
    async fn add(&mut self, bytes: usize) -> Result<u32>;
    /// The number of items, by all that tells it.
    async fn count(&self) -> Result<u32>;
}

#[derive(Schema)]
struct Stored {
    count: u32,
    again: u32,
    #[schema(prefix = "item:")]
    items: Family<String>,
}

#[derive(Debug)]
struct Vault {
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Vault {
    type Api = VaultApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }
}

impl VaultApi for Vault {
    async fn add(&mut self, bytes: usize) -> Result<u32> {
        let count = self.count().await? + 1;
        self.storage.put(Stored::COUNT, &count).await?;
        let item = "x".repeat(bytes);
        self.storage.put(Stored::ITEMS.key(count), &item).await?;
        self.storage.put(Stored::AGAIN, &count).await?;
        Ok(count)
    }

    async fn count(&self) -> Result<u32> {
        let count = self.storage.get(Stored::COUNT).await?.unwrap_or(0);
        let again = self.storage.get(Stored::AGAIN).await?.unwrap_or(0);
        let items = self.storage.list_family(Stored::ITEMS, ListOptions::new());
        let items = u32::try_from(items.await?.len()).unwrap();
        if (again, items) == (count, count) {
            Ok(count)
        } else {
            let text = format!("{count}, {again} and {items} items");
            Err(Error::new(500, "torn", text))
        }
    }
}

/// The same in a file of its own, with a row for each item.
#[derive(Debug)]
struct SqlVault {
    keys: Vault,
    sql: Sql,
}

#[durable_object]
impl DurableObject for SqlVault {
    const SQL: bool = true;

    type Api = VaultApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&[("items", "CREATE TABLE items (item TEXT NOT NULL)")])?;
        let keys = Vault::new(ctx).await?;
        Ok(Self { keys, sql })
    }
}

impl VaultApi for SqlVault {
    async fn add(&mut self, bytes: usize) -> Result<u32> {
        let item = "x".repeat(bytes);
        self.sql.exec("INSERT INTO items VALUES (?)", (item,))?;
        self.keys.add(1).await
    }

    async fn count(&self) -> Result<u32> {
        let count = self.keys.count().await?;
        let items: u32 = self.sql.exec("SELECT count(*) FROM items", ())?.one()?;
        if items == count {
            Ok(count)
        } else {
            let text = format!("{count} items and {items} rows");
            Err(Error::new(500, "torn", text))
        }
    }
}

type Client = VaultApiClient<Stub>;

fn open(data: &Path) -> Result<Host, StartError> {
    let host = Host::builder().data(data);
    host.object::<Vault>().object::<SqlVault>().start()
}

fn vault(host: &Host, name: &impl ToString) -> Client {
    VaultApiClient::new(host.namespace::<Vault>().get_by_name(&name.to_string()))
}

fn code(error: &CallError<Error>) -> String {
    error.code().unwrap_or_default().into_owned()
}

const DATABASE: &str = "objects.sqlite";
const LOG: &str = "objects.sqlite-wal";

/// What a folder held at one moment, without what SQLite keeps in memory.
struct Snapshot {
    database: Vec<u8>,
    log: Option<Vec<u8>>,
}

impl Snapshot {
    fn of(data: &Path) -> Self {
        Self {
            database: fs::read(data.join(DATABASE)).unwrap(),
            log: fs::read(data.join(LOG)).ok(),
        }
    }

    fn restore(&self) -> TempDir {
        let data = tempdir().unwrap();
        fs::write(data.path().join(DATABASE), &self.database).unwrap();
        if let Some(log) = &self.log {
            fs::write(data.path().join(LOG), log).unwrap();
        }
        data
    }
}

/// Somebody who reads the database as it is: until it is dropped, what is in the log from now on stays there.
fn reads_on(data: &Path) -> Connection {
    let reader = Connection::open(data.join(DATABASE)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let objects = "SELECT count(*) FROM objects";
    reader.query_row(objects, [], |_| Ok(())).unwrap();
    reader
}

/// Calls of two objects in turn, each in a commit of its own, which are in the log alone.
async fn in_the_log(calls: u32) -> Snapshot {
    let data = tempdir().unwrap();
    let host = open(data.path()).unwrap();
    // A host moves what it finds in the log when it starts, and that may take until now.
    let reader = reads_on(data.path());
    for call in 0..calls {
        let count = vault(&host, &(call % 2)).add(700).await.unwrap();
        assert_eq!(count, call / 2 + 1);
    }
    let snapshot = Snapshot::of(data.path());
    drop(reader);
    host.shutdown().await;
    snapshot
}

/// How many of those calls are there: the first, and each of them whole.
async fn whole_calls(data: &Path) -> u32 {
    let host = open(data).unwrap();
    let first = vault(&host, &0).count().await.unwrap();
    let second = vault(&host, &1).count().await.unwrap();
    assert!(first == second || first == second + 1, "{first} {second}");
    assert_eq!(vault(&host, &2).add(1).await.unwrap(), 1, "it serves on");
    host.shutdown().await;
    first + second
}

/// A log whose end never reached the disk, or reached it as something else, as after a loss of power.
#[tokio::test]
async fn of_a_log_that_is_cut_off_or_spoiled_the_calls_before_that_are_there_and_whole() {
    let calls = 20;
    let whole = in_the_log(calls).await;
    let log = whole.log.as_ref().unwrap();
    assert_eq!(whole_calls(whole.restore().path()).await, calls);
    // Behind that it was lengthened by zeros.
    let written = log.iter().rposition(|byte| *byte != 0).unwrap();
    let mut before = 0;
    // Not a divisor of anything, so that cuts fall within frames and at their ends.
    for cut in (0..written).step_by(1777) {
        let data = whole.restore();
        let file = OpenOptions::new().write(true).open(data.path().join(LOG));
        file.unwrap().set_len(cut as u64).unwrap();
        let kept = whole_calls(data.path()).await;
        assert!(
            kept >= before && kept < calls,
            "{cut}: {kept} after {before}"
        );
        before = kept;

        let data = whole.restore();
        let file = OpenOptions::new().write(true).open(data.path().join(LOG));
        let garbage = vec![0xa5; log.len() - cut];
        file.unwrap().write_all_at(&garbage, cut as u64).unwrap();
        assert_eq!(whole_calls(data.path()).await, kept, "{cut}");
    }
    assert!(before > calls / 2, "the cuts were not in what matters");
}

#[tokio::test]
async fn what_a_killed_process_left_in_the_log_is_moved_into_the_database_at_the_next_start() {
    let left = in_the_log(20).await;
    let data = left.restore();
    let host = open(data.path()).unwrap();
    let database = data.path().join(DATABASE);
    while fs::metadata(&database).unwrap().len() <= left.database.len() as u64 {
        yield_now().await;
    }
    host.shutdown().await;
}

/// How many items the objects below have.
const ITEMS: u32 = 2;

/// A host that has stopped, with many objects in the database and none in the log.
async fn in_the_database(objects: u32) -> Snapshot {
    let data = tempdir().unwrap();
    let host = open(data.path()).unwrap();
    for object in 0..objects {
        for _ in 0..ITEMS {
            vault(&host, &object).add(900).await.unwrap();
        }
    }
    host.shutdown().await;
    drop(host);
    let database = Connection::open(data.path().join(DATABASE)).unwrap();
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    database.query_row(checkpoint, [], |_| Ok(())).unwrap();
    drop(database);
    Snapshot::of(data.path())
}

/// How many objects tell of the damage. Those that do not have to tell the truth.
async fn damaged(host: &Host, objects: u32) -> u32 {
    let mut damaged = 0;
    for object in 0..objects {
        match vault(host, &object).count().await {
            Ok(count) => assert_eq!(count, ITEMS, "object {object} tells what is not true"),
            Err(error) => {
                assert_eq!(code(&error), "internal", "{error}");
                damaged += 1;
            }
        }
    }
    damaged
}

#[tokio::test]
async fn a_page_that_is_overwritten_is_told_of_and_never_read_as_missing() {
    let objects = 30;
    let whole = in_the_database(objects).await;
    let pages = whole.database.len() / 4096;
    let (mut told, mut refused) = (0, 0);
    for page in 0..pages {
        let data = whole.restore();
        let file = OpenOptions::new()
            .write(true)
            .open(data.path().join(DATABASE));
        let at = page as u64 * 4096;
        file.unwrap().write_all_at(&[0xff; 4096], at).unwrap();
        match open(data.path()) {
            Ok(host) => {
                told += damaged(&host, objects).await;
                host.shutdown().await;
            }
            Err(StartError::Database { source, .. }) => {
                assert!(!source.to_string().is_empty());
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0 && told >= objects, "{refused} {told}");
    let host = open(whole.restore().path()).unwrap();
    assert_eq!(damaged(&host, objects).await, 0);
}

#[tokio::test]
async fn a_database_that_is_cut_off_is_told_of_too() {
    let objects = 30;
    let whole = in_the_database(objects).await;
    let data = whole.restore();
    let file = OpenOptions::new()
        .write(true)
        .open(data.path().join(DATABASE));
    let half = whole.database.len() as u64 / 2;
    file.unwrap().set_len(half).unwrap();
    match open(data.path()) {
        Ok(host) => assert!(damaged(&host, objects).await > 0),
        Err(error) => assert!(matches!(error, StartError::Database { .. }), "{error}"),
    }
}

/// Pages are overwritten under a host that runs. It tells of it, object by object, keeps running, and
/// when the file is as it was, a start finds everything.
#[tokio::test]
async fn a_database_that_is_damaged_while_it_is_served_is_told_of() {
    let objects = 30;
    let data = in_the_database(objects).await.restore();
    let host = open(data.path()).unwrap();
    // Or the pages below might be written over by what is moved there from the log.
    let reader = reads_on(data.path());
    assert_eq!(vault(&host, &"new").add(1).await.unwrap(), 1);
    let path = data.path().join(DATABASE);
    let before = fs::read(&path).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    for page in (1..before.len() / 4096).step_by(2) {
        file.write_all_at(&[0xff; 4096], page as u64 * 4096)
            .unwrap();
    }
    assert!(damaged(&host, objects).await > 0);
    file.write_all_at(&before, 0).unwrap();
    drop(reader);
    host.shutdown().await;
    let host = open(data.path()).unwrap();
    assert_eq!(damaged(&host, objects).await, 0);
    assert_eq!(vault(&host, &"new").count().await.unwrap(), 1);
}

/// This test binary again, to run one of the ignored tests below: by `sh`, after a setting of its own.
fn child(setting: &str, test: &str, data: &Path) -> Command {
    child_of(&env::current_exe().unwrap(), setting, test, data)
}

fn child_of(program: &Path, setting: &str, test: &str, data: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!(
            "{setting} exec \"$@\" \"$0\" --exact {test} --ignored --nocapture"
        ))
        .arg(program)
        .env("DOKIT_TEST_DATA", data)
        .stdout(Stdio::piped());
    command
}

fn told_where() -> std::path::PathBuf {
    let data = env::var_os("DOKIT_TEST_DATA");
    data.expect("the test that runs it says where").into()
}

/// Waits for a line that begins like this, and gives the rest.
fn line(child: &mut Child, start: &str) -> String {
    let out = child.stdout.as_mut().unwrap();
    for line in BufReader::new(out).lines() {
        if let Some(rest) = line.unwrap().strip_prefix(start) {
            return rest.to_owned();
        }
    }
    panic!("it ended before it said {start:?}");
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // In one piece, on a line that the test harness has not begun.
    write!(out, "\n{line}\n").unwrap();
    out.flush().unwrap();
}

fn one<T: DurableObject>(host: &Host, name: &str) -> Client {
    VaultApiClient::new(host.namespace::<T>().get_by_name(name))
}

#[tokio::test]
#[ignore = "is run by the tests below, under a limit"]
async fn adds_until_the_disk_takes_no_more() {
    add_until_the_disk_takes_no_more::<Vault>().await;
}

#[tokio::test]
#[ignore = "is run by the tests below, under a limit"]
async fn adds_rows_until_the_disk_takes_no_more() {
    add_until_the_disk_takes_no_more::<SqlVault>().await;
}

/// Runs where no file may grow beyond a limit, until it is lifted.
async fn add_until_the_disk_takes_no_more<T: DurableObject>() {
    let host = open(&told_where()).unwrap();
    let (full, other) = (one::<T>(&host, "full"), one::<T>(&host, "other"));
    assert_eq!(other.add(1).await.unwrap(), 1);
    let mut added = 0;
    let refused = loop {
        match full.add(20_000).await {
            Ok(count) => added = count,
            Err(error) => break error,
        }
        assert!(added < 1000, "there was no limit");
    };
    assert_eq!(code(&refused), "commit_failed");
    let metrics = host.metrics();
    assert!(metrics.contains("\ndokit_commits_failed_total 1\n"));
    for _ in 0..3 {
        assert_eq!(full.count().await.unwrap(), added);
        assert_eq!(other.count().await.unwrap(), 1);
        match full.add(20_000).await {
            // A file of its own was opened anew, and what was in its log is not there any more.
            Ok(count) => added = count,
            Err(refused) => assert_eq!(code(&refused), "commit_failed"),
        }
    }
    // What limited it goes: something else that took the space, or the limit of this process.
    let freed = fs::remove_file(told_where().join(BALLAST)).is_ok();
    if !freed {
        let unlimited = [
            "--fsize=unlimited",
            "--pid",
            &std::process::id().to_string(),
        ];
        let lifted = Command::new("prlimit").args(unlimited).status();
        assert!(lifted.unwrap().success());
    }
    assert_eq!(full.add(20_000).await.unwrap(), added + 1);
    assert_eq!(other.add(1).await.unwrap(), 2);
    host.shutdown().await;
    drop((full, other, host));
    let host = open(&told_where()).unwrap();
    assert_eq!(one::<T>(&host, "full").count().await.unwrap(), added + 1);
    assert_eq!(one::<T>(&host, "other").count().await.unwrap(), 2);
    host.shutdown().await;
    say(&format!("added {added}"));
}

/// More than the logs take beside it, so that all of them can be moved into their databases without it.
const BALLAST: &str = "ballast";

const FILLS: [&str; 2] = [
    "adds_until_the_disk_takes_no_more",
    "adds_rows_until_the_disk_takes_no_more",
];

/// Runs one of those tests, and gives how many calls were answered before the disk took no more.
fn fill(setting: &str, test: &str) -> u32 {
    let data = tempdir().unwrap();
    let mut child = child(setting, test, data.path()).spawn().unwrap();
    let added = line(&mut child, "added ").parse().unwrap();
    assert!(child.wait().unwrap().success());
    added
}

#[tokio::test]
async fn when_a_write_fails_the_host_serves_on_and_takes_calls_again_when_it_can() {
    // The signal that comes with the error would end the process. A soft limit can be lifted again.
    let setting = "trap '' XFSZ; ulimit -S -f 2048;";
    for test in FILLS {
        let added = fill(setting, test);
        assert!(added > 10, "{added}");
    }
}

/// A file system of its own, in memory. Where none may be mounted this is the test above again.
#[tokio::test]
async fn when_a_disk_is_full_the_host_serves_on_and_takes_calls_again_when_there_is_space() {
    let mount = "mount -t tmpfs -o size=2m none";
    let folder = tempdir().unwrap();
    let mounted = Command::new("unshare")
        .args(["-rm", "sh", "-c", &format!("{mount} \"$0\"")])
        .arg(folder.path())
        .status();
    let own = format!(
        "set -- unshare -rm sh -c '{mount} \"$DOKIT_TEST_DATA\" \
         && head -c 1200000 /dev/zero >\"$DOKIT_TEST_DATA/{BALLAST}\" && exec \"$@\"' sh;"
    );
    let setting = match mounted {
        Ok(status) if status.success() => &own,
        _ => "trap '' XFSZ; ulimit -S -f 1024;",
    };
    for test in FILLS {
        let added = fill(setting, test);
        assert!(added > 10, "{added}");
    }
}

#[tokio::test]
#[ignore = "is run by the tests below"]
async fn says_whether_it_can_start() {
    match open(&told_where()) {
        Ok(host) => {
            let added = vault(&host, &"a").add(1).await;
            say(&format!(
                "started {:?}",
                added.map_err(|error| code(&error))
            ));
            // Until it is killed.
            std::future::pending().await
        }
        Err(error) => say(&format!("refused {error}")),
    }
}

#[tokio::test]
async fn where_nothing_can_be_written_a_host_does_not_start() {
    let data = tempdir().unwrap();
    let limit = "trap '' XFSZ; ulimit -f 0;";
    let mut child = child(limit, "says_whether_it_can_start", data.path())
        .spawn()
        .unwrap();
    let refused = line(&mut child, "refused ");
    assert!(refused.starts_with("open the database"), "{refused}");
    child.wait().unwrap();
    open(data.path()).unwrap();

    // Nobody can make a file here, nor the administrator.
    let error = open(Path::new("/proc/self/dokit")).unwrap_err();
    assert!(matches!(error, StartError::DataFolder { .. }), "{error}");
    let error = open(Path::new("/proc/self")).unwrap_err();
    assert!(matches!(error, StartError::DataFolder { .. }), "{error}");
}

/// By somebody who may read the files and not write them. An administrator, who may write all the same,
/// becomes somebody else for it.
#[tokio::test]
async fn a_data_folder_that_may_only_be_read_is_refused() {
    let data = in_the_database(1).await.restore();
    drop(open(data.path()).unwrap());
    let allow =
        |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    // Where anybody may run it.
    let programs = tempdir().unwrap();
    allow(programs.path(), 0o755);
    let program = programs.path().join("program");
    // By another process. Where this one writes it while a test beside this starts a program, that has it open
    // for a moment too, and what is open to be written cannot be run.
    let mut copy = Command::new("cp");
    copy.arg(env::current_exe().unwrap()).arg(&program);
    assert!(copy.status().unwrap().success());
    let anybody = "[ \"$(id -u)\" != 0 ] || set -- setpriv --reuid=65534 --clear-groups;";
    for (lock, refused) in [
        (0o444, "open the data folder"),
        (0o666, "open the database"),
    ] {
        allow(&data.path().join(DATABASE), 0o444);
        allow(&data.path().join("lock"), lock);
        allow(data.path(), 0o555);
        let mut child = child_of(&program, anybody, "says_whether_it_can_start", data.path())
            .spawn()
            .unwrap();
        let told = line(&mut child, "refused ");
        assert!(told.starts_with(refused), "{told}");
        child.wait().unwrap();
        allow(data.path(), 0o755);
        allow(&data.path().join(DATABASE), 0o644);
    }
    let host = open(data.path()).unwrap();
    assert_eq!(damaged(&host, 1).await, 0);
}

#[tokio::test]
async fn a_folder_is_free_as_soon_as_the_process_that_had_it_is_killed() {
    let data = tempdir().unwrap();
    for count in 1..=3 {
        let mut child = child("", "says_whether_it_can_start", data.path())
            .spawn()
            .unwrap();
        assert_eq!(line(&mut child, "started "), format!("Ok({count})"));
        let error = open(data.path()).unwrap_err();
        assert!(matches!(error, StartError::InUse { .. }), "{error}");
        child.kill().unwrap();
        child.wait().unwrap();
        let host = open(data.path()).unwrap();
        assert_eq!(vault(&host, &"a").count().await.unwrap(), count);
        host.shutdown().await;
    }
}
