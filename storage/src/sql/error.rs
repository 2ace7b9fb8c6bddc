use std::error::Error as StdError;

type Source = Box<dyn StdError + Send + Sync>;

/// Why a statement failed, or why its rows are not what was asked for.
///
/// A statement that failed has changed nothing; the open transaction goes on without it, except
/// after [`Engine`](Self::Engine).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlError {
    /// A parameter that has no value in SQL.
    #[error("parameter {position}: {reason}")]
    Parameter {
        /// Its position, from 1.
        position: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Another number of parameters than the last statement has.
    #[error("{given} parameters given; the last statement has {expected}")]
    ParameterCount {
        /// How many were given.
        given: usize,
        /// How many the statement has.
        expected: usize,
    },
    /// A statement with parameters that is not the last one.
    #[error("only the last of several statements may have parameters")]
    ParametersBeforeLast,
    /// A text without a statement.
    #[error("no statement in the query")]
    NoStatement,
    /// A statement that would break the engine, or that touches what is not the user's.
    #[error("{operation} refused: {reason}")]
    Refused {
        /// What it was to do: `ATTACH`, `read of _dokit_keys`.
        operation: String,
        /// Why not, and what to do instead.
        reason: &'static str,
    },
    /// A statement that writes, where only reading is allowed.
    #[error("a statement that writes is refused here: only a call that takes `&mut self` writes")]
    ReadOnly,
    /// A constraint that the rows would have broken: `UNIQUE`, `NOT NULL`, `CHECK`, a foreign key.
    #[error("constraint: {message}")]
    Constraint {
        /// What the database said: `UNIQUE constraint failed: users.email`.
        message: String,
    },
    /// A statement, value or row over a limit of the database.
    #[error("too large: {message}")]
    TooLarge {
        /// What the database said.
        message: String,
    },
    /// A result that would take too much memory. Ask for fewer rows (`LIMIT`), or raise the limit.
    #[error("the result is over {limit} bytes after {rows} rows")]
    ResultTooLarge {
        /// How many rows fitted.
        rows: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A statement that the database does not understand or cannot run.
    #[error("{message}")]
    Statement {
        /// What the database said: `no such table: users`.
        message: String,
    },
    /// A statement that was stopped because it ran too long.
    #[error("the statement was stopped: it ran past its deadline")]
    Interrupted,
    /// [`Cursor::one`](crate::sql::Cursor::one) of a result with no row or with several.
    #[error("expected exactly one row, found {found}")]
    RowCount {
        /// How many rows there are.
        found: usize,
    },
    /// A row that is not of the type that was asked for.
    #[error("decode row {row} as {expected}: column {column:?}: {reason}")]
    Column {
        /// The row, from 1.
        row: usize,
        /// The name of the column.
        column: String,
        /// The Rust type that was asked for.
        expected: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// A row whose columns are not those that were asked for.
    #[error("decode row {row} as {expected}: {reason}")]
    Row {
        /// The row, from 1.
        row: usize,
        /// The Rust type that was asked for.
        expected: &'static str,
        /// What does not fit: a missing or a doubled column, or their number.
        reason: String,
    },
    /// The database under it failed (a full or a broken disk), and the open transaction with it:
    /// nothing works until the database is opened again from what is durable.
    #[error("{operation} in the database")]
    Engine {
        /// What was being done: `exec`, `commit`.
        operation: &'static str,
        /// What the database said.
        source: Source,
    },
}

impl SqlError {
    /// An engine's own failure during `operation`, for those who write a
    /// [`SqlEngine`](crate::sql::SqlEngine).
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
        matches!(self, Self::Engine { .. } | Self::Interrupted)
    }
}
