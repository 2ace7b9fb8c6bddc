//! What goes through sockets, and what becomes of them, as values.

use std::fmt;

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// What goes through a socket, either way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// A text message: the value as JSON.
    ///
    /// # Errors
    ///
    /// `internal`, when it has no JSON form.
    pub fn json(value: &impl Serialize) -> Result<Self> {
        serde_json::to_string(value)
            .map(Self::Text)
            .map_err(Error::internal)
    }

    /// Reads the message, text or bytes, as JSON.
    ///
    /// # Errors
    ///
    /// `invalid_message` (400), with what was expected and where.
    pub fn parse_json<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_slice(self.as_bytes()).map_err(|error| {
            Error::new(
                400,
                "invalid_message",
                format!("the message is not what is expected here: {error}"),
            )
        })
    }

    /// The text, of a text message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }

    /// The bytes; of a text message, those of its UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes.into())
    }
}

/// How a socket ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Close {
    /// The code of whoever closed it: 1005 where the peer gave none, 1006 when it vanished
    /// (RFC 6455, 7.4).
    pub code: u16,
    /// The reason that came with the code.
    pub reason: String,
    /// Whether both ends have said goodbye.
    pub was_clean: bool,
}

impl Close {
    /// An end that both sides know of.
    pub fn clean(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
            was_clean: true,
        }
    }

    /// An end that one side does not know of, by the code that the other would give it.
    pub fn broken(code: u16, reason: impl Into<String>) -> Self {
        Self {
            was_clean: false,
            ..Self::clean(code, reason)
        }
    }

    /// The end of a socket whose peer went without a word: 1006.
    #[must_use]
    pub fn vanished() -> Self {
        Self::broken(1006, "the peer went without a close frame")
    }
}

/// What broke a socket, told to `websocket_error` before `websocket_close`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebSocketError {
    /// The peer sent a message over the host's limit. The socket is closed with 1009.
    #[error("a message of the peer is over the limit of {limit} bytes")]
    MessageTooLarge {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The peer broke the protocol. The socket is closed with 1002, or 1007 for text that is no UTF-8.
    #[error("the peer broke the protocol: {what}")]
    Protocol {
        /// What it did.
        what: String,
    },
    /// The peer reads more slowly than the object sends. The socket is closed with 1013.
    #[error("the peer does not read: more than {limit} bytes wait for it")]
    TooSlow {
        /// How much may wait, in bytes.
        limit: usize,
    },
}

/// Tells a socket from every other one that its host has had or will have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub(crate) u64);

impl From<SocketId> for u64 {
    /// The number that [`Sockets::restore`](super::Sockets::restore) takes. It is below 2^53.
    fn from(id: SocketId) -> Self {
        id.0
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text that is answered with another without waking the object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AutoResponse {
    /// The text of the message that is answered, exactly.
    pub request: String,
    /// The text of the answer.
    pub response: String,
}

/// An event of one socket, for its object to handle.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketCall {
    /// The socket.
    pub socket: SocketId,
    /// What happened.
    pub event: SocketEvent,
}

/// What happened to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// The peer sent a message.
    Message(Message),
    /// It was broken; [`Close`](Self::Close) follows.
    Error(WebSocketError),
    /// It has ended. The last event of each socket.
    Close(Close),
}
