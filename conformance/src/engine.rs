//! The promises of an engine, each as a test body written once.

pub mod after_commit;
pub mod alarms;
pub mod calls;
pub mod names;
pub mod requests;
pub mod stored;

use std::{future::Future, time::Duration};

use dokit_object::{DurableObject, Request, Response};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{Probe, SqlProbe};

/// An engine that serves [`Probe`] and [`Plain`](crate::Plain), as the suite drives it.
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
    /// A session with objects that have keys alone; a `sleepy` one forces sleep between any two calls.
    pub fn new(engine: E, sleepy: bool) -> Self {
        Self {
            engine,
            sleepy,
            probe: Probe::NAMESPACE,
        }
    }

    /// The same with objects that have a SQL database: nothing may differ. The engine serves
    /// [`SqlProbe`] too.
    pub fn of_sql_objects(engine: E, sleepy: bool) -> Self {
        Self {
            probe: SqlProbe::NAMESPACE,
            ..Self::new(engine, sleepy)
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
        let mut request = Request::new(body.into());
        *request.method_mut() = verb.parse().unwrap();
        *request.uri_mut() = path.parse().unwrap();
        self.ask(request).await
    }

    async fn ask(&self, request: Request) -> (u16, Vec<u8>) {
        if self.sleepy {
            self.engine.sleep().await;
        }
        let response = self.engine.request(request).await;
        (response.status().as_u16(), response.into_body().into())
    }

    async fn get(&self, key: &str) -> Option<u64> {
        self.call("a", "get", [key]).await
    }
}

/// Hands every case of the suite to a macro, with what makes its [`Session`]:
/// `$tests! { $session: name = function, name = function, .. }`.
#[macro_export]
macro_rules! for_each_engine_case {
    ($tests:ident, $session:path) => {
        $crate::for_each_engine_case! { $tests, $session:
            calls {
                exclusive_calls_run_one_at_a_time,
                shared_calls_may_overlap,
                a_shared_call_cannot_write,
                what_a_call_wrote_is_there_after_a_crash,
                a_call_that_fails_leaves_nothing,
                a_call_that_panics_leaves_nothing_and_the_object_serves_on,
                a_failed_call_leaves_nothing_in_memory,
                an_early_commit_stays_when_the_call_fails,
                a_failed_commit_fails_the_call_and_is_forgotten,
                what_was_answered_while_the_disk_broke_is_what_is_there,
            }
            stored {
                a_typed_state_is_what_the_calls_that_succeeded_made_it,
                a_typed_state_that_cannot_be_committed_is_put_back,
                a_typed_state_is_deleted_with_everything,
                values_of_every_kind_come_back_as_they_went_in,
                keys_are_listed_in_the_order_of_their_bytes,
            }
            after_commit {
                a_call_that_is_handed_over_is_made_after_the_commit_once_and_in_order,
                a_call_that_is_handed_over_by_a_call_that_fails_is_not_made,
                a_call_that_is_handed_over_leaves_the_alarm_alone,
                calls_that_are_handed_over_to_many_objects_at_once_do_not_wait_for_each_other,
                calls_that_are_handed_over_to_several_objects_run_beside_each_other,
                a_call_that_cannot_be_delivered_is_kept_and_stops_no_other,
            }
            alarms {
                an_alarm_is_part_of_the_call,
                an_alarm_fires_at_its_time_and_not_before,
                an_alarm_that_fell_due_while_nothing_ran_fires_after_the_start,
                a_later_alarm_replaces_an_earlier_one,
                a_failing_alarm_is_tried_again_and_its_writes_happen_once,
                an_alarm_whose_tries_are_used_up_is_kept_as_failed,
                an_alarm_that_panics_is_tried_and_kept_like_one_that_fails,
                an_alarm_that_always_fails_stops_no_other,
                an_alarm_waits_for_an_object_that_cannot_be_woken,
                an_alarm_for_a_time_that_has_passed_fires_at_once,
                an_alarm_survives_a_disk_that_fails_for_a_while,
                deleting_everything_deletes_the_alarm,
            }
            names {
                objects_are_apart,
                an_object_knows_its_name_and_its_id,
                an_id_reaches_the_object_of_the_name,
                an_object_learns_its_name_though_it_was_reached_by_id_first,
                an_object_calls_another,
                a_trace_goes_along_to_the_objects_that_are_called,
                a_call_that_comes_back_to_an_object_that_waits_is_refused,
            }
            requests {
                an_idempotency_key_runs_a_call_once,
                bad_input_is_answered_with_a_stable_code_and_the_object_serves_on,
                a_plain_request_reaches_fetch,
                an_object_without_fetch_names_its_methods,
            }
        }
    };
    ($tests:ident, $session:path: $($part:ident { $($case:ident,)* })*) => {
        $tests! { $session: $($($case = $crate::engine::$part::$case,)*)* }
    };
}
