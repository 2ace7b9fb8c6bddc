//! Who is let in. (Each rule has its table beside its code.)

use dokit_client::HttpNamespace;
use dokit_client::Namespace;
use dokit_embedded::StartError;
use dokit_object::Error;
use tempfile::tempdir;

use crate::{
    DoorApiClient, builder,
    peer::{Peer, Server, get, post},
};

#[tokio::test]
async fn a_stranger_learns_nothing_of_what_is_served() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path()).token("s3cret")).await;
    let known = server.ask(&post("/door/a/length", "[\"abc\"]")).await;
    let unknown = server.ask(&post("/nothing/a/length", "[\"abc\"]")).await;
    let large = server
        .ask("POST /door/a/length HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999\r\n\r\n")
        .await;
    for answer in [&known, &unknown, &large] {
        assert_eq!((answer.status, &*answer.code()), (401, "unauthorized"));
        assert_eq!(answer.header("www-authenticate"), Some("bearer"));
        assert_eq!(answer.body, known.body);
    }
    let base = format!("http://{}", server.address);
    let doors = HttpNamespace::new(&base, "door").unwrap();
    let stranger = DoorApiClient::new(doors.get_by_name("a"));
    let error = stranger.length("abc".to_owned()).await.unwrap_err();
    assert_eq!(error.code().as_deref(), Some("unauthorized"));
    assert!(!error.may_have_run());
    let friend = DoorApiClient::new(doors.with_bearer_token("s3cret").get_by_name("a"));
    assert_eq!(friend.length("abc".to_owned()).await.unwrap(), 3);
    // Inside the process nobody asks.
    let inside = server.host.namespace::<crate::Door>();
    let inside = DoorApiClient::new(inside.get_by_name("a"));
    assert_eq!(inside.length("abc".to_owned()).await.unwrap(), 3);
}

#[tokio::test]
async fn a_check_may_take_its_time_and_sees_no_body() {
    let data = tempdir().unwrap();
    let checked = builder(data.path()).check(|head: http::Request<()>| async move {
        tokio::task::yield_now().await;
        match head.headers().get("x-user") {
            Some(_) => Ok(()),
            None => Err(Error::new(403, "forbidden", "who are you?")),
        }
    });
    let server = Server::start(checked).await;
    // No body has come when the answer does.
    let answer = server
        .ask("POST /door/a/length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\n\r\n")
        .await;
    assert_eq!((answer.status, &*answer.code()), (403, "forbidden"));
    let answer = server
        .ask("GET /door/a/page HTTP/1.1\r\nhost: localhost\r\nx-user: me\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn web_pages_of_other_origins_are_refused_and_curl_is_not() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path()).allow_origin("https://app.example")).await;
    let from = |origin: &str| {
        format!(
            "POST /door/a/length HTTP/1.1\r\nhost: localhost\r\norigin: {origin}\r\n\
             content-type: text/plain\r\ncontent-length: 7\r\n\r\n[\"abc\"]"
        )
    };
    let evil = server.ask(&from("https://evil.example")).await;
    assert_eq!((evil.status, &*evil.code()), (403, "origin_not_allowed"));
    assert_eq!(evil.header("access-control-allow-origin"), None);
    let app = server.ask(&from("https://app.example")).await;
    assert_eq!((app.status, &*app.body), (200, &b"3"[..]));
    let allowed = app.header("access-control-allow-origin");
    assert_eq!(allowed, Some("https://app.example"));
    let curl = server.ask(&post("/door/a/length", "[\"abc\"]")).await;
    assert_eq!(curl.status, 200);
    assert_eq!(curl.header("access-control-allow-origin"), None);
    let rebound =
        "GET /door/a/page HTTP/1.1\r\nhost: evil.example\r\norigin: http://evil.example\r\n\r\n";
    assert_eq!(server.ask(rebound).await.code(), "host_not_allowed");
}

#[tokio::test]
async fn the_doors_are_the_same_inside_a_server_of_ones_own() {
    let data = tempdir().unwrap();
    let host = builder(data.path()).token("s3cret").start().unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let app = axum::Router::new().nest("/objects", host.router());
    let serving = tokio::spawn(async move { axum::serve(listener, app).await });
    let ask = async |request: &str| {
        let mut peer = Peer::connect(address).await;
        peer.send(request).await;
        peer.answer().await
    };
    assert_eq!(ask(&get("/objects/door/a/page")).await.status, 401);
    let friend =
        "GET /objects/door/a/page HTTP/1.1\r\nhost: any\r\nauthorization: Bearer s3cret\r\n\r\n";
    assert_eq!(ask(friend).await.body, b"/page");
    serving.abort();
}

#[tokio::test]
async fn an_origin_that_no_browser_sends_is_refused_at_the_start() {
    let data = tempdir().unwrap();
    let star = builder(data.path()).allow_origin("*").start();
    let error = star.unwrap_err();
    assert!(matches!(error, StartError::InvalidOrigin { .. }));
    assert_eq!(
        error.to_string(),
        "invalid origin \"*\": a scheme, a host and perhaps a port, such as \"https://app.example\""
    );
}
