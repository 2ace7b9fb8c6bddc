//! One connection, and what transaction is open on it.

use std::{
    cell::{Cell, RefCell},
    ffi::c_int,
    fmt,
    path::Path,
    sync::Arc,
};

use rusqlite::{CachedStatement, Connection, limits::Limit};

use super::{
    error::{OpenError, breaks_the_transaction, message, translate},
    guard::Guard,
    log::LogFile,
};
use crate::sql::{SqlError, SqlLimits};

/// How many instructions of SQLite's machine run between two questions whether to stop.
const INSTRUCTIONS: c_int = 1000;

/// How many unused pages are not worth shrinking for.
const PAGES_TO_KEEP: i64 = 16;

/// Compiled statements that are kept.
const STATEMENTS: usize = 32;

/// What is in the text of each statement of ours, and in none that a user gets from the cache.
pub(super) const OURS: &str = "_dokit";

pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) guard: Arc<Guard>,
    pub(super) limits: Cell<SqlLimits>,
    pub(super) mode: Cell<Mode>,
    /// Whether the running call has written anything.
    pub(super) wrote: Cell<bool>,
    /// Whether calls that were kept wait for their commit.
    pub(super) uncommitted: Cell<bool>,
    pub(super) log: RefCell<LogFile>,
    /// The transaction and the savepoints within it that are open, the calls' own aside.
    scopes: RefCell<Vec<Scope>>,
    /// Why the open transaction is lost.
    broken: RefCell<Option<String>>,
    /// Whether everything was deleted since the last commit.
    pub(super) emptied: Cell<bool>,
    /// The version of the schema that was looked at for deferred constraints, and whether it has any.
    deferrable: Cell<Option<(i64, bool)>>,
}

/// Who may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everybody: each write is a commit, or part of a transaction.
    Alone,
    /// Nobody: an engine serves calls, and none that writes is running.
    Reading,
    /// The call that runs.
    Call,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Transaction,
    Savepoint,
}

