//! WebSockets that the platform holds, also while their object hibernates.

use std::{
    cell::RefCell,
    collections::HashMap,
    fmt, mem,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dokit_client::{ErrorReply, ObjectId};
use dokit_object::{
    AutoResponse, Close, Context, Message, Response, WebSocketError,
    engine::{
        Connection, ObjectType, SocketCall, SocketId, SocketLimits, Sockets, Switchboard, Wire,
    },
};
use dokit_storage::Timestamp;
use worker::{
    WebSocket, console_error,
    js_sys::{self, ArrayBuffer, Date, Function, Reflect, Uint8Array},
    send::SendWrapper,
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
    worker_sys::{
        DurableObjectState, WebSocketPair, WebSocketRequestResponsePair, ext::WebSocketExt,
    },
};

use crate::{clock::millis, message, platform::PlatformError};

/// The largest message that a socket takes, in bytes: that of the embedded engine.
const MESSAGE_BYTES: usize = 1024 * 1024;

/// An object's sockets.
pub(crate) struct Peers {
    platform: Rc<DurableObjectState>,
    switchboard: Switchboard,
    /// What is known of them; none where the object's type has no handler for them.
    sockets: Option<Sockets>,
    /// By the number of the id.
    connected: RefCell<HashMap<u64, Rc<Peer>>>,
    /// Those whose handshake was never answered, though the call that accepted them had committed.
    orphans: Arc<Mutex<Vec<Connection>>>,
    /// The automatic answer as the platform has it.
    told: RefCell<Option<AutoResponse>>,
}

/// One socket.
struct Peer {
    connection: Connection,
    /// The platform does not wait until one event is handled before it delivers the next.
    turn: tokio::sync::Mutex<()>,
}

/// What happened to a socket.
pub(crate) enum Event {
    Message(Message),
    /// By the text of what the platform threw.
    Broken(String),
    Closed(Close),
}

impl Event {
    /// A message as the platform gives it: a string or an `ArrayBuffer`.
    pub(crate) fn message(message: &JsValue) -> Self {
        Self::Message(match message.as_string() {
            Some(text) => text.into(),
            None => Uint8Array::new(message).to_vec().into(),
        })
    }

    pub(crate) fn broken(thrown: JsValue) -> Self {
        Self::Broken(match thrown.dyn_ref::<js_sys::Error>() {
            Some(error) => error.message().into(),
            None => PlatformError::from(thrown).to_string(),
        })
    }

    pub(crate) fn closed(code: u16, reason: String, was_clean: bool) -> Self {
        Self::Closed(match was_clean {
            true => Close::clean(code, reason),
            false => Close::broken(code, reason),
        })
    }
}

impl Peers {
    /// The sockets that the platform has held while the object was not in memory.
    pub(crate) fn restore(
        platform: Rc<DurableObjectState>,
        object_type: &ObjectType,
        id: &ObjectId,
        now: Timestamp,
    ) -> Result<Self, JsValue> {
        let orphans = Arc::<Mutex<Vec<Connection>>>::default();
        let weak = Arc::downgrade(&orphans);
        let switchboard = Switchboard::new(SocketLimits::default(), now, move |connection| {
            if let Some(orphans) = weak.upgrade() {
                lock(&orphans).push(connection);
            }
        });
        let peers = Self {
            platform,
            sockets: switchboard.sockets(object_type, id),
            switchboard,
            connected: RefCell::default(),
            orphans,
            told: RefCell::default(),
        };
        let Some(sockets) = &peers.sockets else {
            return Ok(peers);
        };
        if let Some(pair) = peers.platform.get_websocket_auto_response()? {
            sockets.restore_auto_response(pair.request(), pair.response());
            peers.told.replace(sockets.auto_response());
        }
        for raw in peers.platform.get_websockets()? {
            let Some((number, attachment)) = read_attachment(&raw)? else {
                continue;
            };
            let tags = peers.platform.get_tags(&raw)?;
            let connection = sockets.restore(number, tags, attachment.as_deref());
            if raw.ready_state() != web_sys::WebSocket::OPEN {
                // The object has closed it, and its peer has not answered yet.
                connection.close(1000, "");
            }
            peers.hold(raw, connection);
        }
        Ok(peers)
    }

    /// Gives an object that wakes its sockets.
    pub(crate) fn connect(&self, ctx: Context, object_type: &ObjectType) -> Context {
        self.switchboard.connect(ctx, object_type)
    }

    /// Has the platform answer by itself what the object, or a call that is durable, wants to be answered
    /// so.
    pub(crate) fn settle(&self) {
        let Some(sockets) = &self.sockets else {
            return;
        };
        let wanted = sockets.auto_response();
        if *self.told.borrow() == wanted {
            return;
        }
        match self.set_auto_response(wanted.as_ref()) {
            Ok(()) => drop(self.told.replace(wanted)),
            Err(thrown) => complain("set the automatic answer", thrown),
        }
    }

    fn set_auto_response(&self, pair: Option<&AutoResponse>) -> Result<(), JsValue> {
        match pair {
            Some(AutoResponse {
                request, response, ..
            }) => {
                let pair = WebSocketRequestResponsePair::new(request, response)?;
                self.platform.set_websocket_auto_response(&pair)
            }
            None => {
                let none = JsValue::UNDEFINED;
                ask(self.platform.as_ref(), "setWebSocketAutoResponse", &none).map(drop)
            }
        }
    }

    /// Where an answer accepts a socket, hands that to the platform and gives the answer that leads the
    /// peer to it.
    pub(crate) fn accept(
        &self,
        response: &mut Response,
    ) -> Result<Option<web_sys::Response>, JsValue> {
        let Some(connection) = Connection::take(response) else {
            return Ok(None);
        };
        let mut pair = WebSocketPair::new()?;
        let (client, server) = (pair.client()?, pair.server()?);
        let tags = connection.tags();
        let tags = tags.iter().map(|tag| JsValue::from_str(tag)).collect();
        self.platform.accept_websocket_with_tags(&server, tags)?;
        let attachment = connection.attachment();
        write_attachment(&server, connection.id(), attachment.as_deref())?;
        self.hold(server, connection);
        message::write_upgrade(response, &client).map(Some)
    }

    fn hold(&self, raw: web_sys::WebSocket, connection: Connection) {
        let id = connection.id();
        connection.plug(Held {
            id,
            platform: SendWrapper::new(Rc::clone(&self.platform)),
            raw: raw.into(),
        });
        let peer = Peer {
            connection,
            turn: tokio::sync::Mutex::default(),
        };
        self.connected.borrow_mut().insert(id.into(), Rc::new(peer));
    }

    /// Handles an event by the calls that it makes, after those before it. A message that comes when there
    /// is no `room` for a call more closes its socket.
    pub(crate) async fn handle(
        &self,
        raw: &web_sys::WebSocket,
        event: Event,
        room: bool,
        now: Timestamp,
        run: impl AsyncFn(SocketCall) -> Result<Response, ErrorReply>,
    ) {
        let Ok(Some((number, _))) = read_attachment(raw) else {
            return;
        };
        let Some(peer) = self.connected.borrow().get(&number).map(Rc::clone) else {
            return;
        };
        let connection = &peer.connection;
        if let (false, Event::Message(_)) = (room, &event) {
            connection.answered(&Err(ErrorReply::overloaded()));
            return;
        }
        let _turn = peer.turn.lock().await;
        let tell = async |call: Option<SocketCall>| {
            if let Some(call) = call {
                connection.answered(&run(call).await);
            }
        };
        match event {
            Event::Message(message) if message.as_bytes().len() > MESSAGE_BYTES => {
                let error = WebSocketError::MessageTooLarge {
                    limit: MESSAGE_BYTES,
                };
                connection.close(1009, &error.to_string());
                tell(connection.failed(error)).await;
            }
            Event::Message(message) => tell(connection.received(message, now)).await,
            Event::Broken(what) => {
                let (code, error) = broken(&what);
                let close = Close::broken(code, error.to_string());
                tell(connection.failed(error)).await;
                self.end(&peer, close, tell).await;
            }
            Event::Closed(close) => {
                answer_close(raw, &close);
                self.end(&peer, close, tell).await;
            }
        }
    }

    /// Tells of the sockets that ended before they began.
    pub(crate) async fn tell_orphans(
        &self,
        run: impl AsyncFn(SocketCall) -> Result<Response, ErrorReply>,
    ) {
        let orphans = mem::take(&mut *lock(&self.orphans));
        for connection in orphans {
            if let Some(call) = connection.ended(Close::vanished()) {
                let _ = run(call).await;
            }
        }
    }

    async fn end(&self, peer: &Peer, close: Close, tell: impl AsyncFn(Option<SocketCall>)) {
        tell(peer.connection.ended(close)).await;
        let id = peer.connection.id();
        self.connected.borrow_mut().remove(&id.into());
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").finish_non_exhaustive()
    }
}

fn lock(orphans: &Mutex<Vec<Connection>>) -> MutexGuard<'_, Vec<Connection>> {
    orphans.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The platform's socket, as what dokit does to it reaches it.
struct Held {
    id: SocketId,
    platform: SendWrapper<Rc<DurableObjectState>>,
    raw: WebSocket,
}

impl Wire for Held {
    fn send(&self, message: &Message) {
        // It fails where the socket has ended meanwhile: the message is lost, as one on its way is.
        let _ = match message {
            Message::Text(text) => self.raw.as_ref().send_with_str(text),
            Message::Binary(bytes) => self.raw.as_ref().send_with_u8_array(bytes),
        };
    }

    fn close(&self, code: u16, reason: &str) {
        let closed = self.raw.as_ref().close_with_code_and_reason(code, reason);
        if let Err(thrown) = closed {
            complain("close a socket", thrown);
        }
    }

    fn attach(&self, attachment: &str) {
        if let Err(thrown) = write_attachment(self.raw.as_ref(), self.id, Some(attachment)) {
            complain("attach a value to a socket", thrown);
        }
    }

    fn auto_responded_at(&self) -> Option<Timestamp> {
        let raw: &JsValue = self.raw.as_ref();
        let time = ask(
            (**self.platform).as_ref(),
            "getWebSocketAutoResponseTimestamp",
            raw,
        );
        let time = time.ok()?;
        Some(millis(time.dyn_ref::<Date>()?.get_time()))
    }
}

/// What broke a socket, and the code that the platform has told its peer, by what it threw:
/// "WebSocket protocol error; protocolError.statusCode = 1002; protocolError.description = .." (workerd
/// 2026-11-17). 1006 where it says no code.
fn broken(thrown: &str) -> (u16, WebSocketError) {
    let after = |name: &str| Some(thrown.split_once(name)?.1);
    let code = after("statusCode = ").and_then(|rest| rest.get(..4)?.parse().ok());
    let what = after("description = ").unwrap_or(thrown).to_owned();
    (code.unwrap_or(1006), WebSocketError::Protocol { what })
}

/// Answers the peer's close frame. Without this it would see the socket break.
fn answer_close(raw: &web_sys::WebSocket, close: &Close) {
    // It fails where it has been answered, or there is nobody any more.
    let _ = match close.code {
        1005 => raw.close(),
        code => raw.close_with_code_and_reason(code, &close.reason),
    };
}

/// What the platform keeps beside a socket: the number of its id in 8 bytes, and the object's attachment.
fn write_attachment(
    raw: &web_sys::WebSocket,
    id: SocketId,
    attachment: Option<&str>,
) -> Result<(), JsValue> {
    let mut bytes = u64::from(id).to_le_bytes().to_vec();
    bytes.extend_from_slice(attachment.unwrap_or_default().as_bytes());
    raw.serialize_attachment(Uint8Array::from(&*bytes).buffer().into())
}

/// The number of its id, and the object's attachment. None of a socket that is not ours.
fn read_attachment(raw: &web_sys::WebSocket) -> Result<Option<(u64, Option<String>)>, JsValue> {
    let kept = raw.deserialize_attachment()?;
    if !kept.is_instance_of::<ArrayBuffer>() {
        return Ok(None);
    }
    let bytes = Uint8Array::new(&kept).to_vec();
    let Some((number, json)) = bytes.split_first_chunk() else {
        return Ok(None);
    };
    let json = String::from_utf8_lossy(json).into_owned();
    let number = u64::from_le_bytes(*number);
    Ok(Some((number, (!json.is_empty()).then_some(json))))
}

/// Calls a method that the bindings do not have.
fn ask(this: &JsValue, method: &str, argument: &JsValue) -> Result<JsValue, JsValue> {
    let method: Function = Reflect::get(this, &method.into())?.dyn_into()?;
    method.call1(this, argument)
}

fn complain(what: &str, thrown: JsValue) {
    console_error!("failed to {what}: {}", PlatformError::from(thrown));
}
