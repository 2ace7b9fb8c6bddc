//! The exclusive call that runs: what it may do to sockets, and what it leaves.

use http::StatusCode;

use super::{Connection, SocketAction, SocketActions, connection::Answers};
use crate::{Error, Response, Result};

/// The exclusive call that runs, if one does.
#[derive(Debug, Default)]
pub(super) struct Running {
    pub(super) number: u64,
    pub(super) mode: Mode,
    pub(super) actions: Vec<SocketAction>,
    pub(super) accepted: Option<Connection>,
}

/// What may be done to sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mode {
    /// No call runs, or only calls that take `&self`.
    #[default]
    Reading,
    /// The object wakes.
    Waking,
    /// One exclusive call runs.
    Writing,
}

/// What an exclusive call leaves.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    pub(super) actions: SocketActions,
    pub(super) accepted: Option<Connection>,
}

impl Staged {
    /// Puts the socket that was accepted into the answer to its handshake, which has to be that
    /// socket's own.
    pub(crate) fn deliver(self, response: &mut Response) -> Result<SocketActions> {
        let answers = response.extensions_mut().remove::<Answers>();
        match (self.accepted, answers) {
            (None, None) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                return Err(Error::internal(Undelivered(
                    "it answered with status 101 and accepted no socket",
                )));
            }
            (None, None) => {}
            (Some(connection), Some(Answers(id))) if connection.id() == id => {
                connection.send_with(response);
            }
            (accepted, _) => {
                // Its drop takes the socket back.
                drop(accepted);
                return Err(Error::internal(Undelivered(
                    "a call that accepts a socket answers with that socket's `into_response`",
                )));
            }
        }
        Ok(self.actions)
    }
}

/// What the log gets to see of an answer that does not go with what was accepted.
#[derive(Debug, thiserror::Error)]
#[error("failed to accept a socket: {0}")]
struct Undelivered(&'static str);

/// What the log gets to see of a call that may not do what it does.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}: {reason}")]
pub(super) struct Refused {
    pub(super) operation: &'static str,
    pub(super) reason: &'static str,
}

impl Running {
    pub(super) fn permit(&self, operation: &'static str) -> Result<()> {
        let reason = match self.mode {
            Mode::Writing => return Ok(()),
            Mode::Reading => "no call that takes `&mut self` is running",
            Mode::Waking => "the object wakes, which nobody may be able to tell",
        };
        Err(Error::internal(Refused { operation, reason }))
    }
}
