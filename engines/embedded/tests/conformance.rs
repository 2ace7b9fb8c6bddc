//! The suite of all engines, over this one: on disk, with a clock that stands still.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

mod peer;

use std::{
    cell::Cell,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use dokit_client::ObjectId;
use dokit_conformance::{Engine, Plain, Probe, Room, Rows, SocketEngine, SqlProbe, for_each_suite};
use dokit_embedded::Host;
use dokit_object::{Request, Response, testing::ManualClock};
use futures_executor::block_on;
use peer::Tcp;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};

/// A host on a runtime of its own: to drop the runtime with all that runs on it is the crash.
struct Embedded {
    data: TempDir,
    clock: ManualClock,
    sleep_after: Duration,
    running: Option<(Host, Runtime)>,
    /// Where it listens, once somebody has asked.
    address: Cell<Option<SocketAddr>>,
}

impl Embedded {
    fn new() -> Self {
        Self::sleeping_after(Duration::from_secs(10))
    }

    fn sleeping_after(sleep_after: Duration) -> Self {
        let data = tempfile::tempdir().unwrap();
        let clock = ManualClock::new();
        let running = Some(start(data.path(), &clock, sleep_after));
        Self {
            data,
            clock,
            sleep_after,
            running,
            address: Cell::new(None),
        }
    }

    fn running(&self) -> (Host, &Runtime) {
        let (host, runtime) = self.running.as_ref().unwrap();
        (host.clone(), runtime)
    }

    /// From another connection, as somebody else with the file open.
    fn sql(&self, sql: &str) {
        execute(&self.data.path().join("objects.sqlite"), sql);
    }

    /// The databases that objects have to themselves, with the tables of theirs that are written to.
    fn own(&self) -> Vec<(PathBuf, Vec<String>)> {
        let mut files = Vec::new();
        files_under(&self.data.path().join("sql"), &mut files);
        files.retain(|file| file.extension().is_some_and(|kind| kind == "sqlite"));
        let tables = |file: PathBuf| {
            let connection = open(&file);
            let names = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name IN \
                         ('entries', 'failures', '_dokit_keys', '_dokit_alarm')";
            let mut names = connection.prepare(names).unwrap();
            let names = names.query_map([], |row| row.get(0)).unwrap();
            let names = names.collect::<rusqlite::Result<_>>().unwrap();
            (file, names)
        };
        files.into_iter().map(tables).collect()
    }
}

fn open(file: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(60)).unwrap();
    connection
}

fn execute(file: &Path, sql: &str) {
    open(file).execute_batch(sql).unwrap();
}

fn files_under(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_under(&path, files);
        } else {
            files.push(path);
        }
    }
}

fn start(data: &Path, clock: &ManualClock, sleep_after: Duration) -> (Host, Runtime) {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let inside = runtime.enter();
    let host = Host::builder()
        .data(data)
        .object::<Probe>()
        .object::<Plain>()
        .object::<Room>()
        .object::<SqlProbe>()
        .object::<Rows>()
        .clock(clock.clone())
        .sleep_after(sleep_after)
        .start()
        .unwrap();
    drop(inside);
    (host, runtime)
}

impl Engine for Embedded {
    async fn request(&self, request: Request) -> Response {
        let (host, runtime) = self.running();
        let answer = runtime.spawn(async move { host.handle(request).await });
        answer.await.unwrap()
    }

    async fn advance(&self, by: Duration) {
        self.settle().await;
        self.clock.advance(by);
        self.settle().await;
    }

    async fn sleep(&self) {
        let (host, runtime) = self.running();
        runtime
            .spawn(async move { host.sleep().await })
            .await
            .unwrap();
    }

    async fn crash(&mut self) {
        drop(self.running.take());
        self.address.set(None);
        self.running = Some(start(self.data.path(), &self.clock, self.sleep_after));
    }

    async fn break_disk(&self) {
        for (table, change) in [
            ("objects", "INSERT"),
            ("objects", "UPDATE"),
            ("entries", "INSERT"),
            ("entries", "DELETE"),
        ] {
            self.sql(&format!(
                "CREATE TRIGGER broken_{table}_{change} BEFORE {change} ON {table} \
                 BEGIN SELECT RAISE(ABORT, 'the disk is broken'); END"
            ));
        }
        // To roll back is what SQLite does of itself where a disk fails.
        for (file, tables) in self.own() {
            for table in tables {
                for change in ["INSERT", "UPDATE", "DELETE"] {
                    execute(
                        &file,
                        &format!(
                            "CREATE TRIGGER broken_{table}_{change} BEFORE {change} ON {table} \
                             BEGIN SELECT RAISE(ROLLBACK, 'the disk is broken'); END"
                        ),
                    );
                }
            }
        }
    }

    async fn mend_disk(&self) {
        for trigger in [
            "objects_INSERT",
            "objects_UPDATE",
            "entries_INSERT",
            "entries_DELETE",
        ] {
            self.sql(&format!("DROP TRIGGER broken_{trigger}"));
        }
        for (file, tables) in self.own() {
            for table in tables {
                for change in ["INSERT", "UPDATE", "DELETE"] {
                    execute(
                        &file,
                        &format!("DROP TRIGGER IF EXISTS broken_{table}_{change}"),
                    );
                }
            }
        }
    }

    async fn settle(&self) {
        let (host, runtime) = self.running();
        let settled = runtime.spawn(async move { host.alarms_settled().await });
        settled.await.unwrap();
    }
}

impl SocketEngine for Embedded {
    type Peer = Tcp;

    async fn connect(&self, path: &str) -> Result<Tcp, Response> {
        let address = match self.address.get() {
            Some(address) => address,
            None => {
                let (host, runtime) = self.running();
                let listener = runtime.block_on(host.listen("127.0.0.1:0")).unwrap();
                let address = listener.address();
                runtime.spawn(listener.serve(std::future::pending()));
                self.address.set(Some(address));
                address
            }
        };
        Tcp::connect(address, path).map_err(|refused| *refused)
    }

    async fn break_disk_of(&self, _: &ObjectId) {
        self.break_disk().await;
    }

    async fn mend_disk_of(&self, _: &ObjectId) {
        self.mend_disk().await;
    }
}

macro_rules! tests {
    ($session:path: $($case:ident = $run:path,)*) => {
        $(
            mod $case {
                use super::*;

                #[test]
                fn awake() {
                    block_on($run(&mut $session(Embedded::new(), false)));
                }

                #[test]
                fn with_sleep_between_any_two_calls() {
                    block_on($run(&mut $session(Embedded::new(), true)));
                }

                #[test]
                fn asleep_as_soon_as_nothing_calls() {
                    let engine = Embedded::sleeping_after(Duration::ZERO);
                    block_on($run(&mut $session(engine, false)));
                }
            }
        )*
    };
}

for_each_suite!(tests);
