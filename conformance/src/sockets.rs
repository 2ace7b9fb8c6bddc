//! The promises of an engine that has WebSockets, each as a test body written once.

use std::{future::Future, time::Duration};

use dokit_client::ObjectId;
use dokit_object::{Close, DurableObject, Message, Request, Response};
use dokit_storage::Timestamp;
use futures_util::future::join_all;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Engine, Room};

/// An engine that serves [`Room`] too.
pub trait SocketEngine: Engine {
    /// The far end of its sockets.
    type Peer: Peer;

    /// Opens a socket at a path of the gateway's, or gives the answer that refused it.
    fn connect(&self, path: &str) -> impl Future<Output = Result<Self::Peer, Response>>;

    /// From now on no commit of this room succeeds.
    fn break_disk_of(&self, room: &ObjectId) -> impl Future<Output = ()>;

    /// From now on they succeed again.
    fn mend_disk_of(&self, room: &ObjectId) -> impl Future<Output = ()>;
}

/// A client of a socket.
pub trait Peer {
    /// Sends a message. It may return before the object has handled it.
    fn send(&mut self, message: Message) -> impl Future<Output = ()>;

    /// Waits for the next message.
    ///
    /// # Panics
    ///
    /// When the socket ends instead.
    fn next(&mut self) -> impl Future<Output = Message>;

    /// Waits for the end of the socket: 1006 where there is no close frame.
    ///
    /// # Panics
    ///
    /// When a message comes instead.
    fn closed(&mut self) -> impl Future<Output = Close>;

    /// Closes the socket.
    fn close(&mut self, code: u16, reason: &str) -> impl Future<Output = ()>;

    /// Goes without a word.
    fn vanish(self) -> impl Future<Output = ()>;
}

/// An engine as a socket case sees it: with objects put to sleep before each thing that is done, or not.
#[derive(Debug)]
pub struct Rooms<E> {
    /// The engine.
    pub engine: E,
    sleepy: bool,
}

impl<E: SocketEngine> Rooms<E> {
    /// A session; a `sleepy` one forces sleep before whatever is done.
    pub fn new(engine: E, sleepy: bool) -> Self {
        Self { engine, sleepy }
    }

    async fn try_call<R: DeserializeOwned>(
        &self,
        method: &str,
        arguments: impl Serialize,
    ) -> Result<R, (u16, Value)> {
        self.doze().await;
        let body = serde_json::to_vec(&arguments).unwrap();
        let mut request = Request::new(body.into());
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = format!("/room/a/{method}").parse().unwrap();
        let response = self.engine.request(request).await;
        let status = response.status().as_u16();
        let body = response.into_body();
        if status != 200 {
            return Err((status, serde_json::from_slice(&body).unwrap()));
        }
        Ok(serde_json::from_slice(&body).unwrap())
    }

    async fn call<R: DeserializeOwned>(&self, method: &str, arguments: impl Serialize) -> R {
        let answer = self.try_call(method, arguments).await;
        answer.unwrap_or_else(|(status, body)| panic!("{method} answered {status}: {body}"))
    }

    async fn refused(&self, method: &str, arguments: impl Serialize) -> (u16, String) {
        match self.try_call::<Value>(method, arguments).await {
            Ok(value) => panic!("{method} answered {value} where an error was due"),
            Err((status, body)) => (status, body["code"].as_str().unwrap().to_owned()),
        }
    }

    /// A socket of the room that has been welcomed.
    async fn join(&self, query: &str) -> E::Peer {
        match self.try_join(&format!("live?{query}")).await {
            Ok(mut peer) => {
                hears(&mut peer, "welcome").await;
                peer
            }
            Err(response) => panic!("the handshake was answered {response:?}"),
        }
    }

    async fn try_join(&self, path: &str) -> Result<E::Peer, Response> {
        self.doze().await;
        self.engine.connect(&format!("/room/a/{path}")).await
    }

    /// What a request for a socket is answered that does not say so.
    async fn ask_plainly(&self) -> Response {
        self.doze().await;
        let mut request = Request::default();
        *request.uri_mut() = "/room/a/live".parse().unwrap();
        self.engine.request(request).await
    }

    async fn tell(&self, peer: &mut E::Peer, text: &str) {
        self.doze().await;
        peer.send(text.into()).await;
    }

    /// Sends a text and waits for the one that answers it.
    async fn ask(&self, peer: &mut E::Peer, text: &str) -> String {
        self.tell(peer, text).await;
        text_of(peer.next().await)
    }

