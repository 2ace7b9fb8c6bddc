//! The chat room as a process, over sockets and HTTP.

use std::thread;

use crate::{
    browser::{Browser, Tab},
    socket::Socket,
    support::{Server, awake_and_asleep},
};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio_tungstenite::tungstenite::Message;

fn join(server: &Server, room: &str, name: &str) -> Socket {
    Socket::open(server, &format!("/chat-room/{room}/websocket?name={name}"))
}

fn message(text: &str) -> Value {
    json!({"type": "message", "text": text})
}

/// What was told, without its time, which is checked to be there.
fn told(socket: &mut Socket) -> Value {
    let mut told = socket.next();
    if let Some(fields) = told.as_object_mut()
        && fields["type"] != "history"
        && fields["type"] != "error"
    {
        let at = fields.remove("at").and_then(|at| at.as_i64());
        assert!(at.is_some_and(|at| at > 1_700_000_000_000), "{fields:?}");
    }
    told
}

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("chat_room", |server| {
        server.play_header(include_str!("../../examples/chat_room.rs"));
    });
}

#[test]
fn people_see_who_comes_what_is_said_and_who_goes() {
    awake_and_asleep("chat_room", |server| {
        let mut ann = join(server, "lobby", "ann");
        assert_eq!(
            ann.next(),
            json!({"type": "history", "messages": [], "online": ["ann"]})
        );
        let mut bob = join(server, "lobby", "bob%20b");
        assert_eq!(bob.next()["online"], json!(["ann", "bob b"]));
        assert_eq!(told(&mut ann), json!({"type": "join", "name": "bob b"}));

        bob.send_json(&message("hello"));
        let hello = json!({"type": "message", "id": 1, "name": "bob b", "text": "hello"});
        assert_eq!(told(&mut ann), hello);
        assert_eq!(told(&mut bob), hello);

        // A second tab of the same person is nobody new, and not the end when it is closed.
        let mut tab = join(server, "lobby", "ann");
        let history = tab.next();
        assert_eq!(history["messages"][0]["text"], "hello");
        assert_eq!(history["online"], json!(["ann", "bob b"]));
        tab.close();
        ann.send_json(&message("still here"));
        assert_eq!(told(&mut bob)["text"], "still here");
        assert_eq!(told(&mut ann)["text"], "still here");
        ann.close();
        assert_eq!(told(&mut bob), json!({"type": "leave", "name": "ann"}));

        let (_, online) = server.post("/chat-room/lobby/get_online_users", "[]");
        assert_eq!(online, json!(["bob b"]));
        let (_, elsewhere) = server.post("/chat-room/attic/get_recent_messages", "[]");
        assert_eq!(elsewhere, json!([]), "rooms know nothing of each other");
    });
}

#[test]
fn one_who_goes_without_a_word_has_left_too() {
    awake_and_asleep("chat_room", |server| {
        let mut ann = join(server, "lobby", "ann");
        ann.next();
        let mut bob = join(server, "lobby", "bob");
        bob.next();
        assert_eq!(told(&mut ann)["type"], "join");
        drop(bob);
        assert_eq!(told(&mut ann), json!({"type": "leave", "name": "bob"}));
    });
}

#[test]
fn a_whisper_reaches_two_people_and_nobody_else() {
    awake_and_asleep("chat_room", |server| {
        let mut all = ["ann", "bob", "eve"].map(|name| join(server, "lobby", name));
        for (before, socket) in all.iter_mut().enumerate() {
            // The history, and those who came later.
            for _ in before..3 {
                socket.next();
            }
        }
        let [mut ann, mut bob, mut eve] = all;
        ann.send_json(&json!({"type": "whisper", "to": "bob", "text": "psst"}));
        let psst = json!({"type": "whisper", "name": "ann", "to": "bob", "text": "psst"});
        assert_eq!(told(&mut bob), psst);
        assert_eq!(told(&mut ann), psst);
        ann.send_json(&message("good morning"));
        assert_eq!(told(&mut eve)["text"], "good morning");
        let (_, kept) = server.post("/chat-room/lobby/get_recent_messages", "[]");
        assert_eq!(kept.as_array().unwrap().len(), 1, "a whisper is not kept");
    });
}

