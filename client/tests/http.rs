//! The transport over HTTP, against a server that takes the bytes off a real socket.
#![cfg(all(feature = "reqwest", not(target_arch = "wasm32")))]
#![expect(
    clippy::unwrap_used,
    reason = "the server is part of the tests, in functions of its own"
)]

use std::{convert::Infallible, error::Error as _, sync::Arc, time::Duration};

use dokit_client::{
    BoxFuture, CallError, CallReply, HttpNamespace, HttpStub, InvalidAddress, Namespace, ObjectId,
    Retry, Timer, Transport, rpc, singleton,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

#[rpc(rename_all = "camelCase")]
trait CounterApi {
    async fn increment(&mut self, amount: u64) -> Result<u64, Infallible>;
    async fn get_count(&self) -> Result<u64, Infallible>;
}

/// A request as it stood on the wire.
#[derive(Debug)]
struct Received {
    line: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Received {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Takes one request off a connection.
async fn receive(stream: &mut TcpStream) -> Received {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    };
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.lines();
    let line = lines.next().unwrap().to_owned();
    let headers: Vec<_> = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, length)| length.parse::<usize>().unwrap());
    while bytes.len() < end + 4 + length {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
    }
    let body = String::from_utf8(bytes[end + 4..].to_vec()).unwrap();
    Received {
        line,
        headers,
        body,
    }
}

/// Accepts one connection, answers one request with `response`, and closes it.
async fn serve(listener: &TcpListener, response: &str) -> Received {
    let (mut stream, _) = listener.accept().await.unwrap();
    let received = receive(&mut stream).await;
    stream.write_all(response.as_bytes()).await.unwrap();
    received
}

fn response(status: &str, content_type: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

async fn listen() -> (TcpListener, HttpNamespace) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}/", listener.local_addr().unwrap());
    (listener, HttpNamespace::new(&base, "counter").unwrap())
}

#[tokio::test]
async fn a_call_is_a_post_that_curl_could_have_made() {
    let (listener, counters) = listen().await;
    let counters = counters.with_bearer_token("s3cret");
    let counter = CounterApiClient::new(singleton(&counters, "caf\u{e9} 1/2"));
    let counter = counter
        .with_deadline(Duration::from_secs(60))
        .with_idempotency_key("key 1");
    let answer = response(
        "200 OK",
        "application/json; charset=utf-8",
        "18446744073709551615",
    );
    let (received, count) = tokio::join!(serve(&listener, &answer), counter.increment(u64::MAX));
    assert_eq!(count.unwrap(), u64::MAX);
    assert_eq!(
        received.line,
        "POST /counter/caf%C3%A9%201%2F2/increment HTTP/1.1"
    );
    assert_eq!(received.body, "[18446744073709551615]");
    assert_eq!(received.header("content-type"), Some("application/json"));
    assert_eq!(received.header("idempotency-key"), Some("key 1"));
    assert_eq!(received.header("authorization"), Some("Bearer s3cret"));
    let timeout: u64 = received
        .header("dokit-timeout-ms")
        .unwrap()
        .parse()
        .unwrap();
    assert!(timeout > 0 && timeout <= 60_000, "{timeout}");
}

#[tokio::test]
async fn an_object_without_a_name_goes_by_its_id() {
    let (listener, counters) = listen().await;
    let id = counters.unique_id();
    assert_ne!(id, counters.unique_id());
    let read = counters.id_from_string(&id.to_string()).unwrap();
    let counter = CounterApiClient::new(counters.get(&read));
    let answer = response("200 OK", "application/json", "0");
    let (received, count) = tokio::join!(serve(&listener, &answer), counter.get_count());
    assert_eq!(count.unwrap(), 0);
    assert_eq!(
        received.line,
        format!("POST /counter@id/{id}/getCount HTTP/1.1")
    );
    let other = ObjectId::from_name("order", "a").to_string();
    assert!(counters.id_from_string(&other).is_err());
}

