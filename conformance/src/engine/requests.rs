//! What a request is answered.

use std::time::Duration;

use dokit_object::{DurableObject, Request};
use serde_json::{Value, json};

use super::{Engine, Session};
use crate::Plain;

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
