//! workerd as a process of its own, that serves what `.ci/workerd` has built.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// A test that waits longer for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running workerd, killed when it is dropped.
pub(crate) struct Workerd {
    worker: &'static str,
    data: TempDir,
    process: Child,
    port: u16,
}

impl Workerd {
    /// Starts workerd with what `.ci/workerd-serve` calls `worker`.
    pub(crate) fn start(worker: &'static str) -> Self {
        let data = tempfile::tempdir().unwrap();
        let (process, port) = start(worker, data.path());
        Self {
            worker,
            data,
            process,
            port,
        }
    }

    /// `kill -9`, and another process on the same data.
    pub(crate) fn crash(&mut self) {
        self.crash_into(self.worker);
    }

    /// `kill -9`, and a process that serves another worker on the same data.
    pub(crate) fn crash_into(&mut self, worker: &'static str) {
        self.kill();
        self.worker = worker;
        (self.process, self.port) = start(worker, self.data.path());
    }

    /// The status and the body that a request is answered with.
    pub(crate) fn send(&self, verb: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let request = format!(
            "{verb} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// The status and the JSON that a request is answered with.
    pub(crate) fn json(&self, verb: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.send(verb, path, body);
        let value = serde_json::from_str(&body);
        let value = value.unwrap_or_else(|error| panic!("{verb} {path}: {body:?}: {error}"));
        (status, value)
    }

    /// What a path answers once it satisfies `condition`.
    #[expect(
        clippy::disallowed_methods,
        reason = "workerd's clock is the machine's"
    )]
    pub(crate) fn eventually(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let (_, shown) = self.json("GET", path, "");
            if condition(&shown) {
                return shown;
            }
            assert!(started.elapsed() < PATIENCE, "{path} stays {shown}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Workerd {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(worker: &str, data: &Path) -> (Child, u16) {
    let serve = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/workerd-serve");
    let mut process = Command::new(serve)
        .args([worker, "serve", "--addr", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    let output = process.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut told).unwrap();
    let event: Value = serde_json::from_str(&told).unwrap();
    let port = event["port"].as_u64().unwrap().try_into().unwrap();
    (process, port)
}