#[test]
fn bad_messages_are_answered_and_the_room_serves_on() {
    awake_and_asleep("chat_room", |server| {
        let mut ann = join(server, "lobby", "ann");
        let mut bob = join(server, "lobby", "bob");
        bob.next();
        ann.next();
        ann.next();
        let long = message(&"x".repeat(2_001)).to_string();
        let cases: Vec<(&str, Message)> = vec![
            ("invalid_message", "hello".into()),
            ("invalid_message", "".into()),
            ("invalid_message", vec![0xff, 0x00].into()),
            ("invalid_message", r#"{"type":"shout","text":"x"}"#.into()),
            ("invalid_message", r#"{"type":"message"}"#.into()),
            (
                "invalid_message",
                r#"{"type":"message","text":{"x":1}}"#.into(),
            ),
            ("bad_text", r#"{"type":"message","text":" "}"#.into()),
            ("bad_text", long.into()),
            (
                "nobody",
                r#"{"type":"whisper","to":"eve","text":"x"}"#.into(),
            ),
        ];
        for (code, bad) in cases {
            let case = bad.to_string();
            ann.send(bad);
            let answer = ann.next();
            assert_eq!(
                (&answer["type"], &answer["code"]),
                (&json!("error"), &json!(code)),
                "{case:.60}"
            );
            assert!(answer["error"].is_string(), "{case:.60}");
        }
        ann.send_json(&message(&"x".repeat(2_000)));
        assert_eq!(told(&mut ann)["id"], 1, "nothing of those was kept");
        assert_eq!(told(&mut bob)["id"], 1, "and nobody else heard of them");
    });
}

#[test]
fn no_message_is_lost_between_two_writers() {
    const EACH: usize = 70;
    awake_and_asleep("chat_room", |server| {
        let mut people = ["ann", "bob"].map(|name| (name, join(server, "lobby", name)));
        for (name, socket) in &mut people {
            assert_eq!(socket.next()["type"], "history");
            if *name == "ann" {
                assert_eq!(socket.next()["type"], "join");
            }
        }
        let heard = thread::scope(|scope| {
            people
                .map(|(name, mut socket)| {
                    scope.spawn(move || {
                        for number in 0..EACH {
                            socket.send_json(&message(&format!("{name} {number}")));
                        }
                        let heard: Vec<Value> = (0..2 * EACH).map(|_| socket.next()).collect();
                        heard
                    })
                })
                .map(|person| person.join().unwrap())
        });
        assert_eq!(heard[0], heard[1], "both have heard the same, in one order");
        let ids: Vec<_> = heard[0].iter().map(|told| told["id"].as_u64()).collect();
        assert_eq!(ids, (1..=2 * EACH as u64).map(Some).collect::<Vec<_>>());
        for name in ["ann", "bob"] {
            let own = heard[0].iter().filter(|told| told["name"] == name);
            let own: Vec<_> = own.map(|told| told["text"].clone()).collect();
            let said: Vec<_> = (0..EACH).map(|n| json!(format!("{name} {n}"))).collect();
            assert_eq!(own, said);
        }

        let all = server
            .post("/chat-room/lobby/get_recent_messages", "[1000]")
            .1;
        let ids = |messages: &Value| {
            let messages = messages.as_array().unwrap();
            let ids = [messages.first(), messages.last()].map(|one| one.unwrap()["id"].clone());
            (messages.len(), ids)
        };
        assert_eq!(ids(&all), (100, [json!(41), json!(140)]), "100 are kept");
        let late = join(server, "lobby", "late").next();
        assert_eq!(ids(&late["messages"]), (50, [json!(91), json!(140)]));
    });
}

#[test]
fn who_has_no_socket_can_speak_and_read() {
    awake_and_asleep("chat_room", |server| {
        let mut ann = join(server, "lobby", "ann");
        ann.next();
        let (status, said) = server.post("/chat-room/lobby/say", r#"["bot", "hello"]"#);
        assert_eq!((status, &said["id"]), (200, &json!(1)));
        assert_eq!(
            told(&mut ann),
            json!({"type": "message", "id": 1, "name": "bot", "text": "hello"})
        );
        let (_, messages) = server.post("/chat-room/lobby/get_recent_messages", "[10]");
        assert_eq!(messages, json!([said]));
        for (body, code) in [
            (r#"["", "hello"]"#, "bad_name"),
            (r#"["bot", ""]"#, "bad_text"),
        ] {
            let (status, told) = server.post("/chat-room/lobby/say", body);
            assert_eq!((status, &told["code"]), (400, &json!(code)));
        }
    });
}

#[test]
fn the_page_is_served_and_what_is_no_handshake_is_refused() {
    awake_and_asleep("chat_room", |server| {
        let get = |path: &str, headers: &[(&str, &str)]| {
            server.send("GET", &format!("/chat-room/lobby{path}"), headers, "")
        };
        for path in ["", "/", "/?name=ann"] {
            let page = get(path, &[]);
            assert_eq!(page.status, 200);
            assert_eq!(
                page.header("content-type"),
                Some("text/html; charset=utf-8")
            );
            assert_eq!(page.body, include_str!("../../examples/chat_room.html"));
        }
        let upgrade = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let long = format!("/websocket?name={}", "x".repeat(33));
        let plain = get("/websocket?name=ann", &[]);
        assert_eq!(plain.status, 426);
        assert_eq!(plain.json()["code"], "upgrade_required");
        for (status, code, path) in [
            (400, "bad_name", "/websocket?name="),
            (400, "bad_name", "/websocket?name=%20+"),
            (400, "bad_name", &long),
            (404, "not_found", "/elsewhere"),
        ] {
            let answer = get(path, &upgrade);
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.json()["code"], code, "{path}");
        }
        let posted = server.send("POST", "/chat-room/lobby/websocket", &[], "");
        assert_eq!(posted.status, 404);
    });
}

#[test]
fn what_was_said_is_there_after_kill_9() {
    let data = tempdir().unwrap();
    let server = Server::start("chat_room", data.path(), &[]);
    let mut ann = join(&server, "lobby", "ann");
    ann.next();
    ann.send_json(&message("hello"));
    let said = told(&mut ann);
    let server = server.restart("chat_room", data.path(), &[]);
    let history = join(&server, "lobby", "bob").next();
    assert_eq!(history["messages"][0]["text"], said["text"]);
    assert_eq!(history["online"], json!(["bob"]), "ann has to come again");
}

/// What a tab shows, line by line.
fn shown(browser: &mut Browser, tab: &Tab) -> Vec<String> {
    let lines = "[...document.querySelectorAll('#messages li')].map((line) => line.textContent)";
    let lines = browser.evaluate(tab, lines);
    serde_json::from_value(lines).unwrap()
}

fn shows(line: &str) -> String {
    format!("[...document.querySelectorAll('#messages li')].at(-1)?.textContent === {line:?}")
}

fn is_connected(name: &str) -> String {
    format!("document.querySelector('#status').textContent === 'in the room as {name}'")
}

const NOT_CONNECTED: &str =
    "document.querySelector('#status').textContent === 'not connected, trying again'";

#[test]
#[ignore = "needs Chromium: .ci/browser installs it and runs this"]
fn two_tabs_of_a_real_browser_see_each_others_messages() {
    for sleep_after in ["1h", "0s"] {
        let data = tempdir().unwrap();
        let arguments = ["--sleep-after", sleep_after];
        let server = Server::start("chat_room", data.path(), &arguments);
        let page = format!("http://{}/chat-room/lobby", server.address());
        let browser = &mut Browser::start();
        let [ann, bob] = ["ann", "bob"].map(|name| {
            let tab = browser.open(&page);
            browser.type_line(&tab, "#name", name);
            browser.wait_until(&tab, &is_connected(name));
            tab
        });
        browser.wait_until(&ann, &shows("bob has joined"));

        browser.type_line(&ann, "#text", "hello");
        browser.wait_until(&bob, &shows("ann: hello"));
        // What others write is text to the page, whatever is in it.
        let markup = "<img src=x onerror=\"document.title='broken'\"> \u{e4}\u{1f980}";
        browser.type_line(&bob, "#text", markup);
        browser.wait_until(&ann, &shows(&format!("bob: {markup}")));
        browser.type_line(&ann, "#text", "/w bob psst");
        browser.wait_until(&bob, &shows("ann to bob: psst"));
        browser.type_line(&ann, "#text", "/w eve psst");
        browser.wait_until(&ann, &shows("\"eve\" is not in the room"));
        assert_eq!(browser.evaluate(&ann, "document.title"), "lobby");

        // The host is killed and started again: the pages come back, and show nothing twice.
        let address = server.address().to_owned();
        server.kill();
        for tab in [&ann, &bob] {
            browser.wait_until(tab, NOT_CONNECTED);
        }
        let server = Server::start_at(&address, "chat_room", data.path(), &arguments);
        for (tab, name) in [(&ann, "ann"), (&bob, "bob")] {
            let both = "document.querySelector('#online').textContent === 'ann, bob'";
            browser.wait_until(tab, &format!("{} && {both}", is_connected(name)));
        }
        browser.type_line(&bob, "#text", "back again");
        for tab in [&ann, &bob] {
            browser.wait_until(tab, &shows("bob: back again"));
        }
        let said = |lines: Vec<String>| -> Vec<String> {
            let said = lines.into_iter();
            said.filter(|line| line.starts_with("ann: ") || line.starts_with("bob: "))
                .collect()
        };
        let all = [
            "ann: hello".to_owned(),
            format!("bob: {markup}"),
            "bob: back again".to_owned(),
        ];
        assert_eq!(said(shown(browser, &ann)), all);
        assert_eq!(said(shown(browser, &bob)), all);

        // Who opens the room now reads what was said, and sees who goes.
        let eve = browser.open(&page);
        browser.type_line(&eve, "#name", "eve");
        browser.wait_until(&eve, &shows("bob: back again"));
        assert_eq!(shown(browser, &eve), all);
        browser.close(&bob);
        browser.wait_until(&eve, &shows("bob has left"));
        browser.wait_until(&ann, &shows("bob has left"));
        drop(server);
        browser.wait_until(&ann, NOT_CONNECTED);
    }
}
