//! The document as a process, over HTTP and sockets.

use std::thread;

use crate::{
    socket::Socket,
    support::{Server, awake_and_asleep},
};
use serde_json::{Value, json};
use tempfile::tempdir;

const PLAN: &str = "/document/plan";

fn insert(at: u32, text: &str) -> Value {
    json!({"type": "insert", "at": at, "text": text})
}

fn delete(at: u32, count: u32) -> Value {
    json!({"type": "delete", "at": at, "count": count})
}

fn edit(base: u64, author: &str, operations: &[Value]) -> Value {
    json!({"base": base, "author": author, "operations": operations})
}

/// Edits over HTTP.
fn post(server: &Server, edit: &Value) -> (u16, Value) {
    server.post(&format!("{PLAN}/edit"), &json!([edit]).to_string())
}

/// Edits over a socket.
fn send(socket: &mut Socket, mut edit: Value) {
    edit["type"] = json!("edit");
    socket.send_json(&edit);
}

fn open(server: &Server) -> Socket {
    Socket::open(server, &format!("{PLAN}/websocket"))
}

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("document", |server| {
        server.play_header(include_str!("../../examples/document.rs"));
    });
}

#[test]
fn an_edit_reaches_everybody_who_is_connected_and_the_history() {
    awake_and_asleep("document", |server| {
        let (mut ann, mut bob) = (open(server), open(server));
        let empty = json!({"type": "document", "version": 0, "content": ""});
        assert_eq!((ann.next(), bob.next()), (empty.clone(), empty));

        let first = [insert(0, "n\u{e4}ch \u{1f980}")];
        send(&mut ann, edit(0, "ann", &first));
        let edited = json!({"type": "edited", "version": 1, "author": "ann", "operations": first});
        assert_eq!((ann.next(), bob.next()), (edited.clone(), edited));

        let second = [insert(6, "!"), delete(1, 4), insert(1, "o ")];
        let (status, content) = post(server, &edit(1, "bob", &second));
        assert_eq!(
            (status, content),
            (200, json!({"version": 2, "content": "no \u{1f980}!"}))
        );
        let edited = json!({"type": "edited", "version": 2, "author": "bob", "operations": second});
        assert_eq!((ann.next(), bob.next()), (edited.clone(), edited));

        let (_, history) = server.post(&format!("{PLAN}/get_history"), "[]");
        let versions: Vec<_> = history.as_array().unwrap().iter().collect();
        let seen = |version: &Value| {
            assert!(
                version["at"]
                    .as_i64()
                    .is_some_and(|at| at > 1_700_000_000_000)
            );
            [&version["version"], &version["author"], &version["content"]].map(Clone::clone)
        };
        assert_eq!(
            versions.into_iter().map(seen).collect::<Vec<_>>(),
            [
                [json!(2), json!("bob"), json!("no \u{1f980}!")],
                [json!(1), json!("ann"), json!("n\u{e4}ch \u{1f980}")],
            ]
        );
        let (_, latest) = server.post(&format!("{PLAN}/get_history"), "[1]");
        assert_eq!(latest, json!([history[0]]));
        let late = open(server).next();
        assert_eq!(
            (&late["version"], &late["content"]),
            (&json!(2), &json!("no \u{1f980}!"))
        );
    });
}

#[test]
fn an_edit_of_an_older_version_is_answered_with_the_document_as_it_is() {
    awake_and_asleep("document", |server| {
        post(server, &edit(0, "ann", &[insert(0, "hello")]));
        let conflict = |base: u64| {
            json!({
                "error": format!("the edit is of version {base}, the document is at version 1"),
                "code": "conflict",
                "details": {"base": base, "version": 1, "content": "hello"},
            })
        };
        for base in [0, 2, u64::MAX] {
            let late = edit(base, "bob", &[insert(0, "x")]);
            assert_eq!(post(server, &late), (409, conflict(base)));
            let mut bob = open(server);
            bob.next();
            send(&mut bob, late);
            assert_eq!(bob.next(), conflict(base));
        }
        let (_, content) = server.post(&format!("{PLAN}/get_content"), "[]");
        assert_eq!(content, json!({"version": 1, "content": "hello"}));
    });
}

