//! The promises of an engine, each as a test body written once.

use std::{collections::BTreeMap, future::Future, time::Duration};

use dokit_client::ObjectId;
use dokit_object::{DurableObject, Request, Response};
use futures_util::future::{join, join_all};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Fired, Kinds, Plain, Probe, SqlProbe};

/// An engine that serves [`Probe`] and [`Plain`], as the suite drives it.
///
/// Each case gets an engine of its own, with nothing stored. It takes its time from a clock that
/// stands still but for [`advance`](Self::advance).
pub trait Engine {
    /// Answers a request as the engine's gateway does.
    fn request(&self, request: Request) -> impl Future<Output = Response>;

    /// Lets time pass, and returns once the alarms that fell due in it have run. (An alarm that was
    /// tried again within it may run at the end of it instead of at its own time.)
    fn advance(&self, by: Duration) -> impl Future<Output = ()>;

    /// Puts every object to sleep.
    fn sleep(&self) -> impl Future<Output = ()>;

    /// Loses everything that is not on disk, as `kill -9` does, and starts again on the same data.
    fn crash(&mut self) -> impl Future<Output = ()>;

    /// From now on no commit succeeds.
    fn break_disk(&self) -> impl Future<Output = ()>;

    /// From now on commits succeed again.
    fn mend_disk(&self) -> impl Future<Output = ()>;

    /// Returns once the alarms that are due now have been tried, and none runs.
    fn settle(&self) -> impl Future<Output = ()>;
}

/// An engine as a case sees it: with objects put to sleep before each call, or not.
#[derive(Debug)]
pub struct Session<E> {
    /// The engine.
    pub engine: E,
    pub(crate) sleepy: bool,
    probe: &'static str,
}

/// An error answer: the status, and the body.
pub(crate) type Refusal = (u16, Value);

impl<E: Engine> Session<E> {
    /// A session; a `sleepy` one forces sleep between any two calls.
    pub fn new(engine: E, sleepy: bool) -> Self {
        Self {
            engine,
            sleepy,
            probe: Probe::NAMESPACE,
        }
    }

    /// The same, asked of objects that have keys alone, as it begins.
    #[must_use]
    pub fn of_objects_with_keys(self) -> Self {
        Self {
            probe: Probe::NAMESPACE,
            ..self
        }
    }

    /// The same, asked of objects that have a SQL database: nothing may differ. The engine serves
    /// [`SqlProbe`] too.
    #[must_use]
    pub fn of_sql_objects(self) -> Self {
        Self {
            probe: SqlProbe::NAMESPACE,
            ..self
        }
    }

    async fn try_call<R: DeserializeOwned>(
        &self,
        object: &str,
        method: &str,
        arguments: impl Serialize,
    ) -> Result<R, Refusal> {
        let answer = self.try_call_of(self.probe, object, method, arguments);
        answer.await
    }

