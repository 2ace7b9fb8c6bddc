use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use dokit_storage::{Store, Timestamp, sql::SqlError, sqlite::Sqlite};
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
    params,
};

use crate::{
    Host,
    care::export::now,
    database::{BUSY, Database, FILE},
    error::DatabaseError,
};

/// Why no backup was made. There is none then, not even a part of one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// Something is there already.
    #[error("{path:?} exists already")]
    Exists {
        /// The folder that was to be made.
        path: PathBuf,
    },
    /// The folder or a file in it cannot be written.
    #[error("write the backup {path:?}")]
    Write {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database could not be copied.
    #[error("copy the database to {path:?}")]
    Copy {
        /// The folder.
        path: PathBuf,
        /// What SQLite said.
        source: DatabaseError,
    },
}

impl Host {
    /// Copies the whole store into `folder`, which must not exist yet, while the host serves: all that
    /// is durable at one moment; each object with SQL at a moment of its own, somewhat before that. When
    /// it returns, the copy is on disk. One is made at a time: a second waits.
    ///
    /// The copy is a data folder. To restore it, copy it to where it is wanted and start a host there:
    /// alarms that have fallen due since fire at once.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn backup(&self, folder: impl AsRef<Path>) -> Result<(), BackupError> {
        let folder = folder.as_ref().to_owned();
        let own = self.engine().own_databases();
        self.blocking(move |database: &Database| backup(database, &own, &folder))
            .await
    }
}

fn backup(database: &Database, own: &Path, folder: &Path) -> Result<(), BackupError> {
    // Two into one folder would write over each other.
    let _only = database.only_backup();
    let unwritable = |source| BackupError::Write {
        path: folder.to_owned(),
        source,
    };
    if folder.try_exists().map_err(unwritable)? {
        return Err(BackupError::Exists {
            path: folder.to_owned(),
        });
    }
    // Under another name until it is whole.
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    match fs::remove_dir_all(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error)),
        _ => {}
    }
    fs::create_dir_all(&partial).map_err(unwritable)?;
    let made = copy_all(database, own, &partial)
        .map_err(|source| BackupError::Copy {
            path: folder.to_owned(),
            source,
        })
        .and_then(|()| {
            sync_folder(&partial).map_err(unwritable)?;
            fs::rename(&partial, folder).map_err(unwritable)?;
            match folder.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => sync_folder(parent),
                _ => sync_folder(Path::new(".")),
            }
            .map_err(unwritable)
        });
    if made.is_err() {
        // What failed is what the caller has to hear of.
        let _ = fs::remove_dir_all(&partial);
    }
    made
}

/// The objects' own databases first. So whatever object is in one of them has its row in the shared
/// one, where its alarm is then put right.
fn copy_all(database: &Database, own: &Path, folder: &Path) -> Result<(), DatabaseError> {
    let mut alarms = Vec::new();
    let to = folder.join(own.file_name().unwrap_or_default());
    for file in files(own).map_err(|error| unreadable(own, &error))? {
        let copied = to.join(file.strip_prefix(own).unwrap_or(&file));
        let parent = copied.parent().unwrap_or(&to);
        fs::create_dir_all(parent).map_err(|error| unreadable(parent, &error))?;
        let source = open(&file).map_err(|error| DatabaseError::sqlite(&error))?;
        copy(&source, &copied).map_err(|error| DatabaseError::sqlite(&error))?;
        let alarm = alarm_of(&copied).map_err(|error| unreadable(&copied, &error))?;
        alarms.push((copied, alarm));
    }
    let shared = || {
        let path = folder.join(FILE);
        copy(&database.connect()?, &path)?;
        put_right(&path, &alarms)
    };
    shared().map_err(|error| DatabaseError::sqlite(&error))?;
    for folder in folders(&to) {
        sync_folder(&folder).map_err(|error| unreadable(&folder, &error))?;
    }
    Ok(())
}

fn unreadable(path: &Path, error: &dyn std::error::Error) -> DatabaseError {
    DatabaseError::new(format!("{}: {error}", path.display()))
}

/// The databases below a folder, which may not exist.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for folder in folders(folder) {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "sqlite")
            {
                found.push(path);
            }
        }
    }
    Ok(found)
}

/// A folder and all below it.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        if let Ok(entries) = fs::read_dir(&folder) {
            let below = entries.flatten().map(|entry| entry.path());
            left.extend(below.filter(|path| path.is_dir()));
            found.push(folder);
        }
    }
    found
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// In one step, so that the copy is of one moment. In a write-ahead log, it keeps no writer waiting.
fn copy(source: &Connection, path: &Path) -> rusqlite::Result<()> {
    let mut copy = Connection::open(path)?;
    // The copy is synced when it is committed: before that, nobody looks at it.
    copy.execute_batch("PRAGMA synchronous = FULL")?;
    let step = Backup::new(source, &mut copy)?.step(-1)?;
    match step {
        StepResult::Done => Ok(()),
        // With one step for all pages there is no other way to end, but by another process's lock.
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        )),
    }
}

fn alarm_of(path: &Path) -> Result<Option<Timestamp>, SqlError> {
    let database = Sqlite::open(path).map_err(|error| SqlError::engine("open", error))?;
    let alarm = now(database.alarm());
    alarm.map_err(|error| SqlError::engine("read the alarm", error))
}

/// Writes into the copy of the shared database when the alarms of the copied ones are due.
fn put_right(path: &Path, alarms: &[(PathBuf, Option<Timestamp>)]) -> rusqlite::Result<()> {
    let mut shared = open(path)?;
    let transaction = shared.transaction()?;
    for (file, alarm) in alarms {
        let name = |path: &Path| Some(path.file_stem()?.to_str()?.to_owned());
        let namespace = file.parent().and_then(Path::parent).and_then(name);
        let (Some(namespace), Some(id)) = (namespace, name(file)) else {
            continue;
        };
        transaction.execute(
            "UPDATE objects SET alarm = ?3 WHERE namespace = ?1 AND id = unhex(?2)",
            params![namespace, id, alarm.map(Timestamp::as_millis)],
        )?;
    }
    transaction.commit()?;
    // So that all of it is in the one file.
    shared.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