#[test]
fn a_name_that_a_url_cannot_hold_goes_by_its_id() {
    let counters = HttpNamespace::new("http://localhost:1/base/", "counter").unwrap();
    for name in ["", ".", ".."] {
        let id = counters.id_from_name(name);
        assert_eq!(
            counters.get_by_name(name).url(),
            format!("http://localhost:1/base/counter@id/{id}/")
        );
    }
    assert_eq!(
        counters.get_by_name("../a?b#c%2e").url(),
        "http://localhost:1/base/counter/..%2Fa%3Fb%23c%252e/"
    );
}

#[tokio::test]
async fn an_error_arrives_with_its_status_and_body() {
    let (listener, counters) = listen().await;
    let counter = CounterApiClient::new(counters.get_by_name("a"));
    let body = r#"{"error":"unknown method","code":"method_not_found","details":{"known":[]}}"#;
    let answer = response("404 Not Found", "application/json", body);
    let (_, result) = tokio::join!(serve(&listener, &answer), counter.increment(1));
    let CallError::Remote { reply, tried, .. } = result.unwrap_err() else {
        panic!("not a remote error");
    };
    assert_eq!(reply.to_body(), body);
    assert_eq!(reply.status, 404);
    assert_eq!(reply.retry_after(), None);
    assert!(!tried.may_have_run);

    let busy = r#"{"error":"too much","code":"overloaded"}"#;
    let status = "503 Service Unavailable\r\nretry-after: 7";
    let answer = response(status, "application/json", busy);
    let (_, result) = tokio::join!(serve(&listener, &answer), counter.increment(1));
    let error = result.unwrap_err();
    assert!(error.is_overloaded());
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));

    let answer = response("200 OK", "text/html", "<title>log in</title>");
    let (_, result) = tokio::join!(serve(&listener, &answer), counter.increment(1));
    assert_eq!(
        result.unwrap_err().to_string(),
        r#"call "increment": the answer is not its result (status 200, text/html): "<title>log in</title>""#
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (listener, counters) = listen().await;
    let counter = CounterApiClient::new(counters.get_by_name("a"));
    let answer = "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let (_, result) = tokio::join!(serve(&listener, answer), counter.increment(1));
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"call "increment": the answer is not its result (status 307, no content type): """#
    );
    assert_eq!(error.status(), Some(307));
    assert!(error.may_have_run() && !error.is_retryable());
}

#[tokio::test]
async fn a_host_that_is_not_there_is_told_from_one_that_hangs_up() {
    let (listener, counters) = listen().await;
    let counter = CounterApiClient::new(counters.get_by_name("a")).with_retry(Retry::never());

    let hang_up = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        receive(&mut stream).await;
    };
    let ((), result) = tokio::join!(hang_up, counter.increment(1));
    let error = result.unwrap_err();
    assert!(error.may_have_run() && error.is_retryable(), "{error:?}");
    assert!(matches!(error, CallError::Transport { .. }), "{error:?}");

    let cut = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n123";
    let (_, result) = tokio::join!(serve(&listener, cut), counter.increment(1));
    let error = result.unwrap_err();
    assert!(error.may_have_run(), "{error:?}");
    assert_eq!(error.source().unwrap().to_string(), "read the answer");

    drop(listener);
    let error = counter.increment(1).await.unwrap_err();
    assert!(!error.may_have_run() && error.is_retryable(), "{error:?}");
    assert_eq!(error.source().unwrap().to_string(), "connect to the host");
}

#[tokio::test]
async fn a_lost_read_is_asked_for_again_on_a_new_connection() {
    let (listener, counters) = listen().await;
    let counter = CounterApiClient::new(counters.get_by_name("a"));
    let twice = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        receive(&mut stream).await;
        drop(stream);
        serve(&listener, &response("200 OK", "application/json", "7")).await
    };
    let (received, count) = tokio::join!(twice, counter.get_count());
    assert_eq!(count.unwrap(), 7);
    assert_eq!(received.line, "POST /counter/a/getCount HTTP/1.1");
}

/// A timer that rings when it is told to.
#[derive(Debug)]
struct Bell(Arc<Notify>);

