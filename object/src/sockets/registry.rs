//! The sockets of one object, which are there while it sleeps.

use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use dokit_client::ObjectId;
use dokit_storage::Timestamp;

use super::{
    AutoResponse, Connection, Message, SocketAction, SocketActions, SocketId, handshake,
    limits::{AUTO_RESPONSE_BYTES, SOCKETS, check_attachment, check_close, checked_tags, too_many},
    line::Line,
    running::{Mode, Refused, Running, Staged},
    switchboard::{Board, Key},
    version::Versions,
    websocket::WebSocket,
};
use crate::{Error, Request, Result, engine::Handlers};

/// The sockets of one object: they are there while it sleeps. Clones are handles to the same.
#[derive(Clone)]
pub struct Sockets {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    board: Arc<Board>,
    key: Key,
    handlers: Handlers,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were accepted. Boxed: most objects have few.
    open: BTreeMap<SocketId, Box<Entry>>,
    auto_response: Versions<Option<Arc<AutoResponse>>>,
    running: Running,
}

#[derive(Debug)]
struct Entry {
    tags: Arc<[String]>,
    attachment: Versions<Option<Arc<str>>>,
    line: Arc<Line>,
    /// Whether the call that accepted it is durable.
    accepted: bool,
    /// The call that has closed it.
    closed_by: Option<u64>,
    ended: bool,
    auto_responded: Option<Timestamp>,
}

impl Sockets {
    pub(super) fn new(board: Arc<Board>, key: Key, handlers: Handlers) -> Self {
        let state = Mutex::default();
        let inner = Arc::new(Inner {
            board,
            key,
            handlers,
            state,
        });
        Self { inner }
    }

