//! How the shared database is opened: its folder, its format, and how its connections are set.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Mutex,
};

use dokit_storage::sqlite::LogFile;
use rusqlite::Connection;

use super::{BUSY, Connections, Database, FILE, WriteConnection};
use crate::error::{DatabaseError, StartError};

/// `dokt`: what `file` and SQLite tell our databases by.
const APPLICATION_ID: i64 = 0x646f_6b74;

/// The format that this release writes. Formats it can read are 1 to this.
const FORMAT: i64 = 1;

const LOCK: &str = "lock";
const READERS: usize = 4;

/// Half of what SQLite takes by itself: a small commit writes one page to the log. Still smaller ones
/// make large values slow.
const PAGE_BYTES: u32 = 2048;

// `objects.alarm` is the object's alarm itself, not a copy of it: keys and alarm are in one commit.
pub(super) const TABLES: &str = "
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

/// The right to a data folder. Dropped, another host may have it.
#[derive(Debug)]
pub(super) struct Lock(File);

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

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
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

#[cfg(test)]
mod tests {
    use rusqlite::Row;
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
}