    async fn doze(&self) {
        if self.sleepy {
            self.engine.sleep().await;
        }
    }
}

fn text_of(message: Message) -> String {
    match message {
        Message::Text(text) => text,
        Message::Binary(bytes) => panic!("{bytes:?} came where a text was due"),
    }
}

async fn hears(peer: &mut impl Peer, text: &str) {
    assert_eq!(text_of(peer.next().await), text);
}

/// Nothing is on its way to the peer: what it is answered comes next.
async fn hears_nothing(peer: &mut impl Peer) {
    peer.send("ping".into()).await;
    hears(peer, "pong").await;
}

fn room() -> ObjectId {
    ObjectId::from_name(Room::NAMESPACE, "a")
}

/// Hands every case of the suite to a macro, as [`for_each_engine_case`](crate::for_each_engine_case) does.
#[macro_export]
macro_rules! for_each_socket_case {
    ($tests:ident, $session:path) => {
        $crate::for_each_socket_case! { $tests, $session:
            a_plain_request_is_told_to_upgrade,
            who_is_told_to_upgrade_is_told_to_what,
            sockets_are_found_by_their_tags,
            tags_beyond_the_limits_are_refused,
            messages_come_in_order_as_text_and_as_bytes,
            messages_of_many_sockets_run_one_at_a_time,
            an_attachment_stays_while_the_object_sleeps,
            an_attachment_over_the_limit_is_refused,
            a_text_is_answered_without_waking_the_object,
            a_broadcast_reaches_a_tag_and_leaves_out_whom_it_is_told_to,
            a_call_that_fails_sends_nothing_and_the_socket_stays_open,
            a_call_that_fails_changes_nothing_of_its_sockets,
            a_call_that_fails_accepts_no_socket,
            an_early_commit_lets_out_what_was_sent_before_it,
            a_socket_of_an_early_commit_ends_when_its_call_fails,
            a_call_that_reads_cannot_send,
            nothing_is_sent_before_it_is_durable,
            no_socket_is_accepted_before_it_is_durable,
            a_socket_whose_commit_failed_is_closed_and_the_others_stay,
            the_object_closes_a_socket,
            the_peer_closes_a_socket,
            a_peer_that_vanishes_is_told_of_as_1006,
            an_alarm_sends_to_sockets,
            no_socket_outlives_a_crash,
        }
    };
    ($tests:ident, $session:path: $($case:ident,)*) => {
        $tests! { $session: $($case = $crate::sockets::$case,)* }
    };
}

/// X44: 426.
pub async fn a_plain_request_is_told_to_upgrade<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let response = rooms.ask_plainly().await;
    assert_eq!(response.status().as_u16(), 426);
    let body: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(body["code"], "upgrade_required");
    assert_eq!(rooms.call::<Vec<String>>("names", [()]).await, [""; 0]);
}

/// RFC 9110, 15.5.22.
pub async fn who_is_told_to_upgrade_is_told_to_what<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let response = rooms.ask_plainly().await;
    assert_eq!(response.headers()["upgrade"], "websocket");
    assert_eq!(response.headers()["sec-websocket-version"], "13");
}

/// X45.
pub async fn sockets_are_found_by_their_tags<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann&tags=red,blue,red").await;
    let _bob = rooms.join("name=bob&tags=blue").await;
    let _eve = rooms.join("name=eve").await;
    let all: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(all, ["ann", "bob", "eve"], "in the order of their coming");
    for (tag, names) in [
        ("blue", &["ann", "bob"][..]),
        ("red", &["ann"]),
        ("re", &[]),
    ] {
        let found: Vec<String> = rooms.call("names", [tag]).await;
        assert_eq!(found, names, "{tag}");
    }
    assert_eq!(rooms.ask(&mut ann, "who").await, "ann red,blue");
}

/// X44: 10 distinct tags, of 256 bytes.
pub async fn tags_beyond_the_limits_are_refused<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let ten: Vec<String> = (0..10).map(|tag| tag.to_string()).collect();
    let twice = format!("name=ann&tags={0},{0}", ten.join(","));
    let _ann = rooms.join(&twice).await;
    let (long, longer) = ("x".repeat(256), "x".repeat(257));
    let _bob = rooms.join(&format!("name=bob&tags={long}")).await;
    for tags in [format!("{},eleventh", ten.join(",")), longer] {
        let refused = rooms.try_join(&format!("live?tags={tags}")).await;
        let response = refused.err().unwrap();
        assert_eq!(response.status().as_u16(), 400);
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["code"], "invalid_tag");
    }
    let there: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(there, ["ann", "bob"]);
}

