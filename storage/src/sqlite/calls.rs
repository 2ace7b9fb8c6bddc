use std::sync::Arc;

use super::{
    Sqlite,
    database::{Database, Mode},
};
use crate::{Batch, sql::SqlError};

/// The database of one object, for an engine that runs calls on it: a call's writes stay or go
/// together, and several calls share one commit.
///
/// From [`new`](Self::new) on the database is only read, but within a call:
///
/// 1. [`begin`](Self::begin), before the call. Statements, and keys that are committed to the
///    [`Sqlite`] within a transaction, gather.
/// 2. [`keep`](Self::keep), with the keys and the alarm that the call wrote, or
///    [`undo`](Self::undo): nothing of it remains. Then the next call, or
/// 3. [`commit`](Self::commit), which makes durable all calls that were kept. It waits for the disk,
///    so run it where that may be, and let go of what the calls answered only then. Meanwhile all
///    other use of the database waits.
///
/// After an error that is [`SqlError::Engine`] all that has not committed is lost, and every
/// operation answers it again, until [`abandon`](Self::abandon) goes back to what is durable (or the
/// database is dropped and opened again).
///
/// ```
/// use dokit_storage::{Batch, sqlite::{Calls, Sqlite}};
///
/// let calls = Calls::new(Sqlite::in_memory()?);
/// let sql = calls.database().sql();
///
/// calls.begin()?;
/// sql.exec("CREATE TABLE seen (name TEXT)", ())?;
/// sql.exec("INSERT INTO seen VALUES (?)", ("first",))?;
/// calls.keep(&Batch::new())?;
///
/// calls.begin()?;
/// sql.exec("INSERT INTO seen VALUES (?)", ("second",))?;
/// calls.undo()?; // the call failed
///
/// calls.commit()?; // the first call may be answered
/// assert_eq!(sql.exec("SELECT name FROM seen", ())?.to_vec::<String>()?, ["first"]);
/// assert!(sql.exec("INSERT INTO seen VALUES ('third')", ()).is_err()); // no call runs
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Calls {
    database: Sqlite,
}

impl Calls {
    /// Serves calls from now on: outside of them all handles of the database only read.
    #[must_use]
    pub fn new(database: Sqlite) -> Self {
        database.database().mode.set(Mode::Reading);
        Self { database }
    }

    /// The database, as reads and the calls see it: uncommitted calls too.
    #[must_use]
    pub fn database(&self) -> &Sqlite {
        &self.database
    }

    /// Begins a call.
    ///
    /// # Errors
    ///
    /// [`SqlError::Engine`].
    pub fn begin(&self) -> Result<(), SqlError> {
        self.database.database().begin_call()
    }

    /// Ends the call, adds what it wrote to the store, and keeps all of it for the next commit.
    ///
    /// # Errors
    ///
    /// - [`SqlError::Constraint`] where a deferred foreign key has no row. The call is undone, the
    ///   others stand.
    /// - [`SqlError::Engine`].
    pub fn keep(&self, batch: &Batch) -> Result<(), SqlError> {
        self.database.database().keep_call(batch)
    }

    /// Ends the call and undoes what it wrote since it began, or since its last early commit.
    ///
    /// # Errors
    ///
    /// [`SqlError::Engine`]: then the calls before it are lost too.
    pub fn undo(&self) -> Result<(), SqlError> {
        self.database.database().undo_call()
    }

    /// Makes durable what the running call has written, with `batch`, and the calls before it. The
    /// call goes on.
    ///
    /// # Errors
    ///
    /// As [`keep`](Self::keep); the call has then failed, and is still to be undone.
    pub fn commit_early(&self, batch: &Batch) -> Result<(), SqlError> {
        self.database.database().commit_early(batch)
    }

    /// Makes durable all calls that were kept. Where they have deleted everything, the file gives back
    /// what room that took.
    ///
    /// # Errors
    ///
    /// [`SqlError::Engine`]. Whether they are durable nevertheless is known when the database is read
    /// again, after [`abandon`](Self::abandon).
    pub fn commit(&self) -> Result<(), SqlError> {
        self.database.database().commit_calls()
    }