    pub(crate) async fn try_call_of<R: DeserializeOwned>(
        &self,
        namespace: &str,
        object: &str,
        method: &str,
        arguments: impl Serialize,
    ) -> Result<R, Refusal> {
        let body = serde_json::to_vec(&arguments).unwrap();
        let path = format!("/{namespace}/{object}/{method}");
        let (status, body) = self.send("POST", &path, body).await;
        let body: Value = serde_json::from_slice(&body)
            .unwrap_or_else(|error| panic!("{method} answered {status} without json: {error}"));
        if status != 200 {
            return Err((status, body));
        }
        let text = body.to_string();
        Ok(serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{method} answered {text}: {error}")))
    }

    async fn call<R: DeserializeOwned>(
        &self,
        object: &str,
        method: &str,
        arguments: impl Serialize,
    ) -> R {
        let answer = self.try_call(object, method, arguments).await;
        answer.unwrap_or_else(|(status, body)| panic!("{method} answered {status}: {body}"))
    }

    async fn refused(&self, object: &str, method: &str, arguments: impl Serialize) -> Refusal {
        match self.try_call::<Value>(object, method, arguments).await {
            Err(refusal) => refusal,
            Ok(value) => panic!("{method} answered {value} where an error was due"),
        }
    }

    async fn send(&self, verb: &str, path: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        if self.sleepy {
            self.engine.sleep().await;
        }
        let mut request = Request::new(body.into());
        *request.method_mut() = verb.parse().unwrap();
        *request.uri_mut() = path.parse().unwrap();
        let response = self.engine.request(request).await;
        (response.status().as_u16(), response.into_body().into())
    }

    async fn get(&self, key: &str) -> Option<u64> {
        self.call("a", "get", [key]).await
    }
}

/// Lists every case of the suite for a macro: `$callback! { name, name, .. }`.
#[macro_export]
macro_rules! for_each_engine_case {
    ($callback:ident) => {
        $callback! {
            exclusive_calls_run_one_at_a_time,
            shared_calls_may_overlap,
            a_shared_call_cannot_write,
            what_a_call_wrote_is_there_after_a_crash,
            a_call_that_fails_leaves_nothing,
            a_call_that_panics_leaves_nothing_and_the_object_serves_on,
            a_failed_call_leaves_nothing_in_memory,
            an_early_commit_stays_when_the_call_fails,
            a_typed_state_is_what_the_calls_that_succeeded_made_it,
            a_typed_state_that_cannot_be_committed_is_put_back,
            a_typed_state_is_deleted_with_everything,
            a_call_that_is_handed_over_is_made_after_the_commit_once_and_in_order,
            a_call_that_is_handed_over_by_a_call_that_fails_is_not_made,
            a_call_that_is_handed_over_leaves_the_alarm_alone,
            calls_that_are_handed_over_to_many_objects_at_once_do_not_wait_for_each_other,
            calls_that_are_handed_over_to_several_objects_run_beside_each_other,
            a_call_that_cannot_be_delivered_is_kept_and_stops_no_other,
            an_alarm_is_part_of_the_call,
            a_failed_commit_fails_the_call_and_is_forgotten,
            what_was_answered_while_the_disk_broke_is_what_is_there,
            an_alarm_fires_at_its_time_and_not_before,
            an_alarm_that_fell_due_while_nothing_ran_fires_after_the_start,
            a_later_alarm_replaces_an_earlier_one,
            a_failing_alarm_is_tried_again_and_its_writes_happen_once,
            an_alarm_whose_tries_are_used_up_is_kept_as_failed,
            an_alarm_that_panics_is_tried_and_kept_like_one_that_fails,
            an_alarm_that_always_fails_stops_no_other,
            an_alarm_survives_a_disk_that_fails_for_a_while,
            an_alarm_waits_for_an_object_that_cannot_be_woken,
            an_alarm_for_a_time_that_has_passed_fires_at_once,
            deleting_everything_deletes_the_alarm,
            objects_are_apart,
            an_object_knows_its_name_and_its_id,
            an_id_reaches_the_object_of_the_name,
            an_object_learns_its_name_though_it_was_reached_by_id_first,
            an_object_calls_another,
            a_call_that_comes_back_to_an_object_that_waits_is_refused,
            values_of_every_kind_come_back_as_they_went_in,
            keys_are_listed_in_the_order_of_their_bytes,
            an_idempotency_key_runs_a_call_once,
            bad_input_is_answered_with_a_stable_code_and_the_object_serves_on,
            a_plain_request_reaches_fetch,
            an_object_without_fetch_names_its_methods,
        }
    };
}

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

/// Promise 2.
pub async fn an_alarm_is_part_of_the_call<E: Engine>(session: &mut Session<E>) {
    session.refused("a", "set_alarm_then_fail", [1000]).await;
    let none: Option<i64> = session.call("a", "alarm_time", json!([])).await;
    assert_eq!(none, None);
    session.engine.advance(Duration::from_secs(10)).await;
    assert_eq!(fired(session).await, []);
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

/// R36.
pub async fn an_idempotency_key_runs_a_call_once<E: Engine>(session: &mut Session<E>) {
    let send = async |method: &str, body: &str, key: &str| {
        if session.sleepy {
            session.engine.sleep().await;
        }
        let mut request = Request::new(body.to_owned().into());
        *request.method_mut() = http::Method::POST;
        let path = format!("/{}/a/{method}", session.probe);
        *request.uri_mut() = path.parse().unwrap();
        let headers = request.headers_mut();
        headers.insert("idempotency-key", key.parse().unwrap());
        let response = session.engine.request(request).await;
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), body)
    };
    assert_eq!(send("increment", "[5]", "one").await, (200, json!(5)));
    assert_eq!(send("increment", "[5]", "one").await, (200, json!(5)));
    assert_eq!(send("increment", "[5]", "two").await, (200, json!(10)));
    let (status, body) = send("increment", "[6]", "one").await;
    assert_eq!(
        (status, &body["code"]),
        (409, &json!("idempotency_conflict"))
    );
    // A call that failed has left nothing, so its key is free.
    assert_eq!(send("put_then_fail", "[\"k\",1]", "three").await.0, 418);
    assert_eq!(send("increment", "[1]", "three").await, (200, json!(11)));
    // A day later the answers are forgotten.
    session.engine.advance(Duration::from_secs(25 * 3600)).await;
    assert_eq!(send("increment", "[5]", "one").await, (200, json!(16)));
    let kept: Vec<String> = session.call("a", "keys", ["__idempotency:"]).await;
    assert_eq!(
        kept,
        ["__idempotency:one"],
        "what has expired is cleared away"
    );
}

