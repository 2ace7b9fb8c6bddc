//! Calls that are handed over to be made after the commit.

use std::time::Duration;

use serde_json::json;

use super::{Engine, Session, alarms::fired, stored::numbers};

/// Promise 3.
pub async fn a_call_that_is_handed_over_is_made_after_the_commit_once_and_in_order<E: Engine>(
    session: &mut Session<E>,
) {
    for numbers in [vec![3, 1], vec![2]] {
        session
            .call::<()>("a", "add_later", json!(["b", numbers, false]))
            .await;
    }
    // What was on its way when it crashed is sent again, a minute later where the engine cannot know sooner.
    session.engine.crash().await;
    session.engine.advance(Duration::from_secs(120)).await;
    assert_eq!(numbers(session, "b").await, [3, 1, 2]);
    session.engine.crash().await;
    session.engine.advance(Duration::from_secs(3600)).await;
    assert_eq!(numbers(session, "b").await, [3, 1, 2], "it was made twice");
    // To itself too, though it is there that the call comes from.
    session
        .call::<()>("a", "add_later", json!(["a", [7], false]))
        .await;
    session.engine.settle().await;
    assert_eq!(numbers(session, "a").await, [7]);
}

/// Promises 2 and 3.
pub async fn a_call_that_is_handed_over_by_a_call_that_fails_is_not_made<E: Engine>(
    session: &mut Session<E>,
) {
    let failed = session.refused("a", "add_later", json!(["b", [1], true]));
    assert_eq!(failed.await.0, 418);
    session.engine.break_disk().await;
    let failed = session.refused("a", "add_later", json!(["b", [2], false]));
    assert_eq!(failed.await.1["code"], "commit_failed");
    session.engine.mend_disk().await;
    session.engine.advance(Duration::from_secs(3600)).await;
    assert_eq!(numbers(session, "b").await, [0; 0]);
}

/// Promises 3 and 5.
pub async fn a_call_that_is_handed_over_leaves_the_alarm_alone<E: Engine>(
    session: &mut Session<E>,
) {
    let at: i64 = session.call("a", "set_alarm", [60_000, 0]).await;
    session
        .call::<()>("a", "add_later", json!(["b", [1], false]))
        .await;
    let set: Option<i64> = session.call("a", "alarm_time", json!([])).await;
    assert_eq!(set, Some(at));
    session.engine.settle().await;
    assert_eq!(numbers(session, "b").await, [1]);
    assert_eq!(fired(session).await, []);
    let set: Option<i64> = session.call("a", "alarm_time", json!([])).await;
    assert_eq!(set, Some(at));
    session.engine.advance(Duration::from_secs(60)).await;
    let runs = fired(session).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].at.as_millis(), at);
    let none: Option<i64> = session.call("a", "alarm_time", json!([])).await;
    assert_eq!(none, None);
    // The one that it removes is its own.
    session
        .call::<()>("a", "add_later", json!(["b", [2], false]))
        .await;
    session.call::<()>("a", "delete_alarm", json!([])).await;
    session.engine.settle().await;
    assert_eq!(numbers(session, "b").await, [1, 2]);
    assert_eq!(fired(session).await.len(), 1);
}

/// Promise 8: more than an object calls at once.
pub async fn calls_that_are_handed_over_to_many_objects_at_once_do_not_wait_for_each_other<
    E: Engine,
>(
    session: &mut Session<E>,
) {
    let names: Vec<String> = (0..150).map(|number| format!("to{number}")).collect();
    session
        .call::<()>("a", "add_to_each_later", json!([names, 7]))
        .await;
    session.engine.settle().await;
    for name in &names {
        assert_eq!(numbers(session, name).await, [7], "{name}");
    }
}

/// Promise 8: none of the two ends before the other has begun.
pub async fn calls_that_are_handed_over_to_several_objects_run_beside_each_other<E: Engine>(
    session: &mut Session<E>,
) {
    let meeting = json!([["b", "c"], "d"]);
    session.call::<()>("a", "meet_later", meeting).await;
    session.engine.settle().await;
    let signed: Vec<String> = session.call("d", "keys", ["signed:"]).await;
    assert_eq!(signed, ["signed:b", "signed:c"]);
    let none: Vec<String> = session.call("a", "undelivered", json!([])).await;
    assert_eq!(none, [""; 0]);
}

/// Promise 3.
pub async fn a_call_that_cannot_be_delivered_is_kept_and_stops_no_other<E: Engine>(
    session: &mut Session<E>,
) {
    // The fifth is refused: `b` holds no more than four.
    session
        .call::<()>("a", "add_later", json!(["b", [1, 2, 3, 4, 5], false]))
        .await;
    session
        .call::<()>("a", "add_later", json!(["c", [6], false]))
        .await;
    session.engine.settle().await;
    assert_eq!(numbers(session, "b").await, [1, 2, 3, 4]);
    assert_eq!(numbers(session, "c").await, [6]);
    session.engine.crash().await;
    let kept: Vec<String> = session.call("a", "undelivered", json!([])).await;
    assert_eq!(
        kept,
        ["invalid_state (400): invalid state: 5 numbers are more than 4"]
    );
}