    /// Drops all that has not committed, the running call too, and goes on from what is durable.
    ///
    /// # Errors
    ///
    /// [`SqlError::Engine`] where even that fails: open the database again.
    pub fn abandon(&self) -> Result<(), SqlError> {
        let database = self.database.database();
        database.mode.set(Mode::Reading);
        database.uncommitted.set(false);
        database.roll_back()
    }

    /// Whether what has not committed still stands.
    ///
    /// # Errors
    ///
    /// [`SqlError::Engine`] where it is lost, until it is [abandoned](Self::abandon).
    pub fn check(&self) -> Result<(), SqlError> {
        self.database.database().usable("commit")
    }

    /// Whether a call is running.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.database.database().mode.get() == Mode::Call
    }

    /// Whether the call that is running has written anything since it began, or since its last early
    /// commit.
    #[must_use]
    pub fn has_written(&self) -> bool {
        self.database.database().wrote.get()
    }

    /// Whether calls that wrote something were kept and wait for their commit. Where none do, what is
    /// read is durable.
    #[must_use]
    pub fn is_uncommitted(&self) -> bool {
        self.database.database().uncommitted.get()
    }

    /// Asks `stop` before each statement of a user, and again after every 1,000 instructions or so of
    /// it: on `true` it ends as [`SqlError::Interrupted`]. One that was writing takes all that has not
    /// committed with it (SQLite rolls the transaction back), so give it time.
    pub fn stop_when(&self, stop: impl Fn() -> bool + Send + Sync + 'static) {
        self.database.database().guard.stop_when(Arc::new(stop));
    }
}

impl Database {
    fn begin_call(&self) -> Result<(), SqlError> {
        self.usable("begin")?;
        if self.mode.get() == Mode::Call {
            return Err(SqlError::engine("begin", "a call is running already"));
        }
        self.open_call()?;
        self.mode.set(Mode::Call);
        Ok(())
    }

    fn open_call(&self) -> Result<(), SqlError> {
        if !self.in_transaction() {
            self.run("begin", "BEGIN IMMEDIATE /* _dokit_ */")?;
        }
        self.wrote.set(false);
        self.run("begin", "SAVEPOINT _dokit_call")
    }

    /// Takes the writes of the running call's store, and checks what a commit would.
    fn settle(&self, batch: &Batch) -> Result<(), SqlError> {
        self.usable("commit")?;
        self.in_call()?;
        // What it leaves half done where it fails is undone with the call.
        self.apply(batch)?;
        if self.wrote.get() {
            self.check_deferred()?;
        }
        Ok(())
    }

    fn in_call(&self) -> Result<(), SqlError> {
        if self.mode.get() != Mode::Call {
            return Err(SqlError::engine("commit", "no call is running"));
        }
        Ok(())
    }

    fn keep_call(&self, batch: &Batch) -> Result<(), SqlError> {
        if let Err(error) = self.settle(batch) {
            let _ = self.undo_call();
            return Err(error);
        }
        self.close_call()?;
        self.mode.set(Mode::Reading);
        Ok(())
    }

    fn close_call(&self) -> Result<(), SqlError> {
        self.run("commit", "RELEASE _dokit_call")?;
        self.end_deferral()?;
        if self.wrote.take() {
            self.uncommitted.set(true);
        }
        Ok(())
    }

    fn undo_call(&self) -> Result<(), SqlError> {
        if self.mode.replace(Mode::Reading) != Mode::Call {
            return Err(SqlError::engine("undo", "no call is running"));
        }
        self.usable("undo")?;
        self.forget_scopes();
        self.wrote.set(false);
        self.run("undo", "ROLLBACK TO _dokit_call")?;
        self.run("undo", "RELEASE _dokit_call")?;
        self.end_deferral()
    }

    pub(super) fn commit_early(&self, batch: &Batch) -> Result<(), SqlError> {
        self.settle(batch)?;
        self.close_call()?;
        self.commit_calls()?;
        let opened = self.open_call();
        opened.inspect_err(|error| self.lose(error.to_string()))
    }

