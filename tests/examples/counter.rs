//! The counter example as a process, over HTTP.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use crate::support::{Server, at_once, awake_and_asleep, path_of};
use dokit::client::ObjectId;
use serde_json::{Value, json};
use tempfile::tempdir;

#[test]
fn it_counts_and_counts_on_after_kill_9() {
    let data = tempdir().unwrap();
    let server = Server::start("counter", data.path(), &[]);
    assert_eq!(
        server.post("/counter/global/get_count", "[]"),
        (200, json!(0))
    );
    assert_eq!(
        server.post("/counter/global/increment", "[5]"),
        (200, json!(5))
    );
    assert_eq!(
        server.post("/counter/global/increment", "[-2]"),
        (200, json!(3))
    );
    assert_eq!(
        server.post("/counter/other/get_count", "[]"),
        (200, json!(0))
    );
    server.kill();
    let server = Server::start("counter", data.path(), &[]);
    assert_eq!(
        server.post("/counter/global/get_count", "[]"),
        (200, json!(3))
    );
    assert_eq!(
        server.post("/counter/global/reset", "[]"),
        (200, Value::Null)
    );
    assert_eq!(
        server.post("/counter/global/get_count", "[]"),
        (200, json!(0))
    );
}

#[test]
fn it_counts_to_the_end_of_64_bits_and_not_past_it() {
    let data = tempdir().unwrap();
    let server = Server::start("counter", data.path(), &[]);
    let most = i64::MAX;
    let body = format!("[{most}]");
    assert_eq!(
        server.post("/counter/global/increment", &body),
        (200, json!(most))
    );
    let (status, told) = server.post("/counter/global/increment", "[1]");
    assert_eq!((status, &told["code"]), (400, &json!("overflow")));
    assert_eq!(
        server.post("/counter/global/get_count", "[]"),
        (200, json!(most))
    );
}

#[test]
fn the_id_of_a_name_reaches_the_counter_of_that_name() {
    let data = tempdir().unwrap();
    let server = Server::start("counter", data.path(), &[]);
    server.post("/counter/global/increment", "[5]");
    let id = ObjectId::from_name("counter", "global");
    let path = |id: &str, method: &str| format!("/counter@id/{id}/{method}");
    assert_eq!(
        server.post(&path(&id.to_string(), "increment"), "[1]"),
        (200, json!(6))
    );
    assert_eq!(
        server.post("/counter/global/get_count", "[]"),
        (200, json!(6))
    );
    let other = ObjectId::from_name("order", "global").to_string();
    let (status, told) = server.post(&path(&other, "get_count"), "[]");
    assert_eq!((status, &told["code"]), (400, &json!("invalid_id")));
}

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("counter", |server| {
        server.play_header(include_str!("../../examples/counter.rs"));
    });
}

#[test]
fn it_counts_down_to_zero_and_no_further() {
    awake_and_asleep("counter", |server| {
        let counter = |method: &str, body: &str| server.post(&format!("/counter/c/{method}"), body);
        assert_eq!(counter("increment", "[5]"), (200, json!(5)));
        assert_eq!(counter("decrement", "[2]"), (200, json!(3)));
        let most = format!("[{}]", u64::MAX);
        assert_eq!(counter("decrement", &most), (200, json!(0)));
        assert_eq!(counter("increment", "[-4]"), (200, json!(-4)));
        assert_eq!(counter("decrement", "[1]"), (200, json!(-4)));
        assert_eq!(counter("get_count", "[]"), (200, json!(-4)));
        let (status, told) = counter("decrement", "[-1]");
        assert_eq!((status, &told["code"]), (400, &json!("invalid_arguments")));
    });
}

#[test]
fn of_many_clients_no_increment_is_lost() {
    awake_and_asleep("counter", |server| {
        at_once(|| {
            for _ in 0..20 {
                assert_eq!(server.post("/counter/c/increment", "[1]").0, 200);
            }
        });
        let count = server.post("/counter/c/get_count", "[]");
        assert_eq!(count, (200, json!(160)));
    });
}

#[test]
fn plain_http_speaks_to_the_same_counter_as_the_calls() {
    awake_and_asleep("counter", |server| {
        let root = "/counter/plain";
        let ask = |verb: &str, path: &str, body: &str| server.send(verb, path, &[], body);
        let got = ask("GET", root, "");
        assert_eq!((got.status, got.json()), (200, json!({"count": 0})));
        assert_eq!(got.header("content-type"), Some("application/json"));
        let got = ask("POST", root, r#"{"amount": 5}"#);
        assert_eq!((got.status, got.json()), (200, json!({"count": 5})));
        let path = format!("{root}/increment");
        assert_eq!(server.post(&path, "[2]"), (200, json!(7)));
        let path = format!("{root}/");
        assert_eq!(ask("GET", &path, "").json(), json!({"count": 7}));

        for body in ["", "5", "{}", r#"{"amount": "5"}"#] {
            let refused = ask("POST", root, body);
            let code = &refused.json()["code"];
            assert_eq!(
                (refused.status, code),
                (400, &json!("invalid_body")),
                "{body}"
            );
        }
        let most = format!(r#"{{"amount": {}}}"#, i64::MAX);
        let refused = ask("POST", root, &most);
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (400, &json!("overflow"))
        );
        for (verb, path) in [
            ("DELETE", "/counter/plain"),
            ("GET", "/counter/plain/other"),
        ] {
            assert_eq!(ask(verb, path, "").status, 404, "{verb} {path}");
        }
        assert_eq!(ask("GET", root, "").json(), json!({"count": 7}));
    });
}

#[test]
fn started_without_a_word_it_serves_and_tells_what_to_try() {
    let data = tempdir().unwrap();
    let mut process = Command::new(path_of("counter"))
        .args(["--addr", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let listening = lines.next().unwrap().unwrap();
    let try_first = lines.next().unwrap().unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    let address = listening.strip_prefix("listening on ").unwrap();
    let expected = format!("curl -d '[5]' {address}/counter/global/increment");
    assert!(try_first.trim().starts_with(&expected), "{try_first}");
}
