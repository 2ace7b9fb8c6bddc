//! Where one answer ends and the next begins.

use tempfile::tempdir;

use crate::{
    builder,
    peer::{Server, get},
};

#[tokio::test]
async fn an_answer_is_as_long_as_its_body_whatever_its_object_says() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path())).await;
    for said in [
        "x-answer-content-length: 2",
        "x-answer-content-length: 500",
        "x-answer-content-length: long",
        "x-answer-content-length: 5\r\nx-answer-content-length: 6",
        "x-answer-transfer-encoding: chunked",
        "x-answer-transfer-encoding: gzip\r\nx-answer-content-length: 5",
    ] {
        let mut peer = server.connect().await;
        peer.send(&format!(
            "GET /door/a/page HTTP/1.1\r\nhost: localhost\r\n{said}\r\n\r\n"
        ))
        .await;
        assert_eq!(peer.answer().await.body, b"/page", "{said}");
        peer.send(&get("/door/a/next")).await;
        assert_eq!(peer.answer().await.body, b"/next", "{said}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_the_length_of_its_body_or_that_which_its_object_says() {
    let data = tempdir().unwrap();
    let server = Server::start(builder(data.path())).await;
    for (path, said, length) in [
        ("page", "2", "5"),
        ("page?0", "1000", "1000"),
        ("page?7", "1000", "7"),
    ] {
        let mut peer = server.connect().await;
        peer.send(&format!(
            "HEAD /door/a/{path} HTTP/1.1\r\nhost: localhost\r\nx-answer-content-length: {said}\r\n\r\n"
        ))
        .await;
        let answer = peer.head_if_any().await.unwrap();
        assert_eq!(answer.header("content-length"), Some(length), "{path}");
        peer.send(&get("/door/a/next")).await;
        assert_eq!(peer.answer().await.body, b"/next", "{path}");
    }
}
