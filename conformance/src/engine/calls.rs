//! What a call is: alone or beside others, and all of it or nothing.

use std::collections::BTreeMap;

use futures_util::future::{join, join_all};
use serde_json::json;

use super::{Engine, Session};

/// Promise 1.
pub async fn exclusive_calls_run_one_at_a_time<E: Engine>(session: &mut Session<E>) {
    let calls = (0..50).map(|_| session.call::<u64>("a", "increment", [1]));
    let mut counts = join_all(calls).await;
    counts.sort_unstable();
    assert_eq!(counts, (1..=50).collect::<Vec<u64>>());
}

/// Promise 1.
pub async fn shared_calls_may_overlap<E: Engine>(session: &mut Session<E>) {
    if session.sleepy {
        // The three have to meet in one activation.
        return;
    }
    join_all((0..3).map(|_| session.call::<()>("a", "meet", [3]))).await;
}

/// Promise 1.
pub async fn a_shared_call_cannot_write<E: Engine>(session: &mut Session<E>) {
    let (status, body) = session.refused("a", "write_while_reading", ["k"]).await;
    assert_eq!((status, &body["code"]), (500, &json!("internal")), "{body}");
    assert_eq!(session.get("k").await, None);
}

/// Promises 2 and 3.
pub async fn what_a_call_wrote_is_there_after_a_crash<E: Engine>(session: &mut Session<E>) {
    let values: BTreeMap<_, _> = (0..20).map(|n| (format!("k{n:02}"), n)).collect();
    session.call::<()>("a", "put_all", [&values]).await;
    session.engine.crash().await;
    let keys: Vec<String> = session.call("a", "keys", ["k"]).await;
    assert_eq!(keys, values.into_keys().collect::<Vec<_>>());
    assert_eq!(session.get("k07").await, Some(7));
}

/// Promise 2.
pub async fn a_call_that_fails_leaves_nothing<E: Engine>(session: &mut Session<E>) {
    session.call::<()>("a", "put", json!(["k", 1])).await;
    let (status, body) = session.refused("a", "put_then_fail", json!(["k", 2])).await;
    assert_eq!(status, 418);
    assert_eq!(
        body,
        json!({"error": "planned failure", "code": "planned", "details": 2})
    );
    assert_eq!(session.get("k").await, Some(1));
    session.engine.crash().await;
    assert_eq!(session.get("k").await, Some(1));
}

/// Promises 2 and 6.
pub async fn a_call_that_panics_leaves_nothing_and_the_object_serves_on<E: Engine>(
    session: &mut Session<E>,
) {
    session.call::<()>("a", "put", json!(["k", 1])).await;
    let (status, body) = session
        .refused("a", "put_then_panic", json!(["k", 2]))
        .await;
    assert_eq!(status, 500);
    assert_eq!(body["code"], "internal");
    assert_eq!(
        body["error"], "internal error",
        "a panic's text is not for the caller"
    );
    assert_eq!(session.get("k").await, Some(1));
}

/// Promises 2 and 7.
pub async fn a_failed_call_leaves_nothing_in_memory<E: Engine>(session: &mut Session<E>) {
    session.call::<()>("a", "remember", json!([1, false])).await;
    session.refused("a", "remember", json!([2, true])).await;
    let (memory, disk): (u64, u64) = session.call("a", "remembered", json!([])).await;
    assert_eq!((memory, disk), (1, 1));
}

/// Promise 2.
pub async fn an_early_commit_stays_when_the_call_fails<E: Engine>(session: &mut Session<E>) {
    let failed = session.refused("a", "commit_then_fail", ["early", "late"]);
    assert_eq!(failed.await.0, 418);
    session.engine.crash().await;
    assert_eq!(session.get("early").await, Some(1));
    assert_eq!(session.get("late").await, None);
}

/// Promise 4.
pub async fn a_failed_commit_fails_the_call_and_is_forgotten<E: Engine>(session: &mut Session<E>) {
    session.call::<()>("a", "remember", json!([1, false])).await;
    session.engine.break_disk().await;
    let (status, body) = session.refused("a", "remember", json!([2, false])).await;
    assert_eq!(
        (status, &body["code"]),
        (500, &json!("commit_failed")),
        "{body}"
    );
    session.engine.mend_disk().await;
    let (memory, disk): (u64, u64) = session.call("a", "remembered", json!([])).await;
    assert_eq!((memory, disk), (1, 1));
    session.call::<()>("a", "remember", json!([3, false])).await;
    session.engine.crash().await;
    let (memory, disk): (u64, u64) = session.call("a", "remembered", json!([])).await;
    assert_eq!((memory, disk), (3, 3));
}

/// Promises 3 and 4, for calls that follow each other.
pub async fn what_was_answered_while_the_disk_broke_is_what_is_there<E: Engine>(
    session: &mut Session<E>,
) {
    let mut answered = Vec::new();
    for _ in 0..3 {
        let calls = (0..20).map(|_| session.try_call::<u64>("a", "increment", [1]));
        let (answers, ()) = join(join_all(calls), session.engine.break_disk()).await;
        for answer in answers {
            match answer {
                Ok(count) => answered.push(count),
                Err((status, body)) => {
                    assert_eq!((status, &body["code"]), (500, &json!("commit_failed")));
                }
            }
        }
        let seen = session.get("count").await;
        session.engine.mend_disk().await;
        let there = u64::try_from(answered.len()).unwrap();
        assert_eq!(seen.unwrap_or(0), there);
        answered.push(session.call("a", "increment", [1]).await);
    }
    answered.sort_unstable();
    let there = u64::try_from(answered.len()).unwrap();
    assert_eq!(answered, (1..=there).collect::<Vec<_>>());
    session.engine.crash().await;
    assert_eq!(session.get("count").await, Some(there));
}