#[test]
fn what_is_no_edit_is_refused_and_the_document_serves_on() {
    awake_and_asleep("document", |server| {
        post(server, &edit(0, "ann", &[insert(0, "h\u{e9}llo")]));
        let mut ann = open(server);
        ann.next();
        for (code, bad) in [
            ("invalid_message", "hello".to_owned()),
            ("invalid_message", json!({"type": "draw"}).to_string()),
            (
                "invalid_message",
                json!({"type": "edit", "base": 1}).to_string(),
            ),
        ] {
            ann.send(bad.as_str());
            let told = ann.next();
            assert_eq!(told["code"], code, "{bad}");
            assert!(told["error"].is_string());
        }
        let long = "x".repeat(10_000);
        for (status, code, operations) in [
            (400, "out_of_range", vec![insert(6, "x")]),
            (400, "out_of_range", vec![delete(4, 2)]),
            (400, "out_of_range", vec![delete(u32::MAX, u32::MAX)]),
            (400, "out_of_range", vec![delete(0, 5), delete(0, 1)]),
            (413, "too_long", vec![insert(0, &long)]),
        ] {
            let bad = edit(1, "ann", &operations);
            let (answered, told) = post(server, &bad);
            assert_eq!((answered, &told["code"]), (status, &json!(code)));
            send(&mut ann, bad);
            assert_eq!(ann.next(), told, "it is refused alike");
        }
        let (status, told) = post(server, &edit(1, &"x".repeat(101), &[]));
        assert_eq!((status, &told["code"]), (400, &json!("bad_author")));
        let (status, told) = post(server, &json!({"base": -1}));
        assert_eq!((status, &told["code"]), (400, &json!("invalid_arguments")));
        send(&mut ann, edit(1, "ann", &[delete(0, 5), insert(0, &long)]));
        assert_eq!(
            ann.next()["version"],
            2,
            "nothing of those has made a version"
        );

        let upgrade = server.send("GET", &format!("{PLAN}/websocket"), &[], "");
        assert_eq!(
            (upgrade.status, &upgrade.json()["code"]),
            (426, &json!("upgrade_required"))
        );
        let put = server.send("PUT", PLAN, &[], "");
        assert_eq!(
            (put.status, &put.json()["code"]),
            (404, &json!("not_found"))
        );
    });
}

/// Two that write as fast as they can, and make their change again where the other was faster.
#[test]
fn no_edit_is_lost_between_two_writers() {
    const EACH: usize = 30;
    awake_and_asleep("document", |server| {
        thread::scope(|scope| {
            for letter in ["a", "b"] {
                scope.spawn(move || {
                    let mut base = 0;
                    for _ in 0..EACH {
                        loop {
                            let at_the_front = edit(base, letter, &[insert(0, letter)]);
                            let (status, told) = post(server, &at_the_front);
                            if status == 200 {
                                base = told["version"].as_u64().unwrap();
                                break;
                            }
                            assert_eq!(told["code"], "conflict", "{told}");
                            base = told["details"]["version"].as_u64().unwrap();
                        }
                    }
                });
            }
        });
        let (_, content) = server.post(&format!("{PLAN}/get_content"), "[]");
        assert_eq!(content["version"], 2 * EACH);
        let text = content["content"].as_str().unwrap();
        assert_eq!(text.matches('a').count(), EACH);
        assert_eq!(text.matches('b').count(), EACH);
        let (_, history) = server.post(&format!("{PLAN}/get_history"), "[100]");
        let history = history.as_array().unwrap();
        assert_eq!(history.len(), 2 * EACH);
        for (older, version) in history.iter().rev().skip(1).zip(history.iter().rev()) {
            let [older, version] = [older, version].map(|v| v["content"].as_str().unwrap());
            assert_eq!(&older[1..], version, "each was made from the one before");
        }
    });
}

#[test]
fn a_hundred_versions_are_kept_and_survive_kill_9() {
    let data = tempdir().unwrap();
    let server = Server::start("document", data.path(), &[]);
    let mut ann = open(&server);
    ann.next();
    for base in 0..105 {
        send(&mut ann, edit(base, "ann", &[insert(0, "x")]));
        assert_eq!(ann.next()["version"], base + 1);
    }
    let server = server.restart("document", data.path(), &[]);
    let (_, history) = server.post(&format!("{PLAN}/get_history"), "[1000]");
    let history = history.as_array().unwrap();
    assert_eq!(history.len(), 100);
    assert_eq!(
        (&history[0]["version"], &history[99]["version"]),
        (&json!(105), &json!(6))
    );
    let document = server.send("GET", PLAN, &[], "");
    assert_eq!(
        document.json(),
        json!({"version": 105, "content": "x".repeat(105)})
    );
}
