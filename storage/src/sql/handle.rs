use std::{fmt, sync::Arc};

use crate::sql::{
    Cursor, Params, SqlAccess, SqlEngine, SqlError, SqlMigrationError, SqlPiece, SqlValue,
    deletion, dump, migration,
};

/// A database, to run statements on.
///
/// Clones are handles to the same one. Each operation is done when it returns: nothing waits, so
/// nothing else of the object runs meanwhile.
#[derive(Clone)]
pub struct Sql {
    engine: Arc<dyn SqlEngine>,
}

impl Sql {
    /// The handle to what an engine gives.
    pub fn new(engine: impl SqlEngine + 'static) -> Self {
        Self {
            engine: Arc::new(engine),
        }
    }

    /// Runs a statement.
    ///
    /// `query` may be several statements: the parameters are the last one's, and so is the result.
    /// All of them take effect, or none does.
    ///
    /// # Errors
    ///
    /// See [`SqlError`]. An open transaction goes on without the statement.
    pub fn exec(&self, query: &str, params: impl Params) -> Result<Cursor, SqlError> {
        let params = params.to_values()?;
        self.engine.exec(query, &params, SqlAccess::User)
    }

    /// Runs `body` in a transaction, or within one in a savepoint: where it answers `Err` or panics,
    /// nothing that was written meanwhile remains.
    ///
    /// ```
    /// use dokit_storage::sql::{Sql, SqlError};
    ///
    /// fn transfer(sql: &Sql, from: i64, to: i64, amount: i64) -> Result<i64, SqlError> {
    ///     sql.transaction(|sql| {
    ///         let change = "UPDATE accounts SET balance = balance + ? WHERE id = ? RETURNING balance";
    ///         let left: i64 = sql.exec(change, (-amount, from))?.one()?;
    ///         sql.exec(change, (amount, to))?.one::<i64>()?; // no such account: both are as before
    ///         Ok(left)
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// What `body` answers, or [`SqlError`] where the transaction itself failed.
    pub fn transaction<R, E: From<SqlError>>(
        &self,
        body: impl FnOnce(&Self) -> Result<R, E>,
    ) -> Result<R, E> {
        let mut body = Some(body);
        let mut outcome = None;
        self.engine.transaction(&mut || {
            let Some(body) = body.take() else {
                return false;
            };
            outcome.insert(body(self)).is_ok()
        })?;
        outcome.unwrap_or_else(|| {
            let never = "the engine did not run the transaction's body";
            Err(SqlError::engine("transaction", never).into())
        })
    }

    /// Applies those of the migrations that this database has not seen yet, in order, each once, and
    /// answers how many they were. Call it when an object wakes, before other statements.
    ///
    /// A migration is a name and its statements. All that are pending are one transaction: after an
    /// error nothing has changed. Append to the list, and leave what was once released as it is, to
    /// the last space: what was applied is known by its name, its place and a checksum of its text.
    ///
    /// ```
    /// use dokit_storage::sql::{Sql, SqlMigrationError};
    ///
    /// const MIGRATIONS: [(&str, &str); 2] = [
    ///     ("orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, paid INTEGER NOT NULL) STRICT"),
    ///     ("notes", "ALTER TABLE orders ADD COLUMN note TEXT"),
    /// ];
    ///
    /// fn wake(sql: &Sql) -> Result<(), SqlMigrationError> {
    ///     sql.migrate(&MIGRATIONS)?;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`SqlMigrationError`].
    pub fn migrate(&self, migrations: &[(&str, &str)]) -> Result<usize, SqlMigrationError> {
        migration::migrate(self, migrations)
    }

    /// Deletes all rows with their tables, views, triggers and indexes, and what is known of
    /// migrations.
    ///
    /// # Errors
    ///
    /// See [`SqlError`]. Nothing was deleted then.
    pub fn delete_all(&self) -> Result<(), SqlError> {
        self.transaction(deletion::delete_all)
    }

    /// Gives all tables with their rows, and the indexes, views and triggers, to `each`: what
    /// [`load`](Self::load) makes the same of. Run it in a [`transaction`](Self::transaction), so that
    /// it is all of one moment.
    ///
    /// Rows keep their numbers (`rowid`). A full-text index gives what it indexes, and is made anew.
    ///
    /// # Errors
    ///
    /// What `each` answers, or [`SqlError`]: a full-text index without content cannot be read.
    pub fn dump<E: From<SqlError>>(
        &self,
        each: impl FnMut(SqlPiece) -> Result<(), E>,
    ) -> Result<(), E> {
        dump::dump(self, each)
    }

    /// Makes what was [dumped](Self::dump), in a database without tables: all of it, or nothing.
    ///
    /// The statements are run as a user's: what those may not do is refused. Foreign keys are checked when all
    /// of it is there.
    ///
    /// # Errors
    ///
    /// See [`SqlError`].
    pub fn load(&self, pieces: impl IntoIterator<Item = SqlPiece>) -> Result<(), SqlError> {
        self.transaction(|sql| dump::load(sql, pieces))
    }

    /// What a commit would refuse, for those who serve calls: see [`SqlEngine::check_deferred`].
    ///
    /// # Errors
    ///
    /// [`SqlError::Constraint`] where a deferred foreign key has no row.
    pub fn check_deferred(&self) -> Result<(), SqlError> {
        self.engine.check_deferred()
    }

    /// How large the database is, in bytes.
    ///
    /// # Errors
    ///
    /// [`SqlError::Engine`] when it cannot be asked.
    pub fn database_size(&self) -> Result<u64, SqlError> {
        self.engine.database_size()
    }

    /// Runs a statement with these values as whoever's it is.
    pub(crate) fn exec_as(
        &self,
        query: &str,
        values: &[SqlValue],
        access: SqlAccess,
    ) -> Result<Cursor, SqlError> {
        self.engine.exec(query, values, access)
    }

    /// Runs a statement of this library's own.
    pub(crate) fn exec_own(&self, query: &str, params: impl Params) -> Result<Cursor, SqlError> {
        let params = params.to_values()?;
        self.engine.exec(query, &params, SqlAccess::Library)
    }
}

impl fmt::Debug for Sql {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sql")
    }
}
