//! workerd as a process of its own, that serves what `.ci/workerd` has built.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use http::{HeaderName, Request, Response};
use serde_json::Value;
use tempfile::TempDir;

use crate::listening;

/// A test that waits longer for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What serves the examples, the probe and the toolkit.
const SERVE: &str = "../../.ci/workerd-serve";

/// What serves the tally in Rust, or that in JavaScript.
const SERVE_TALLY: &str = "tests/typescript/serve";

/// A running workerd, killed when it is dropped.
pub(crate) struct Workerd {
    /// The program, its worker, and options.
    command: Vec<String>,
    data: TempDir,
    process: Child,
    port: u16,
}

impl Workerd {
    /// Starts workerd with what `.ci/workerd-serve` calls `worker`.
    pub(crate) fn start(worker: &str) -> Self {
        Self::start_command(&[SERVE, worker])
    }

    /// The same, but the Worker has no binding of this name.
    pub(crate) fn start_without(binding: &str, worker: &str) -> Self {
        Self::start_command(&[SERVE, worker, "--without", binding])
    }

    /// Starts workerd with the tally in `language`, `rust` or `javascript`.
    pub(crate) fn start_tally(language: &str) -> Self {
        Self::start_command(&[SERVE_TALLY, language])
    }

    fn start_command(command: &[&str]) -> Self {
        let command: Vec<String> = command.iter().map(ToString::to_string).collect();
        let data = tempfile::tempdir().unwrap();
        let (process, port) = start(&command, data.path());
        Self {
            command,
            data,
            process,
            port,
        }
    }

    /// `kill -9`, and another process on the same data.
    pub(crate) fn crash(&mut self) {
        self.kill();
        (self.process, self.port) = start(&self.command, self.data.path());
    }

    /// `kill -9`, and a process with the tally in another language on the same data.
    pub(crate) fn crash_into(&mut self, language: &str) {
        self.command[1] = language.to_owned();
        self.crash();
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The status and the body that a request is answered with.
    pub(crate) fn send(&self, verb: &str, path: &str, body: &str) -> (u16, String) {
        let request = Request::builder().method(verb).uri(path);
        let answer = self.request(&request.body(body).unwrap());
        (answer.status().as_u16(), answer.into_body())
    }

    /// What a request is answered, on a connection of its own.
    pub(crate) fn request(&self, request: &Request<impl AsRef<[u8]>>) -> Response<String> {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let body = request.body().as_ref();
        let mut head = format!(
            "{} {} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
            request.method(),
            request.uri(),
            body.len()
        );
        for (name, value) in request.headers() {
            head += &format!("{name}: {}\r\n", value.to_str().unwrap());
        }
        head += "\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let mut response = Response::new(body.to_owned());
        let status = head.split(' ').nth(1).unwrap();
        *response.status_mut() = status.parse().unwrap();
        for line in head.lines().skip(1) {
            let (name, value) = line.split_once(": ").unwrap();
            let name: HeaderName = name.parse().unwrap();
            response.headers_mut().append(name, value.parse().unwrap());
        }
        response
    }

    /// The status and the JSON that a request is answered with.
    pub(crate) fn json(&self, verb: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.send(verb, path, body);
        let value = serde_json::from_str(&body);
        let value = value.unwrap_or_else(|error| panic!("{verb} {path}: {body:?}: {error}"));
        (status, value)
    }

    /// What a path answers once it satisfies `condition`.
    pub(crate) fn eventually(&self, path: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let mut shown = Value::Null;
        wait_until(|| {
            shown = self.json("GET", path, "").1;
            condition(&shown)
        });
        shown
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

fn start(command: &[String], data: &Path) -> (Child, u16) {
    let [program, worker, options @ ..] = command else {
        unreachable!("a command is a program and a worker");
    };
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(program);
    let mut command = Command::new(program);
    command
        .args([worker, "serve", "--addr", "127.0.0.1:0", "--data"])
        .arg(data)
        .args(options);
    listening::start(&mut command)
}

/// Asks again and again.
#[expect(
    clippy::disallowed_methods,
    reason = "workerd's clock is the machine's"
)]
pub(crate) fn wait_until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "it does not come to be");
        thread::sleep(Duration::from_millis(20));
    }
}
