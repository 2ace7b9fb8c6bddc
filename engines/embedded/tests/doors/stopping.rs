//! How serving ends.

use std::{pin::pin, time::Duration};

use futures_util::{FutureExt, poll};
use tempfile::tempdir;
use tokio::net::TcpStream;

use crate::{
    Door, DoorApiClient, Gate, builder,
    peer::{Peer, Server, get, post, soon},
};

const LONG: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn what_runs_is_answered_and_nothing_else_is_begun() {
    let data = tempdir().unwrap();
    let named = builder(data.path()).allow_host("drained.example");
    let mut server = Server::start(named.drain(LONG)).await;
    let mut idle = server.connect().await;
    idle.send(&get("/door/a/page")).await;
    assert_eq!(idle.answer().await.status, 200);
    let mut fresh = server.connect().await;
    let mut runs = server.connect().await;
    runs.send(&post("/door/drained/wait", "[]")).await;
    Gate::of("drained").has_begun().await;
    server.tell_to_stop();
    idle.closed().await;
    fresh.closed().await;
    // Another test may have the port by now. Its server does not go by this name.
    if let Ok(stream) = TcpStream::connect(server.address).await {
        let mut other = Peer::new(stream);
        other
            .send("GET /door/a/page HTTP/1.1\r\nhost: drained.example\r\n\r\n")
            .await;
        assert_ne!(
            other.answer_if_any().await.map(|answer| answer.status),
            Some(200)
        );
    }
    Gate::of("drained").open();
    let answer = runs.answer().await;
    assert_eq!((answer.status, &*answer.body), (200, &b"null"[..]));
    assert_eq!(answer.header("connection"), Some("close"));
    runs.closed().await;
    server.stopped().await;
}

#[tokio::test]
async fn what_takes_longer_than_the_limit_is_given_up() {
    let data = tempdir().unwrap();
    let limit = Duration::from_millis(20);
    let mut server = Server::start(builder(data.path()).drain(limit)).await;
    let mut runs = server.connect().await;
    runs.send(&post("/door/given-up/wait", "[]")).await;
    Gate::of("given-up").has_begun().await;
    server.tell_to_stop();
    server.stopped().await;
    runs.closed().await;
    // The host itself serves on, and stops as late.
    server.host.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_that_is_not_waited_for_stops_nothing_under_a_call_that_runs() {
    let data = tempdir().unwrap();
    let host = builder(data.path()).drain(LONG).start().unwrap();
    let door = DoorApiClient::new(host.namespace::<Door>().get_by_name("writes late"));
    let runs = tokio::spawn(async move { door.wait_and_write().await });
    Gate::of("writes late").has_begun().await;
    assert!(host.shutdown().now_or_never().is_none());
    let mut second = pin!(host.shutdown());
    assert!(poll!(second.as_mut()).is_pending());
    Gate::of("writes late").open();
    runs.await.unwrap().unwrap();
    soon(second).await;
}

/// A server of its own, which the test below starts as another process.
#[cfg(unix)]
#[tokio::test]
#[ignore = "it is run by the test of two signals"]
async fn serve_until_told() {
    let data = tempdir().unwrap();
    let host = builder(data.path()).drain(LONG).start().unwrap();
    let listener = host.listen("127.0.0.1:0").await.unwrap();
    println!("listening on {}", listener.address());
    tokio::spawn(async {
        Gate::of("signalled").has_begun().await;
        println!("begun");
    });
    listener.run().await;
    println!("ended");
}

#[cfg(unix)]
#[tokio::test]
async fn the_second_signal_ends_what_the_first_has_waited_for() {
    use std::process::{Command as Program, Stdio};

    use tokio::{
        io::{AsyncBufReadExt, BufReader},
        process::Command,
    };

    let own = std::env::current_exe().unwrap();
    let mut child = Command::new(own)
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "stopping::serve_until_told",
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = soon(lines.next_line()).await.unwrap().unwrap();
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.parse().unwrap();
        }
    };
    let mut peer = Peer::connect(address).await;
    peer.send(&post("/door/signalled/wait", "[]")).await;
    let id = child.id().unwrap().to_string();
    let signal = || {
        let told = Program::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(told.success());
    };
    while !soon(lines.next_line())
        .await
        .unwrap()
        .unwrap()
        .contains("begun")
    {}
    // The call never ends by itself, so the first signal only closes the door.
    signal();
    soon(async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(child.try_wait().unwrap().is_none());
    signal();
    peer.closed().await;
    while let Some(line) = soon(lines.next_line()).await.unwrap() {
        if line.contains("ended") {
            break;
        }
    }
    assert!(soon(child.wait()).await.unwrap().success());
}
