//! The suite of all engines, over workerd, as far as it can be without a clock that stands still and a
//! disk that breaks. `.ci/workerd` runs it.
//!
//! Not asked here, beside the cases of time and of a broken disk: a panic (it ends the instance), calls
//! that spin until another runs beside them (JavaScript's microtasks would spin for ever), and the name
//! of an object that is woken by its id (the platform does not tell).

#![cfg(not(target_arch = "wasm32"))]
#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use dokit_conformance::{Engine, Session, engine};
use dokit_object::{Request, Response};
use serde_json::Value;
use tempfile::TempDir;

/// workerd as a process of its own.
struct Workerd {
    data: TempDir,
    process: Child,
    port: u16,
}

impl Workerd {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (process, port) = start(data.path());
        Self {
            data,
            process,
            port,
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

fn start(data: &Path) -> (Child, u16) {
    let serve = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.ci/workerd-serve");
    let mut process = Command::new(serve)
        .args(["probe", "serve", "--addr", "127.0.0.1:0", "--data"])
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

/// One request on a connection of its own.
fn send(port: u16, request: &Request) -> Response {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
        request.method(),
        request.uri(),
        request.body().len()
    );
    for (name, value) in request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    head += "\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(request.body()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let text = String::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    let mut response = Response::new(body.to_owned().into());
    *response.status_mut() = status.parse().unwrap();
    response
}

impl Engine for Workerd {
    async fn request(&self, request: Request) -> Response {
        let port = self.port;
        let answer = tokio::task::spawn_blocking(move || send(port, &request));
        answer.await.unwrap()
    }

    async fn crash(&mut self) {
        self.kill();
        let (process, port) = start(self.data.path());
        (self.process, self.port) = (process, port);
    }

    async fn advance(&self, _: Duration) {
        unreachable!("workerd's clock cannot be moved");
    }

    async fn sleep(&self) {
        unreachable!("workerd puts objects to sleep when it likes");
    }

    async fn break_disk(&self) {
        unreachable!("workerd's disk does not break");
    }

    async fn mend_disk(&self) {
        unreachable!("workerd's disk does not break");
    }

    async fn settle(&self) {
        unreachable!("only cases of time wait for alarms");
    }
}

macro_rules! tests {
    ($($case:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            #[ignore = "needs workerd: run .ci/workerd"]
            async fn $case() {
                engine::$case(&mut Session::new(Workerd::new(), false)).await;
            }
        )*
    };
}

tests! {
    exclusive_calls_run_one_at_a_time,
    a_shared_call_cannot_write,
    what_a_call_wrote_is_there_after_a_crash,
    a_call_that_fails_leaves_nothing,
    a_failed_call_leaves_nothing_in_memory,
    an_early_commit_stays_when_the_call_fails,
    objects_are_apart,
    an_object_knows_its_name_and_its_id,
    an_object_calls_another,
    a_call_that_comes_back_to_an_object_that_waits_is_refused,
    values_of_every_kind_come_back_as_they_went_in,
    keys_are_listed_in_the_order_of_their_bytes,
    bad_input_is_answered_with_a_stable_code_and_the_object_serves_on,
    a_plain_request_reaches_fetch,
    an_object_without_fetch_names_its_methods,
}
