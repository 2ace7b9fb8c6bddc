//! Why a step was not taken.

use std::{convert::Infallible, error::Error as StdError};

use dokit_storage::Error as StorageError;
use serde::{Deserialize, Serialize};

/// An event that the machine's state does not handle.
///
/// It serializes with `camelCase` names, so that it can travel as an error's details:
/// `{"state": "pending", "event": "deliver", "validEvents": ["pay", "cancel"]}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error(
    "invalid transition: state {state:?} does not handle event {event:?}; valid events: [{}]",
    valid_events.join(", ")
)]
#[non_exhaustive]
pub struct InvalidTransition {
    /// The name of the state.
    pub state: String,
    /// The name of the event.
    pub event: String,
    /// The names of the events that the state handles, in the order of the table; empty where it is
    /// terminal.
    pub valid_events: Vec<String>,
}

/// An event that the machine's state handles, and that the guards refused.
///
/// It serializes with `camelCase` names, as [`InvalidTransition`] does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase")]
#[error("transition refused: state {state:?} does not let event {event:?} pass: {reason}")]
#[non_exhaustive]
pub struct GuardRefused {
    /// The name of the state.
    pub state: String,
    /// The name of the event.
    pub event: String,
    /// What the guard said; where several were asked, what each said, between semicolons.
    pub reason: String,
}

/// A transition whose function answered a state that its row in the table does not name: a mistake in
/// the program. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "undeclared target: state {state:?} on event {event:?} led to {target:?}; the table names [{}]",
    declared.join(", ")
)]
#[non_exhaustive]
pub struct UndeclaredTarget {
    /// The name of the state.
    pub state: &'static str,
    /// The name of the event.
    pub event: &'static str,
    /// The name of the state that the function answered.
    pub target: &'static str,
    /// The names of the states that it may answer.
    pub declared: Vec<&'static str>,
}

/// Why a machine's table has no next state for an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The state does not handle the event.
    #[error(transparent)]
    Invalid(InvalidTransition),
    /// The state handles the event, and the guards refused it.
    #[error(transparent)]
    Guard(GuardRefused),
    /// The function of a transition answered a state that its row in the table does not name.
    #[error(transparent)]
    UndeclaredTarget(UndeclaredTarget),
}

/// Why a machine's record could not be read or written. It is left as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The store failed, or the record in it does not decode.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The record was written by a newer version of the program.
    #[error("record {key:?} has version {stored}, which is newer than this program's {supported}")]
    NewerVersion {
        /// The record's key.
        key: String,
        /// The version in the store.
        stored: u32,
        /// The newest version this program knows.
        supported: u32,
    },
    /// The record is in a state that the table does not have.
    #[error("record {key:?} is in the unknown state {state:?}; known states: [{}]", known.join(", "))]
    UnknownState {
        /// The record's key.
        key: String,
        /// The name in the record.
        state: String,
        /// The names of the table's states.
        known: Vec<&'static str>,
    },
    /// A migration failed.
    #[error("migrate record {key:?} from version {from} to {}", from + 1)]
    Migration {
        /// The record's key.
        key: String,
        /// The version that the step starts from.
        from: u32,
        /// What the step answered.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Why an event changed nothing. `H` is the error of the hooks; without hooks there is none.
///
/// Nothing that the machine or its hooks wrote remains, unless the store's commit itself failed: what
/// holds then is the store's to say, see [`Store::commit`](dokit_storage::Store::commit).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError<H = Infallible> {
    /// The state does not handle the event.
    #[error(transparent)]
    Invalid(InvalidTransition),
    /// The state handles the event, and the guards refused it.
    #[error(transparent)]
    Guard(GuardRefused),
    /// The function of a transition answered a state that its row in the table does not name.
    #[error(transparent)]
    UndeclaredTarget(UndeclaredTarget),
    /// A hook failed.
    #[error("run {hook} from state {from:?} to {to:?}")]
    Hook {
        /// The name of the hook's method.
        hook: &'static str,
        /// The name of the state that was to be left.
        from: &'static str,
        /// The name of the state that was to be entered.
        to: &'static str,
        /// What the hook answered.
        source: H,
    },
    /// An id that was used for another event.
    #[error("id {id:?} was used for another event, {earlier:?}, and now comes with {event:?}")]
    IdReused {
        /// The id.
        id: String,
        /// The name of the event that it comes with now.
        event: &'static str,
        /// The name of the event that it came with first; the same where only their data differ.
        earlier: String,
    },
    /// An id that cannot be remembered.
    #[error("invalid id of {bytes} bytes: an id has 1 to {limit}")]
    InvalidId {
        /// Its length in bytes of UTF-8.
        bytes: usize,
        /// The longest that is allowed.
        limit: usize,
    },
    /// The machine's record could not be read or written.
    #[error(transparent)]
    Record(RecordError),
}

impl<H> SendError<H> {
    /// The state, the event and the valid events, where the state does not handle the event.
    #[must_use]
    pub fn invalid_transition(&self) -> Option<&InvalidTransition> {
        match self {
            Self::Invalid(invalid) => Some(invalid),
            _ => None,
        }
    }

    /// Whether the same event may succeed later without anybody changing the program, the data or the
    /// event: the engine under the store failed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Record(RecordError::Storage(error)) if error.is_retryable())
    }
}

impl<H> From<Refused> for SendError<H> {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(invalid) => Self::Invalid(invalid),
            Refused::Guard(guard) => Self::Guard(guard),
            Refused::UndeclaredTarget(undeclared) => Self::UndeclaredTarget(undeclared),
        }
    }
}

impl<H> From<RecordError> for SendError<H> {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl<H> From<StorageError> for SendError<H> {
    fn from(error: StorageError) -> Self {
        Self::Record(error.into())
    }
}
