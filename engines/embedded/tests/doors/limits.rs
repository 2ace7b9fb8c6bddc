//! How much at once.

use std::{collections::BTreeSet, fs, time::Duration};

use tempfile::tempdir;
use tokio::task::yield_now;

use crate::{
    builder,
    peer::{Server, get, post},
};

#[tokio::test]
async fn a_connection_too_many_waits_for_another_to_end() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path()).connections(1)).await;
    let mut first = server.connect().await;
    first.send(&get("/door/a/page")).await;
    assert_eq!(first.answer().await.status, 200);
    let mut second = server.connect().await;
    second.send(&get("/door/a/second")).await;
    // The first is served on, as often as it likes.
    for _ in 0..10 {
        first.send(&get("/door/a/page")).await;
        assert_eq!(first.answer().await.status, 200);
    }
    drop(first);
    assert_eq!(second.answer().await.body, b"/second");
}

#[tokio::test]
async fn a_limit_may_be_as_large_as_a_number_is() {
    let data = tempdir().unwrap();
    let without_end = builder(data.path())
        .sleep_after(Duration::MAX)
        .head_timeout(Duration::MAX)
        .body_timeout(Duration::MAX)
        .write_timeout(Duration::MAX)
        .idle_timeout(Duration::MAX)
        .deadline(Duration::MAX)
        .longest_deadline(Duration::MAX)
        .drain(Duration::MAX)
        .ping_after(Duration::MAX)
        .connections(usize::MAX)
        .sql_limit(usize::MAX)
        .body_limit(usize::MAX)
        .waiting_calls(usize::MAX)
        .waiting_bytes(usize::MAX)
        .awake_memory(1);
    let server = Server::start(without_end).await;
    let mut peer = server.connect().await;
    for name in ["a", "b", "c"] {
        peer.send(&post(&format!("/door/{name}/length"), "[\"abc\"]"))
            .await;
        assert_eq!(peer.answer().await.body, b"3");
    }
    // Those that hold too much leave before their time.
    while !server.host.metrics().contains("dokit_objects_awake 0\n") {
        yield_now().await;
    }
    server.host.shutdown().await;
}

#[tokio::test]
async fn calls_and_bytes_too_many_are_told_to_come_back() {
    let data = tempdir().unwrap();
    let small = builder(data.path()).waiting_calls(1).waiting_bytes(1000);
    let server = Server::start(small).await;
    let large = format!("[\"{}\"]", "x".repeat(1000));
    let answer = server.ask(&post("/door/a/length", &large)).await;
    assert_eq!((answer.status, &*answer.code()), (503, "overloaded"));
    assert_eq!(answer.header("retry-after"), Some("1"));

    // A body that is on its way counts, and a call that is made here.
    let mut half = server.connect().await;
    half.send("POST /door/a/length HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\r\n[")
        .await;
    loop {
        let answer = server.ask(&post("/door/a/length", "[\"abc\"]")).await;
        if answer.status == 503 {
            assert_eq!(answer.code(), "overloaded");
            break;
        }
    }
    half.send("\"\"] ").await;
    assert_eq!(half.answer().await.body, b"0");
    let answer = server.ask(&post("/door/a/length", "[\"abc\"]")).await;
    assert_eq!((answer.status, &*answer.body), (200, &b"3"[..]));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_however_it_comes() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path()).body_limit(10)).await;
    let chunked =
        "POST /door/a/length HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n";
    for request in [
        post("/door/a/length", "[\"12345678\"]"),
        format!("{chunked}6\r\n[\"1234\r\n6\r\n5678\"]\r\n0\r\n\r\n"),
    ] {
        let answer = server.ask(&request).await;
        assert_eq!((answer.status, &*answer.code()), (413, "payload_too_large"));
    }
    let fits = format!("{chunked}5\r\n[\"123\r\n5\r\n456\"]\r\n0\r\n\r\n");
    assert_eq!(server.ask(&fits).await.body, b"6");
}

#[tokio::test]
async fn a_head_too_long_is_refused() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path())).await;
    let long = format!(
        "GET /door/{} HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "x".repeat(100_000)
    );
    assert!(matches!(server.ask(&long).await.status, 414 | 431));
    let header = "x-header: 0123456789012345678901234567890123456789\r\n".repeat(2000);
    let long = format!("GET /door/a/page HTTP/1.1\r\nhost: localhost\r\n{header}\r\n");
    assert_eq!(server.ask(&long).await.status, 431);
}

#[tokio::test]
async fn no_name_or_path_leaves_the_data_folder() {
    let outer = tempdir().unwrap();
    let data = outer.path().join("data");
    let server = Server::start(builder(&data)).await;
    for path in [
        "/door/../page",
        "/door/..%2F..%2Fetc%2Fpasswd/page",
        "/door/%2e%2e/page",
        "/door/%00/page",
        "/door/a%00b/page",
        "/door/%2Ftmp%2Fx/page",
        "/door/C:%5Cx/page",
        "/door/%F0%9F%92%A9/page",
        "/../../etc/passwd/page",
        "/..%2Fdoor/a/page",
        "/door@id/../page",
        "/door@id/..%2F..%2Fx/page",
        "/door/%ff/page",
        "/door/%zz/page",
        "//etc/passwd",
        "/",
    ] {
        let answer = server.ask(&get(path)).await;
        assert!(
            matches!(answer.status, 200 | 400 | 404),
            "{path}: {answer:?}"
        );
    }
    let mut all: BTreeSet<String> = BTreeSet::new();
    for folder in [outer.path(), &data] {
        for entry in fs::read_dir(folder).unwrap() {
            all.insert(entry.unwrap().file_name().into_string().unwrap());
        }
    }
    let ours = [
        "data",
        "lock",
        "objects.sqlite",
        "objects.sqlite-shm",
        "objects.sqlite-wal",
    ];
    assert!(all.iter().all(|name| ours.contains(&&**name)), "{all:?}");
}
