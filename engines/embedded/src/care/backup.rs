use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, backup::Backup};

use crate::{
    Host,
    database::{Database, FILE},
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
    /// is durable at one moment. When it returns, the copy is on disk.
    ///
    /// The copy is a data folder. To restore it, copy it to where it is wanted and start a host there:
    /// alarms that have fallen due since fire at once.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub async fn backup(&self, folder: impl AsRef<Path>) -> Result<(), BackupError> {
        let folder = folder.as_ref().to_owned();
        self.blocking(move |database: &Database| backup(database, &folder))
            .await
    }
}

fn backup(database: &Database, folder: &Path) -> Result<(), BackupError> {
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
    let made = copy(database, &partial.join(FILE))
        .map_err(|error| BackupError::Copy {
            path: folder.to_owned(),
            source: DatabaseError::sqlite(&error),
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

/// In one step, so that the copy is of one moment. In a write-ahead log, it keeps no writer waiting.
fn copy(database: &Database, path: &Path) -> rusqlite::Result<()> {
    let source = database.connect()?;
    let mut copy = Connection::open(path)?;
    // The copy is synced when it is committed: before that, nobody looks at it.
    copy.execute_batch("PRAGMA synchronous = FULL")?;
    let step = Backup::new(&source, &mut copy)?.step(-1)?;
    match step {
        rusqlite::backup::StepResult::Done => Ok(()),
        // With one step for all pages there is no other way to end, but by another process's lock.
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        )),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