/// X51, X53.
pub async fn messages_come_in_order_as_text_and_as_bytes<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut peer = rooms.join("name=ann").await;
    for number in 0..50 {
        rooms.tell(&mut peer, &format!("text{number}")).await;
        peer.send(Message::from(vec![0, 255, number])).await;
    }
    for number in 0..50 {
        hears(&mut peer, &format!("text{number}")).await;
        let bytes = peer.next().await;
        assert_eq!(bytes, Message::from(vec![0, 255, number]));
    }
    peer.send("".into()).await;
    hears(&mut peer, "").await;
}

/// Promise 1.
pub async fn messages_of_many_sockets_run_one_at_a_time<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut peers = Vec::new();
    for number in 0..10 {
        peers.push(rooms.join(&format!("name={number}")).await);
    }
    let counting = peers.iter_mut().map(async |peer| {
        let mut counts = Vec::new();
        for _ in 0..10 {
            rooms.tell(peer, "count").await;
        }
        for _ in 0..10 {
            counts.push(text_of(peer.next().await).parse::<u64>().unwrap());
        }
        assert!(counts.is_sorted(), "{counts:?}");
        counts
    });
    let mut counts = join_all(counting).await.concat();
    counts.sort_unstable();
    assert_eq!(counts, (1..=100).collect::<Vec<_>>());
}

/// X52, promise 7.
pub async fn an_attachment_stays_while_the_object_sleeps<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann&tags=red").await;
    let mut bob = rooms.join("name=bob").await;
    rooms.engine.sleep().await;
    assert_eq!(rooms.ask(&mut ann, "who").await, "ann red");
    rooms.tell(&mut ann, "rename anna").await;
    assert_eq!(rooms.ask(&mut ann, "who").await, "anna red");
    rooms.engine.sleep().await;
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, ["anna", "bob"]);
    assert_eq!(rooms.ask(&mut bob, "who").await, "bob ");
}

/// X52.
pub async fn an_attachment_over_the_limit_is_refused<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let _ann = rooms.join("name=ann").await;
    // Two more are the quotes.
    rooms.call::<()>("attach_letters", [15_998]).await;
    let refused = rooms.refused("attach_letters", [15_999]).await;
    assert_eq!(refused, (413, "attachment_too_large".to_owned()));
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names[0].len(), 15_998);
}

/// X46.
pub async fn a_text_is_answered_without_waking_the_object<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    let _bob = rooms.join("name=bob").await;
    let never: Option<Timestamp> = rooms.call("answered_at", ["ann"]).await;
    assert_eq!(never, None);
    rooms.engine.sleep().await;
    let wakes: u64 = rooms.call("wakes", json!([])).await;
    rooms.engine.sleep().await;
    rooms.engine.advance(Duration::from_secs(1)).await;
    ann.send("ping".into()).await;
    hears(&mut ann, "pong").await;
    rooms.engine.sleep().await;
    let after: u64 = rooms.call("wakes", json!([])).await;
    assert_eq!(after, wakes + 1, "for this call alone");
    let at: Option<Timestamp> = rooms.call("answered_at", ["ann"]).await;
    assert!(at.is_some());
    let never: Option<Timestamp> = rooms.call("answered_at", ["bob"]).await;
    assert_eq!(never, None);
    // The whole text, and as text.
    assert_eq!(rooms.ask(&mut ann, "ping ").await, "ping ");
    ann.send(Message::from(b"ping".to_vec())).await;
    assert_eq!(ann.next().await, Message::from(b"ping".to_vec()));
    // A call can set another, or none.
    rooms.call::<()>("answer_automatically", ["beat"]).await;
    assert_eq!(rooms.ask(&mut ann, "beat").await, "pong");
    rooms.call::<()>("answer_automatically", [()]).await;
    assert_eq!(rooms.ask(&mut ann, "beat").await, "beat");
}

