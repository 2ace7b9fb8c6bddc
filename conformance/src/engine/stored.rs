//! What comes back of what was stored.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Engine, Session};
use crate::Kinds;

/// Promises 2 and 7.
pub async fn a_typed_state_is_what_the_calls_that_succeeded_made_it<E: Engine>(
    session: &mut Session<E>,
) {
    session
        .call::<()>("a", "add_to_state", json!([1, ""]))
        .await;
    for (end, status) in [("fail", 418), ("panic", 500)] {
        let failed = session.refused("a", "add_to_state", json!([2, end])).await;
        assert_eq!(failed.0, status, "{failed:?}");
        assert_eq!(numbers(session, "a").await, [1], "{end}");
    }
    let failed = session.refused("a", "add_to_state", json!([3, "commit"]));
    assert_eq!(failed.await.0, 418);
    assert_eq!(numbers(session, "a").await, [1, 3]);
    session.engine.crash().await;
    for number in [4, 5] {
        let added = session.call::<()>("a", "add_to_state", json!([number, ""]));
        added.await;
    }
    let (status, body) = session.refused("a", "add_to_state", json!([6, ""])).await;
    let expected = json!({
        "error": "invalid state: 5 numbers are more than 4",
        "code": "invalid_state",
        "details": {"reason": "5 numbers are more than 4"},
    });
    assert_eq!((status, body), (400, expected));
    session.engine.crash().await;
    assert_eq!(numbers(session, "a").await, [1, 3, 4, 5]);
}

/// Promise 4.
pub async fn a_typed_state_that_cannot_be_committed_is_put_back<E: Engine>(
    session: &mut Session<E>,
) {
    session
        .call::<()>("a", "add_to_state", json!([1, ""]))
        .await;
    session.engine.break_disk().await;
    let (status, body) = session.refused("a", "add_to_state", json!([2, ""])).await;
    assert_eq!((status, &body["code"]), (500, &json!("commit_failed")));
    session.engine.mend_disk().await;
    assert_eq!(numbers(session, "a").await, [1]);
    session
        .call::<()>("a", "add_to_state", json!([3, ""]))
        .await;
    session.engine.crash().await;
    assert_eq!(numbers(session, "a").await, [1, 3]);
}

/// Promise 2.
pub async fn a_typed_state_is_deleted_with_everything<E: Engine>(session: &mut Session<E>) {
    session
        .call::<()>("a", "add_to_state", json!([1, ""]))
        .await;
    session.call::<()>("a", "delete_all", json!([])).await;
    assert_eq!(numbers(session, "a").await, [0; 0]);
    let keys: Vec<String> = session.call("a", "keys", [""]).await;
    assert_eq!(keys, [""; 0]);
    session
        .call::<()>("a", "add_to_state", json!([2, ""]))
        .await;
    session.engine.crash().await;
    assert_eq!(numbers(session, "a").await, [2]);
}

/// D-50 to D-56.
pub async fn values_of_every_kind_come_back_as_they_went_in<E: Engine>(session: &mut Session<E>) {
    let kinds = Kinds {
        big: u64::MAX,
        small: i64::MIN,
        float: 0.1 + 0.2,
        map: BTreeMap::from([("__proto__".to_owned(), 1), ("b".to_owned(), 2)]),
        none: None,
        text: "\u{0}\"\u{2028}\u{1F600}".to_owned(),
        bytes: vec![0, 255],
    };
    let text = serde_json::to_string(&[&kinds]).unwrap();
    let path = format!("/{}/a/keep", session.probe);
    let (status, body) = session.send("POST", &path, text.into_bytes()).await;
    assert_eq!(status, 200);
    let kept: Kinds = serde_json::from_slice(&body).unwrap();
    assert_eq!(kept, kinds);
}

/// X07: the order of UTF-8 bytes, which is not that of UTF-16.
pub async fn keys_are_listed_in_the_order_of_their_bytes<E: Engine>(session: &mut Session<E>) {
    let keys = ["A", "a", "a\u{0}b", "z", "\u{e9}", "\u{FFFD}", "\u{1F600}"];
    let values: BTreeMap<_, _> = keys
        .iter()
        .rev()
        .map(|key| (format!("k{key}"), 1))
        .collect();
    session.call::<()>("a", "put_all", [values]).await;
    session.engine.crash().await;
    let listed: Vec<String> = session.call("a", "keys", ["k"]).await;
    let expected: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
    assert_eq!(listed, expected);
}

/// The numbers in the typed state of an object.
pub(super) async fn numbers<E: Engine>(session: &Session<E>, object: &str) -> Vec<u64> {
    session.call(object, "numbers", json!([])).await
}
