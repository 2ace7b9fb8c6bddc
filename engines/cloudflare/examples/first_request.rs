//! How large the modules are that `.ci/workerd` has built, and how long workerd takes for a first request,
//! beside the same counter in JavaScript:
//!
//! ```text
//! cargo run -p dokit-cloudflare --example first_request -- [rounds]
//! ```
//!
//! Each round makes a process of workerd for each program, one after the other, on the data that a process
//! before it has left. It wants nothing else running.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measurement's way to fail is to panic, and to tell is its purpose"
)]

#[path = "../tests/workerd/listening.rs"]
mod listening;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command},
    time::{Duration, Instant},
};

/// How many objects of each process are asked.
const OBJECTS: usize = 40;

/// What is measured: its name, and the Worker that `.ci/workerd` has built; none is the one in JavaScript.
const PROGRAMS: [(&str, Option<[&str; 2]>); 3] = [
    ("a counter in JavaScript", None),
    (
        "the counter of docs/cloudflare.md",
        Some(["my-counter", "index.js"]),
    ),
    ("all objects of examples/", Some(["workers", "entry.js"])),
];

/// The modules whose size is told.
const MODULES: [(&str, &str); 3] = [
    ("the counter of docs/cloudflare.md", "my-counter"),
    (
        "the toolkit crates' four, without objects of dokit's",
        "workers_toolkit",
    ),
    ("all objects of examples/", "workers"),
];

fn main() {
    let rounds = std::env::args().nth(1);
    let rounds: usize = rounds.map_or(11, |rounds| rounds.parse().unwrap());
    sizes();
    times(rounds);
}

fn sizes() {
    println!("| module | KiB | KiB, gzip -9 | its JavaScript, KiB |\n| --- | --- | --- | --- |");
    for (name, worker) in MODULES {
        let folder = built().join("dist").join(worker);
        let [wasm, script] = ["index_bg.wasm", "index.js"].map(|file| folder.join(file));
        println!(
            "| {name} | {} | {} | {} |",
            kib(size(&wasm)),
            kib(compressed(&wasm)),
            kib(size(&script))
        );
    }
}

fn size(file: &Path) -> usize {
    fs::metadata(file).unwrap().len().try_into().unwrap()
}

fn compressed(file: &Path) -> usize {
    let gzip = Command::new("gzip").args(["-9", "-c"]).arg(file).output();
    gzip.unwrap().stdout.len()
}

fn kib(bytes: usize) -> String {
    bytes.div_ceil(1024).to_string()
}

/// The times of one program: of each round, or of each object of each round.
#[derive(Default)]
struct Times {
    /// From the start of the process to its first answer.
    process: Vec<Duration>,
    /// The first request of the process, from when it listens.
    first: Vec<Duration>,
    /// The first request to an object that is not in memory; the program runs.
    sleeping: Vec<Duration>,
    /// The request after that, to the same object.
    second: Vec<Duration>,
}

fn times(rounds: usize) {
    let mut all: Vec<(tempfile::TempDir, Times)> = Vec::new();
    for (_, worker) in PROGRAMS {
        let folder = tempfile::tempdir().unwrap();
        configure(worker, folder.path());
        // The objects are on disk from now on.
        let process = Process::start(folder.path());
        for object in 0..OBJECTS {
            process.ask(object, 1);
        }
        drop(process);
        all.push((folder, Times::default()));
    }
    for round in 0..rounds {
        for (folder, times) in &mut all {
            measure(folder.path(), round, times);
        }
    }
    println!(
        "\n| ms, medians of {rounds} processes (least-most) | process to answer | first request | to an \
         object that sleeps | the next to it |\n| --- | --- | --- | --- | --- |"
    );
    for ((name, _), (_, mut times)) in PROGRAMS.into_iter().zip(all) {
        let columns = [
            &mut times.process,
            &mut times.first,
            &mut times.sleeping,
            &mut times.second,
        ];
        println!(
            "| {name} | {} |",
            columns.map(|times| median(times)).join(" | ")
        );
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure(folder: &Path, round: usize, times: &mut Times) {
    let begun = Instant::now();
    let process = Process::start(folder);
    let count = 2 * round + 2;
    times.first.push(process.ask(0, count));
    times.process.push(begun.elapsed());
    process.ask(0, count + 1);
    for object in 1..OBJECTS {
        times.sleeping.push(process.ask(object, count));
        times.second.push(process.ask(object, count + 1));
    }
}

fn median(times: &mut [Duration]) -> String {
    times.sort();
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1e3);
    let [least, middle, most] = [0, times.len() / 2, times.len() - 1].map(|at| ms(times[at]));
    format!("{middle} ({least}-{most})")
}

/// Writes the configuration of a process of workerd that listens where there is a free port.
fn configure(worker: Option<[&str; 2]>, folder: &Path) {
    let written = match worker {
        Some([worker, entry]) => {
            let told = Command::new(built().join("config").join(worker))
                .args(["workerd", "--addr", "127.0.0.1:0", "--data"])
                .arg(folder)
                .arg("--main")
                .arg(built().join("dist").join(worker).join(entry))
                .output()
                .unwrap();
            assert!(told.status.success(), "{told:?}: run .ci/workerd first");
            String::from_utf8(told.stdout).unwrap()
        }
        None => format!(
            r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "objects", worker = .objects),
    (name = "disk", disk = (path = {folder:?}, writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "objects")],
);
const objects :Workerd.Worker = (
  compatibilityDate = "2026-08-01",
  durableObjectStorage = (localDisk = "disk"),
  durableObjectNamespaces = [
    (className = "Counter", uniqueKey = "counter", enableSql = true),
    (className = "SqlCounter", uniqueKey = "sql-counter", enableSql = true),
  ],
  bindings = [(name = "counter", durableObjectNamespace = "Counter")],
  modules = [(name = "workerd.js", esModule = embed {:?})],
);
"#,
            root().join("benches/src/workerd.js")
        ),
    };
    fs::write(folder.join("workerd.capnp"), written).unwrap();
}

/// A process of workerd, killed when it is dropped.
struct Process {
    process: Child,
    port: u16,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(built().join("bin"));
        command
            .args(["serve", "--control-fd=1", "-I", "/"])
            .arg(folder.join("workerd.capnp"));
        let (process, port) = listening::start(&mut command);
        Self { process, port }
    }

    /// Increments an object, checks what it answers, and tells how long that took.
    #[expect(clippy::disallowed_methods, reason = "it measures")]
    fn ask(&self, object: usize, count: usize) -> Duration {
        let request = format!(
            "POST /counter/{object}/increment HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-length: 3\r\n\r\n[1]"
        );
        let begun = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let took = begun.elapsed();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        // In chunks or not, the count is a line of its own.
        assert!(
            body.lines().any(|line| line == count.to_string()),
            "{answer}"
        );
        took
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

fn built() -> PathBuf {
    root().join("target/workerd")
}
