//! The one SQLite database that the key-value objects of a host share.
//!
//! Readers are a few connections of their own; all writing is [`crate::writer`]'s. In WAL mode they do not
//! wait for each other, and a read that starts after a commit has returned sees it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use dokit_client::ObjectId;
use dokit_storage::{AlarmChange, Batch, KeyRange, Timestamp, sqlite::LogFile};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::{DatabaseError, StartError};

/// `dokt`: what `file` and SQLite tell our databases by.
const APPLICATION_ID: i64 = 0x646f_6b74;

/// The format that this release writes. Formats it can read are 1 to this.
const FORMAT: i64 = 1;

/// The file of the shared database.
pub(crate) const FILE: &str = "objects.sqlite";
const LOCK: &str = "lock";
const READERS: usize = 4;

/// How long a write waits for another process that has the database locked.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

/// Half of what SQLite takes by itself: a small commit writes one page to the log. Still smaller ones
/// make large values slow.
const PAGE_BYTES: u32 = 2048;

// `objects.alarm` is the object's alarm itself, not a copy of it: keys and alarm are in one commit.
const TABLES: &str = "
    CREATE TABLE objects (
        object INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL,
        id BLOB NOT NULL,
        name TEXT,
        alarm INTEGER,
        UNIQUE (namespace, id)
    ) STRICT;
    CREATE INDEX alarms ON objects (alarm) WHERE alarm IS NOT NULL;
    CREATE TABLE entries (
        object INTEGER NOT NULL,
        key TEXT NOT NULL,
        value TEXT NOT NULL,
        PRIMARY KEY (object, key)
    ) STRICT, WITHOUT ROWID;
";

// `INDEXED BY`, in each: otherwise SQLite goes through all objects of the namespaces, by their index, to
// find the few that have an alarm. With it a statement that cannot use the index is refused.

const DUE: &str = "
    SELECT object, namespace, id, alarm FROM objects INDEXED BY alarms
    WHERE alarm <= ?1 AND namespace IN (SELECT value FROM json_each(?3))
    ORDER BY alarm, object LIMIT ?2";

const NEXT_ALARM: &str = "
    SELECT alarm FROM objects INDEXED BY alarms
    WHERE alarm > ?1 AND namespace IN (SELECT value FROM json_each(?2))
    ORDER BY alarm LIMIT 1";

const PAGE: &str = "
    SELECT object, namespace, id, alarm FROM objects INDEXED BY alarms
    WHERE alarm >= ?1 AND (alarm > ?1 OR object > ?2) AND alarm <= ?3
        AND namespace IN (SELECT value FROM json_each(?5))
    ORDER BY alarm, object LIMIT ?4";

const ALARMS_NOT_SERVED: &str = "
    SELECT namespace, count(*) FROM objects INDEXED BY alarms
    WHERE alarm IS NOT NULL AND namespace NOT IN (SELECT value FROM json_each(?1))
    GROUP BY namespace";

/// The number of an object's row: what its entries are filed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Object(i64);

#[cfg(test)]
impl Object {
    pub(crate) fn of(number: i64) -> Self {
        Self(number)
    }
}

/// An alarm that is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) object: Object,
    pub(crate) namespace: String,
    pub(crate) id: [u8; 32],
    pub(crate) at: Timestamp,
}

/// How far one is who goes through the alarms of a span of time.
#[derive(Debug)]
pub(crate) struct Page {
    after: (Timestamp, Object),
    until: Timestamp,
}

impl Page {
    /// The alarms later than `after`, and not later than `until`.
    pub(crate) fn between(after: Timestamp, until: Timestamp) -> Self {
        let after = (after, Object(i64::MAX));
        Self { after, until }
    }
}

/// The reading side of the database.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    readers: Vec<Mutex<Connection>>,
    /// The namespaces that are served, as a JSON array: alarms of others wait for a run in which they
    /// are.
    served: String,
    /// Held as long as the host runs: a second one on the folder is refused.
    lock: Mutex<Option<Lock>>,
    /// Held by the one backup that is made.
    backup: Mutex<()>,
}

/// The right to a data folder. Dropped, another host may have it.
#[derive(Debug)]
struct Lock(File);

impl Lock {
    fn of(folder: &Path) -> Result<Self, fs::TryLockError> {
        let file = File::create(folder.join(LOCK)).map_err(fs::TryLockError::Error)?;
        file.try_lock()?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // To close it is not enough: a program that is just being started has it open too, for a moment. One
        // that cannot be unlocked is closed.
        let _ = self.0.unlock();
    }
}

/// The connection that writes.
#[derive(Debug)]
pub(crate) struct WriteConnection {
    pub(crate) connection: Connection,
    pub(crate) log: LogFile,
}

/// The connections of those who change the database.
#[derive(Debug)]
pub(crate) struct Connections {
    pub(crate) writer: WriteConnection,
    pub(crate) checkpoints: Connection,
}

