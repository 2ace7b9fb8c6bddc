//! Whatever comes over the wire, reading it gives a value or an error.

use std::{collections::HashMap, convert::Infallible};

use dokit_client::{CallReply, Dispatch, ErrorReply, MockTransport, RpcError, header, rpc};
use futures_executor::block_on;
use proptest::prelude::*;
use serde_json::Value;

#[derive(Debug, PartialEq, thiserror::Error, RpcError)]
enum ApiError {
    #[error("a {first} {second:?}")]
    Named { first: u64, second: Vec<String> },
    #[error("b {0}")]
    One(u64),
    #[error("c {0} {1}")]
    Two(u64, String),
    #[error("d")]
    Unit,
}

#[rpc]
trait Api {
    async fn take(
        &mut self,
        number: i64,
        map: HashMap<String, Vec<f64>>,
        text: Option<String>,
    ) -> Result<u64, ApiError>;
}

struct Object;

impl Api for Object {
    async fn take(
        &mut self,
        _number: i64,
        _map: HashMap<String, Vec<f64>>,
        _text: Option<String>,
    ) -> Result<u64, ApiError> {
        Ok(0)
    }
}

#[rpc]
trait Other {
    async fn json(&self) -> Result<Value, Infallible>;
}

/// Bytes, and texts that are nearly right.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        r#"[\[\]{}",:0-9a-z\\ ]{0,60}"#.prop_map(String::into_bytes),
        r#"\[-?[0-9]{1,25}(, ?(\{"a":\[[0-9.,]{0,9}\]\}|null|"[a-z]{0,5}")){0,4}\]"#
            .prop_map(String::into_bytes),
        r#"\{"(error|message|code)":("[a-z]{0,5}"|\{"message":"m"\}|[0-9]),"code":"(named|one|two|unit|overloaded)","details":(1|"x"|\[1,"x"\]|\{"first":1,"second":\["a"\]\}|null)\}"#
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn any_body_is_arguments_or_refused(body in body()) {
        let take = &ApiServer::METHODS[0];
        match block_on(ApiServer::call_exclusive(&mut Object, take, &body)) {
            Ok(json) => prop_assert_eq!(json, "0"),
            Err(failure) => prop_assert_eq!(failure.into_reply().code, "invalid_arguments"),
        }
    }

    #[test]
    fn any_answer_is_a_result_or_an_error(
        status in 100..=599_u16,
        content_type in prop::option::of(prop_oneof!["application/json", "[ -~]{0,20}"]),
        body in body(),
    ) {
        let mock = MockTransport::new();
        mock.reply_once("take", CallReply::new(status, content_type, body.clone()));
        let api = ApiClient::new(mock);
        let result = block_on(api.take(1, HashMap::new(), None));
        let whole = serde_json::from_slice::<u64>(&body);
        match result {
            Ok(value) => prop_assert_eq!(value, whole.unwrap()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn any_body_is_an_error_that_is_written_and_read_back(status in 400..=599_u16, body in body()) {
        let reply = ErrorReply::from_body(status, &body);
        prop_assert!(!reply.message.is_empty());
        prop_assert_eq!(&ErrorReply::from_body(status, reply.to_body().as_bytes()), &reply);
        if let Some(error) = ApiError::from_reply(&reply) {
            prop_assert_eq!(ApiError::from_reply(&error.to_reply()), Some(error));
        }
    }

    #[test]
    fn any_text_is_a_timeout_or_none(text in ".{0,30}") {
        if let Some(timeout) = header::parse_timeout(&text) {
            prop_assert!(!timeout.is_zero());
        }
    }

    #[test]
    fn any_json_arrives_as_it_was_sent(text in ".{0,40}", number: u64, signed: i64) {
        let value = serde_json::json!({ "text": text, "numbers": [number, signed] });
        let mock = MockTransport::new();
        mock.answer("json", &value);
        prop_assert_eq!(block_on(OtherClient::new(mock).json()).unwrap(), value);
    }
}
