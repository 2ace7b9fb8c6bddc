//! Every way in which the arguments of a call can be wrong, and what the caller is told.

use std::{collections::HashMap, convert::Infallible};

use dokit_client::{Access, Dispatch, ErrorReply, Failure, Method, find_method, rpc};
use futures_executor::block_on;
use serde_json::{Value, json};

#[rpc]
trait Api {
    async fn increment(&mut self, amount: i64) -> Result<i64, Infallible>;
    async fn put(
        &mut self,
        key: String,
        values: HashMap<String, Vec<u64>>,
        ttl: Option<u32>,
    ) -> Result<(), Infallible>;
    async fn get_count(&self) -> Result<i64, Infallible>;
    async fn middle(&self, first: Option<i64>, second: i64) -> Result<i64, Infallible>;
}

struct Object;

impl Api for Object {
    async fn increment(&mut self, amount: i64) -> Result<i64, Infallible> {
        Ok(amount)
    }
    async fn put(
        &mut self,
        _key: String,
        _values: HashMap<String, Vec<u64>>,
        _ttl: Option<u32>,
    ) -> Result<(), Infallible> {
        Ok(())
    }
    async fn get_count(&self) -> Result<i64, Infallible> {
        Ok(7)
    }
    async fn middle(&self, first: Option<i64>, second: i64) -> Result<i64, Infallible> {
        Ok(first.unwrap_or(0) + second)
    }
}

fn call(method: &str, arguments: &str) -> Result<String, Failure> {
    let method = find_method(ApiServer::METHODS, method).map_err(Failure::Refused)?;
    block_on(ApiServer::call_exclusive(
        &mut Object,
        method,
        arguments.as_bytes(),
    ))
}

fn refusal(method: &str, arguments: &str) -> ErrorReply {
    match call(method, arguments) {
        Err(Failure::Refused(reply)) => reply,
        other => panic!("{method} {arguments} gave {other:?}"),
    }
}

#[test]
fn the_message_names_the_argument_and_what_was_expected() {
    let cases = [
        (
            "increment",
            r#"["x"]"#,
            r#"argument 0 ("amount") of "increment": invalid type: string "x", expected i64"#,
        ),
        (
            "increment",
            "[1.5]",
            r#"argument 0 ("amount") of "increment": invalid type: floating point `1.5`, expected i64"#,
        ),
        (
            "increment",
            "[9223372036854775808]",
            r#"argument 0 ("amount") of "increment": invalid value: integer `9223372036854775808`, expected i64"#,
        ),
        (
            "increment",
            "[null]",
            r#"argument 0 ("amount") of "increment": invalid type: null, expected i64"#,
        ),
        (
            "increment",
            "[]",
            r#"argument 0 ("amount") of "increment" is missing: expected i64; 0 of 1 (amount) given"#,
        ),
        (
            "increment",
            "[1, 2]",
            r#"too many arguments for "increment": expected 1 (amount), got 2"#,
        ),
        (
            "get_count",
            "[1]",
            r#"too many arguments for "get_count": expected 0, got 1"#,
        ),
        (
            "put",
            r#"["k"]"#,
            r#"argument 1 ("values") of "put" is missing: expected HashMap<String, Vec<u64>>; 1 of 2 to 3 (key, values, ttl) given"#,
        ),
        (
            "put",
            r#"["k", {"a": [1, -2]}]"#,
            r#"argument 1 ("values") of "put": invalid value: integer `-2`, expected u64 at line 1 column 12"#,
        ),
        (
            "put",
            r#"["k", {}, "soon"]"#,
            r#"argument 2 ("ttl") of "put": invalid type: string "soon", expected u32"#,
        ),
        (
            "put",
            "[1, 2, 3, 4]",
            r#"too many arguments for "put": expected 2 to 3 (key, values, ttl), got 4"#,
        ),
        (
            "middle",
            "[1]",
            r#"argument 1 ("second") of "middle" is missing: expected i64; 1 of 2 (first, second) given"#,
        ),
        (
            "get_count",
            "",
            r#"arguments of "get_count" are not a json array: EOF while parsing a value at line 1 column 0"#,
        ),
        (
            "get_count",
            "{}",
            r#"arguments of "get_count" are not a json array: invalid type: map, expected a sequence"#,
        ),
        (
            "get_count",
            "[] []",
            r#"arguments of "get_count" are not a json array: trailing characters at line 1 column 4"#,
        ),
        (
            "increment",
            "[1",
            r#"arguments of "increment" are not a json array: EOF while parsing a list at line 1 column 2"#,
        ),
    ];
    for (method, arguments, message) in cases {
        let reply = refusal(method, arguments);
        assert_eq!(reply.message, message);
        assert_eq!((reply.status, &*reply.code), (400, "invalid_arguments"));
        assert!(!reply.may_have_run());
    }
}

#[test]
fn the_details_name_the_method_the_argument_and_its_type() {
    let details = |reply: &ErrorReply| reply.details::<Value>().unwrap();
    assert_eq!(
        details(&refusal("put", r#"["k", 1]"#)),
        json!({
            "method": "put",
            "argument": 1,
            "name": "values",
            "expected": "HashMap<String, Vec<u64>>",
        })
    );
    assert_eq!(
        details(&refusal("put", "1")),
        json!({ "method": "put", "arguments": ["key", "values", "ttl"] })
    );
}

#[test]
fn an_option_at_the_end_may_be_left_out() {
    assert_eq!(call("put", r#"["k", {}]"#), Ok("null".to_owned()));
    assert_eq!(call("put", r#"["k", {}, null]"#), Ok("null".to_owned()));
    assert_eq!(call("put", r#"["k", {}, 5]"#), Ok("null".to_owned()));
    assert_eq!(call("middle", "[null, 3]"), Ok("3".to_owned()));
}

#[test]
fn an_unknown_method_is_told_the_known_ones() {
    let reply = find_method(ApiServer::METHODS, "decrement").unwrap_err();
    assert_eq!((reply.status, &*reply.code), (404, "method_not_found"));
    assert_eq!(
        reply.message,
        r#"unknown method "decrement"; known methods: [increment, put, get_count, middle]"#
    );
    assert_eq!(
        reply.details::<Value>().unwrap(),
        json!({ "method": "decrement", "known": ["increment", "put", "get_count", "middle"] })
    );
    let none = find_method(<() as Dispatch<Object>>::METHODS, "x").unwrap_err();
    assert_eq!(none.message, r#"unknown method "x"; known methods: []"#);
}

#[test]
fn a_method_of_another_table_is_refused() {
    let other = Method::new("other", Access::Shared, &[]);
    let shared = block_on(ApiServer::call_shared(&Object, &other, b"[]"));
    let exclusive = block_on(ApiServer::call_exclusive(&mut Object, &other, b"[]"));
    let nothing = block_on(<()>::call_exclusive(&mut Object, &other, b"[]"));
    for refused in [shared, exclusive, nothing] {
        let Err(Failure::Refused(reply)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(reply.code, "method_not_found");
    }
}

#[test]
fn a_shared_call_runs_no_exclusive_method() {
    let find = |name| find_method(ApiServer::METHODS, name).unwrap();
    let shared = block_on(ApiServer::call_shared(&Object, find("get_count"), b"[]"));
    assert_eq!(shared, Ok("7".to_owned()));
    let refused = block_on(ApiServer::call_shared(&Object, find("increment"), b"[1]"));
    let Err(Failure::Refused(reply)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (reply.code.as_ref(), reply.log.as_deref()),
        (
            "internal",
            Some("method \"increment\" takes &mut self and was dispatched as one that takes &self")
        )
    );
}
