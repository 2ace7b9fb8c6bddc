use std::{mem, sync::Arc};

use super::{AutoResponse, Message, SocketId, Sockets};

/// One thing that a call does to its object's sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SocketAction {
    /// The socket whose handshake the call answers is the object's from now on.
    Accept {
        /// The socket.
        socket: SocketId,
        /// Its tags.
        tags: Arc<[String]>,
    },
    /// Send a message.
    Send {
        /// To whom.
        socket: SocketId,
        /// What; shared by all to whom it goes.
        message: Arc<Message>,
    },
    /// Close a socket.
    Close {
        /// Which.
        socket: SocketId,
        /// The code.
        code: u16,
        /// The reason, at most 123 bytes.
        reason: String,
    },
    /// Keep a value beside a socket.
    Attach {
        /// Which.
        socket: SocketId,
        /// The value as JSON text.
        attachment: Arc<str>,
    },
    /// Answer a text without waking the object, or no longer.
    AutoRespond(Option<AutoResponse>),
}

/// What a call does to its object's sockets, in order. Dropped before it is
/// [performed](Self::perform), it has not happened: the calls after it see what was before.
#[derive(Debug, Default)]
#[must_use = "it is performed once the call's writes are durable"]
pub struct SocketActions {
    actions: Vec<SocketAction>,
    /// Whose, and by which call; none where there is nothing.
    by: Option<(Sockets, u64)>,
}

impl SocketActions {
    pub(super) fn new(actions: Vec<SocketAction>, sockets: &Sockets, call: u64) -> Self {
        let by = (!actions.is_empty()).then(|| (sockets.clone(), call));
        Self { actions, by }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// How many bytes it holds until it is performed: a message that goes to many is held once.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let mut bytes = self.actions.len() * mem::size_of::<SocketAction>();
        let mut last = None;
        for action in &self.actions {
            match action {
                SocketAction::Send { message, .. } if last != Some(Arc::as_ptr(message)) => {
                    last = Some(Arc::as_ptr(message));
                    bytes += message.as_bytes().len();
                }
                SocketAction::Attach { attachment, .. } => bytes += attachment.len(),
                _ => {}
            }
        }
        bytes
    }

    /// What there is to do.
    pub fn iter(&self) -> impl Iterator<Item = &SocketAction> {
        self.actions.iter()
    }

    /// Does it. To be called once the call's writes, and all those before them, are durable, and in
    /// the order of the calls.
    pub fn perform(mut self) {
        if let Some((sockets, call)) = self.by.take() {
            sockets.perform(call, mem::take(&mut self.actions));
        }
    }
}

impl Drop for SocketActions {
    fn drop(&mut self) {
        if let Some((sockets, call)) = self.by.take() {
            sockets.undo(call, &self.actions);
        }
    }
}