/// Broadcast.
pub async fn a_broadcast_reaches_a_tag_and_leaves_out_whom_it_is_told_to<E: SocketEngine>(
    rooms: &mut Rooms<E>,
) {
    let mut ann = rooms.join("name=ann&tags=red").await;
    let mut bob = rooms.join("name=bob&tags=red").await;
    let mut eve = rooms.join("name=eve").await;
    assert_eq!(rooms.ask(&mut ann, "others hello").await, "2");
    hears(&mut bob, "hello").await;
    hears(&mut eve, "hello").await;
    assert_eq!(rooms.ask(&mut ann, "tagged red psst").await, "1");
    hears(&mut bob, "psst").await;
    hears_nothing(&mut eve).await;
    let reached: usize = rooms.call("say", json!(["all", false])).await;
    assert_eq!(reached, 3);
    for peer in [&mut ann, &mut bob, &mut eve] {
        hears(peer, "all").await;
        hears_nothing(peer).await;
    }
}

/// Promise 2.
pub async fn a_call_that_fails_sends_nothing_and_the_socket_stays_open<E: SocketEngine>(
    rooms: &mut Rooms<E>,
) {
    let mut ann = rooms.join("name=ann").await;
    for failing in ["fail", "panic"] {
        rooms.tell(&mut ann, failing).await;
        assert_eq!(rooms.ask(&mut ann, "who").await, "ann ", "after {failing}");
    }
    assert_eq!(rooms.call::<u64>("counted", json!([])).await, 0);
    let refused = rooms.refused("say", json!(["never", true])).await;
    assert_eq!(refused, (418, "planned".to_owned()));
    hears_nothing(&mut ann).await;
    assert_eq!(rooms.call::<Vec<String>>("ends", json!([])).await, [""; 0]);
}

/// Promise 2.
pub async fn a_call_that_fails_changes_nothing_of_its_sockets<E: SocketEngine>(
    rooms: &mut Rooms<E>,
) {
    let mut ann = rooms.join("name=ann").await;
    rooms.refused("rename", json!(["lost", true])).await;
    let refused = rooms.refused("close", json!(["ann", 4000, true])).await;
    assert_eq!(refused.0, 418);
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, ["ann"]);
    // Neither did one that the disk failed.
    rooms.engine.break_disk_of(&room()).await;
    rooms.refused("say", json!(["lost", false])).await;
    rooms.engine.mend_disk_of(&room()).await;
    assert_eq!(rooms.ask(&mut ann, "who").await, "ann ");
}

/// Promise 2.
pub async fn a_call_that_fails_accepts_no_socket<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let refused = rooms.try_join("fail?name=ann").await.err().unwrap();
    assert_eq!(refused.status().as_u16(), 418);
    // One that accepts a socket has to answer with it.
    let refused = rooms.try_join("forgotten?name=bob").await.err().unwrap();
    assert_eq!(refused.status().as_u16(), 500);
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, [""; 0]);
    assert_eq!(rooms.call::<Vec<String>>("ends", json!([])).await, [""; 0]);
}

/// Promise 2.
pub async fn an_early_commit_lets_out_what_was_sent_before_it<E: SocketEngine>(
    rooms: &mut Rooms<E>,
) {
    let mut ann = rooms.join("name=ann").await;
    let refused = rooms.refused("say_and_commit_and_fail", ["early", "late"]);
    assert_eq!(refused.await.0, 418);
    hears(&mut ann, "early").await;
    hears_nothing(&mut ann).await;
    assert_eq!(rooms.call::<u64>("counted", json!([])).await, 1);
}

/// Promise 2: that it was accepted is durable, so its end is told.
pub async fn a_socket_of_an_early_commit_ends_when_its_call_fails<E: SocketEngine>(
    rooms: &mut Rooms<E>,
) {
    let mut bob = rooms.join("name=bob").await;
    let refused = rooms.try_join("early?name=ann").await.err().unwrap();
    assert_eq!(refused.status().as_u16(), 418);
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, ["bob"]);
    let told = text_of(bob.next().await);
    assert!(told.starts_with("ann 1006 "), "{told}");
    let ends: Vec<String> = rooms.call("ends", json!([])).await;
    assert_eq!(ends, ["ann 1006 broken"]);
}

/// As for writes.
pub async fn a_call_that_reads_cannot_send<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    let refused = rooms.refused("say_while_reading", json!([])).await;
    assert_eq!(refused, (500, "internal".to_owned()));
    hears_nothing(&mut ann).await;
}

/// Promise 3.
pub async fn nothing_is_sent_before_it_is_durable<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    rooms.engine.break_disk_of(&room()).await;
    let refused = rooms.refused("say", json!(["lost", false])).await;
    assert_eq!(refused, (500, "commit_failed".to_owned()));
    rooms.engine.mend_disk_of(&room()).await;
    rooms.call::<usize>("say", json!(["kept", false])).await;
    hears(&mut ann, "kept").await;
    assert_eq!(rooms.call::<u64>("counted", json!([])).await, 1);
}

