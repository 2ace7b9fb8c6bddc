//! WebSockets over TCP: limits, slow and lost peers, load, and the host's own end.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

mod peer;

use std::{
    io::{ErrorKind, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use dokit_client::{CallError, rpc};
use dokit_embedded::{Builder, Host};
use dokit_object::{
    Close, Context, DurableObject, Message, Request, Response, Result, Stub, WebSocket,
    WebSocketError, durable_object,
};
use dokit_storage::{Batch, Store};
use peer::Tcp;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::Semaphore};
use tokio_tungstenite::tungstenite::{
    Message as Raw,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

/// What lets a call of [`ChatApi::wait`] go on.
static CALLS: Semaphore = Semaphore::const_new(0);

/// What lets a message `wait` go on. Tests run beside each other: one takes this, another those.
static MESSAGES: Semaphore = Semaphore::const_new(0);

/// Says that a `linger` has begun, and lets it go on.
static LINGERS: Semaphore = Semaphore::const_new(0);
static LINGERED: Semaphore = Semaphore::const_new(0);

/// Says that a `write` has run.
static WRITTEN: Semaphore = Semaphore::const_new(0);

#[rpc]
trait ChatApi {
    /// Sends a text of this length to all, and says to how many.
    async fn say(&mut self, length: usize) -> Result<usize>;
    /// How many sockets are open.
    async fn open(&self) -> Result<usize>;
    /// Answers once it was let go.
    async fn wait(&mut self) -> Result<()>;
    /// The same, and says that it has begun.
    async fn linger(&mut self) -> Result<()>;
}

/// Tells every other socket when one breaks or ends.
struct Chat {
    ctx: Context,
}

#[durable_object]
impl DurableObject for Chat {
    type Api = ChatApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        ctx.set_auto_response("ping", "pong")?;
        Ok(Self { ctx })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        Ok(self.ctx.accept_websocket(&request, &[])?.into_response())
    }

    async fn websocket_message(&mut self, socket: &WebSocket, message: Message) -> Result<()> {
        match message.as_text() {
            Some("write") => {
                let mut batch = Batch::new();
                batch.put("key", "1");
                self.ctx.storage().commit(batch).await?;
                socket.send("written")?;
                WRITTEN.add_permits(1);
                Ok(())
            }
            Some("wait") => {
                MESSAGES.acquire().await.unwrap().forget();
                socket.send("waited")
            }
            Some("hang") => std::future::pending().await,
            _ => socket.send(message),
        }
    }

    async fn websocket_close(&mut self, _: &WebSocket, close: Close) -> Result<()> {
        self.ctx.broadcast().send(format!("end: {}", close.code))?;
        Ok(())
    }

    async fn websocket_error(&mut self, socket: &WebSocket, error: WebSocketError) -> Result<()> {
        let others = self.ctx.broadcast().except(socket);
        others.send(format!("broken: {error}"))?;
        Ok(())
    }
}

impl ChatApi for Chat {
    async fn say(&mut self, length: usize) -> Result<usize> {
        self.ctx.broadcast().send("x".repeat(length))
    }

    async fn open(&self) -> Result<usize> {
        Ok(self.ctx.websockets().len())
    }

    async fn wait(&mut self) -> Result<()> {
        CALLS.acquire().await.unwrap().forget();
        Ok(())
    }

    async fn linger(&mut self) -> Result<()> {
        LINGERS.add_permits(1);
        LINGERED.acquire().await.unwrap().forget();
        Ok(())
    }
}

impl Tcp {
    /// The next message, which is a text.
    fn next_text(&mut self) -> String {
        match self.next() {
            Message::Text(text) => text,
            Message::Binary(bytes) => panic!("{bytes:?} came where a text was due"),
        }
    }
}

/// A host that listens, on a runtime of its own.
struct Server {
    host: Host,
    runtime: Runtime,
    address: SocketAddr,
    data: TempDir,
}

impl Server {
    fn start(build: impl FnOnce(Builder) -> Builder) -> Self {
        let data = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let builder = Host::builder().data(data.path()).object::<Chat>();
        let inside = runtime.enter();
        let host = build(builder).start().unwrap();
        drop(inside);
        let listener = runtime.block_on(host.listen("127.0.0.1:0")).unwrap();
        let address = listener.address();
        runtime.spawn(listener.serve(std::future::pending()));
        Self {
            host,
            runtime,
            address,
            data,
        }
    }

    /// A handshake has no more time than a message; on a machine that stands still that may be too little.
    fn connect(&self) -> Tcp {
        let mut tries = std::iter::repeat_with(|| Tcp::connect(self.address, "/chat/a")).take(100);
        let in_time = tries.find(|tried| {
            let refused = tried.as_ref().err();
            refused.is_none_or(|refused| refused.status() != http::StatusCode::GATEWAY_TIMEOUT)
        });
        in_time.unwrap().unwrap()
    }

    fn chat(&self) -> ChatApiClient<Stub> {
        ChatApiClient::new(self.host.namespace::<Chat>().get_by_name("a"))
    }

    fn say(&self, length: usize) -> usize {
        self.runtime.block_on(self.chat().say(length)).unwrap()
    }

    /// How many sockets are open. A machine that stands still takes longer than a short deadline.
    fn open(&self) -> usize {
        let looks = std::iter::repeat_with(|| self.runtime.block_on(self.chat().open()));
        let mut looks = looks.take(100);
        let in_time = looks.find(|open| !open.as_ref().is_err_and(CallError::is_timeout));
        in_time.unwrap().unwrap()
    }
}

#[test]
fn a_message_over_the_limit_closes_its_socket_and_no_other() {
    let server = Server::start(|host| host.message_limit(1000));
    let mut other = server.connect();
    let mut peer = server.connect();
    peer.send("x".repeat(1000));
    assert_eq!(peer.next_text().len(), 1000);
    peer.send("x".repeat(1001));
    assert_eq!(peer.closed().code, 1009);
    let told = "broken: a message of the peer is over the limit of 1000 bytes";
    assert_eq!(other.next_text(), told);
    assert_eq!(other.next_text(), "end: 1009");
    // In parts it is no smaller.
    let mut peer = server.connect();
    for last in [false, true] {
        let frame = Frame::message(
            vec![b'x'; 600],
            OpCode::Data(if last { Data::Continue } else { Data::Text }),
            last,
        );
        peer.socket.send(Raw::Frame(frame)).unwrap();
    }
    assert_eq!(peer.closed().code, 1009);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_told_how() {
    let server = Server::start(|host| host);
    let mut other = server.connect();
    let mut peer = server.connect();
    let frame = Frame::message(vec![0xFF, 0xFE], OpCode::Data(Data::Text), true);
    peer.socket.send(Raw::Frame(frame)).unwrap();
    assert_eq!(peer.closed().code, 1007);
    assert!(
        other
            .next_text()
            .starts_with("broken: the peer broke the protocol: ")
    );
    assert_eq!(other.next_text(), "end: 1007");

    let mut peer = server.connect();
    // A reserved opcode, masked as it has to be.
    let raw = peer.socket.get_mut();
    raw.write_all(&[0x83, 0x80, 1, 2, 3, 4]).unwrap();
    assert_eq!(peer.closed().code, 1002);
    assert!(
        other
            .next_text()
            .starts_with("broken: the peer broke the protocol: ")
    );
    assert_eq!(other.next_text(), "end: 1002");
}

#[test]
fn a_peer_that_does_not_read_is_closed_and_the_others_notice_nothing() {
    let server = Server::start(|host| host.socket_buffer(100_000));
    let slow = server.connect();
    let mut quick = server.connect();
    let length = 50_000;
    // The system's own buffers take some first.
    let mut told = Vec::new();
    let lost = (0..10_000).find(|_| {
        let reached = server.say(length);
        loop {
            let text = quick.next_text();
            if text.len() == length {
                return reached == 1;
            }
            told.push(text);
        }
    });
    assert!(lost.is_some());
    told.extend((told.len()..2).map(|_| quick.next_text()));
    let broken = "broken: the peer does not read: more than 100000 bytes wait for it";
    assert_eq!(told, [broken, "end: 1013"]);
    drop(slow);
    quick.send("still there");
    assert_eq!(quick.next_text(), "still there");
}

#[test]
fn a_peer_that_sends_faster_than_its_object_works_is_slowed() {
    let server = Server::start(|host| host.deadline(Duration::from_secs(600)));
    let mut fast = server.connect();
    fast.send("wait");
    let raw = fast.socket.get_mut();
    raw.set_nonblocking(true).unwrap();
    // A text of 1,000 bytes, masked with zeros.
    let mut frame = vec![0x81, 0x80 | 126, 3, 232, 0, 0, 0, 0];
    frame.resize(frame.len() + 1000, b'x');
    let (mut sent, mut part, mut full) = (0, 0, 0);
    // When nothing more goes in for some time, nothing more is read.
    while full < 100 {
        assert!(sent < 64 * 1024, "64 MB were taken that nobody works on");
        match raw.write(&frame[part..]) {
            Ok(bytes) => {
                part += bytes;
                full = 0;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                full += 1;
                std::thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
        if part == frame.len() {
            (sent, part) = (sent + 1, 0);
        }
    }
    raw.set_nonblocking(false).unwrap();
    let rest = frame[part..].to_vec();
    let mut raw = raw.try_clone().unwrap();
    let writer = std::thread::spawn(move || raw.write_all(&rest).unwrap());
    MESSAGES.add_permits(1);
    assert_eq!(fast.next_text(), "waited");
    for _ in 0..=sent {
        assert_eq!(fast.next_text().len(), 1000);
    }
    writer.join().unwrap();
}

#[test]
fn a_message_waits_for_room_in_the_queue_of_its_object() {
    let server = Server::start(|host| host.deadline(Duration::from_secs(600)));
    let mut peer = server.connect();
    let chat = Arc::new(server.chat());
    let calls: Vec<_> = (0..1200)
        .map(|_| {
            let chat = Arc::clone(&chat);
            server.runtime.spawn(async move { chat.wait().await })
        })
        .collect();
    // One runs and 1,024 wait: the others are refused.
    while calls.iter().filter(|call| call.is_finished()).count() < 1200 - 1025 {
        std::thread::yield_now();
    }
    peer.send("a message of many");
    peer.send("ping");
    CALLS.add_permits(1025);
    assert_eq!(peer.next_text(), "a message of many");
    assert_eq!(peer.next_text(), "pong");
    let answers = calls.into_iter().map(|call| server.runtime.block_on(call));
    assert_eq!(
        answers
            .filter(|answer| answer.as_ref().unwrap().is_ok())
            .count(),
        1025
    );
}

#[test]
fn a_message_that_is_not_handled_in_time_closes_its_socket() {
    let server = Server::start(|host| host.deadline(Duration::from_millis(200)));
    let mut peer = server.connect();
    peer.send("hang");
    let close = peer.closed();
    assert_eq!((close.code, &*close.reason), (1013, "deadline_exceeded"));
    assert_eq!(server.open(), 0);
}

#[test]
fn an_object_is_told_of_an_end_however_long_it_was_busy() {
    let server = Server::start(|host| host.deadline(Duration::from_millis(200)));
    let mut other = server.connect();
    let peer = server.connect();
    let chat = server.chat().with_deadline(Duration::from_secs(600));
    let lingers = server.runtime.spawn(async move { chat.linger().await });
    let begun = server.runtime.block_on(LINGERS.acquire());
    begun.unwrap().forget();
    drop(peer);
    // The end of it, and what came after that, have waited for longer than calls do.
    while !server.host.metrics().contains("dokit_calls_waiting 2\n") {
        std::thread::yield_now();
    }
    let chat = server.chat().with_deadline(Duration::from_millis(500));
    let late = server.runtime.block_on(chat.say(1)).unwrap_err();
    assert!(late.is_timeout(), "{late}");
    LINGERED.add_permits(1);
    server.runtime.block_on(lingers).unwrap().unwrap();
    assert_eq!(other.next_text(), "end: 1006");
}

#[test]
fn what_may_tell_of_a_write_waits_for_the_disk() {
    let server = Server::start(|host| host);
    let mut writer = server.connect();
    let mut reader = server.connect();
    let disk = Connection::open(server.data.path().join("objects.sqlite")).unwrap();
    disk.busy_timeout(Duration::from_secs(60)).unwrap();
    disk.execute_batch("BEGIN IMMEDIATE").unwrap();
    writer.send("write");
    // Read only once that is handled, whose answer waits for the disk: so it comes before this one.
    writer.send("ping");
    let written = server.runtime.block_on(WRITTEN.acquire());
    written.unwrap().forget();
    reader.send("after");
    reader.send("ping");
    // Another object answers, and nothing else has come.
    let mut other = Tcp::connect(server.address, "/chat/b").unwrap();
    other.send("from another object");
    assert_eq!(other.next_text(), "from another object");
    for peer in [&mut writer, &mut reader] {
        let raw = peer.socket.get_mut();
        raw.set_nonblocking(true).unwrap();
        let nothing = raw.peek(&mut [0]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
        raw.set_nonblocking(false).unwrap();
    }
    disk.execute_batch("ROLLBACK").unwrap();
    assert_eq!(writer.next_text(), "written");
    assert_eq!(writer.next_text(), "pong");
    assert_eq!(reader.next_text(), "after");
    assert_eq!(reader.next_text(), "pong");
}

#[test]
fn a_peer_that_answers_no_ping_is_gone() {
    let server = Server::start(|host| host.ping_after(Duration::from_millis(100)));
    // It never reads, so it never answers. On a machine that stands still it may be gone before the look.
    let mut peers = std::iter::repeat_with(|| server.connect()).take(100);
    let dead = peers.find(|_| server.open() == 1).unwrap();
    while server.open() > 0 {
        std::thread::yield_now();
    }
    drop(dead);
}

#[test]
fn a_host_has_as_many_sockets_as_it_is_told() {
    let server = Server::start(|host| host.socket_limit(2));
    let mut first = server.connect();
    let mut second = server.connect();
    let refused = Tcp::connect(server.address, "/chat/b").unwrap_err();
    assert_eq!(refused.status().as_u16(), 503);
    assert!(
        refused
            .body()
            .starts_with(b"{\"error\":\"the host has at most 2 sockets\"")
    );
    second.close(1000, "");
    assert_eq!(second.closed().code, 1000);
    assert_eq!(first.next_text(), "end: 1000");
    // Its place is free once its last event has been handled.
    let again = std::iter::repeat_with(|| Tcp::connect(server.address, "/chat/b"));
    assert!(again.take(10_000).any(|connected| connected.is_ok()));
}

#[test]
fn a_host_that_stops_says_goodbye() {
    let server = Server::start(|host| host);
    let mut peers = [server.connect(), server.connect()];
    peers[0].send("before");
    assert_eq!(peers[0].next_text(), "before");
    let host = server.host.clone();
    let stopped = server.runtime.spawn(async move { host.shutdown().await });
    for peer in &mut peers {
        let close = peer.closed();
        assert_eq!((close.code, &*close.reason), (1001, "shutting_down"));
    }
    server.runtime.block_on(stopped).unwrap();
}

#[test]
fn a_router_of_ones_own_serves_sockets_too() {
    let server = Server::start(|host| host);
    let router = axum::Router::new().nest_service("/objects", server.host.router());
    let listener = server
        .runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"));
    let listener = listener.unwrap();
    let address = listener.local_addr().unwrap();
    server
        .runtime
        .spawn(async move { axum::serve(listener, router).await });
    let mut peer = Tcp::connect(address, "/objects/chat/a").unwrap();
    peer.send("through two doors");
    assert_eq!(peer.next_text(), "through two doors");
}

#[test]
fn a_handshake_within_the_process_has_no_connection_to_take_over() {
    let server = Server::start(|host| host);
    let request = http::Request::builder()
        .uri("/chat/a")
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body("".into())
        .unwrap();
    let answer = server.runtime.block_on(server.host.handle(request));
    assert_eq!(answer.status().as_u16(), 101);
    assert_eq!(server.open(), 1);
    drop(answer);
    while server.open() > 0 {
        std::thread::yield_now();
    }
}