/// Opens the database of a data folder, made where there is none.
pub(crate) fn open<'n>(
    folder: &Path,
    namespaces: impl Iterator<Item = &'n str>,
) -> Result<(Database, Connections), StartError> {
    let unusable = |source| StartError::DataFolder {
        path: folder.to_owned(),
        source,
    };
    fs::create_dir_all(folder).map_err(unusable)?;
    let lock = Lock::of(folder).map_err(|error| match error {
        fs::TryLockError::WouldBlock => StartError::InUse {
            path: folder.to_owned(),
        },
        fs::TryLockError::Error(source) => unusable(source),
    })?;
    let path = folder.join(FILE);
    let log = LogFile::of(&path);
    log.sync().map_err(|error| StartError::Database {
        path: path.clone(),
        source: DatabaseError::new(format!("sync its log: {error}")),
    })?;
    let writer = WriteConnection {
        connection: open_writer(&path)?,
        log,
    };
    let unreadable = |error| unreadable(&path, &error);
    let checkpoints = open_connection(&path).map_err(unreadable)?;
    let readers = (0..READERS)
        .map(|_| open_reader(&path).map(Mutex::new))
        .collect::<rusqlite::Result<_>>()
        .map_err(unreadable)?;
    // Namespaces are letters, digits and hyphens: they need no escapes.
    let served: Vec<String> = namespaces.map(|name| format!("\"{name}\"")).collect();
    let database = Database {
        path: path.clone(),
        readers,
        served: format!("[{}]", served.join(",")),
        lock: Mutex::new(Some(lock)),
        backup: Mutex::default(),
    };
    database
        .warn_of_alarms_not_served()
        .map_err(|source| StartError::Database { path, source })?;
    let connections = Connections {
        writer,
        checkpoints,
    };
    Ok((database, connections))
}

fn open_writer(path: &Path) -> Result<Connection, StartError> {
    let unreadable = |error| unreadable(path, &error);
    let mut connection = Connection::open(path).map_err(unreadable)?;
    // Of a new database; one that is there keeps its own.
    connection
        .pragma_update(None, "page_size", PAGE_BYTES)
        .map_err(unreadable)?;
    // Before anything is changed: it may be somebody else's.
    let transaction = connection.transaction().map_err(unreadable)?;
    let number = |sql| transaction.query_row(sql, [], |row| row.get::<_, i64>(0));
    let application = number("PRAGMA application_id").map_err(unreadable)?;
    let format = number("PRAGMA user_version").map_err(unreadable)?;
    let tables = number("SELECT count(*) FROM sqlite_schema").map_err(unreadable)?;
    if application == 0 && tables == 0 {
        transaction
            .execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {FORMAT}; {TABLES}"
            ))
            .map_err(unreadable)?;
    } else if application != APPLICATION_ID {
        return Err(StartError::NotOurs {
            path: path.to_owned(),
        });
    } else if format > FORMAT {
        return Err(StartError::NewerFormat {
            path: path.to_owned(),
            found: format,
            supported: FORMAT,
        });
    }
    transaction.commit().map_err(unreadable)?;
    prepare(&connection).map_err(unreadable)?;
    // Once, so that the directory entries of a new folder are on disk before anything is answered.
    for folder in path
        .parent()
        .into_iter()
        .flat_map(|own| [Some(own), own.parent()])
    {
        if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty())
            && let Ok(folder) = File::open(folder)
        {
            // Not every file system can sync a folder; one that cannot needs no such help.
            let _ = folder.sync_all();
        }
    }
    Ok(connection)
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = open_connection(path)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

fn open_connection(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    prepare(&connection)?;
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(32);
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        // A file system without shared memory, such as some network ones.
        return Err(rusqlite::Error::InvalidPath(
            format!("its file system cannot hold a write-ahead log (journal mode {mode})").into(),
        ));
    }
    connection.busy_timeout(BUSY)?;
    // FULL: a commit returns only after its WAL frames are synced. Checkpoints are made beside the writer.
    // A log that has grown beyond its limit is cut when it begins anew.
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA cache_size = -16000;",
    )
}

fn unreadable(path: &Path, error: &rusqlite::Error) -> StartError {
    StartError::Database {
        path: PathBuf::from(path),
        source: DatabaseError::sqlite(error),
    }
}

impl Database {
    /// The row of an object and the name it is known by, where it has ever written anything.
    pub(crate) fn find(
        &self,
        namespace: &str,
        id: &ObjectId,
    ) -> Result<Option<(Object, Option<String>)>, DatabaseError> {
        self.read(|reader| {
            reader
                .prepare_cached(
                    "SELECT object, name FROM objects WHERE namespace = ?1 AND id = ?2",
                )?
                .query_row(params![namespace, id.as_bytes()], |row| {
                    Ok((Object(row.get(0)?), row.get(1)?))
                })
                .optional()
        })
    }

