//! Alarms: at their time, at least once, and kept when they fail.

use std::time::Duration;

use serde_json::json;

use super::{Engine, Session};
use crate::Fired;

/// Promise 2.
pub async fn an_alarm_is_part_of_the_call<E: Engine>(session: &mut Session<E>) {
    session.refused("a", "set_alarm_then_fail", [1000]).await;
    let none: Option<i64> = session.call("a", "alarm_time", json!([])).await;
    assert_eq!(none, None);
    session.engine.advance(Duration::from_secs(10)).await;
    assert_eq!(fired(session).await, []);
}

/// Promise 5.
pub async fn an_alarm_fires_at_its_time_and_not_before<E: Engine>(session: &mut Session<E>) {
    let at: i64 = session.call("a", "set_alarm", [60_000, 0]).await;
    let set: Option<i64> = session.call("a", "alarm_time", json!([])).await;
    assert_eq!(set, Some(at));
    session.engine.advance(Duration::from_millis(59_999)).await;
    assert_eq!(fired(session).await, []);
    session.engine.advance(Duration::from_millis(1)).await;
    let runs = fired(session).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].scheduled.as_millis(), at);
    assert_eq!((runs[0].at.as_millis(), runs[0].retry_count), (at, 0));
    let none: Option<i64> = session.call("a", "alarm_time", json!([])).await;
    assert_eq!(none, None);
    session.engine.advance(Duration::from_secs(3600)).await;
    assert_eq!(fired(session).await.len(), 1, "it fired again");
}

/// Promise 5.
pub async fn an_alarm_that_fell_due_while_nothing_ran_fires_after_the_start<E: Engine>(
    session: &mut Session<E>,
) {
    session.call::<i64>("a", "set_alarm", [60_000, 0]).await;
    session.engine.crash().await;
    session.engine.advance(Duration::from_secs(3600)).await;
    // No call in between: the alarm itself wakes the object.
    session.engine.crash().await;
    session.engine.settle().await;
    assert_eq!(fired(session).await.len(), 1);
}

/// Promise 5.
pub async fn a_later_alarm_replaces_an_earlier_one<E: Engine>(session: &mut Session<E>) {
    session.call::<i64>("a", "set_alarm", [10_000, 0]).await;
    let at: i64 = session.call("a", "set_alarm", [20_000, 0]).await;
    session.engine.advance(Duration::from_secs(60)).await;
    let runs = fired(session).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].scheduled.as_millis(), at);
    session.call::<i64>("a", "set_alarm", [10_000, 0]).await;
    session.call::<()>("a", "delete_alarm", json!([])).await;
    session.engine.advance(Duration::from_secs(60)).await;
    assert_eq!(fired(session).await.len(), 1);
}

/// Promise 5.
pub async fn a_failing_alarm_is_tried_again_and_its_writes_happen_once<E: Engine>(
    session: &mut Session<E>,
) {
    let at: i64 = session.call("a", "set_alarm", [1000, 2]).await;
    session.engine.advance(Duration::from_secs(1)).await;
    assert_eq!(fired(session).await, [], "the failed try's writes remain");
    // The first retry comes 2 to 2.5 seconds later, also when there is a crash in between.
    session.engine.crash().await;
    session.engine.advance(Duration::from_millis(1999)).await;
    assert_eq!(fired(session).await, []);
    for _ in 0..3 {
        session.engine.advance(Duration::from_secs(5)).await;
    }
    let runs = fired(session).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].retry_count, 2);
    assert_eq!(runs[0].scheduled.as_millis(), at);
}

/// Promise 5.
pub async fn an_alarm_whose_tries_are_used_up_is_kept_as_failed<E: Engine>(
    session: &mut Session<E>,
) {
    session.call::<i64>("a", "set_alarm", [1000, 1000]).await;
    for _ in 0..20 {
        session.engine.advance(Duration::from_secs(100)).await;
    }
    assert_eq!(fired(session).await, []);
    let tries: Option<u32> = session.call("a", "given_up", json!([])).await;
    assert_eq!(tries, Some(7));
    session.engine.crash().await;
    let tries: Option<u32> = session.call("a", "given_up", json!([])).await;
    assert_eq!(tries, Some(7));
    // It does not stand in the way of the next.
    session.call::<i64>("a", "set_alarm", [1000, 0]).await;
    let tries: Option<u32> = session.call("a", "given_up", json!([])).await;
    assert_eq!(tries, None);
    session.call::<()>("a", "delete_alarm", json!([])).await;
    let tries: Option<u32> = session.call("a", "given_up", json!([])).await;
    assert_eq!(tries, None, "another has taken its place");
    session.call::<i64>("a", "set_alarm", [1000, 0]).await;
    session.engine.advance(Duration::from_secs(1)).await;
    assert_eq!(fired(session).await.len(), 1);
    let tries: Option<u32> = session.call("a", "given_up", json!([])).await;
    assert_eq!(tries, None, "an old failure came back");
}

