//! Errors cross the wire whole, and each says what it has to.

use std::{convert::Infallible, error::Error as _, io};

use dokit_client::{
    CallError, CallReply, ErrorReply, Fault, Faulty, MockTransport, Retry, RpcError, TestTimer, rpc,
};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Seat {
    row_number: u64,
}

#[derive(Debug, PartialEq, thiserror::Error, RpcError)]
#[error("invalid state {state:?}")]
#[rpc(status = 409, code = "invalid_state")]
struct InvalidState {
    state: String,
}

#[derive(Debug, thiserror::Error, RpcError)]
enum OrderError {
    #[error("no such order")]
    #[rpc(status = 404)]
    NotFound,
    #[error("only {items_left} left")]
    #[rpc(status = 409, code = "sold_out")]
    TooFew {
        items_left: u64,
        next_delivery: Option<i64>,
        r#type: String,
    },
    #[error("unknown item {0:?}")]
    UnknownItem(String),
    #[error("seat {0:?} is taken")]
    SeatTaken(Seat),
    #[error("{0} is more than {1}")]
    TooMuch(u64, u64),
    #[error("nothing at {0:?}")]
    Nowhere(Option<u8>),
    #[error("empty")]
    Empty(),
    #[error(transparent)]
    #[rpc(transparent)]
    State(#[from] InvalidState),
    #[error("write the receipt of {order}")]
    #[rpc(internal)]
    Receipt { order: String, source: io::Error },
}

#[derive(Debug, thiserror::Error, RpcError)]
enum Never {}

#[rpc]
trait Orders {
    async fn buy(&mut self, item: String) -> Result<u64, OrderError>;
    async fn count(&self) -> Result<u64, OrderError>;
}

/// What the caller sees of an error that an object answered.
fn trip(error: &OrderError) -> CallError<OrderError> {
    let mock = MockTransport::new();
    mock.fail_once("buy", error);
    let client = OrdersClient::new(mock);
    let result = block_on(client.buy("hat".to_owned()));
    result.expect_err("the mock answers an error")
}

#[test]
fn each_variant_arrives_as_it_was_sent() {
    let cases = [
        (
            OrderError::NotFound,
            r#"404 {"error":"no such order","code":"not_found"}"#,
        ),
        (
            OrderError::TooFew {
                items_left: u64::MAX,
                next_delivery: None,
                r#type: "hat".to_owned(),
            },
            r#"409 {"error":"only 18446744073709551615 left","code":"sold_out","details":{"itemsLeft":18446744073709551615,"nextDelivery":null,"type":"hat"}}"#,
        ),
        (
            OrderError::UnknownItem("hat".to_owned()),
            r#"400 {"error":"unknown item \"hat\"","code":"unknown_item","details":"hat"}"#,
        ),
        (
            OrderError::SeatTaken(Seat { row_number: 3 }),
            r#"400 {"error":"seat Seat { row_number: 3 } is taken","code":"seat_taken","details":{"rowNumber":3}}"#,
        ),
        (
            OrderError::TooMuch(3, 2),
            r#"400 {"error":"3 is more than 2","code":"too_much","details":[3,2]}"#,
        ),
        (
            OrderError::Nowhere(None),
            r#"400 {"error":"nothing at None","code":"nowhere"}"#,
        ),
        (
            OrderError::Empty(),
            r#"400 {"error":"empty","code":"empty"}"#,
        ),
        (
            OrderError::State(InvalidState {
                state: "paid".to_owned(),
            }),
            r#"409 {"error":"invalid state \"paid\"","code":"invalid_state","details":{"state":"paid"}}"#,
        ),
    ];
    for (error, wire) in cases {
        let reply = error.to_reply();
        assert_eq!(format!("{} {}", reply.status, reply.to_body()), wire);
        let arrived = trip(&error);
        assert_eq!(arrived.code().as_deref(), Some(&*reply.code));
        assert_eq!(arrived.status(), Some(reply.status));
        assert_eq!(arrived.to_string(), reply.message);
        assert!(arrived.may_have_run() && !arrived.is_retryable());
        let arrived = arrived.into_object().unwrap();
        assert_eq!(format!("{arrived:?}"), format!("{error:?}"));
    }
}

#[test]
fn an_internal_error_stays_inside_but_for_the_fact() {
    let error = OrderError::Receipt {
        order: "order-123".to_owned(),
        source: io::Error::other("disk full"),
    };
    let reply = error.to_reply();
    assert_eq!(
        reply.to_body(),
        r#"{"error":"internal error","code":"internal"}"#
    );
    assert_eq!(
        reply.log.as_deref(),
        Some("write the receipt of order-123: disk full")
    );
    let arrived = trip(&error);
    assert!(matches!(&arrived, CallError::Remote { reply, .. } if reply.log.is_none()));
    assert_eq!(
        arrived.to_string(),
        r#"call "buy": 500 internal: internal error"#
    );
}

#[test]
fn an_error_that_is_not_ones_own_is_remote() {
    for reply in [
        ErrorReply::new(404, "gone", "gone for good"),
        // The code of a variant, with details that are not its own.
        ErrorReply::new(409, "sold_out", "sold out").with_details([1]),
        ErrorReply::new(400, "unknown_item", "which?"),
    ] {
        assert!(OrderError::from_reply(&reply).is_none(), "{reply:?}");
        let mock = MockTransport::new();
        mock.refuse_once("count", &reply);
        let error = block_on(OrdersClient::new(mock).count()).unwrap_err();
        let CallError::Remote { reply: arrived, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!(arrived, reply);
    }
    assert!(Never::from_reply(&ErrorReply::new(400, "x", "x")).is_none());
    assert!(Infallible::from_reply(&ErrorReply::new(400, "x", "x")).is_none());
}

/// An error type that takes every reply for its own.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
struct Anything(String);

impl RpcError for Anything {
    fn to_reply(&self) -> ErrorReply {
        ErrorReply::new(400, "anything", &*self.0)
    }
    fn from_reply(reply: &ErrorReply) -> Option<Self> {
        Some(Self(reply.message.clone()))
    }
}

#[rpc]
trait Greedy {
    async fn ask(&self) -> Result<(), Anything>;
}

#[test]
fn an_error_of_the_hosts_is_never_taken_for_the_methods() {
    let mock = MockTransport::new();
    mock.refuse_once("ask", &ErrorReply::overloaded());
    mock.fail_once("ask", &Anything("mine".to_owned()));
    let greedy = GreedyClient::new(mock);
    let overloaded = block_on(greedy.ask()).unwrap_err();
    assert!(overloaded.is_overloaded() && !overloaded.may_have_run());
    let own = block_on(greedy.ask()).unwrap_err();
    assert_eq!(own.into_object(), Some(Anything("mine".to_owned())));
}

#[test]
fn bodies_of_others_are_read_as_well_as_they_allow() {
    let cases: [(&str, &str, &str, Value); 14] = [
        (
            r#"{"error":"a","code":"c","details":{"n":1}}"#,
            "a",
            "c",
            json!({"n":1}),
        ),
        (r#"{"error":"a"}"#, "a", "unknown", Value::Null),
        (r#"{"message":"m","code":"c"}"#, "m", "c", Value::Null),
        (
            r#"{"error":{"message":"m","code":"c","details":[1]}}"#,
            "m",
            "c",
            json!([1]),
        ),
        (
            r#"{"error":{"reason":"r"}}"#,
            r#"{"error":{"reason":"r"}}"#,
            "unknown",
            Value::Null,
        ),
        (r#"{"error":{},"message":"m"}"#, "m", "unknown", Value::Null),
        (
            r#"{"error":"","code":7}"#,
            r#"{"error":"","code":7}"#,
            "unknown",
            Value::Null,
        ),
        (
            r#""a json string""#,
            "a json string",
            "unknown",
            Value::Null,
        ),
        ("null", "status 502 with no message", "unknown", Value::Null),
        ("", "status 502 with no message", "unknown", Value::Null),
        ("  \n", "status 502 with no message", "unknown", Value::Null),
        ("Bad Gateway\n", "Bad Gateway", "unknown", Value::Null),
        (
            r#"["error","m","c",1]"#,
            r#"["error","m","c",1]"#,
            "unknown",
            Value::Null,
        ),
        ("[object Object]", "[object Object]", "unknown", Value::Null),
    ];
    for (body, message, code, details) in cases {
        let reply = ErrorReply::from_body(502, body.as_bytes());
        assert_eq!((&*reply.message, &*reply.code), (message, code), "{body}");
        assert_eq!(
            reply.details::<Value>().unwrap_or_default(),
            details,
            "{body}"
        );
    }
    let page = "<p>".repeat(1000);
    let reply = ErrorReply::from_body(502, page.as_bytes());
    assert_eq!(reply.message.len(), 1024 + 3);
    assert!(
        ErrorReply::from_body(502, b"\xff\xfe")
            .message
            .contains('\u{fffd}')
    );
}

#[test]
fn a_status_that_is_no_error_becomes_500_and_details_without_json_go_to_the_log() {
    assert_eq!(ErrorReply::new(200, "x", "x").status, 500);
    let reply = ErrorReply::new(400, "x", "x");
    assert!(reply.clone().with_details(()).details_json().is_none());
    let keys = std::collections::HashMap::from([((1, 2), 3)]);
    let reply = reply.with_details(keys);
    assert_eq!(reply.to_body(), r#"{"error":"x","code":"x"}"#);
    assert_eq!(
        reply.log.as_deref(),
        Some("the error's details have no json form: key must be a string")
    );
}

#[test]
fn the_hosts_own_errors_say_what_they_are_about() {
    let cases = [
        (
            ErrorReply::method_not_allowed("GET", "pay"),
            r#"405 {"error":"method \"pay\" is called with POST, not with GET","code":"method_not_allowed","details":{"method":"pay","allowed":["POST"]}}"#,
        ),
        (
            ErrorReply::namespace_not_found("ordr", &["cart", "order"]),
            r#"404 {"error":"unknown namespace \"ordr\"; known namespaces: [cart, order]","code":"namespace_not_found","details":{"namespace":"ordr","known":["cart","order"]}}"#,
        ),
        (
            ErrorReply::name_too_long(1025, 1024),
            r#"414 {"error":"the object's name is 1025 bytes; the limit is 1024","code":"name_too_long","details":{"bytes":1025,"limit":1024}}"#,
        ),
        (
            ErrorReply::payload_too_large(10),
            r#"413 {"error":"the body is over the limit of 10 bytes","code":"payload_too_large","details":{"limit":10}}"#,
        ),
        (
            ErrorReply::idempotency_conflict("k"),
            r#"409 {"error":"idempotency key \"k\" was used for another call","code":"idempotency_conflict","details":{"key":"k"}}"#,
        ),
        (
            ErrorReply::overloaded(),
            r#"503 {"error":"too many calls are waiting for the object","code":"overloaded"}"#,
        ),
        (
            ErrorReply::unauthorized(),
            r#"401 {"error":"a valid bearer token is needed","code":"unauthorized"}"#,
        ),
    ];
    for (reply, wire) in cases {
        assert_eq!(format!("{} {}", reply.status, reply.to_body()), wire);
        assert!(!reply.may_have_run());
    }
    for reply in [
        ErrorReply::deadline_exceeded(),
        ErrorReply::commit_failed(),
        ErrorReply::object_reset(),
        ErrorReply::internal(&io::Error::other("x")),
    ] {
        assert!(reply.may_have_run(), "{reply:?}");
    }
}

#[test]
fn an_answer_that_is_not_the_result_is_a_decode_error_with_its_head() {
    let cases = [
        (
            CallReply::new(200, Some("text/html".to_owned()), "<html>"),
            r#"call "count": the answer is not its result (status 200, text/html): "<html>""#,
            None,
        ),
        (
            CallReply::json(201, r#""many""#),
            r#"call "count": the answer is not its result (status 201, application/json): "\"many\"""#,
            Some(r#"invalid type: string "many", expected u64 at line 1 column 6"#),
        ),
        (CallReply::new(200, None, "7 "), "", None),
        (
            CallReply::new(200, None, "not json"),
            r#"call "count": the answer is not its result (status 200, no content type): "not json""#,
            Some("expected ident at line 1 column 2"),
        ),
    ];
    for (reply, text, source) in cases {
        let mock = MockTransport::new();
        mock.reply_once("count", reply);
        match block_on(OrdersClient::new(mock).count()) {
            Ok(count) => assert_eq!((count, text), (7, "")),
            Err(error) => {
                assert_eq!(error.to_string(), text);
                assert_eq!(error.source().map(ToString::to_string).as_deref(), source);
                assert!(error.may_have_run() && !error.is_retryable());
            }
        }
    }
}

#[test]
fn a_mock_without_an_answer_says_what_it_has_answers_for() {
    let mock = MockTransport::new();
    mock.answer("total", 1);
    mock.answer_once("count", 7);
    mock.answer_once("list", [7]);
    let orders = OrdersClient::new(mock);
    assert_eq!(block_on(orders.count()).unwrap(), 7);
    assert_eq!(
        block_on(orders.count()).unwrap_err().to_string(),
        r#"call "count": 404 method_not_found: the mock has no answer for "count"; it has some for: [list, total]"#
    );
}

#[test]
fn what_nothing_answered_says_how_often_it_was_tried() {
    let plan = [Fault::Refused, Fault::Refused, Fault::Refused];
    let faulty = Faulty::new(MockTransport::new(), plan);
    let orders = OrdersClient::new(faulty).with_timer(TestTimer::new());
    let error = block_on(orders.count()).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"call "count": no answer in 3 attempts"#
    );
    assert_eq!(
        error.source().unwrap().to_string(),
        "connection refused, by plan"
    );
    let faulty = Faulty::new(MockTransport::new(), [Fault::Hangs]);
    let orders = OrdersClient::new(faulty)
        .with_timer(TestTimer::new())
        .with_retry(Retry::never());
    let error = block_on(orders.count()).unwrap_err();
    assert_eq!(error.to_string(), r#"call "count": no answer within 30s"#);
    assert!(error.is_timeout());
}

#[rpc]
trait Large {
    async fn store(&mut self, text: String) -> Result<(), Infallible>;
    async fn keyed(
        &mut self,
        map: std::collections::HashMap<(u8, u8), u8>,
    ) -> Result<(), Infallible>;
}

#[test]
fn what_cannot_be_sent_is_refused_before_it_is() {
    let mock = MockTransport::new();
    let large = LargeClient::new(mock.clone());
    let text = "x".repeat(32 * 1024 * 1024);
    let error = block_on(large.store(text)).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"call "store": the arguments are 33554436 bytes; the limit is 33554432"#
    );
    assert!(!error.may_have_run());
    let error = block_on(large.keyed([((1, 2), 3)].into())).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"call "keyed": argument "map" has no json form"#
    );
    assert_eq!(error.source().unwrap().to_string(), "key must be a string");
    assert!(mock.requests().is_empty());
}
