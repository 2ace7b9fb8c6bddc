//! The counter example as a process, over HTTP.

use crate::support::Server;
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
