//! What an object may do with its sockets, in the test kit.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use dokit_client::rpc;
use dokit_object::{
    Close, Context, DurableObject, Error, Message, Request, Response, Result, WebSocket,
    WebSocketError, durable_object,
    engine::{Connection, Handlers, ObjectType},
    testing::{TestHost, block_on},
};
use http::{Method, StatusCode, header};

#[rpc]
trait ChatApi {
    async fn say(&mut self, text: String) -> Result<usize>;
    async fn accept_here(&mut self) -> Result<()>;
    async fn ends(&self) -> Result<Vec<String>>;
}

/// Tells every socket what any of them says. It keeps in memory what it was told of those that ended.
struct Chat {
    ctx: Context,
    ends: Vec<String>,
}

#[durable_object]
impl DurableObject for Chat {
    type Api = ChatApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        if ctx.variable("WAKE_AND_SEND").is_some() {
            ctx.broadcast().send("awake")?;
        }
        let ends = Vec::new();
        Ok(Self { ctx, ends })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let socket = self.ctx.accept_websocket(&request, &[])?;
        if request.uri().path() == "/twice" {
            self.ctx.accept_websocket(&request, &[])?;
        }
        Ok(socket.into_response())
    }

    async fn websocket_message(&mut self, socket: &WebSocket, message: Message) -> Result<()> {
        match message.as_text() {
            Some("json") => socket.send_json(&message.parse_json::<u32>()?),
            Some("leave") => {
                socket.close(4000, "left")?;
                socket.send("after its end")?;
                assert!(!self.ctx.websockets().contains(socket));
                Ok(())
            }
            Some("close badly") => socket.close(1005, ""),
            _ => {
                self.ctx.broadcast().send(message)?;
                Ok(())
            }
        }
    }

    async fn websocket_close(&mut self, _: &WebSocket, close: Close) -> Result<()> {
        self.ends.push(close.code.to_string());
        Ok(())
    }

    async fn websocket_error(&mut self, _: &WebSocket, error: WebSocketError) -> Result<()> {
        self.ends.push(error.to_string());
        Ok(())
    }
}

impl ChatApi for Chat {
    async fn say(&mut self, text: String) -> Result<usize> {
        self.ctx.broadcast().send(text)
    }

    async fn accept_here(&mut self) -> Result<()> {
        self.ctx.accept_websocket(&handshake("/"), &[])?;
        Ok(())
    }

    async fn ends(&self) -> Result<Vec<String>> {
        Ok(self.ends.clone())
    }
}

fn handshake(path: &str) -> Request {
    let request = http::Request::builder()
        .uri(path)
        .header(header::CONNECTION, "keep-alive, Upgrade")
        .header(header::UPGRADE, "WebSocket")
        .header(header::SEC_WEBSOCKET_VERSION, "13")
        .header(header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ==");
    request.body("".into()).unwrap()
}

fn chat(host: &TestHost) -> ChatApiClient<dokit_object::Stub> {
    ChatApiClient::new(host.namespace::<Chat>().get_by_name("a"))
}

fn text(text: &str) -> Option<Message> {
    Some(Message::from(text))
}

#[test]
fn only_the_handlers_that_are_written_count() {
    let handlers = ObjectType::of::<Chat>().unwrap().handlers();
    let written = Handlers::NONE
        .with_fetch()
        .with_websocket_message()
        .with_websocket_close()
        .with_websocket_error();
    assert_eq!(handlers, written);
}

/// It accepts sockets, and has nobody to take their messages.
struct Deaf {
    ctx: Context,
}

#[durable_object]
impl DurableObject for Deaf {
    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        assert_eq!(self.ctx.websockets(), []);
        assert_eq!(self.ctx.broadcast().send("nobody")?, 0);
        let refused = self.ctx.set_auto_response("a", "b").unwrap_err();
        assert_eq!(refused.code(), "missing_handler");
        Ok(self.ctx.accept_websocket(&request, &[])?.into_response())
    }
}

#[test]
fn an_object_without_a_message_handler_accepts_no_socket() {
    block_on(async {
        let host = TestHost::new().object::<Deaf>();
        let refused = host.connect::<Deaf>("a", "/").await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::NOT_IMPLEMENTED);
        let body = String::from_utf8_lossy(refused.body());
        assert!(
            body.contains("the object has no websocket_message handler"),
            "{body}"
        );
    });
}

#[test]
fn a_handshake_is_checked() {
    let without = |name: header::HeaderName| {
        let mut request = handshake("/chat/a/");
        request.headers_mut().remove(name);
        request
    };
    let mut posted = handshake("/chat/a/");
    *posted.method_mut() = Method::POST;
    let mut old = handshake("/chat/a/");
    let eight = header::HeaderValue::from_static("8");
    old.headers_mut()
        .insert(header::SEC_WEBSOCKET_VERSION, eight);
    let keyed = |key: &'static str| {
        let mut request = handshake("/chat/a/");
        let key = header::HeaderValue::from_static(key);
        request.headers_mut().insert(header::SEC_WEBSOCKET_KEY, key);
        request
    };
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        for (request, status) in [
            (keyed(""), 400),
            (keyed("c2hvcnQ="), 400),
            (keyed("AAAAAAAAAAAAAAAAAAAAAAAA"), 400),
            (keyed("AAAAAAAAAAAAAAAAAAAAAB=="), 400),
            (keyed("AAAAAAAAAAAAAAAAA!AAAA=="), 400),
            (keyed("AAAAAAAAAAAAAAAAAAAAAA=="), 101),
            (posted, 426),
            (old, 426),
            (without(header::UPGRADE), 426),
            (without(header::CONNECTION), 426),
            (without(header::SEC_WEBSOCKET_VERSION), 426),
            (without(header::SEC_WEBSOCKET_KEY), 400),
            (handshake("/chat/a/"), 101),
        ] {
            let answer = host.handle(request).await;
            assert_eq!(answer.status().as_u16(), status);
            let asks = answer.headers().get(header::SEC_WEBSOCKET_VERSION);
            assert_eq!(asks.is_some(), status == 426, "RFC 6455, 4.4");
        }
    });
}

