use std::error::Error as StdError;

use crate::Timestamp;

type Source = Box<dyn StdError + Send + Sync>;

/// Why a storage operation failed. Nothing was written, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key that no engine can hold.
    #[error("invalid key {key:?}: {reason}")]
    InvalidKey {
        /// The key, cut to a readable length.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value over the size limit.
    #[error("value of {key:?} is {bytes} bytes; the limit is {limit}")]
    ValueTooLarge {
        /// The key it was meant for.
        key: String,
        /// The length of its JSON text in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// More keys in one operation than the limit.
    #[error("{keys} keys in one operation; the limit is {limit}")]
    BatchTooLarge {
        /// How many were given.
        keys: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Options of a list that contradict each other.
    #[error("invalid list options: {reason}")]
    InvalidList {
        /// What contradicts what.
        reason: &'static str,
    },
    /// A moment that no alarm can be set for.
    #[error(
        "invalid alarm time {at}: an alarm is set for a moment after 1970-01-01 and not after 2189-01-01"
    )]
    InvalidAlarm {
        /// The moment.
        at: Timestamp,
    },
    /// A value that has no JSON form.
    #[error("encode the value of {key:?} ({expected}) as json")]
    Encode {
        /// The key it was meant for.
        key: String,
        /// The Rust type.
        expected: &'static str,
        /// What the serializer said.
        source: Source,
    },
    /// A stored value that is not what the schema says.
    #[error("decode the value of {key:?} as {expected}, at {path} (line {line}, column {column})")]
    Decode {
        /// Its key.
        key: String,
        /// The Rust type that was asked for.
        expected: &'static str,
        /// Where in the value, as `field[0].field`; `.` is the value itself.
        path: String,
        /// The line in the JSON text, from 1.
        line: usize,
        /// The column in the JSON text, from 1; 0 where the text ended too early on a new line.
        column: usize,
        /// What the deserializer said.
        source: Source,
    },
    /// A value that its validation refuses, on the way in or on the way out.
    #[error("invalid value of {key:?}: {reason}")]
    InvalidValue {
        /// Its key.
        key: String,
        /// What the validation said.
        reason: String,
    },
    /// Stored data of a newer schema than this program knows. It is left as it is.
    #[error("stored schema version {stored} is newer than this program's version {supported}")]
    NewerSchema {
        /// The version in the store.
        stored: u32,
        /// The newest version this program knows.
        supported: u32,
    },
    /// A chain of migrations that does not lead from the stored version to the program's.
    #[error("migrations do not lead from schema version {from} to {to}: {reason}")]
    MigrationGap {
        /// The version to start from.
        from: u32,
        /// The version to reach.
        to: u32,
        /// Which step is missing, doubled or out of order.
        reason: String,
    },
    /// A migration that failed. The store is as it was before the first one.
    #[error("migrate from schema version {from} to {to}")]
    Migration {
        /// The version it started from.
        from: u32,
        /// The version it was to reach.
        to: u32,
        /// What it answered.
        source: Source,
    },
    /// An operation that the store does not allow now, such as a write in a method that takes
    /// `&self`.
    #[error("{operation} refused: {reason}")]
    Refused {
        /// What was to be done: `write`, `set the alarm`.
        operation: &'static str,
        /// Why it is not allowed here.
        reason: &'static str,
    },
    /// The engine under the store failed. Whether a commit that failed so took effect is known only
    /// when the store is read again.
    #[error("{operation} in the store")]
    Engine {
        /// What was being done: `read`, `list`, `commit`.
        operation: &'static str,
        /// What the engine said.
        source: Source,
    },
}

impl Error {
    /// An engine's own failure during `operation`, for those who write a [`Store`](crate::Store).
    pub fn engine(operation: &'static str, source: impl Into<Source>) -> Self {
        Self::Engine {
            operation,
            source: source.into(),
        }
    }

    /// Whether the same operation may succeed later without anybody changing the program, the data
    /// or the arguments.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Engine { .. } => true,
            // A step that failed because the disk did.
            Self::Migration { source, .. } => source.downcast_ref().is_some_and(Self::is_retryable),
            _ => false,
        }
    }
}

/// A storage operation's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
