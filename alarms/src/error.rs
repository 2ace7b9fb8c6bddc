use dokit_storage::Timestamp;

use crate::DurationError;

/// Why an operation on alarms failed. Nothing was written, unless the storage's error says
/// otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that is no duration.
    #[error(transparent)]
    Duration(DurationError),
    /// A moment that no alarm can be set for.
    #[error(
        "invalid alarm time {at}: an alarm is set for a moment after 1970-01-01 and not after 2189-01-01"
    )]
    InvalidTime {
        /// The moment.
        at: Timestamp,
    },
    /// A time between two runs that is too short or too long.
    #[error("invalid interval {interval}: the shortest is {least}, the longest 219 years")]
    InvalidInterval {
        /// The time between two runs.
        interval: String,
        /// The shortest that is allowed: see
        /// [`Alarms::least_interval`](crate::Alarms::least_interval).
        least: String,
    },
    /// An id that no alarm can have.
    #[error("invalid alarm id {id:?}: {reason}")]
    InvalidId {
        /// The id, cut to a readable length.
        id: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A cron expression that cannot be read or never fires, or a time zone that does not exist.
    #[error("invalid cron schedule {expression:?} in {zone:?}: {reason}")]
    InvalidCron {
        /// The expression, cut to a readable length.
        expression: String,
        /// The time zone, cut to a readable length.
        zone: String,
        /// What is wrong.
        reason: String,
    },
    /// An action whose JSON text leaves no room for what is kept beside it.
    #[error("action of alarm {id:?} is {bytes} bytes with its schedule; the limit is {limit}")]
    ActionTooLarge {
        /// The id.
        id: String,
        /// The size in bytes of JSON text.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A dead alarm that cannot be revived, because another one has taken its id.
    #[error("alarm {id:?} is scheduled already; cancel it before reviving the dead one")]
    AlreadyScheduled {
        /// The id.
        id: String,
    },
    /// The storage failed, or a stored value does not decode.
    #[error(transparent)]
    Storage(#[from] dokit_storage::Error),
}

impl Error {
    /// Whether the same operation may succeed later without anybody changing the program, the data
    /// or the arguments.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Storage(error) if error.is_retryable())
    }
}

/// An operation's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The first `bytes` bytes of a text, up to a character's end.
pub(crate) fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes);
    format!("{}...", &text[..end])
}
