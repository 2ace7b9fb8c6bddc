use std::sync::Arc;

use serde::Serialize;

use super::{Message, SocketId, Sockets, WebSocket};
use crate::Result;

/// One message to many sockets of an object: all that are open, unless it says which.
///
/// | option | default |
/// |---|---|
/// | [`tagged`](Self::tagged) | any tag or none |
/// | [`except`](Self::except) | nobody |
#[derive(Debug)]
#[must_use = "nothing is sent before `send`"]
pub struct Broadcast<'a> {
    sockets: Option<&'a Sockets>,
    tag: Option<String>,
    except: Vec<SocketId>,
}

impl<'a> Broadcast<'a> {
    pub(crate) fn new(sockets: Option<&'a Sockets>) -> Self {
        Self {
            sockets,
            tag: None,
            except: Vec::new(),
        }
    }

    /// Only to sockets that have this tag.
    pub fn tagged(mut self, tag: impl Into<String>) -> Self {
        self.tag = Some(tag.into());
        self
    }

    /// Not to this one, nor to any that was named so before.
    pub fn except(mut self, socket: &WebSocket) -> Self {
        self.except.push(socket.id());
        self
    }

    /// Sends a text or bytes, and says to how many sockets.
    ///
    /// # Errors
    ///
    /// `internal` in a call that takes `&self`.
    pub fn send(self, message: impl Into<Message>) -> Result<usize> {
        let Some(sockets) = self.sockets else {
            return Ok(0);
        };
        let open = sockets.list(self.tag.as_deref());
        let to = open.iter().map(WebSocket::id);
        let to: Vec<SocketId> = to.filter(|id| !self.except.contains(id)).collect();
        let sent = to.len();
        sockets.send(to, &Arc::new(message.into()))?;
        Ok(sent)
    }

    /// Sends a value as JSON text, and says to how many sockets.
    ///
    /// # Errors
    ///
    /// `internal` where it has no JSON form, and in a call that takes `&self`.
    pub fn send_json(self, value: &impl Serialize) -> Result<usize> {
        self.send(Message::json(value)?)
    }
}
