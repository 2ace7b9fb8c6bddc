//! Clients that take their time.

use std::time::Duration;

use tempfile::tempdir;

use crate::{
    Gate, builder,
    peer::{Peer, Server, get, post, soon},
};

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3600);

/// A builder whose clients may take all the time they like, but for what a test makes short.
fn patient(data: &std::path::Path) -> dokit_embedded::Builder {
    builder(data)
        .head_timeout(LONG)
        .body_timeout(LONG)
        .write_timeout(LONG)
        .idle_timeout(LONG)
}

/// A connection whose first request was answered. On a machine that stands still now and then, one may be cut
/// off before its request has come.
async fn answered(server: &Server, request: &str) -> Peer {
    soon(async {
        loop {
            let mut peer = server.connect().await;
            peer.send(request).await;
            if let Some(answer) = peer.answer_if_any().await {
                assert_eq!(answer.status, 200);
                return peer;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_head_that_does_not_come_whole_is_not_waited_for() {
    let data = tempdir().unwrap();
    let server = Server::start(patient(data.path()).head_timeout(SHORT)).await;
    let mut silent = server.connect().await;
    silent.closed().await;
    let mut half = server.connect().await;
    half.send("POST /door/a/length HTTP/1.1\r\nhost: local")
        .await;
    half.closed().await;
    // The second head of a connection, too.
    let mut later = answered(&server, &get("/door/a/page")).await;
    later.send("GET ").await;
    later.closed().await;
}

#[tokio::test]
async fn a_connection_that_sends_no_more_requests_is_closed() {
    let data = tempdir().unwrap();
    let server = Server::start(patient(data.path()).idle_timeout(SHORT)).await;
    let mut idle = server.connect().await;
    idle.send(&get("/door/a/page")).await;
    assert_eq!(idle.answer().await.status, 200);
    idle.closed().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408() {
    let data = tempdir().unwrap();
    let server = Server::start(patient(data.path()).body_timeout(SHORT)).await;
    for framing in [
        "content-length: 5\r\n\r\n[\"a",
        "transfer-encoding: chunked\r\n\r\n1\r\n[\r\n",
    ] {
        let mut slow = server.connect().await;
        let head = "POST /door/a/length HTTP/1.1\r\nhost: localhost\r\n";
        slow.send(&format!("{head}{framing}")).await;
        let answer = slow.answer().await;
        assert_eq!((answer.status, &*answer.code()), (408, "request_timeout"));
        slow.closed().await;
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_an_answer_is_cut_off() {
    let data = tempdir().unwrap();
    let one = patient(data.path()).connections(1).write_timeout(SHORT);
    let server = Server::start(one).await;
    let mut stuck = server.connect().await;
    // More than the system keeps for a connection.
    stuck.send(&get("/door/a/page?30000000")).await;
    // The only place there is is free again.
    let answer = server.ask(&get("/door/a/page")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_call_that_takes_long_is_not_a_slow_client() {
    let data = tempdir().unwrap();
    let strict = builder(data.path())
        .head_timeout(SHORT)
        .body_timeout(SHORT)
        .write_timeout(SHORT)
        .idle_timeout(SHORT);
    let server = Server::start(strict).await;
    let mut waits = soon(async {
        loop {
            let mut waits = server.connect().await;
            waits.send(&post("/door/long/wait", "[]")).await;
            tokio::select! {
                () = Gate::of("long").has_begun() => return waits,
                // On a machine that stood still its head was late.
                () = waits.closed() => {}
            }
        }
    })
    .await;
    // The time that a slow client would have is over when this one, which began later, is cut off.
    let mut other = server.connect().await;
    other.closed().await;
    Gate::of("long").open();
    assert_eq!(waits.answer().await.status, 200);
}
