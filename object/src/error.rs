use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use dokit_alarms::{DurationError, Error as AlarmError};
use dokit_client::{ErrorReply, RpcError};
use dokit_storage::{
    Error as StorageError,
    sql::{SqlError, SqlMigrationError},
};
use serde::Serialize;

/// What an object answers when it cannot do what it was asked: a status, a stable code and a message
/// for the caller, and apart from those what only the log gets to see.
///
/// It is the ready-made error type for methods that need none of their own. Errors of storage, of SQL, of
/// durations and of alarms convert with `?`: those that the caller's input can cause (a value too large, a refused value) keep their
/// text, all others become `internal`.
#[derive(Clone, Debug)]
pub struct Error {
    reply: ErrorReply,
}

/// The result of an object's handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error for the caller to see: an HTTP status from 400 to 599, a stable code in
    /// `snake_case`, and a message.
    ///
    /// The codes of [`dokit_client::code`] are the engine's. One of them that says that a method did not
    /// run reaches the caller as `internal`, since this one did.
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            reply: ErrorReply::new(status, code, message),
        }
    }

    /// The same with details that the caller's program can read.
    #[must_use]
    pub fn with_details(mut self, details: impl Serialize) -> Self {
        self.reply = self.reply.with_details(details);
        self
    }

    /// The same, which says how long to wait before it is worth trying again: the header `retry-after`, in
    /// whole seconds, rounded up, 18 hours at most. Zero says nothing.
    #[must_use]
    pub fn with_retry_after(mut self, pause: Duration) -> Self {
        self.reply = self.reply.with_retry_after(pause);
        self
    }

    /// A failure that is nobody's business: the caller sees `internal error`, the log the text of
    /// `source` and its causes. (Of a text alone, make an error first: `std::io::Error::other("..")`.)
    pub fn internal(source: impl StdError) -> Self {
        Self {
            reply: ErrorReply::internal(&source),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.reply.status
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.reply.code
    }

    /// The error as it goes over the wire.
    #[must_use]
    pub fn into_reply(self) -> ErrorReply {
        self.reply
    }

    pub(crate) fn missing_handler(handler: &'static str) -> Self {
        ErrorReply::missing_handler(handler).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reply.message)
    }
}

impl StdError for Error {}

impl From<ErrorReply> for Error {
    fn from(reply: ErrorReply) -> Self {
        Self { reply }
    }
}

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        let (status, code) = match &error {
            StorageError::InvalidKey { .. } => (400, "invalid_key"),
            StorageError::InvalidValue { .. } => (400, "invalid_value"),
            StorageError::InvalidAlarm { .. } => (400, "invalid_alarm"),
            StorageError::ValueTooLarge { .. } => (413, "value_too_large"),
            StorageError::BatchTooLarge { .. } => (413, "batch_too_large"),
            _ => return Self::internal(error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::TooLarge { .. } => Self::new(413, "value_too_large", error.to_string()),
            _ => Self::internal(error),
        }
    }
}

impl From<SqlMigrationError> for Error {
    fn from(error: SqlMigrationError) -> Self {
        Self::internal(error)
    }
}

impl From<AlarmError> for Error {
    fn from(error: AlarmError) -> Self {
        let (status, code) = match error {
            AlarmError::Storage(error) => return error.into(),
            AlarmError::Duration(_) => (400, "invalid_duration"),
            AlarmError::InvalidTime { .. } => (400, "invalid_alarm"),
            AlarmError::InvalidInterval { .. } => (400, "invalid_interval"),
            AlarmError::InvalidId { .. } => (400, "invalid_alarm_id"),
            AlarmError::InvalidCron { .. } => (400, "invalid_cron"),
            AlarmError::AlreadyScheduled { .. } => (409, "already_scheduled"),
            AlarmError::ActionTooLarge { .. } => (413, "value_too_large"),
            _ => return Self::internal(error),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<DurationError> for Error {
    fn from(error: DurationError) -> Self {
        AlarmError::Duration(error).into()
    }
}

impl RpcError for Error {
    fn to_reply(&self) -> ErrorReply {
        self.reply.clone()
    }

    fn from_reply(reply: &ErrorReply) -> Option<Self> {
        Some(Self {
            reply: reply.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use dokit_alarms::Alarms;
    use dokit_storage::{Memory, Timestamp};

    use super::*;
    use crate::testing::block_on;

    #[test]
    fn an_error_says_when_to_come_back() {
        let error = Error::new(429, "too_many_requests", "three a second");
        let error = error.with_retry_after(Duration::from_millis(1500));
        let response = crate::engine::error_response(&error.into_reply());
        assert_eq!(response.headers()[http::header::RETRY_AFTER], "2");
    }

    #[test]
    fn what_a_caller_can_get_wrong_of_an_alarm_is_told_to_the_caller() {
        let told = |error: AlarmError| {
            let text = error.to_string();
            let error = Error::from(error);
            assert_eq!(error.to_string(), text);
            (error.status(), error.code().to_owned())
        };
        block_on(async {
            let (jobs, now) = (Alarms::<()>::new(), Timestamp::from_millis(1));
            let store = &mut Memory::new();
            let refused = jobs.schedule(store, now, "soon", &()).await.unwrap_err();
            assert_eq!(told(refused), (400, "invalid_duration".to_owned()));
            let past = Timestamp::from_millis(-1);
            let refused = jobs.schedule(store, now, past, &()).await.unwrap_err();
            assert_eq!(told(refused), (400, "invalid_alarm".to_owned()));
            let refused = jobs.every(store, now, "id", "1ms", &()).await.unwrap_err();
            assert_eq!(told(refused), (400, "invalid_interval".to_owned()));
            let refused = jobs.every(store, now, "", "1h", &()).await.unwrap_err();
            assert_eq!(told(refused), (400, "invalid_alarm_id".to_owned()));
        });
        let cron = AlarmError::InvalidCron {
            expression: "* * *".to_owned(),
            zone: "UTC".to_owned(),
            reason: "two fields are missing".to_owned(),
        };
        assert_eq!(told(cron), (400, "invalid_cron".to_owned()));
        let id = "job".to_owned();
        let taken = AlarmError::AlreadyScheduled { id };
        assert_eq!(told(taken), (409, "already_scheduled".to_owned()));
        let too_large = AlarmError::ActionTooLarge {
            id: "job".to_owned(),
            bytes: 2,
            limit: 1,
        };
        assert_eq!(told(too_large), (413, "value_too_large".to_owned()));
    }
}
