use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    database::{Database, Mode},
    error::OpenError,
    open,
};
use crate::{
    Batch, Error, KeyRange, Limits, Result, Store, Timestamp,
    sql::{Cursor, Sql, SqlAccess, SqlEngine, SqlError, SqlLimits, SqlValue},
};

/// A SQLite database that holds keys and an alarm, as a [`Store`], and the user's tables.
///
/// Clones share one connection: operations come one after the other, and within a
/// [`transaction`](Sql::transaction) those of every clone belong to it, a [`commit`](Store::commit)
/// of keys too. So keys and rows that belong together are written in one.
///
/// It is dropped without a goodbye; what has committed is on disk. All of it is synchronous: on a
/// runtime with few threads, commit on one that may block.
///
/// | set by | default |
/// |---|---|
/// | [`with_limits`](Self::with_limits) | [`Limits::default`] |
/// | [`with_sql_limits`](Self::with_sql_limits) | [`SqlLimits::default`] |
#[derive(Clone, Debug)]
pub struct Sqlite {
    database: Arc<Mutex<Database>>,
    limits: Limits,
}

impl Sqlite {
    /// Opens the database at `path`, made where there is none. Beside it SQLite keeps its log in
    /// `-wal` and `-shm` files while it is open: they belong to it.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: not a database of dokit's, of a newer format, or not to be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        Ok(Self::new(Database::new(open::open(path.as_ref())?)?))
    }

    /// A database in memory, which ends with its last handle.
    ///
    /// # Errors
    ///
    /// [`OpenError::Database`] where there is no memory for it.
    pub fn in_memory() -> Result<Self, OpenError> {
        Ok(Self::new(Database::new(open::in_memory()?)?))
    }

    fn new(database: Database) -> Self {
        Self {
            database: Arc::new(Mutex::new(database)),
            limits: Limits::default(),
        }
    }

    /// The same database seen through other limits of keys and values.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same database with other limits of statements, for all of its handles.
    #[must_use]
    pub fn with_sql_limits(self, limits: SqlLimits) -> Self {
        self.database().limit(limits);
        self
    }

    /// The handle to its tables.
    #[must_use]
    pub fn sql(&self) -> Sql {
        Sql::new(self.clone())
    }

    pub(super) fn database(&self) -> MutexGuard<'_, Database> {
        // A panic leaves the connection whole, and an open transaction is its owner's to end.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store's error of a database's.
fn refused(operation: &'static str) -> impl Fn(SqlError) -> Error {
    move |error| match error {
        SqlError::ReadOnly => Error::Refused {
            operation: "write",
            reason: "no call that takes `&mut self` is running",
        },
        other => Error::engine(operation, other),
    }
}

impl Store for Sqlite {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.database().get(key).map_err(refused("read"))
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.database().list(range).map_err(refused("list"))
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.database().alarm().map_err(refused("read the alarm"))
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        self.limits().check(&batch)?;
        let database = self.database();
        let committed = match database.mode.get() {
            Mode::Call if !database.in_scope() => database.commit_early(&batch),
            Mode::Reading if batch.is_empty() => database.commit_calls(),
            Mode::Reading => Err(SqlError::ReadOnly),
            Mode::Alone | Mode::Call if batch.is_empty() => database.usable("commit"),
            Mode::Alone | Mode::Call => database.scoped(|| database.apply(&batch)),
        };
        committed.map_err(refused("commit"))
    }

    fn limits(&self) -> Limits {
        let row = usize::try_from(self.database().limits.get().value_bytes).unwrap_or(usize::MAX);
        let key_bytes = row / 8;
        Limits {
            key_bytes: self.limits.key_bytes.min(key_bytes),
            // A row has a few bytes beside its key and its value.
            value_bytes: self.limits.value_bytes.min(row - key_bytes - 64),
            ..self.limits
        }
    }

    fn sql(&self) -> Option<Sql> {
        Some(Self::sql(self))
    }
}

impl SqlEngine for Sqlite {
    fn exec(
        &self,
        query: &str,
        params: &[SqlValue],
        access: SqlAccess,
    ) -> Result<Cursor, SqlError> {
        self.database().exec(query, params, access)
    }

    fn transaction(&self, body: &mut dyn FnMut() -> bool) -> Result<(), SqlError> {
        /// Undoes what the body wrote where it panics.
        struct Open<'a>(Option<&'a Sqlite>);
        impl Drop for Open<'_> {
            fn drop(&mut self) {
                if let Some(sqlite) = self.0 {
                    // A failure is told to whoever uses the transaction around it, if there is one.
                    let _ = sqlite.database().leave(false);
                }
            }
        }
        self.database().enter()?;
        let mut open = Open(Some(self));
        let keep = body();
        open.0 = None;
        self.database().leave(keep)
    }

    fn check_deferred(&self) -> Result<(), SqlError> {
        let database = self.database();
        database.usable("commit")?;
        match database.wrote.get() {
            true => database.check_deferred(),
            false => Ok(()),
        }
    }

    fn database_size(&self) -> Result<u64, SqlError> {
        self.database().size()
    }
}