#[test]
fn an_answer_that_nobody_takes_is_a_peer_that_vanished() {
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        let answer = host.handle(handshake("/chat/a/")).await;
        assert_eq!(chat(&host).say("one".into()).await.unwrap(), 1);
        drop(answer);
        host.settle().await;
        assert_eq!(chat(&host).say("none".into()).await.unwrap(), 0);
        assert_eq!(chat(&host).ends().await.unwrap(), ["1006"]);
        // One that is taken is not, until it is dropped.
        let mut answer = host.handle(handshake("/chat/a/")).await;
        let connection = Connection::take(&mut answer).unwrap();
        assert!(Connection::take(&mut answer).is_none());
        drop(answer);
        assert_eq!(chat(&host).say("one".into()).await.unwrap(), 1);
        drop(connection);
        assert_eq!(chat(&host).ends().await.unwrap(), ["1006", "1006"]);
    });
}

#[test]
fn a_call_accepts_one_socket_and_answers_with_it() {
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        let refused = host.connect::<Chat>("a", "/twice").await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let refused = chat(&host).accept_here().await.unwrap_err();
        assert_eq!(refused.code().as_deref(), Some("internal"));
        assert_eq!(chat(&host).say("nobody".into()).await.unwrap(), 0);
    });
}

#[test]
fn ids_of_sockets_differ_also_after_a_crash() {
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        let mut ids = Vec::new();
        for _ in 0..3 {
            let first = host.connect::<Chat>("a", "/").await.unwrap();
            let second = host.connect::<Chat>("b", "/").await.unwrap();
            ids.extend([first.id(), second.id()]);
            host.crash();
            assert_eq!(first.closed().unwrap().code, 1006);
        }
        assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    });
}

#[test]
fn a_peer_that_does_not_read_is_closed_and_the_others_notice_nothing() {
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        let slow = host.connect::<Chat>("a", "/").await.unwrap();
        let quick = host.connect::<Chat>("a", "/").await.unwrap();
        let line = "x".repeat(100_000);
        let mut reached = Vec::new();
        for _ in 0..12 {
            reached.push(chat(&host).say(line.clone()).await.unwrap());
            assert_eq!(quick.next(), text(&line));
        }
        assert_eq!(reached, [2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        assert_eq!(slow.next(), None, "what waited is let go");
        assert_eq!(slow.closed().unwrap().code, 1013);
        let told = "the peer does not read: more than 1048576 bytes wait for it";
        assert_eq!(chat(&host).ends().await.unwrap(), [told, "1013"]);
        assert_eq!(quick.closed(), None);
    });
}

#[test]
fn what_is_sent_after_a_close_is_dropped() {
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        let peer = host.connect::<Chat>("a", "/").await.unwrap();
        peer.send("before").await;
        peer.send("leave").await;
        peer.send("nobody takes this").await;
        assert_eq!(peer.next(), text("before"));
        assert_eq!(peer.next(), None);
        assert_eq!(peer.closed(), Some(Close::clean(4000, "left")));
        assert_eq!(chat(&host).ends().await.unwrap(), ["4000"]);
    });
}

#[test]
fn a_wrong_message_or_code_fails_the_handler_and_no_more() {
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        let peer = host.connect::<Chat>("a", "/").await.unwrap();
        for wrong in ["json", "close badly"] {
            peer.send(wrong).await;
            assert_eq!((peer.next(), peer.closed()), (None, None));
        }
        peer.send("still there").await;
        assert_eq!(peer.next(), text("still there"));
        let wrong = Message::from("[1, x]").parse_json::<Vec<u32>>();
        let error: Error = wrong.unwrap_err();
        assert_eq!((error.status(), error.code()), (400, "invalid_message"));
        let right = Message::from(b"[1, 2]".to_vec()).parse_json::<Vec<u32>>();
        assert_eq!(right.unwrap(), [1, 2]);
    });
}

#[test]
fn an_object_that_wakes_sends_nothing_since_nobody_may_tell() {
    block_on(async {
        let host = TestHost::new().object::<Chat>();
        let peer = host.connect::<Chat>("a", "/").await.unwrap();
        let host = host.variable("WAKE_AND_SEND", "yes");
        host.sleep();
        let refused = chat(&host).say("never".into()).await.unwrap_err();
        assert_eq!(refused.code().as_deref(), Some("internal"));
        assert_eq!(peer.next(), None);
    });
}
