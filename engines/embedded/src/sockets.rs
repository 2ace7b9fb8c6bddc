//! WebSockets over a connection of the gateway's: one task each, which holds it open while its object
//! sleeps.

use std::{
    ops::ControlFlow,
    sync::{Arc, Weak},
    time::Duration,
};

use dokit_client::{ErrorReply, code};
use dokit_object::{
    BoxFuture, Close, Message, Response, WebSocketError,
    engine::{Connection, Outgoing, SocketCall, Switchboard, error_response},
};
use futures_util::{
    SinkExt, StreamExt,
    future::{OptionFuture, join},
};
use http::{HeaderValue, header, request::Parts};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt, copy, sink},
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Error,
        error::{CapacityError, ProtocolError},
        handshake::derive_accept_key,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use crate::{engine::Engine, resident::Answer};

/// What a socket reads at a time, in bytes. Each has a buffer of this size, also when it is idle.
const READ: usize = 1024;

/// How many bytes of messages that wait are written at once.
const WRITE: usize = 4096;

/// How long a peer has to answer a close frame, or to take one.
const CLOSING: Duration = Duration::from_secs(2);

/// How long an event waits at first, and at most, before it is told again: to an object whose queue was
/// full or, of a socket's end, whose commit failed.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The connections of all sockets of a host.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    connected: Arc<watch::Sender<usize>>,
}

impl Peers {
    fn enter(&self) -> Present {
        self.connected.send_modify(|count| *count += 1);
        Present(self.clone())
    }

    /// Closes all sockets, and gives their peers time to hear of it. No event of theirs reaches an object
    /// any more.
    pub(crate) async fn say_goodbye(&self, switchboard: &Switchboard) {
        switchboard.close_all(1001, code::SHUTTING_DOWN);
        let mut connected = self.connected.subscribe();
        // Its sender is here.
        let _ = timeout(2 * CLOSING, connected.wait_for(|count| *count == 0)).await;
    }
}

/// A connection among the host's.
struct Present(Peers);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.connected.send_modify(|count| *count -= 1);
    }
}

/// A request's connection, if it can become something else than HTTP.
pub(crate) struct Upgrade {
    connection: OnUpgrade,
    key: HeaderValue,
}

impl Upgrade {
    /// Takes it out of a request that asks for a WebSocket.
    pub(crate) fn take(head: &mut Parts) -> Option<Self> {
        let key = head.headers.get(header::SEC_WEBSOCKET_KEY)?.clone();
        let connection = head.extensions.remove()?;
        Some(Self { connection, key })
    }
}

/// Where an answer accepts a socket, has its connection become that.
pub(crate) fn switch(
    engine: &Engine,
    upgrade: Option<Upgrade>,
    mut response: Response,
) -> Response {
    let Some(connection) = Connection::take(&mut response) else {
        return response;
    };
    let key = upgrade
        .as_ref()
        .map(|upgrade| derive_accept_key(upgrade.key.as_bytes()));
    let key = key.and_then(|key| HeaderValue::try_from(key).ok());
    let (Some(upgrade), Some(key)) = (upgrade, key) else {
        // Its object is told that it vanished.
        drop(connection);
        return error_response(&ErrorReply::new(
            501,
            "upgrade_unavailable",
            "a WebSocket needs a connection of its own, over HTTP/1.1",
        ));
    };
    let headers = response.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .write_buffer_size(WRITE)
        .max_message_size(Some(engine.message_limit()))
        .max_frame_size(Some(engine.message_limit()));
    let socket = Socket {
        engine: engine.own(),
        connection,
        silence: engine.ping_after(),
        message_limit: engine.message_limit(),
    };
    let present = engine.peers().enter();
    engine.runtime().spawn(async move {
        if let Ok(upgraded) = upgrade.connection.await {
            let io = TokioIo::new(upgraded);
            let stream = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
            socket.run(stream).await;
        }
        // Else the client went before it had the answer, which the connection tells as it is dropped.
        drop(present);
    });
    response
}

/// The connection of a socket was lost before its end could be told.
pub(crate) async fn vanished(engine: Weak<Engine>, connection: Connection) {
    tell_end(&engine, &connection, Close::vanished()).await;
}

/// Tells an object of the end of a socket, until it has taken it or the host is gone.
async fn tell_end(engine: &Weak<Engine>, connection: &Connection, close: Close) {
    let Some(call) = connection.ended(close) else {
        return;
    };
    let mut pause = PAUSE;
    while Connection::is_untold(&tell(engine, connection, call.clone()).await) {
        #[expect(
            clippy::disallowed_methods,
            reason = "the time of real peers and disks"
        )]
        tokio::time::sleep(pause).await;
        pause = (2 * pause).min(LONGEST_PAUSE);
    }
}