    pub(super) fn from_inner(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Takes in a socket that was accepted before this began, and that the platform has held since: its
    /// [number](SocketId), its tags and what was attached to it. To be done before the object wakes.
    #[must_use]
    pub fn restore(
        &self,
        socket: u64,
        tags: impl IntoIterator<Item = String>,
        attachment: Option<&str>,
    ) -> Connection {
        let id = SocketId(socket);
        let board = &self.inner.board;
        board.reopen(id);
        let line = Arc::new(Line::new(board.limits.buffer));
        let mut entry = Entry::new(tags.into_iter().collect(), Arc::clone(&line));
        entry.accepted = true;
        entry.attachment.reset(attachment.map(Arc::from));
        self.state().open.insert(id, Box::new(entry));
        Connection::new(self.clone(), id, line)
    }

    /// Takes in the automatic answer that a call had set before this began.
    pub fn restore_auto_response(&self, request: String, response: String) {
        let pair = AutoResponse { request, response };
        self.state().auto_response.reset(Some(Arc::new(pair)));
    }

    pub(super) fn object(&self) -> (&'static str, &ObjectId) {
        (self.inner.key.0, &self.inner.key.1)
    }

    pub(super) fn handlers(&self) -> Handlers {
        self.inner.handlers
    }

    /// Begins an exclusive call.
    pub(crate) fn begin(&self, mode: Mode) {
        let mut state = self.state();
        let number = state.running.number + 1;
        let before = mem::replace(
            &mut state.running,
            Running {
                number,
                mode,
                ..Running::default()
            },
        );
        drop(state);
        drop(before);
    }

    /// Ends the exclusive call and gives what it left; whatever it does after this is refused.
    pub(crate) fn end_call(&self) -> Staged {
        let mut state = self.state();
        let running = &mut state.running;
        running.mode = Mode::Reading;
        let actions = mem::take(&mut running.actions);
        let staged = Staged {
            actions: SocketActions::new(actions, self, running.number),
            accepted: running.accepted.take(),
        };
        drop(state);
        staged
    }

    /// Takes what the running call has done so far, to be performed once what it depends on is durable.
    pub(crate) fn take_early(&self) -> SocketActions {
        let mut state = self.state();
        let running = &mut state.running;
        let actions = mem::take(&mut running.actions);
        let early = SocketActions::new(actions, self, running.number);
        // What comes after it is kept or undone by itself, as if another call had done it.
        running.number += 1;
        early
    }

    pub(crate) fn accept(&self, request: &Request, tags: &[&str]) -> Result<WebSocket> {
        handshake::check(request)?;
        let tags = checked_tags(tags)?;
        let mut state = self.state();
        state.running.permit("accept a socket")?;
        if state.running.accepted.is_some() {
            return Err(Error::internal(Refused {
                operation: "accept a socket",
                reason: "the call has accepted one already",
            }));
        }
        if state.open.len() >= SOCKETS {
            return Err(too_many(SOCKETS, "an object"));
        }
        let board = &self.inner.board;
        let id = board.open()?;
        let line = Arc::new(Line::new(board.limits.buffer));
        let entry = Entry::new(Arc::clone(&tags), Arc::clone(&line));
        state.open.insert(id, Box::new(entry));
        let running = &mut state.running;
        running.accepted = Some(Connection::new(self.clone(), id, line));
        running.actions.push(SocketAction::Accept {
            socket: id,
            tags: Arc::clone(&tags),
        });
        drop(state);
        Ok(WebSocket::new(self.clone(), id, tags))
    }

    /// The sockets that are open, as the running call sees it; with a tag, those that have it.
    pub(crate) fn list(&self, tag: Option<&str>) -> Vec<WebSocket> {
        let state = self.state();
        let open = state.open.iter().filter(|(_, entry)| {
            let has = |tag: &str| entry.tags.iter().any(|own| own == tag);
            entry.is_open() && tag.is_none_or(has)
        });
        open.map(|(id, entry)| WebSocket::new(self.clone(), *id, Arc::clone(&entry.tags)))
            .collect()
    }

    /// A socket whose last event has not been handled yet.
    pub(crate) fn get(&self, id: SocketId) -> Option<WebSocket> {
        let state = self.state();
        let entry = state.open.get(&id)?;
        Some(WebSocket::new(self.clone(), id, Arc::clone(&entry.tags)))
    }

    pub(super) fn send(
        &self,
        to: impl IntoIterator<Item = SocketId>,
        message: &Arc<Message>,
    ) -> Result<()> {
        let mut state = self.state();
        state.running.permit("send a message")?;
        let sends = to.into_iter().map(|socket| SocketAction::Send {
            socket,
            message: Arc::clone(message),
        });
        state.running.actions.extend(sends);
        Ok(())
    }

    pub(super) fn close(&self, id: SocketId, code: u16, reason: &str) -> Result<()> {
        check_close(code, reason)?;
        let state = &mut *self.state();
        state.running.permit("close a socket")?;
        if let Some(entry) = state.open.get_mut(&id).filter(|entry| entry.is_open()) {
            entry.closed_by = Some(state.running.number);
            state.running.actions.push(SocketAction::Close {
                socket: id,
                code,
                reason: reason.to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn attach(&self, id: SocketId, json: String) -> Result<()> {
        check_attachment(&json)?;
        let state = &mut *self.state();
        state.running.permit("attach a value to a socket")?;
        if let Some(entry) = state.open.get_mut(&id) {
            let attachment: Arc<str> = json.into();
            let number = state.running.number;
            entry.attachment.set(number, Some(Arc::clone(&attachment)));
            state.running.actions.push(SocketAction::Attach {
                socket: id,
                attachment,
            });
        }
        Ok(())
    }

    pub(super) fn attachment(&self, id: SocketId) -> Option<Arc<str>> {
        self.state().open.get(&id)?.attachment.seen().clone()
    }

    pub(super) fn durable_attachment(&self, id: SocketId) -> Option<Arc<str>> {
        self.state().open.get(&id)?.attachment.durable().clone()
    }

    pub(super) fn tags(&self, id: SocketId) -> Arc<[String]> {
        let state = self.state();
        let entry = state.open.get(&id);
        entry.map_or_else(Arc::default, |entry| Arc::clone(&entry.tags))
    }

    pub(super) fn auto_responded(&self, id: SocketId) -> Option<Timestamp> {
        let state = self.state();
        let entry = state.open.get(&id)?;
        entry.auto_responded.or(entry.line.auto_responded_at())
    }

    pub(crate) fn set_auto_response(&self, auto_response: Option<AutoResponse>) -> Result<()> {
        for text in auto_response
            .iter()
            .flat_map(|pair| [&pair.request, &pair.response])
        {
            if text.len() > AUTO_RESPONSE_BYTES {
                return Err(Error::internal(Refused {
                    operation: "set the automatic answer",
                    reason: "one of its texts is over 2048 bytes",
                }));
            }
        }
        let state = &mut *self.state();
        let value = auto_response.clone().map(Arc::new);
        if state.running.mode == Mode::Waking {
            // No call depends on it, and the next wake sets it again.
            state.auto_response.reset(value);
            return Ok(());
        }
        state.running.permit("set the automatic answer")?;
        state.auto_response.set(state.running.number, value);
        let action = SocketAction::AutoRespond(auto_response);
        state.running.actions.push(action);
        Ok(())
    }

    /// What is answered without waking the object, if anything is, as the running call sees it.
    #[must_use]
    pub fn auto_response(&self) -> Option<AutoResponse> {
        self.state().auto_response.seen().as_deref().cloned()
    }

    /// Answers a message without the object, where it is the text for that.
    pub(super) fn auto_respond(&self, id: SocketId, message: &Message, now: Timestamp) -> bool {
        let state = &mut *self.state();
        let Some(pair) = state.auto_response.durable() else {
            return false;
        };
        if message.as_text() != Some(&*pair.request) {
            return false;
        }
        if let Some(entry) = state.open.get_mut(&id) {
            entry.auto_responded = Some(now);
            entry.line.send(Arc::new(Message::from(&*pair.response)));
        }
        true
    }

    pub(super) fn perform(&self, call: u64, actions: Vec<SocketAction>) {
        let state = &mut *self.state();
        for action in actions {
            match action {
                SocketAction::Accept { socket, .. } => {
                    if let Some(entry) = state.open.get_mut(&socket) {
                        entry.accepted = true;
                    }
                }
                SocketAction::Send { socket, message } => {
                    if let Some(entry) = state.open.get(&socket) {
                        entry.line.send(message);
                    }
                }
                SocketAction::Close {
                    socket,
                    code,
                    reason,
                } => {
                    if let Some(entry) = state.open.get(&socket) {
                        entry.line.close(code, &reason);
                    }
                }
                SocketAction::Attach { socket, attachment } => {
                    if let Some(entry) = state.open.get_mut(&socket) {
                        entry.attachment.keep(call);
                        entry.line.attach(&attachment);
                    }
                }
                SocketAction::AutoRespond(_) => {
                    state.auto_response.keep(call);
                    // Unlike one that `new` sets, nothing would set it again.
                    self.inner.board.keep(self);
                }
            }
        }
    }

    pub(super) fn undo(&self, call: u64, actions: &[SocketAction]) {
        let state = &mut *self.state();
        for action in actions {
            match action {
                SocketAction::Close { socket, .. } => {
                    if let Some(entry) = state.open.get_mut(socket)
                        && entry.closed_by == Some(call)
                    {
                        entry.closed_by = None;
                    }
                }
                SocketAction::Attach { socket, .. } => {
                    if let Some(entry) = state.open.get_mut(socket) {
                        entry.attachment.drop(call);
                    }
                }
                SocketAction::AutoRespond(_) => state.auto_response.drop(call),
                // Its connection is dropped with the answer that would have carried it.
                SocketAction::Accept { .. } | SocketAction::Send { .. } => {}
            }
        }
    }

    pub(super) fn is_accepted(&self, id: SocketId) -> bool {
        let state = self.state();
        state.open.get(&id).is_some_and(|entry| entry.accepted)
    }

    /// The socket's peer is gone. Whether it had been accepted.
    pub(super) fn end(&self, id: SocketId) -> bool {
        let mut state = self.state();
        let Some(entry) = state.open.get_mut(&id) else {
            return false;
        };
        entry.ended = true;
        entry.accepted
    }

    pub(super) fn remove(&self, id: SocketId) {
        let removed = self.state().open.remove(&id);
        if removed.is_some() {
            self.inner.board.closed();
        }
    }

    pub(super) fn orphan(&self, connection: Connection) {
        (self.inner.board.orphaned)(connection);
    }

    pub(super) fn close_all(&self, code: u16, reason: &str) {
        for entry in self.state().open.values() {
            entry.line.close(code, reason);
        }
    }

    /// Forgets them all, as a crash does.
    pub(super) fn forget(&self) {
        let open = mem::take(&mut self.state().open);
        for entry in open.into_values() {
            self.inner.board.closed();
            entry.line.close(1006, "");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        let state = self.inner.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets")
            .field("object", &self.inner.key)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.board.leave(&self.key);
    }
}

impl Entry {
    fn new(tags: Arc<[String]>, line: Arc<Line>) -> Self {
        Self {
            tags,
            attachment: Versions::default(),
            line,
            accepted: false,
            closed_by: None,
            ended: false,
            auto_responded: None,
        }
    }

    /// Whether the running call counts it among the object's sockets.
    fn is_open(&self) -> bool {
        !self.ended && self.closed_by.is_none() && !self.line.is_closed()
    }
}
