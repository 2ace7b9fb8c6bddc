use std::{error::Error as StdError, path::PathBuf};

use rusqlite::{ErrorCode, ffi};

use crate::sql::SqlError;

/// Why a database could not be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file is a database of something else.
    #[error("{path:?} is not a dokit database")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The database was written by a newer release.
    #[error("{path:?} has format {found}; this release reads up to {supported}")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this release knows.
        supported: i64,
    },
    /// The file cannot be opened, or is no database.
    #[error("open the database {path:?}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// What SQLite said, without the statement, which may be long.
pub(super) fn message(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        other => other.to_string(),
    }
}

/// The error of a statement, where the guard had no part in it.
pub(super) fn translate(operation: &'static str, error: &rusqlite::Error) -> SqlError {
    let message = message(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => SqlError::Constraint { message },
        Some(ErrorCode::TooBig) => SqlError::TooLarge { message },
        Some(ErrorCode::OperationInterrupted) => SqlError::Interrupted,
        Some(
            ErrorCode::Unknown
            | ErrorCode::TypeMismatch
            | ErrorCode::ParameterOutOfRange
            | ErrorCode::AuthorizationForStatementDenied,
        )
        | None => SqlError::Statement { message },
        Some(ErrorCode::DatabaseCorrupt) if is_of_a_virtual_table(error) => {
            SqlError::Statement { message }
        }
        Some(_) => SqlError::engine(operation, message),
    }
}

/// What a full-text index says when it does not fit its table any more: the file is sound.
fn is_of_a_virtual_table(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(ffi::SQLITE_CORRUPT_VTAB)
}

/// Whether the transaction that is open cannot be trusted after this.
pub(super) fn breaks_the_transaction(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt) => !is_of_a_virtual_table(error),
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::NotADatabase
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::InternalMalfunction
            | ErrorCode::ReadOnly,
        ) => true,
        _ => false,
    }
}
