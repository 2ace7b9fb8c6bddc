//! A call is tried again where that is safe and can help, and nowhere else.

use std::{convert::Infallible, time::Duration};

use dokit_client::{
    CallError, CallReply, ErrorReply, Fault, Faulty, InProcess, MockTransport, Retry, TestTimer,
    header, rpc,
};
use futures_executor::block_on;

#[rpc]
trait Counter {
    async fn read(&self) -> Result<u64, Infallible>;
    async fn write(&mut self) -> Result<u64, Infallible>;
    #[rpc(idempotent)]
    async fn set(&mut self, count: u64) -> Result<u64, Infallible>;
}

#[derive(Default)]
struct Object {
    count: u64,
}

impl Counter for Object {
    async fn read(&self) -> Result<u64, Infallible> {
        Ok(self.count)
    }
    async fn write(&mut self) -> Result<u64, Infallible> {
        self.count += 1;
        Ok(self.count)
    }
    async fn set(&mut self, count: u64) -> Result<u64, Infallible> {
        self.count = count;
        Ok(count)
    }
}

type Client = CounterClient<Faulty<MockTransport>>;

/// A client whose first call meets `fault`, and the mock behind it.
fn client(fault: Fault) -> (Client, MockTransport, TestTimer) {
    let mock = MockTransport::new();
    for method in ["read", "write", "set"] {
        mock.answer(method, 7);
    }
    let timer = TestTimer::new();
    let client = CounterClient::new(Faulty::new(mock.clone(), [fault]));
    (client.with_timer(timer.clone()), mock, timer)
}

/// Whether a call gets its answer although the first attempt met `fault`, for: a method that takes
/// `&self`, one that takes `&mut self`, one that is marked, and one with a key.
fn survives(fault: &Fault) -> [bool; 4] {
    let fresh = || client(fault.clone()).0;
    [
        block_on(fresh().read()).is_ok(),
        block_on(fresh().write()).is_ok(),
        block_on(fresh().set(7)).is_ok(),
        block_on(fresh().with_idempotency_key("k").write()).is_ok(),
    ]
}

#[test]
fn what_is_tried_again_depends_on_the_failure_and_on_the_method() {
    let always = [true; 4];
    let never = [false; 4];
    let unless_it_writes = [true, false, true, true];
    let answered = |status, code: &'static str| Fault::Answered(ErrorReply::new(status, code, "x"));
    let cases = [
        (Fault::None, always),
        (Fault::Refused, always),
        (Fault::LostBefore, unless_it_writes),
        (Fault::LostAfter, unless_it_writes),
        (Fault::Hangs, never),
        (Fault::AnswersTooLate, never),
        (Fault::Answered(ErrorReply::overloaded()), never),
        (Fault::Answered(ErrorReply::shutting_down()), always),
        (
            Fault::Answered(ErrorReply::object_reset()),
            unless_it_writes,
        ),
        (
            Fault::Answered(ErrorReply::commit_failed()),
            unless_it_writes,
        ),
        (
            Fault::Answered(ErrorReply::deadline_exceeded()),
            unless_it_writes,
        ),
        (Fault::Answered(ErrorReply::reentrant_call()), never),
        (Fault::Answered(ErrorReply::unauthorized()), never),
        (
            Fault::Answered(ErrorReply::idempotency_conflict("k")),
            never,
        ),
        (answered(500, "internal"), never),
        (answered(400, "invalid_arguments"), never),
        (answered(503, "a_code_of_its_own"), never),
        (answered(502, "unknown"), unless_it_writes),
        (answered(429, "unknown"), unless_it_writes),
        (answered(500, "unknown"), never),
        (answered(404, "unknown"), never),
    ];
    for (fault, expected) in cases {
        assert_eq!(survives(&fault), expected, "{fault:?}");
    }
}

