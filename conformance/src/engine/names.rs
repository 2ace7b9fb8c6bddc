//! Which object a name or an id leads to, and how one reaches another.

use dokit_client::ObjectId;
use futures_util::future::join;
use serde_json::json;

use super::{Engine, Session};

/// There is one object of each name, and no other.
pub async fn objects_are_apart<E: Engine>(session: &mut Session<E>) {
    let names = ["a", "b", "A", "a%2Fb", "a%20b", "%E2%9C%93", "..%2F..%2Fa"];
    for (by, name) in (1u64..).zip(names) {
        session.call::<u64>(name, "increment", [by]).await;
    }
    session.engine.crash().await;
    for (by, name) in (1u64..).zip(names) {
        let count: Option<u64> = session.call(name, "get", ["count"]).await;
        assert_eq!(count, Some(by), "{name}");
    }
}

/// The name is there in every call, after every wake.
pub async fn an_object_knows_its_name_and_its_id<E: Engine>(session: &mut Session<E>) {
    let before: (Option<String>, String) = session.call("a%2Fb", "identity", json!([])).await;
    assert_eq!(before.0.as_deref(), Some("a/b"));
    assert_eq!(before.1.len(), 64);
    session.engine.crash().await;
    let after: (Option<String>, String) = session.call("a%2Fb", "identity", json!([])).await;
    assert_eq!(before, after);
}

/// `/{namespace}@id/{64 hex}` is the object that a name leads to, and it still knows the name.
pub async fn an_id_reaches_the_object_of_the_name<E: Engine>(session: &mut Session<E>) {
    session.call::<u64>("a", "increment", [5]).await;
    let (name, id): (Option<String>, String) = session.call("a", "identity", json!([])).await;
    session.engine.crash().await;
    let path = format!("/{}@id/{id}/identity", session.probe);
    let (status, body) = session.send("POST", &path, b"[]".to_vec()).await;
    assert_eq!(status, 200);
    let found: (Option<String>, String) = serde_json::from_slice(&body).unwrap();
    assert_eq!(found, (name, id));
    for (id, why) in [("12", "64 hex"), (&*"0".repeat(64), "not valid")] {
        let path = format!("/{}@id/{id}/identity", session.probe);
        let (status, body) = session.send("POST", &path, b"[]".to_vec()).await;
        let text = String::from_utf8_lossy(&body);
        assert!(status == 400 && text.contains(why), "{status} {text}");
    }
}

/// An object that is first addressed by its id knows its name from when it is addressed by that.
pub async fn an_object_learns_its_name_though_it_was_reached_by_id_first<E: Engine>(
    session: &mut Session<E>,
) {
    let id = ObjectId::from_name(session.probe, "a");
    let path = format!("/{}@id/{id}/increment", session.probe);
    assert_eq!(session.send("POST", &path, b"[1]".to_vec()).await.0, 200);
    let (name, _): (Option<String>, String) = session.call("a", "identity", json!([])).await;
    assert_eq!(name.as_deref(), Some("a"));
    session.call::<u64>("a", "increment", [1]).await;
    session.engine.crash().await;
    let path = format!("/{}@id/{id}/identity", session.probe);
    let (_, body) = session.send("POST", &path, b"[]".to_vec()).await;
    let (name, _): (Option<String>, String) = serde_json::from_slice(&body).unwrap();
    assert_eq!(name.as_deref(), Some("a"), "the name is stored");
}

/// An object reaches others through its context.
pub async fn an_object_calls_another<E: Engine>(session: &mut Session<E>) {
    let first: u64 = session.call("a", "increment_other", json!(["b", 3])).await;
    let second: u64 = session.call("b", "increment_other", json!(["a", 4])).await;
    assert_eq!((first, second), (3, 4));
    let (one, two) = join(
        session.call::<u64>("a", "increment_other", json!(["c", 1])),
        session.call::<u64>("b", "increment_other", json!(["c", 1])),
    )
    .await;
    assert_eq!(one + two, 3, "both met the same object");
}

/// The `traceparent` of a request is known to the call, and to those that it makes.
pub async fn a_trace_goes_along_to_the_objects_that_are_called<E: Engine>(
    session: &mut Session<E>,
) {
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = http::Request::builder()
        .method("POST")
        .uri(format!("/{}/a/traces", session.probe))
        .header("traceparent", trace);
    let request = request.body("[\"b\"]".into()).unwrap();
    let (status, body) = session.ask(request).await;
    assert_eq!(status, 200);
    let seen: [Option<String>; 2] = serde_json::from_slice(&body).unwrap();
    assert_eq!(seen, [Some(trace.to_owned()), Some(trace.to_owned())]);
    let unseen: [Option<String>; 2] = session.call("a", "traces", ["b"]).await;
    assert_eq!(unseen, [None, None], "it is that of one call");
}

/// Promise 8: by itself, or through another, at once and not at its deadline.
pub async fn a_call_that_comes_back_to_an_object_that_waits_is_refused<E: Engine>(
    session: &mut Session<E>,
) {
    for through in [json!(["a"]), json!(["b", "a"]), json!(["b", "c", "a"])] {
        let told: String = session.call("a", "call_along", [&through]).await;
        assert_eq!(told, "reentrant_call", "through {through}");
    }
    // One that does not come back goes through.
    let told: String = session.call("a", "call_along", json!([["b", "c"]])).await;
    assert_eq!(told, "done");
}