/// Promise 3.
pub async fn no_socket_is_accepted_before_it_is_durable<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    rooms.engine.break_disk_of(&room()).await;
    let refused = rooms.try_join("live?name=bob").await.err().unwrap();
    assert_eq!(refused.status().as_u16(), 500);
    rooms.engine.mend_disk_of(&room()).await;
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, ["ann"]);
    hears_nothing(&mut ann).await;
    assert_eq!(rooms.call::<Vec<String>>("ends", json!([])).await, [""; 0]);
}

/// Promise 4: nobody but the engine could tell the peer that its message is lost.
pub async fn a_socket_whose_commit_failed_is_closed_and_the_others_stay<E: SocketEngine>(
    rooms: &mut Rooms<E>,
) {
    let mut ann = rooms.join("name=ann").await;
    let mut bob = rooms.join("name=bob").await;
    rooms.engine.break_disk_of(&room()).await;
    rooms.tell(&mut ann, "count").await;
    let close = ann.closed().await;
    assert_eq!((close.code, &*close.reason), (1011, "commit_failed"));
    rooms.engine.mend_disk_of(&room()).await;
    // The end is told until that is durable, too.
    rooms.call::<u64>("counted", json!([])).await;
    hears(&mut bob, "ann 1011 commit_failed clean").await;
    assert_eq!(rooms.ask(&mut bob, "who").await, "bob ");
    assert_eq!(rooms.call::<u64>("counted", json!([])).await, 0);
}

/// X51, X53: its last event comes too.
pub async fn the_object_closes_a_socket<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    let mut bob = rooms.join("name=bob").await;
    rooms.tell(&mut ann, "close enough").await;
    let close = ann.closed().await;
    assert_eq!((close.code, &*close.reason), (4001, "enough"));
    hears(&mut bob, "ann 4001 enough clean").await;
    rooms.call::<()>("close", json!(["bob", 1000, false])).await;
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, [""; 0]);
    assert_eq!(bob.closed().await.code, 1000);
    let refused = rooms.refused("close", json!(["bob", 1000, false])).await;
    assert_eq!(refused.0, 404);
}

/// X51: the engine answers the close frame.
pub async fn the_peer_closes_a_socket<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    let mut bob = rooms.join("name=bob").await;
    rooms.tell(&mut ann, "last words").await;
    ann.close(4002, "bye").await;
    hears(&mut ann, "last words").await;
    assert_eq!(ann.closed().await.code, 4002);
    hears(&mut bob, "ann 4002 bye clean").await;
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, ["bob"]);
    let ends: Vec<String> = rooms.call("ends", json!([])).await;
    assert_eq!(ends, ["ann 4002 clean"]);
}

/// X51.
pub async fn a_peer_that_vanishes_is_told_of_as_1006<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let ann = rooms.join("name=ann").await;
    let mut bob = rooms.join("name=bob").await;
    rooms.doze().await;
    ann.vanish().await;
    let told = text_of(bob.next().await);
    assert!(
        told.starts_with("ann 1006 ") && told.ends_with(" broken"),
        "{told}"
    );
    let ends: Vec<String> = rooms.call("ends", json!([])).await;
    assert_eq!(ends, ["ann 1006 broken"]);
}

/// Promise 7: the alarm wakes the object, and its sockets are there.
pub async fn an_alarm_sends_to_sockets<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    rooms.call::<()>("say_at", [60_000]).await;
    rooms.engine.sleep().await;
    rooms.engine.advance(Duration::from_millis(59_999)).await;
    hears_nothing(&mut ann).await;
    rooms.engine.sleep().await;
    rooms.engine.advance(Duration::from_millis(1)).await;
    hears(&mut ann, "the alarm").await;
}

/// They end with the process.
pub async fn no_socket_outlives_a_crash<E: SocketEngine>(rooms: &mut Rooms<E>) {
    let mut ann = rooms.join("name=ann").await;
    rooms.tell(&mut ann, "count").await;
    hears(&mut ann, "1").await;
    rooms.engine.crash().await;
    assert_eq!(ann.closed().await.code, 1006);
    let names: Vec<String> = rooms.call("names", [()]).await;
    assert_eq!(names, [""; 0]);
    let mut again = rooms.join("name=ann").await;
    assert_eq!(rooms.ask(&mut again, "count").await, "2");
}