#[test]
fn a_call_whose_answer_comes_too_late_has_run() {
    let (client, mock, _) = client(Fault::AnswersTooLate);
    let error = block_on(client.write()).unwrap_err();
    assert!(error.is_timeout() && error.may_have_run(), "{error:?}");
    assert_eq!(mock.calls("write"), 1);
}

#[test]
fn an_overloaded_object_is_asked_once_and_nobody_waits() {
    let (client, mock, timer) = client(Fault::Answered(ErrorReply::overloaded()));
    let error = block_on(client.read()).unwrap_err();
    assert!(error.is_overloaded() && !error.may_have_run());
    assert_eq!(mock.calls("read"), 0);
    assert!(timer.slept().is_empty());
}

#[test]
fn an_answer_that_cannot_be_read_is_not_asked_for_again() {
    let (client, mock, _) = client(Fault::None);
    mock.reply_once("read", CallReply::json(200, "\"x\""));
    let error = block_on(client.read()).unwrap_err();
    assert!(matches!(error, CallError::Decode { .. }), "{error:?}");
    assert_eq!(mock.calls("read"), 1);
}

#[test]
fn tries_end_with_the_number_that_was_asked_for() {
    for retries in [0, 1, 5] {
        let faulty = Faulty::new(MockTransport::new(), vec![Fault::Refused; 10]);
        let timer = TestTimer::new();
        let client = CounterClient::new(faulty.clone())
            .with_timer(timer.clone())
            .with_retry(Retry::new().with_retries(retries));
        let error = block_on(client.write()).unwrap_err();
        let CallError::Transport { tried, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(tried.attempts as usize, retries + 1);
        assert!(!tried.may_have_run);
        assert_eq!(faulty.left(), 10 - retries - 1);
        assert_eq!(timer.slept().len(), retries);
    }
}

#[test]
fn once_an_attempt_may_have_run_the_call_may_have_run() {
    let plan = [Fault::LostBefore, Fault::Refused, Fault::Refused];
    let client = CounterClient::new(Faulty::new(MockTransport::new(), plan));
    let client = client.with_timer(TestTimer::new());
    let error = block_on(client.read()).unwrap_err();
    assert!(error.may_have_run(), "{error:?}");

    let overloaded = Fault::Answered(ErrorReply::overloaded());
    let plan = [Fault::LostBefore, overloaded];
    let client = CounterClient::new(Faulty::new(MockTransport::new(), plan));
    let error = block_on(client.with_timer(TestTimer::new()).read()).unwrap_err();
    assert!(error.is_overloaded() && error.may_have_run(), "{error:?}");
}

#[test]
fn a_call_that_writes_stops_at_the_first_attempt_that_may_have_run() {
    let plan = [Fault::Refused, Fault::LostAfter];
    let object = InProcess::new(CounterServer, Object::default());
    let faulty = Faulty::new(object.clone(), plan);
    let client = CounterClient::new(faulty).with_timer(TestTimer::new());
    let error = block_on(client.write()).unwrap_err();
    assert!(error.may_have_run());
    assert_eq!(block_on(CounterClient::new(object).read()).unwrap(), 1);
}

#[test]
fn a_call_with_a_key_runs_once_however_often_its_answer_is_lost() {
    let plan = [Fault::LostAfter, Fault::LostAfter];
    let object = InProcess::new(CounterServer, Object::default());
    let client = CounterClient::new(Faulty::new(object, plan)).with_timer(TestTimer::new());
    let first = client.with_idempotency_key("first");
    assert_eq!(block_on(first.write()).unwrap(), 1);
    assert_eq!(block_on(first.write()).unwrap(), 1);
    assert_eq!(block_on(client.read()).unwrap(), 1);
    let conflict = block_on(first.set(5)).unwrap_err();
    assert_eq!(conflict.code().as_deref(), Some("idempotency_conflict"));
    assert!(!conflict.may_have_run());
    let second = client.with_idempotency_key("second");
    assert_eq!(block_on(second.write()).unwrap(), 2);
}

#[test]
fn pauses_and_attempts_stay_within_the_deadline() {
    let second = Duration::from_secs(1);
    let faulty = Faulty::new(MockTransport::new(), vec![Fault::Refused; 1000]);
    let timer = TestTimer::new();
    let client = CounterClient::new(faulty)
        .with_timer(timer.clone())
        .with_deadline(10 * second)
        .with_retry(
            Retry::new()
                .with_retries(1000)
                .with_first_pause(second)
                .with_longest_pause(second),
        );
    let error = block_on(client.write()).unwrap_err();
    assert!(matches!(error, CallError::Transport { .. }), "{error:?}");
    let slept: Duration = timer.slept().iter().sum();
    // Each pause is one to two seconds, and the one that would not fit is not begun.
    assert!(slept < 10 * second && slept > 8 * second, "{slept:?}");
}

#[test]
fn a_pause_is_no_shorter_than_the_host_has_asked_for() {
    let minute = Duration::from_secs(60);
    let stopping = ErrorReply::shutting_down().with_retry_after(minute);
    let (client, _, timer) = client(Fault::Answered(stopping.clone()));
    assert_eq!(
        block_on(client.with_deadline(2 * minute).write()).unwrap(),
        7
    );
    assert_eq!(timer.slept(), [minute]);

    // What does not fit into the deadline is not waited for, and the caller is told.
    let (client, _, timer) = self::client(Fault::Answered(stopping));
    let error = block_on(client.with_deadline(minute).write()).unwrap_err();
    assert_eq!(error.retry_after(), Some(minute));
    assert!(timer.slept().is_empty());
}

#[test]
fn each_attempt_is_told_the_time_that_is_left() {
    let faulty_first = |mock: &MockTransport| {
        mock.refuse_once("read", &ErrorReply::shutting_down());
        mock.answer("read", 7);
    };
    let mock = MockTransport::new();
    faulty_first(&mock);
    let timer = TestTimer::new();
    let client = CounterClient::new(mock.clone())
        .with_timer(timer.clone())
        .with_deadline(Duration::from_secs(2))
        .with_idempotency_key("k")
        .with_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    block_on(client.read()).unwrap();
    let [first, second] = &mock.requests()[..] else {
        panic!("{:?}", mock.requests());
    };
    assert_eq!(first.deadline, Some(Duration::from_secs(2)));
    let pause = timer.slept()[0];
    assert_eq!(second.deadline, Some(Duration::from_secs(2) - pause));
    let headers: Vec<_> = first.headers().collect();
    assert_eq!(
        headers,
        [
            (header::CONTENT_TYPE, header::JSON.into()),
            (header::TIMEOUT_MS, "2000".into()),
            (header::IDEMPOTENCY_KEY, "k".into()),
            (
                header::TRACEPARENT,
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()
            ),
        ]
    );
}

#[test]
fn a_call_that_gets_no_answer_fails_at_its_deadline() {
    let (client, _, timer) = client(Fault::Hangs);
    let client = client.with_deadline(Duration::from_millis(1500));
    let error = block_on(client.read()).unwrap_err();
    assert_eq!(error.to_string(), r#"call "read": no answer within 1.5s"#);
    assert!(error.may_have_run() && error.is_timeout());
    assert_eq!(timer.slept(), [Duration::from_millis(1500)]);
}

#[test]
fn a_deadline_of_nothing_sends_nothing() {
    let (client, mock, _) = client(Fault::None);
    let error = block_on(client.with_deadline(Duration::ZERO).read()).unwrap_err();
    assert!(!error.may_have_run(), "{error:?}");
    assert!(mock.requests().is_empty());
}

#[test]
fn without_a_timer_nothing_is_tried_again() {
    let faulty = Faulty::new(MockTransport::new(), [Fault::Refused]);
    let error = block_on(CounterClient::new(faulty).read()).unwrap_err();
    let CallError::Transport { tried, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!(tried.attempts, 1);
}
