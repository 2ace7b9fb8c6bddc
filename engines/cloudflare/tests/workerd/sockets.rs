//! WebSockets: what is the platform's, beside the cases of the conformance suite.

use std::{
    thread,
    time::{Duration, Instant},
};

use dokit_object::Message;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{
    Message as Raw,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::{peer::Tcp, process::Workerd};

/// workerd, whose clock is the machine's.
struct House(Workerd);

impl House {
    fn start() -> Self {
        Self(Workerd::start("probe"))
    }

    fn connect(&self, query: &str) -> Tcp {
        let path = format!("/room/a/live?{query}");
        let mut peer = Tcp::connect(self.0.address(), &path).unwrap();
        assert_eq!(peer.next(), "welcome".into());
        peer
    }

    fn call(&self, method: &str, arguments: &Value) -> Value {
        let path = format!("/room/a/{method}");
        let (status, answer) = self.0.json("POST", &path, &arguments.to_string());
        assert_eq!(status, 200, "{answer}");
        answer
    }

    fn put_to_sleep(&self) {
        assert_eq!(self.0.send("POST", "/sleep", ""), (200, String::new()));
    }
}

/// The cases of the conformance suite have it put to sleep.
#[test]
#[ignore = "needs workerd: run .ci/workerd"]
#[expect(
    clippy::disallowed_methods,
    reason = "workerd puts to sleep what has been idle for 10 s by the machine's clock"
)]
fn a_room_that_nobody_asks_anything_falls_asleep_and_its_sockets_stay_open() {
    let room = House::start();
    let mut ann = room.connect("name=ann&tags=red");
    let woken = room.call("wakes", &json!([]));
    let begun = Instant::now();
    loop {
        thread::sleep(Duration::from_secs(11));
        ann.send("who");
        assert_eq!(ann.next(), "ann red".into());
        if room.call("wakes", &json!([])) != woken {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "it never sleeps"
        );
    }
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn an_alarm_wakes_the_object_and_finds_its_sockets() {
    let room = House::start();
    let mut ann = room.connect("name=ann");
    room.call("say_at", &json!([2_000]));
    room.put_to_sleep();
    assert_eq!(ann.next(), "the alarm".into());
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn a_message_over_the_limit_closes_its_socket_and_no_other() {
    let room = House::start();
    let mut ann = room.connect("name=ann");
    let mut bob = room.connect("name=bob");
    let longest = "x".repeat(1024 * 1024);
    ann.send(&*longest);
    assert_eq!(ann.next(), longest.as_str().into());
    ann.send(longest + "x");
    assert_eq!(ann.closed().code, 1009);
    let Message::Text(told) = bob.next() else {
        panic!("bytes came where a text was due");
    };
    assert!(
        told.starts_with("ann 1009 a message of the peer is over the limit"),
        "{told}"
    );
    let ends = room.call("ends", &json!([]));
    let broke = "ann broke: a message of the peer is over the limit of 1048576 bytes";
    assert_eq!(ends, json!([broke, "ann 1009 clean"]));
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn a_peer_that_breaks_the_protocol_is_told_how() {
    let room = House::start();
    let mut ann = room.connect("name=ann");
    let mut bob = room.connect("name=bob");
    // It begins nothing.
    let frame = Frame::message("x", OpCode::Data(Data::Continue), true);
    ann.socket.send(Raw::Frame(frame)).unwrap();
    assert_eq!(ann.closed().code, 1002);
    let broke = "the peer broke the protocol: Unexpected continuation frame";
    assert_eq!(bob.next(), format!("ann 1002 {broke} broken").into());
    let ends = room.call("ends", &json!([]));
    assert_eq!(
        ends,
        json!([format!("ann broke: {broke}"), "ann 1002 broken"])
    );
}