type Stream = WebSocketStream<TokioIo<Upgraded>>;

/// One socket, as its task holds it.
struct Socket {
    /// Not to be kept alive by its peers.
    engine: Weak<Engine>,
    connection: Connection,
    silence: Duration,
    message_limit: usize,
}

/// How a socket ends.
enum End {
    /// The peer has closed it.
    Closed(Close),
    /// We close it: the object, or the host.
    Closing { code: u16, reason: String },
    /// Something broke it, which the peer may be told by a close frame.
    Broken { code: u16, error: WebSocketError },
    /// There is nobody any more.
    Vanished,
}

impl Socket {
    async fn run(self, mut stream: Stream) {
        let end = self.talk(&mut stream).await;
        let error = match &end {
            End::Broken { error, .. } => Some(error.clone()),
            _ => None,
        };
        let close = Box::pin(end.carry_out(&mut stream)).await;
        let lingers = error.is_some();
        // Neither waits for the other.
        let connection = async {
            if lingers {
                // What the peer still sends is taken, or the system would throw our close frame away
                // with the connection.
                let _ = timeout(CLOSING, copy(stream.get_mut(), &mut sink())).await;
            }
            drop(stream);
        };
        Box::pin(join(connection, self.tell_last(error, close))).await;
    }

    /// Tells the object what it does not know yet.
    async fn tell_last(&self, error: Option<WebSocketError>, close: Close) {
        if let Some(call) = error.and_then(|error| self.connection.failed(error)) {
            // The end comes whatever became of it.
            let _ = tell(&self.engine, &self.connection, call).await;
        }
        tell_end(&self.engine, &self.connection, close).await;
    }

    /// Carries messages both ways, until the socket ends. The next one of the peer's is read when the
    /// object has handled the one before.
    async fn talk(&self, stream: &mut Stream) -> End {
        // What takes room only while it runs is boxed: most sockets do nothing, most of the time.
        let mut event: Option<BoxFuture<'static, Answer>> = None;
        let mut pinged = false;
        let mut deadline = Instant::now() + self.silence;
        loop {
            // What the object has sent comes first: so the answer to a message leaves before the close
            // frame that follows it is read.
            tokio::select! {
                biased;
                outgoing = self.connection.next() => match Box::pin(self.send(stream, outgoing)).await {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(end) => return end,
                },
                Some(answer) = OptionFuture::from(event.as_mut()) => {
                    self.connection.answered(&answer);
                    event = None;
                    deadline = Instant::now() + self.silence;
                }
                frame = timeout_at(deadline, stream.next()), if event.is_none() => match frame {
                    Ok(Some(Ok(frame))) => {
                        pinged = false;
                        deadline = Instant::now() + self.silence;
                        let call = match self.receive(frame) {
                            ControlFlow::Continue(call) => call,
                            ControlFlow::Break(end) => return end,
                        };
                        event = call.map(|call| tell(&self.engine, &self.connection, call));
                    }
                    Ok(Some(Err(error))) => return self.broken(&error),
                    Ok(None) => return End::Vanished,
                    Err(_) if pinged => return End::Vanished,
                    Err(_) => {
                        pinged = true;
                        deadline = Instant::now() + self.silence;
                        let ping = stream.send(tungstenite::Message::Ping(Default::default()));
                        if !matches!(timeout(self.silence, ping).await, Ok(Ok(()))) {
                            return End::Vanished;
                        }
                    }
                },
            }
        }
    }

    /// Takes a frame in: what the object has to handle of it, or the end.
    fn receive(&self, frame: tungstenite::Message) -> ControlFlow<End, Option<SocketCall>> {
        let message = match frame {
            tungstenite::Message::Text(text) => Message::from(text.as_str()),
            tungstenite::Message::Binary(bytes) => Message::from(bytes),
            tungstenite::Message::Close(frame) => {
                let close = match frame {
                    Some(frame) => Close::clean(frame.code.into(), frame.reason.as_str()),
                    None => Close::clean(1005, ""),
                };
                return ControlFlow::Break(End::Closed(close));
            }
            // A ping has been answered with the reading of it.
            tungstenite::Message::Ping(_)
            | tungstenite::Message::Pong(_)
            | tungstenite::Message::Frame(_) => return ControlFlow::Continue(None),
        };
        match self.engine.upgrade() {
            Some(engine) => {
                let now = engine.clock().now();
                ControlFlow::Continue(self.connection.received(message, now))
            }
            None => ControlFlow::Break(End::Vanished),
        }
    }

