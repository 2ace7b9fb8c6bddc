//! How a database is opened: whose it is, its format, and how its connection is set.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, config::DbConfig};

use super::{
    error::{OpenError, message},
    log::LogFile,
};

/// `doks`: what `file` and SQLite tell these databases by.
const APPLICATION_ID: i64 = 0x646f_6b73;

/// The format that this release writes. Formats it can read are 1 to this.
const FORMAT: i64 = 1;

// Migrations have a table of their own, made by `crate::sql` on any engine when there is one.
const TABLES: &str = "
    CREATE TABLE _dokit_keys (
        key TEXT PRIMARY KEY NOT NULL,
        value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE _dokit_alarm (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        at INTEGER NOT NULL
    ) STRICT;
";

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_CREATE)
    .union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

pub(super) fn in_memory() -> Result<Connection, OpenError> {
    let path = Path::new(":memory:");
    let failed = |error| failed(path, &error);
    let connection = Connection::open_in_memory_with_flags(FLAGS).map_err(failed)?;
    prepare(&connection, path)?;
    Ok(connection)
}

pub(super) fn open(path: &Path) -> Result<Connection, OpenError> {
    // Absolute, so that no name is taken for a URI or for a database in memory.
    let path = std::path::absolute(path).map_err(|source| OpenError::Database {
        path: path.to_owned(),
        source: source.into(),
    })?;
    let log = LogFile::of(&path);
    log.sync().map_err(|source| OpenError::Database {
        path: path.clone(),
        source: source.into(),
    })?;
    let failed = |error| failed(&path, &error);
    let connection = Connection::open_with_flags(&path, FLAGS).map_err(failed)?;
    let made = prepare(&connection, &path)?;
    if made && let Some(Ok(folder)) = path.parent().map(File::open) {
        // So that the file's name is on disk before its first commit is. Not every file system can
        // sync a folder; one that cannot needs no such help.
        let _ = folder.sync_all();
    }
    Ok(connection)
}

fn failed(path: &Path, error: &rusqlite::Error) -> OpenError {
    OpenError::Database {
        path: path.to_owned(),
        source: message(error).into(),
    }
}

/// Checks whose database it is, makes the tables of a new one, and says whether it was new.
fn prepare(connection: &Connection, path: &Path) -> Result<bool, OpenError> {
    let failed = |error| failed(path, &error);
    let number = |sql| {
        let row = connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        row.map_err(failed)
    };
    connection
        .execute_batch("PRAGMA busy_timeout = 10000")
        .map_err(failed)?;
    // Before anything is changed: it may be somebody else's.
    let application = number("PRAGMA application_id")?;
    let format = number("PRAGMA user_version")?;
    let new = application == 0 && number("SELECT count(*) FROM sqlite_schema")? == 0;
    if !new && application != APPLICATION_ID {
        return Err(OpenError::NotOurs {
            path: PathBuf::from(path),
        });
    }
    if format > FORMAT && !new {
        return Err(OpenError::NewerFormat {
            path: PathBuf::from(path),
            found: format,
            supported: FORMAT,
        });
    }
    let mode: String = connection
        .query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))
        .map_err(failed)?;
    if !["wal", "memory"].contains(&mode.as_str()) {
        // A file system without shared memory, such as some network ones.
        return Err(OpenError::Database {
            path: PathBuf::from(path),
            source: format!("its file system cannot hold a write-ahead log (journal mode {mode})")
                .into(),
        });
    }
    // FULL: a commit returns only after its WAL frames are synced. MEMORY: else each savepoint sets 64 KiB
    // aside for a journal in a temporary file, which makes calls five times slower.
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY",
        )
        .map_err(failed)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
        .map_err(failed)?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)
        .map_err(failed)?;
    if new {
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION_ID}; \
                 PRAGMA user_version = {FORMAT}; {TABLES} COMMIT;"
            ))
            .map_err(failed)?;
    }
    Ok(new)
}
