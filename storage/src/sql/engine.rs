//! What an engine that has SQL gives.

use crate::{
    MaybeSend, MaybeSync,
    sql::{Cursor, SqlError, SqlValue},
};

/// Whose statement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SqlAccess {
    /// A user's: tables whose names begin with `_dokit_`, and whatever would break the engine, are
    /// refused.
    User,
    /// This library's own: its tables may be read and written.
    Library,
}

/// The pragmas that a user may ask, in lower case: they describe tables and check them, and only
/// `defer_foreign_keys` changes anything, until the next commit. Not every engine has all of them.
pub const USER_PRAGMAS: [&str; 12] = [
    "table_info",
    "table_xinfo",
    "table_list",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    "quick_check",
    "integrity_check",
    // The full-text index asks it, within a user's statement.
    "data_version",
    "defer_foreign_keys",
];

/// What an engine gives for SQL.
///
/// It is synchronous, as SQL on the platform is: the database is the object's own and lies on the
/// same machine.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not run SQL",
    note = "use `dokit_storage::sqlite::Sqlite` (feature `sqlite`), an object's context, or implement `SqlEngine`"
)]
pub trait SqlEngine: MaybeSend + MaybeSync {
    /// Runs the statements of `query`, the last with `params`, and gives what the last one gave.
    ///
    /// All of them take effect, or none does. What they wrote belongs to the transaction that is
    /// open, or else is a commit of its own.
    fn exec(&self, query: &str, params: &[SqlValue], access: SqlAccess)
    -> Result<Cursor, SqlError>;

    /// Runs `body`, and undoes all that was written meanwhile where it answers `false` or panics.
    ///
    /// Within another transaction it is a savepoint of that. An error from before `body` means that
    /// it was not called; one from after it, that what it wrote did not take effect, or that it is
    /// not known whether it did.
    fn transaction(&self, body: &mut dyn FnMut() -> bool) -> Result<(), SqlError>;

    /// Refuses what a commit would: rows that a deferred foreign key asks for and that are not there.
    ///
    /// An engine that serves calls asks it when a call that wrote rows has ended well, so that a key without
    /// a row is that call's failure, and not one of the disk.
    ///
    /// # Errors
    ///
    /// [`SqlError::Constraint`], or [`SqlError::Engine`] where it cannot be known.
    fn check_deferred(&self) -> Result<(), SqlError> {
        Ok(())
    }

    /// How large the database is, in bytes.
    fn database_size(&self) -> Result<u64, SqlError>;
}