/// Promise 5, X64 to X66.
pub async fn an_alarm_that_panics_is_tried_and_kept_like_one_that_fails<E: Engine>(
    session: &mut Session<E>,
) {
    let alarm = session.call("a", "set_panicking_alarm", [1000, 2]);
    let at: i64 = alarm.await;
    for _ in 0..4 {
        session.engine.advance(Duration::from_secs(5)).await;
    }
    let runs = fired(session).await;
    assert_eq!(
        runs.len(),
        1,
        "the writes of the tries that panicked remain"
    );
    assert_eq!(runs[0].retry_count, 2);
    assert_eq!(runs[0].scheduled.as_millis(), at);
    session
        .call::<i64>("a", "set_panicking_alarm", [1000, 1000])
        .await;
    for _ in 0..20 {
        session.engine.advance(Duration::from_secs(100)).await;
    }
    assert_eq!(fired(session).await.len(), 1);
    let tries: Option<u32> = session.call("a", "given_up", json!([])).await;
    assert_eq!(tries, Some(7));
    session
        .call::<i64>("a", "set_panicking_alarm", [1000, 0])
        .await;
    session.engine.advance(Duration::from_secs(1)).await;
    assert_eq!(fired(session).await.len(), 2, "the object serves on");
}

/// Promise 5, X64 to X66: not of its own object, and not of another.
pub async fn an_alarm_that_always_fails_stops_no_other<E: Engine>(session: &mut Session<E>) {
    for (name, how) in [("b", "set_alarm"), ("c", "set_panicking_alarm")] {
        session.call::<i64>(name, how, [1000, 1000]).await;
    }
    for round in 1..=3 {
        let at: i64 = session.call("a", "set_alarm", [1000, 0]).await;
        session.engine.advance(Duration::from_secs(1)).await;
        let runs = fired(session).await;
        assert_eq!(runs.len(), round);
        assert_eq!(runs[round - 1].at.as_millis(), at);
    }
    for _ in 0..20 {
        session.engine.advance(Duration::from_secs(100)).await;
    }
    for name in ["b", "c"] {
        let tries: Option<u32> = session.call(name, "given_up", json!([])).await;
        assert_eq!(tries, Some(7), "{name}");
    }
}

/// Promise 5: it is none the worse for it.
pub async fn an_alarm_waits_for_an_object_that_cannot_be_woken<E: Engine>(
    session: &mut Session<E>,
) {
    let at: i64 = session.call("a", "set_alarm", [1000, 1]).await;
    session.call::<()>("a", "wake_by_the_gate", json!([])).await;
    session.engine.advance(Duration::from_secs(1)).await;
    // Its second try finds the gate closed.
    let close = session.call::<()>("gate", "put", json!(["closed", 1]));
    close.await;
    session.engine.sleep().await;
    session.engine.advance(Duration::from_secs(60)).await;
    let (status, body) = session.refused("a", "fired", json!([])).await;
    assert_eq!((status, &body["code"]), (503, &json!("planned")), "{body}");
    session.engine.crash().await;
    session.engine.advance(Duration::from_secs(60)).await;
    session.call::<()>("gate", "delete_all", json!([])).await;
    session.engine.advance(Duration::from_secs(3600)).await;
    let runs = fired(session).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].scheduled.as_millis(), at);
    assert_eq!(
        runs[0].retry_count, 1,
        "only the handler's own failure counts"
    );
}

/// X60: also for the earliest time that there is.
pub async fn an_alarm_for_a_time_that_has_passed_fires_at_once<E: Engine>(
    session: &mut Session<E>,
) {
    let at: i64 = session.call("a", "set_alarm", [-1000, 0]).await;
    assert_eq!(fired(session).await.len(), 1);
    let first = 1 - (at + 1000);
    session.call::<i64>("a", "set_alarm", [first, 0]).await;
    assert_eq!(fired(session).await.len(), 2);
}

/// Promises 4 and 5.
pub async fn an_alarm_survives_a_disk_that_fails_for_a_while<E: Engine>(session: &mut Session<E>) {
    session.call::<i64>("a", "set_alarm", [1000, 0]).await;
    session.engine.break_disk().await;
    session.engine.advance(Duration::from_secs(1)).await;
    assert_eq!(fired(session).await, []);
    session.engine.mend_disk().await;
    session.engine.advance(Duration::from_secs(60)).await;
    let runs = fired(session).await;
    assert_eq!(runs.len(), 1);
    assert_eq!(
        runs[0].retry_count, 0,
        "a failed disk is not the handler's failure"
    );
}

/// Promise 2.
pub async fn deleting_everything_deletes_the_alarm<E: Engine>(session: &mut Session<E>) {
    session.call::<()>("a", "put", json!(["k", 1])).await;
    session.call::<i64>("a", "set_alarm", [1000, 0]).await;
    session.call::<()>("a", "delete_all", json!([])).await;
    session.engine.advance(Duration::from_secs(10)).await;
    assert_eq!(fired(session).await, []);
    let keys: Vec<String> = session.call("a", "keys", [""]).await;
    assert_eq!(keys, [""; 0]);
    session.call::<()>("a", "put", json!(["k", 2])).await;
    session.engine.crash().await;
    assert_eq!(session.get("k").await, Some(2));
}

pub(super) async fn fired<E: Engine>(session: &Session<E>) -> Vec<Fired> {
    session.engine.settle().await;
    session.call("a", "fired", json!([])).await
}
