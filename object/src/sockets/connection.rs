use std::{
    fmt,
    future::poll_fn,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use dokit_client::{ErrorReply, ObjectId, code};
use dokit_storage::Timestamp;

use super::{
    Close, Message, Outgoing, SocketCall, SocketEvent, SocketId, Sockets, WebSocketError, Wire,
    line::Line,
};
use crate::Response;

/// The engine's end of an accepted socket: what comes from the peer goes in, what the object sends
/// comes out.
///
/// # Protocol
///
/// [`take`](Self::take) it out of the answer to a handshake. Each thing that the peer does may give a
/// call: put it into the object's queue as a [`Call::Socket`](crate::engine::Call::Socket), tell [`answered`](Self::answered) what came of it, and
/// only then read on, which keeps the events in order and a fast peer slow. Meanwhile send what
/// [`next`](Self::next) gives; or, where the platform holds the socket itself, [`plug`](Self::plug) that
/// in. The last call is that of [`ended`](Self::ended), which is made again
/// while it [is untold](Self::is_untold); the connection is dropped after it has been answered. One that is dropped without it has lost its peer, and is handed
/// to the [`Switchboard`](super::Switchboard)'s `orphaned`.
pub struct Connection {
    sockets: Sockets,
    id: SocketId,
    line: Arc<Line>,
    /// Whether its end has been told, or is somebody else's to tell.
    ended: AtomicBool,
}

/// How a connection travels in a response, whose extensions have to be `Clone`.
#[derive(Clone, Debug)]
struct Parcel(Arc<Mutex<Option<Connection>>>);

/// Says which socket's handshake a response answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answers(pub(super) SocketId);

impl Connection {
    pub(super) fn new(sockets: Sockets, id: SocketId, line: Arc<Line>) -> Self {
        Self {
            sockets,
            id,
            line,
            ended: AtomicBool::new(false),
        }
    }

    /// Puts it into the answer to its handshake.
    pub(super) fn send_with(self, response: &mut Response) {
        let parcel = Parcel(Arc::new(Mutex::new(Some(self))));
        response.extensions_mut().insert(parcel);
    }

    /// Takes it out of an answer; none where that accepts no socket.
    pub fn take(response: &mut Response) -> Option<Self> {
        let Parcel(parcel) = response.extensions_mut().remove()?;
        parcel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The socket.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// The object whose socket it is: its namespace and its id.
    #[must_use]
    pub fn object(&self) -> (&'static str, &ObjectId) {
        self.sockets.object()
    }

    /// The tags that it was accepted with, each once.
    #[must_use]
    pub fn tags(&self) -> Arc<[String]> {
        self.sockets.tags(self.id)
    }

    /// What is attached to it, as JSON text, as far as that is durable.
    #[must_use]
    pub fn attachment(&self) -> Option<Arc<str>> {
        self.sockets.durable_attachment(self.id)
    }

    /// Has the platform's own socket send what waits, and all that follows, in place of
    /// [`next`](Self::next), which gives nothing any more. What is attached to the socket from now on is
    /// told to it; what has been until now is its maker's to see to.
    pub fn plug(&self, wire: impl Wire) {
        self.line.plug(Box::new(wire));
    }

    /// What to send next; waits until there is something. One at a time may wait.
    pub async fn next(&self) -> Outgoing {
        poll_fn(|task| self.line.poll_next(task.waker())).await
    }

    /// Returns once [`overrun`](Self::overrun) says something, which no message that is being sent
    /// then gets over. It is for who waits for nothing else of this.
    pub async fn stuck(&self) {
        poll_fn(|task| self.line.poll_overrun(task.waker())).await;
    }

    /// What to send next, if there is something.
    #[must_use]
    pub fn try_next(&self) -> Option<Outgoing> {
        self.line.try_next()
    }

    /// The peer has sent a message. No call where it is answered without the object, or comes after
    /// the object has closed the socket.
    #[must_use]
    pub fn received(&self, message: Message, now: Timestamp) -> Option<SocketCall> {
        if self.line.is_closed() || self.sockets.auto_respond(self.id, &message, now) {
            return None;
        }
        Some(self.call(SocketEvent::Message(message)))
    }

    /// Something broke the socket: the peer, or [too slow a reader](Self::overrun).
    #[must_use]
    pub fn failed(&self, error: WebSocketError) -> Option<SocketCall> {
        let handler = self.sockets.handlers().websocket_error;
        handler.then(|| self.call(SocketEvent::Error(error)))
    }

    /// Whether it was closed because more than this many bytes waited for the peer.
    #[must_use]
    pub fn overrun(&self) -> Option<usize> {
        self.line.overrun()
    }

    /// The socket has ended: nothing is sent any more, and calls see it no longer among the object's
    /// sockets.
    #[must_use]
    pub fn ended(&self, close: Close) -> Option<SocketCall> {
        self.ended.store(true, Ordering::Relaxed);
        let known = self.sockets.end(self.id);
        let handler = self.sockets.handlers().websocket_close;
        (known && handler).then(|| self.call(SocketEvent::Close(close)))
    }

    /// What came of a call of this socket. A handler that failed has been logged, and the socket stays
    /// open; but where the event got lost, and the handler cannot know, the socket is closed so that
    /// the peer does.
    pub fn answered(&self, answer: &Result<Response, ErrorReply>) {
        let Err(error) = answer else {
            return;
        };
        let close = match &*error.code {
            code::COMMIT_FAILED | code::OBJECT_RESET => 1011,
            code::OVERLOADED | code::DEADLINE_EXCEEDED => 1013,
            code::SHUTTING_DOWN => 1001,
            _ => return,
        };
        self.line.close(close, &error.code);
    }

    /// Whether an event of such an outcome is to be told again, when some time has passed: nothing has
    /// come of it. The end of a socket is told until something has.
    #[must_use]
    pub fn is_untold(answer: &Result<Response, ErrorReply>) -> bool {
        let codes = [code::COMMIT_FAILED, code::OVERLOADED];
        matches!(answer, Err(error) if codes.contains(&&*error.code))
    }

    /// Whether a close frame waits to be sent, or has been.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.line.is_closed()
    }

    /// Has the engine close it: a close frame after what waits.
    pub fn close(&self, code: u16, reason: &str) {
        self.line.close(code, reason);
    }

    fn call(&self, event: SocketEvent) -> SocketCall {
        SocketCall {
            socket: self.id,
            event,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if *self.ended.get_mut() || !self.sockets.is_accepted(self.id) {
            self.sockets.remove(self.id);
            return;
        }
        // It has no peer from now on, whenever its end is told.
        self.sockets.end(self.id);
        self.sockets.orphan(Self {
            sockets: self.sockets.clone(),
            id: self.id,
            line: Arc::clone(&self.line),
            // Who is given it tells the end; nobody is told of it twice.
            ended: AtomicBool::new(true),
        });
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("object", &self.object())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