    /// Sends what the object says, and what else waits already.
    async fn send(&self, stream: &mut Stream, first: Outgoing) -> ControlFlow<End> {
        let write = async {
            let mut next = Some(first);
            let mut bytes = 0;
            while let Some(outgoing) = next {
                let message = match outgoing {
                    Outgoing::Message(message) => message,
                    Outgoing::Close { code: 1006, .. } => return Ok(Some(End::Vanished)),
                    Outgoing::Close { code, reason } => {
                        stream.flush().await?;
                        return Ok(Some(End::Closing { code, reason }));
                    }
                };
                bytes += message.as_bytes().len();
                stream.feed(to_frame(&message)).await?;
                next = (bytes < WRITE)
                    .then(|| self.connection.try_next())
                    .flatten();
            }
            stream.flush().await?;
            Ok(None)
        };
        let end = tokio::select! {
            biased;
            written = timeout(2 * self.silence, write) => match written {
                Ok(Ok(end)) => end,
                Ok(Err(error)) => Some(self.broken(&error)),
                // It takes nothing, and answers no pings.
                Err(_) => Some(End::Vanished),
            },
            () = self.connection.stuck() => None,
        };
        match (self.connection.overrun(), end) {
            (Some(limit), _) => ControlFlow::Break(End::Broken {
                code: 1013,
                error: WebSocketError::TooSlow { limit },
            }),
            (None, Some(end)) => ControlFlow::Break(end),
            (None, None) => ControlFlow::Continue(()),
        }
    }

    fn broken(&self, error: &Error) -> End {
        let (code, error) = match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => {
                let limit = self.message_limit;
                (1009, WebSocketError::MessageTooLarge { limit })
            }
            // A peer that goes in the middle of a frame, or without one.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return End::Vanished,
            Error::Protocol(error) => (1002, protocol(error.to_string())),
            Error::Utf8(error) => (1007, protocol(error.clone())),
            _ => return End::Vanished,
        };
        End::Broken { code, error }
    }
}

impl End {
    /// Says goodbye, as far as there is somebody to say it to.
    async fn carry_out(self, stream: &mut Stream) -> Close {
        match self {
            Self::Closed(close) => {
                // The reading sends the answer, too, and ends with it.
                let answered = async { while let Some(Ok(_)) = stream.next().await {} };
                let _ = timeout(CLOSING, answered).await;
                close
            }
            Self::Closing { code, reason } => {
                let answered = async {
                    stream.close(Some(close_frame(code, &reason))).await.ok()?;
                    loop {
                        match stream.next().await {
                            Some(Ok(tungstenite::Message::Close(_))) => return Some(()),
                            Some(Ok(_)) => {}
                            Some(Err(_)) | None => return None,
                        }
                    }
                };
                let answered = timeout(CLOSING, answered).await;
                let was_clean = matches!(answered, Ok(Some(())));
                if was_clean {
                    Close::clean(code, reason)
                } else {
                    Close::broken(code, reason)
                }
            }
            Self::Broken { code, error } => {
                let reason = error.to_string();
                let told = async {
                    stream.close(Some(close_frame(code, &reason))).await.ok()?;
                    stream.get_mut().shutdown().await.ok()
                };
                let _ = timeout(CLOSING, told).await;
                Close::broken(code, reason)
            }
            Self::Vanished => Close::vanished(),
        }
    }
}

/// Has the object handle an event. Where its queue is full the event waits, and its peer with it.
fn tell(
    engine: &Weak<Engine>,
    connection: &Connection,
    call: SocketCall,
) -> BoxFuture<'static, Answer> {
    let engine = Weak::clone(engine);
    let (namespace, id) = connection.object();
    let id = id.clone();
    Box::pin(async move {
        let mut pause = PAUSE;
        let begun = Instant::now();
        loop {
            let Some(running) = engine.upgrade() else {
                return Err(ErrorReply::shutting_down());
            };
            let patience = running.patience();
            let sent = running.socket_event(namespace, &id, call.clone());
            drop(running);
            match sent {
                Ok(answer) => return answer.await,
                Err(refused) if refused.code == code::OVERLOADED && begun.elapsed() < patience => {
                    #[expect(clippy::disallowed_methods, reason = "the time of real peers")]
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
                Err(refused) => return Err(refused),
            }
        }
    })
}

fn to_frame(message: &Message) -> tungstenite::Message {
    match message {
        Message::Text(text) => tungstenite::Message::text(text.as_str()),
        Message::Binary(bytes) => tungstenite::Message::binary(bytes.clone()),
    }
}

fn close_frame(code: u16, reason: &str) -> CloseFrame {
    CloseFrame {
        code: code.into(),
        // No more goes into a frame (RFC 6455, 5.5).
        reason: reason[..reason.floor_char_boundary(123)].into(),
    }
}

fn protocol(what: String) -> WebSocketError {
    WebSocketError::Protocol { what }
}