impl Database {
    pub(super) fn new(mut connection: Connection) -> Result<Self, OpenError> {
        let guard = Arc::new(Guard::default());
        let (authorizer, handler) = (Arc::clone(&guard), Arc::clone(&guard));
        connection
            .authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
                authorizer.authorize(&context)
            }))
            .and_then(|()| connection.progress_handler(INSTRUCTIONS, Some(move || handler.stops())))
            .map_err(|error| OpenError::Database {
                path: connection.path().unwrap_or_default().into(),
                source: message(&error).into(),
            })?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        let path = connection.path().filter(|path| !path.is_empty());
        let log = path.map(|path| LogFile::of(Path::new(path)));
        let database = Self {
            log: RefCell::new(log.unwrap_or_default()),
            connection,
            guard,
            limits: Cell::default(),
            mode: Cell::new(Mode::Alone),
            wrote: Cell::new(false),
            uncommitted: Cell::new(false),
            scopes: RefCell::default(),
            broken: RefCell::default(),
            emptied: Cell::new(false),
            deferrable: Cell::new(None),
        };
        database.limit(SqlLimits::default());
        Ok(database)
    }

    pub(super) fn limit(&self, limits: SqlLimits) {
        self.limits.set(limits);
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_SQL_LENGTH, limits.statement_bytes),
            (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, limits.parameters),
            (Limit::SQLITE_LIMIT_COLUMN, limits.columns),
            (Limit::SQLITE_LIMIT_LENGTH, limits.value_bytes),
            (
                Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
                limits.like_pattern_bytes,
            ),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, limits.function_arguments),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_terms),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
        ] {
            let value = i32::try_from(value).unwrap_or(i32::MAX);
            // It fails for a limit that SQLite does not know, and these it has had since 2007.
            let _ = self.connection.set_limit(limit, value);
        }
    }

    /// Nothing works in a transaction that is lost.
    pub(super) fn usable(&self, operation: &'static str) -> Result<(), SqlError> {
        match &*self.broken.borrow() {
            Some(broken) => Err(SqlError::engine(operation, broken.clone())),
            None => Ok(()),
        }
    }

    pub(super) fn in_transaction(&self) -> bool {
        !self.connection.is_autocommit()
    }

    /// The error of a statement that ran within a transaction, or not; notices whether that is lost.
    pub(super) fn failed(
        &self,
        operation: &'static str,
        error: &rusqlite::Error,
        in_transaction: bool,
    ) -> SqlError {
        if in_transaction {
            if breaks_the_transaction(error) {
                self.lose(message(error));
            } else if !self.in_transaction() {
                let message = message(error);
                self.lose(format!("the transaction was rolled back: {message}"));
            }
        }
        translate(operation, error)
    }

    pub(super) fn lose(&self, why: String) {
        self.broken.borrow_mut().get_or_insert(why);
    }

    /// Compiles a statement of ours, which runs while the guard lets us.
    pub(super) fn ours(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        debug_assert!(
            sql.contains(OURS),
            "a user could get {sql:?} from the cache"
        );
        self.connection.prepare_cached(sql)
    }

    /// Runs a statement of ours that gives no rows.
    pub(super) fn run(&self, operation: &'static str, sql: &str) -> Result<(), SqlError> {
        let _ours = self.guard.user(false);
        let in_transaction = self.in_transaction();
        let mut statement = self
            .ours(sql)
            .map_err(|error| self.failed(operation, &error, in_transaction))?;
        let ran = statement.raw_execute();
        ran.map(drop)
            .map_err(|error| self.failed(operation, &error, in_transaction))
    }

    /// Asks for one number.
    pub(super) fn number(&self, operation: &'static str, sql: &str) -> Result<i64, SqlError> {
        let _ours = self.guard.user(false);
        let asked = self
            .ours(sql)
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)));
        asked.map_err(|error| self.failed(operation, &error, self.in_transaction()))
    }

    /// Opens a transaction, or a savepoint in the one that is open.
    pub(super) fn enter(&self) -> Result<(), SqlError> {
        self.usable("transaction")?;
        let scope = if self.in_transaction() {
            self.run("transaction", "SAVEPOINT _dokit")?;
            Scope::Savepoint
        } else {
            let begin = match self.mode.get() {
                Mode::Reading => "BEGIN /* _dokit_ */",
                Mode::Alone | Mode::Call => "BEGIN IMMEDIATE /* _dokit_ */",
            };
            self.run("transaction", begin)?;
            Scope::Transaction
        };
        self.scopes.borrow_mut().push(scope);
        Ok(())
    }

    /// Ends what `enter` opened: keeps what was written meanwhile, or undoes it.
    pub(super) fn leave(&self, keep: bool) -> Result<(), SqlError> {
        let scope = self.scopes.borrow_mut().pop();
        let usable = self.usable("transaction");
        match scope {
            Some(Scope::Transaction) => {
                let committed = usable.and_then(|()| {
                    if !keep {
                        return Ok(());
                    }
                    if self.guard.is_deferred() {
                        self.check_deferred()?;
                        self.end_deferral()?;
                    }
                    self.run("commit", "COMMIT /* _dokit_ */")
                });
                let rolled_back = self.roll_back();
                match committed {
                    // It was not to be kept, and is not.
                    Err(_) if !keep => rolled_back,
                    other => other.and(rolled_back),
                }
            }
            Some(Scope::Savepoint) => {
                usable?;
                if !keep {
                    self.run("rollback", "ROLLBACK TO _dokit")?;
                }
                self.run("transaction", "RELEASE _dokit")
            }
            // An engine has given up the call meanwhile.
            None => Err(SqlError::engine(
                "transaction",
                "the transaction is over already",
            )),
        }
    }

    /// Runs `body` between `enter` and `leave`.
    pub(super) fn scoped<R>(
        &self,
        body: impl FnOnce() -> Result<R, SqlError>,
    ) -> Result<R, SqlError> {
        self.enter()?;
        match body() {
            Ok(done) => self.leave(true).map(|()| done),
            Err(error) => {
                // Where that fails too the transaction is lost, and says so from now on.
                let _ = self.leave(false);
                Err(error)
            }
        }
    }

    /// Undoes all that has not committed, and starts from what has.
    pub(super) fn roll_back(&self) -> Result<(), SqlError> {
        self.scopes.borrow_mut().clear();
        self.broken.replace(None);
        self.deferrable.set(None);
        self.guard.take_deferred();
        if self.in_transaction() {
            self.run("rollback", "ROLLBACK /* _dokit_ */")?;
        }
        Ok(())
    }

    /// The scopes of a call that is over are over.
    pub(super) fn forget_scopes(&self) {
        self.scopes.borrow_mut().clear();
        self.deferrable.set(None);
    }

    pub(super) fn in_scope(&self) -> bool {
        !self.scopes.borrow().is_empty()
    }

    /// Refuses what a deferred foreign key would refuse at the commit. A commit may be of many calls,
    /// and one's mistake is to be its own.
    pub(super) fn check_deferred(&self) -> Result<(), SqlError> {
        if !self.guard.is_deferred() && !self.has_deferred_constraints()? {
            return Ok(());
        }
        let _ours = self.guard.user(false);
        let in_transaction = self.in_transaction();
        let broken: rusqlite::Result<Option<(String, Option<i64>, String)>> = self
            .ours("PRAGMA foreign_key_check /* _dokit_ */")
            .and_then(|mut check| {
                let mut rows = check.query([])?;
                let row = rows.next()?;
                row.map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .transpose()
            });
        let broken = broken.map_err(|error| self.failed("commit", &error, in_transaction))?;
        match broken {
            None => Ok(()),
            Some((table, row, parent)) => {
                let row = row.map_or_else(String::new, |row| format!(" of row {row}"));
                Err(SqlError::Constraint {
                    message: format!(
                        "FOREIGN KEY constraint failed: {table}{row} has no row in {parent}"
                    ),
                })
            }
        }
    }

    /// Goes back to checking foreign keys at once. SQLite also forgets what it counted meanwhile, which
    /// after a table was dropped and made again is more than is wrong.
    pub(super) fn end_deferral(&self) -> Result<(), SqlError> {
        if self.guard.take_deferred() {
            self.run("commit", "PRAGMA defer_foreign_keys = OFF /* _dokit_ */")?;
        }
        Ok(())
    }

    /// Gives the room of what was deleted back to the disk, where nothing of a user's is left. Of tables that
    /// are there it would change the numbers of the rows.
    pub(super) fn shrink(&self) -> Result<(), SqlError> {
        let unused = "SELECT freelist_count FROM pragma_freelist_count() /* _dokit_ */";
        let tables = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' \
                      AND name NOT IN ('_dokit_keys', '_dokit_alarm') /* _dokit_ */";
        if self.number("shrink", unused)? < PAGES_TO_KEEP || self.number("shrink", tables)? > 0 {
            return Ok(());
        }
        // SQLite copies what is left into a database that it attaches.
        let attached = Limit::SQLITE_LIMIT_ATTACHED;
        let _ = self.connection.set_limit(attached, 1);
        let shrunk = self.run("shrink", "VACUUM /* _dokit_ */");
        let _ = self.connection.set_limit(attached, 0);
        shrunk
    }

    fn has_deferred_constraints(&self) -> Result<bool, SqlError> {
        let version = self.number("commit", "PRAGMA schema_version /* _dokit_ */")?;
        if let Some((seen, found)) = self.deferrable.get()
            && seen == version
        {
            return Ok(found);
        }
        let found = self.number(
            "commit",
            "SELECT count(*) FROM sqlite_schema WHERE instr(upper(sql), 'DEFERRED') > 0 \
             /* _dokit_ */",
        )? > 0;
        self.deferrable.set(Some((version, found)));
        Ok(found)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.connection.path())
            .field("mode", &self.mode.get())
            .finish_non_exhaustive()
    }
}
