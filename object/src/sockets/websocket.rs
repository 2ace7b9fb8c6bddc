use std::{fmt, sync::Arc};

use dokit_storage::{Timestamp, decode, encode};
use serde::{Serialize, de::DeserializeOwned};

use super::{Message, SocketId, Sockets, connection::Answers, handshake};
use crate::{Response, Result};

/// A socket of an object. Clones are handles to the same.
///
/// What is done to it happens when the call that does it has returned `Ok` and is durable; a call that
/// fails has done nothing. A message to a socket that has been closed, or whose peer has gone, is
/// dropped, as any message is that was on its way then.
#[derive(Clone)]
pub struct WebSocket {
    sockets: Sockets,
    id: SocketId,
    tags: Arc<[String]>,
}

impl WebSocket {
    pub(super) fn new(sockets: Sockets, id: SocketId, tags: Arc<[String]>) -> Self {
        Self { sockets, id, tags }
    }

    /// What tells it from all others of its host.
    #[must_use]
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// The tags that it was accepted with, each once.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The value that was attached last; `None` where none was.
    ///
    /// # Errors
    ///
    /// `internal`, where it is not a `T`.
    pub fn attachment<T: DeserializeOwned>(&self) -> Result<Option<T>> {
        let Some(json) = self.sockets.attachment(self.id) else {
            return Ok(None);
        };
        Ok(Some(decode("the attachment of a socket", &json)?))
    }

    /// Attaches a value, in place of one that was there. It stays with the socket while the object
    /// sleeps, and goes with it.
    ///
    /// # Errors
    ///
    /// `attachment_too_large` (413) over 16,000 bytes of JSON; `internal` in a call that takes `&self`.
    pub fn set_attachment(&self, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let json = encode("the attachment of a socket", value)?;
        self.sockets.attach(self.id, json)
    }

    /// Sends a text or bytes.
    ///
    /// # Errors
    ///
    /// `internal` in a call that takes `&self`.
    pub fn send(&self, message: impl Into<Message>) -> Result<()> {
        let message = Arc::new(message.into());
        self.sockets.send([self.id], &message)
    }

    /// Sends a value as JSON text.
    ///
    /// # Errors
    ///
    /// `internal` where it has no JSON form, and in a call that takes `&self`.
    pub fn send_json(&self, value: &impl Serialize) -> Result<()> {
        self.send(Message::json(value)?)
    }

    /// Closes it, after what was sent before. Its last event is still to come:
    /// [`websocket_close`](crate::DurableObject::websocket_close), once the peer has answered.
    ///
    /// # Errors
    ///
    /// `invalid_close` for a code other than 1000 to 1003, 1007 to 1014 and 3000 to 4999, or a reason
    /// over 123 bytes; `internal` in a call that takes `&self`.
    pub fn close(&self, code: u16, reason: &str) -> Result<()> {
        self.sockets.close(self.id, code, reason)
    }

    /// When a message of its peer was last answered without waking the object.
    #[must_use]
    pub fn auto_responded_at(&self) -> Option<Timestamp> {
        self.sockets.auto_responded(self.id)
    }

    /// The answer to the handshake, which the call that accepts the socket has to return. Headers can be
    /// added to it, such as `sec-websocket-protocol`.
    #[must_use]
    pub fn into_response(self) -> Response {
        let mut response = handshake::accepted();
        response.extensions_mut().insert(Answers(self.id));
        response
    }
}

impl PartialEq for WebSocket {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for WebSocket {}

impl fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket")
            .field("id", &self.id.0)
            .field("tags", &self.tags)
            .finish_non_exhaustive()
    }
}