    pub(super) fn commit_calls(&self) -> Result<(), SqlError> {
        self.usable("commit")?;
        if !self.in_transaction() {
            return Ok(());
        }
        self.log.borrow_mut().lengthen();
        self.run("commit", "COMMIT /* _dokit_ */")
            .inspect_err(|error| {
                // Whatever it was: it may be durable or not.
                self.lose(error.to_string());
            })?;
        self.uncommitted.set(false);
        if self.emptied.take() {
            // What was committed is durable, whether or not this succeeds.
            let _ = self.shrink();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;
    use futures_executor::block_on;

    #[test]
    fn a_full_disk_ends_all_that_has_not_committed_until_the_engine_gives_it_up() {
        let calls = Calls::new(Sqlite::in_memory().unwrap());
        let sql = calls.database().sql();
        calls.begin().unwrap();
        let _ = sql.exec("CREATE TABLE t (a)", ()).unwrap();
        calls.keep(&Batch::new()).unwrap();
        calls.commit().unwrap();
        let pages = |pages: i64| {
            let database = calls.database.database();
            let limit = format!("PRAGMA max_page_count = {pages}");
            database
                .connection
                .query_row(&limit, [], |_| Ok(()))
                .unwrap();
        };
        pages(8);

        calls.begin().unwrap();
        let _ = sql.exec("INSERT INTO t VALUES (1)", ()).unwrap();
        calls.keep(&Batch::new()).unwrap();
        calls.begin().unwrap();
        let full = sql.exec("INSERT INTO t VALUES (zeroblob(100000))", ());
        let full = full.unwrap_err();
        assert!(matches!(full, SqlError::Engine { .. }), "{full:?}");
        let source = std::error::Error::source(&full).unwrap().to_string();
        assert_eq!(source, "database or disk is full");
        for after in [
            sql.exec("SELECT 1", ()).map(drop),
            calls.keep(&Batch::new()),
            calls.commit(),
            calls.begin(),
        ] {
            let after = after.unwrap_err();
            let again = std::error::Error::source(&after).unwrap().to_string();
            assert_eq!(again, source);
        }
        calls.abandon().unwrap();
        let rows = |query| sql.exec(query, ()).unwrap().one::<i64>().unwrap();
        assert_eq!(rows("SELECT count(*) FROM t"), 0);

        pages(1000);
        calls.begin().unwrap();
        let _ = sql
            .exec("INSERT INTO t VALUES (zeroblob(100000))", ())
            .unwrap();
        calls.keep(&Batch::new()).unwrap();
        calls.commit().unwrap();
        assert_eq!(rows("SELECT count(*) FROM t"), 1);
    }

    #[test]
    fn a_full_disk_outside_of_a_transaction_is_an_error_and_nothing_more() {
        let mut database = Sqlite::in_memory().unwrap();
        let sql = database.sql();
        let _ = sql.exec("CREATE TABLE t (a)", ()).unwrap();
        {
            let database = database.database();
            let limit = "PRAGMA max_page_count = 8";
            database
                .connection
                .query_row(limit, [], |_| Ok(()))
                .unwrap();
        }
        let large = "INSERT INTO t VALUES (zeroblob(100000))";
        let full = sql.exec(large, ()).unwrap_err();
        assert!(full.is_retryable(), "{full:?}");
        let full: Result<(), SqlError> = sql.transaction(|sql| {
            let _ = sql.exec("INSERT INTO t VALUES (1)", ())?;
            let _ = sql.exec(large, ());
            Ok(())
        });
        assert!(matches!(full, Err(SqlError::Engine { .. })), "{full:?}");
        let mut batch = Batch::new();
        batch.put("key", "1");
        block_on(database.commit(batch)).unwrap();
        let count = sql.exec("SELECT count(*) FROM t", ()).unwrap();
        assert_eq!(count.one::<i64>().unwrap(), 0);
    }
}