    /// Reads one entry.
    pub(crate) fn get(&self, object: Object, key: &str) -> Result<Option<String>, DatabaseError> {
        self.read(|reader| {
            reader
                .prepare_cached("SELECT value FROM entries WHERE object = ?1 AND key = ?2")?
                .query_row(params![object.0, key], |row| row.get(0))
                .optional()
        })
    }

    /// Lists entries in the order of the range.
    pub(crate) fn list(
        &self,
        object: Object,
        range: &KeyRange,
    ) -> Result<Vec<(String, String)>, DatabaseError> {
        let order = if range.reverse { "DESC" } else { "ASC" };
        // Two texts, not one with `?3 IS NULL OR`, which would keep SQLite from using the bound.
        let end = if range.end.is_some() {
            "AND key < ?3"
        } else {
            "AND ?3 IS NULL"
        };
        let sql = format!(
            "SELECT key, value FROM entries WHERE object = ?1 AND key >= ?2 {end} \
             ORDER BY key {order} LIMIT ?4"
        );
        let limit = range
            .limit
            .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        self.read(|reader| {
            reader
                .prepare_cached(&sql)?
                .query_map(params![object.0, range.start, range.end, limit], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        })
    }

    /// Reads an object's alarm.
    pub(crate) fn alarm(&self, object: Object) -> Result<Option<Timestamp>, DatabaseError> {
        self.read(|reader| {
            let alarm: Option<Option<i64>> = reader
                .prepare_cached("SELECT alarm FROM objects WHERE object = ?1")?
                .query_row(params![object.0], |row| row.get(0))
                .optional()?;
            Ok(alarm.flatten().map(Timestamp::from_millis))
        })
    }

    /// The alarms that are due at `now`, earliest first, `limit` at most.
    pub(crate) fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>, DatabaseError> {
        self.read(|reader| {
            reader
                .prepare_cached(DUE)?
                .query_map(
                    params![
                        now.as_millis(),
                        i64::try_from(limit).unwrap_or(i64::MAX),
                        self.served
                    ],
                    due,
                )?
                .collect()
        })
    }

    /// How many alarms are due at `now`, and when the first of them was set for.
    pub(crate) fn late(&self, now: Timestamp) -> Result<(u64, Option<Timestamp>), DatabaseError> {
        self.read(|reader| {
            let sql =
                "SELECT count(*), min(alarm) FROM objects INDEXED BY alarms WHERE alarm <= ?1";
            let mut statement = reader.prepare_cached(sql)?;
            statement.query_row([now.as_millis()], |row| {
                let first: Option<i64> = row.get(1)?;
                let count: i64 = row.get(0)?;
                Ok((count.unsigned_abs(), first.map(Timestamp::from_millis)))
            })
        })
    }

    /// The next alarms that one comes to who goes through them, `limit` at most; none at the end.
    pub(crate) fn next_page(
        &self,
        page: &mut Page,
        limit: usize,
    ) -> Result<Vec<Due>, DatabaseError> {
        let (at, object) = page.after;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let found: Vec<Due> = self.read(|reader| {
            let until = page.until.as_millis();
            let bounds = params![at.as_millis(), object.0, until, limit, self.served];
            reader
                .prepare_cached(PAGE)?
                .query_map(bounds, due)?
                .collect()
        })?;
        if let Some(last) = found.last() {
            page.after = (last.at, last.object);
        }
        Ok(found)
    }

    /// The earliest alarm later than `after`.
    pub(crate) fn next_alarm(&self, after: Timestamp) -> Result<Option<Timestamp>, DatabaseError> {
        self.read(|reader| {
            let next: Option<i64> = reader
                .prepare_cached(NEXT_ALARM)?
                .query_row(params![after.as_millis(), self.served], |row| row.get(0))
                .optional()?;
            Ok(next.map(Timestamp::from_millis))
        })
    }

    /// Says once in the log whose alarms will not fire in this run.
    fn warn_of_alarms_not_served(&self) -> Result<(), DatabaseError> {
        let waiting: Vec<(String, i64)> = self.read(|reader| {
            reader
                .prepare(ALARMS_NOT_SERVED)?
                .query_map(params![self.served], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })?;
        for (namespace, alarms) in waiting {
            tracing::warn!(
                namespace,
                alarms,
                "alarms of a namespace that is not served will wait"
            );
        }
        Ok(())
    }

    /// Another connection that reads, for what takes long.
    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        open_reader(&self.path)
    }

    /// Waits for a backup that is being made. There is none beside it for as long as the answer is held.
    pub(crate) fn only_backup(&self) -> MutexGuard<'_, ()> {
        self.backup.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets another host have the data folder. Nothing is written after this.
    pub(crate) fn unlock(&self) {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        *lock = None;
    }

    fn read<R>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, DatabaseError> {
        query(&self.reader()).map_err(|error| DatabaseError::sqlite(&error))
    }

    /// A connection that nobody uses, or the first one's turn. A read takes microseconds, so waiting
    /// for it here is shorter than a hop to another thread.
    fn reader(&self) -> MutexGuard<'_, Connection> {
        let free = self
            .readers
            .iter()
            .find_map(|reader| match reader.try_lock() {
                Ok(reader) => Some(reader),
                Err(TryLockError::Poisoned(reader)) => Some(reader.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            });
        free.unwrap_or_else(|| {
            let first = &self.readers[0];
            first.lock().unwrap_or_else(PoisonError::into_inner)
        })
    }
}

fn due(row: &Row<'_>) -> rusqlite::Result<Due> {
    Ok(Due {
        object: Object(row.get(0)?),
        namespace: row.get(1)?,
        id: row.get(2)?,
        at: Timestamp::from_millis(row.get(3)?),
    })
}

/// Applies one object's batch within the transaction that is open on `connection`.
pub(crate) fn apply(
    connection: &Connection,
    namespace: &str,
    id: &ObjectId,
    known: Option<Object>,
    batch: &Batch,
) -> rusqlite::Result<Object> {
    let object = match known {
        Some(object) => object,
        None => Object(
            connection
                .prepare_cached(
                    "INSERT INTO objects (namespace, id, name) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (namespace, id) DO UPDATE SET name = coalesce(name, excluded.name) \
                     RETURNING object",
                )?
                .query_row(params![namespace, id.as_bytes(), id.name()], |row| {
                    row.get(0)
                })?,
        ),
    };
    if batch.deletes_all() {
        connection
            .prepare_cached("DELETE FROM entries WHERE object = ?1")?
            .execute(params![object.0])?;
    }
    for (key, value) in batch.writes() {
        match value {
            Some(value) => connection
                .prepare_cached(
                    "INSERT INTO entries (object, key, value) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (object, key) DO UPDATE SET value = excluded.value",
                )?
                .execute(params![object.0, key, value])?,
            None => connection
                .prepare_cached("DELETE FROM entries WHERE object = ?1 AND key = ?2")?
                .execute(params![object.0, key])?,
        };
    }
    let alarm = match batch.alarm() {
        AlarmChange::Keep => return Ok(object),
        AlarmChange::Set(at) => Some(at.as_millis()),
        AlarmChange::Delete => None,
    };
    connection
        .prepare_cached("UPDATE objects SET alarm = ?2 WHERE object = ?1")?
        .execute(params![object.0, alarm])?;
    Ok(object)
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;

    #[test]
    fn a_folder_is_free_though_a_program_that_is_being_started_has_its_lock_open() {
        let data = tempdir().unwrap();
        let lock = Lock::of(data.path()).unwrap();
        assert!(Lock::of(data.path()).is_err());
        // As a process that was forked has it, until it has become the program.
        let theirs = lock.0.try_clone().unwrap();
        drop(lock);
        drop(Lock::of(data.path()).unwrap());
        drop(theirs);
    }

    /// A killed process does not show whether a commit was synced, so no crash test would notice.
    #[test]
    fn a_commit_is_synced_before_it_returns() {
        let data = tempdir().unwrap();
        let (_database, connections) = open(data.path(), std::iter::empty()).unwrap();
        // Checkpoints too: the log may begin anew only when the database has what was in it.
        for connection in [connections.writer.connection, connections.checkpoints] {
            let pragma = |name| {
                let value = |row: &Row<'_>| row.get::<_, rusqlite::types::Value>(0);
                connection.pragma_query_value(None, name, value).unwrap()
            };
            assert_eq!(pragma("journal_mode"), "wal".to_owned().into());
            assert_eq!(pragma("synchronous"), 2.into(), "FULL");
        }
    }

    #[test]
    fn what_is_asked_of_alarms_passes_over_the_objects_that_have_none() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(TABLES).unwrap();
        for statement in [DUE, NEXT_ALARM, PAGE, ALARMS_NOT_SERVED] {
            let mut plan = connection
                .prepare(&format!("EXPLAIN QUERY PLAN {statement}"))
                .unwrap();
            let unbound = vec![rusqlite::types::Null; plan.parameter_count()];
            let steps = plan
                .query_map(rusqlite::params_from_iter(unbound), |row| row.get(3))
                .unwrap();
            let steps: Vec<String> = steps.collect::<Result<_, _>>().unwrap();
            let of_objects: Vec<_> = steps
                .iter()
                .filter(|step| step.contains(" objects "))
                .collect();
            assert!(
                matches!(of_objects[..], [step] if step.starts_with("SEARCH objects USING INDEX alarms")),
                "{steps:?}"
            );
        }
    }
}