/// Promise 6.
pub async fn bad_input_is_answered_with_a_stable_code_and_the_object_serves_on<E: Engine>(
    session: &mut Session<E>,
) {
    session.call::<u64>("a", "increment", [1]).await;
    let namespace = session.probe;
    let long = "x".repeat(1025);
    let big_key = format!(r#"["{}", 1]"#, "k".repeat(2049));
    let cases: Vec<(u16, &str, &str, String, &str)> = vec![
        (
            404,
            "namespace_not_found",
            "POST",
            "../other/a/get".into(),
            "[]",
        ),
        (405, "method_not_allowed", "GET", "a/increment".into(), ""),
        (400, "invalid_arguments", "POST", "a/increment".into(), "{}"),
        (400, "invalid_arguments", "POST", "a/increment".into(), ""),
        (400, "invalid_arguments", "POST", "a/increment".into(), "[1"),
        (400, "invalid_arguments", "POST", "a/increment".into(), "[]"),
        (
            400,
            "invalid_arguments",
            "POST",
            "a/increment".into(),
            "[1, 2]",
        ),
        (
            400,
            "invalid_arguments",
            "POST",
            "a/increment".into(),
            "[\"1\"]",
        ),
        (
            400,
            "invalid_arguments",
            "POST",
            "a/increment".into(),
            "[-1]",
        ),
        (400, "invalid_name", "POST", String::new(), "[]"),
        (400, "invalid_name", "POST", "%FF/increment".into(), "[]"),
        (
            414,
            "name_too_long",
            "POST",
            format!("{long}/increment"),
            "[1]",
        ),
        (400, "invalid_key", "POST", "a/put".into(), &big_key),
        (400, "invalid_key", "POST", "a/put".into(), r#"["", 1]"#),
        (
            400,
            "invalid_alarm",
            "POST",
            "a/set_alarm".into(),
            "[9000000000000, 0]",
        ),
    ];
    for (status, code, verb, path, body) in cases {
        let path = match path.strip_prefix("../") {
            Some(path) => format!("/{path}"),
            None => format!("/{namespace}/{path}"),
        };
        let (answered, told) = session.send(verb, &path, body.as_bytes().to_vec()).await;
        let told: Value = serde_json::from_slice(&told).unwrap();
        let case = format!("{verb} {} {body:.40}: {told}", &path[..path.len().min(60)]);
        assert_eq!((answered, &told["code"]), (status, &json!(code)), "{case}");
        assert!(
            told["error"].as_str().is_some_and(|text| !text.is_empty()),
            "{case}"
        );
    }
    assert_eq!(session.call::<u64>("a", "increment", [1]).await, 2);
}

/// What is not a method goes to `fetch`, with the path relative to the object.
pub async fn a_plain_request_reaches_fetch<E: Engine>(session: &mut Session<E>) {
    let path = format!("/{}/a/some/path%20x?q=1&r=%2F", session.probe);
    let (status, body) = session.send("PUT", &path, b"body".to_vec()).await;
    let told = String::from_utf8(body).unwrap();
    assert_eq!((status, &*told), (200, "PUT /some/path%20x?q=1&r=%2F body"));
    let (status, body) = session
        .send("GET", &format!("/{}/a", session.probe), vec![])
        .await;
    assert_eq!((status, body), (200, b"GET / ".to_vec()));
    let path = format!("/{}/a/teapot", session.probe);
    assert_eq!(session.send("GET", &path, vec![]).await.0, 418);
}

/// An object that has no `fetch` answers what is not a method itself, and says what it has.
pub async fn an_object_without_fetch_names_its_methods<E: Engine>(session: &mut Session<E>) {
    for path in ["nothing_there", "", "ping/more"] {
        let path = format!("/{}/a/{path}", Plain::NAMESPACE);
        let (status, body) = session.send("POST", &path, b"[]".to_vec()).await;
        let told: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            (status, &told["code"], &told["details"]["known"]),
            (404, &json!("method_not_found"), &json!(["ping"])),
            "{path}"
        );
    }
    let path = format!("/{}/a/ping", Plain::NAMESPACE);
    let (status, body) = session.send("POST", &path, b"[]".to_vec()).await;
    assert_eq!((status, body), (200, b"\"pong\"".to_vec()));
}

/// The numbers in the typed state of an object.
async fn numbers<E: Engine>(session: &Session<E>, object: &str) -> Vec<u64> {
    session.call(object, "numbers", json!([])).await
}

async fn fired<E: Engine>(session: &Session<E>) -> Vec<Fired> {
    session.engine.settle().await;
    session.call("a", "fired", json!([])).await
}