impl Timer for Bell {
    fn now(&self) -> Duration {
        Duration::ZERO
    }
    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        let bell = Arc::clone(&self.0);
        Box::pin(async move { bell.notified().await })
    }
    fn seed(&self) -> u64 {
        0
    }
}

#[tokio::test]
async fn a_host_that_never_answers_is_given_up_at_the_deadline() {
    let (listener, counters) = listen().await;
    let bell = Arc::new(Notify::new());
    let counter = CounterApiClient::new(counters.get_by_name("a"));
    let counter = counter.with_timer(Bell(Arc::clone(&bell)));
    let never = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        receive(&mut stream).await;
        bell.notify_one();
        // Until the client hangs up.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let ((), result) = tokio::join!(never, counter.get_count());
    let error = result.unwrap_err();
    assert!(
        matches!(error, CallError::DeadlineExceeded { .. }),
        "{error:?}"
    );
    assert!(error.may_have_run());
}

#[tokio::test]
async fn the_timer_of_tokio_sleeps_at_least_as_long_as_it_is_told() {
    let stub = listen().await.1.get_by_name("a");
    let timer = stub.timer().unwrap();
    let start = timer.now();
    timer.sleep(Duration::from_millis(2)).await;
    assert!(timer.now() - start >= Duration::from_millis(2));
    assert_ne!(timer.seed(), timer.seed());
}

#[tokio::test]
async fn an_answer_over_the_limit_is_not_read_to_its_end() {
    let (listener, counters) = listen().await;
    let stub = counters.get_by_name("a");
    let endless = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        receive(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let chunk = vec![b' '; 1 << 20];
        while stream.write_all(&chunk).await.is_ok() {}
    };
    let request = dokit_client::CallRequest::new("increment", "[1]");
    let ((), result) = tokio::join!(endless, stub.send(&request));
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer is over the limit of 33554432 bytes"
    );
}

#[tokio::test]
async fn a_header_that_cannot_be_sent_is_not_tried_twice() {
    let (_listener, counters) = listen().await;
    let counter = CounterApiClient::new(counters.get_by_name("a"));
    let error = counter
        .with_idempotency_key("a\nb")
        .get_count()
        .await
        .unwrap_err();
    assert!(!error.may_have_run() && !error.is_retryable(), "{error:?}");
    assert_eq!(error.source().unwrap().to_string(), "build the request");
}

#[test]
fn an_address_that_no_call_can_go_to_is_refused() {
    let refused =
        |base: &str, namespace: &str| HttpNamespace::new(base, namespace).unwrap_err().to_string();
    assert_eq!(
        refused("127.0.0.1", "order"),
        r#"invalid base url "127.0.0.1": relative URL without a base"#
    );
    assert_eq!(
        refused("ftp://host", "order"),
        r#"invalid base url "ftp://host": the scheme is neither http nor https"#
    );
    assert_eq!(
        refused("http://host/?a", "order"),
        r#"invalid base url "http://host/?a": it has a query or a fragment"#
    );
    for namespace in ["", "a/b", "a b", "a@id"] {
        let error = HttpNamespace::new("http://host", namespace).unwrap_err();
        assert!(matches!(error, InvalidAddress::Namespace { .. }), "{error}");
    }
}

#[test]
fn what_is_printed_tells_neither_the_token_nor_a_password() {
    let counters = HttpNamespace::new("http://ann:pa@s3cret@host/a@b", "counter")
        .unwrap()
        .with_bearer_token("s3cret");
    let stub: HttpStub = counters.get_by_name("a");
    let printed = format!(
        "{counters:?} {stub:?} {:?}",
        CounterApiClient::new(stub.clone())
    );
    assert!(!printed.contains("s3cret"), "{printed}");
    assert!(!printed.contains("ann"), "{printed}");
    assert!(
        printed.contains("\"http://host/a@b/counter/a/\""),
        "{printed}"
    );
}

#[test]
fn a_reply_is_a_value() {
    assert_eq!(
        CallReply::json(200, "1"),
        CallReply::new(200, Some("application/json".to_owned()), *b"1")
    );
}
