use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, backup::Backup};

use super::own;
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
    /// is durable at one moment. Objects that have SQL are each of a moment of their own, shortly before
    /// that of the others. When it returns, the copy is on disk.
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
    let uncopied = |error| BackupError::Copy {
        path: folder.to_owned(),
        source: DatabaseError::sqlite(&error),
    };
    // Those of single objects first: then there is a row for each of them in the shared one.
    let made = own::copy_all(
        &database.folder().join(own::FOLDER),
        &partial.join(own::FOLDER),
    )
    .map_err(|failed| match failed {
        own::Failed::Write(source) => unwritable(source),
        own::Failed::Copy(error) => uncopied(error),
    })
    .and_then(|alarms| {
        let file = partial.join(FILE);
        let source = database.connect().map_err(uncopied)?;
        copy(&source, &file).map_err(uncopied)?;
        own::put_right(&file, &alarms).map_err(uncopied)
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
pub(super) fn copy(source: &Connection, path: &Path) -> rusqlite::Result<()> {
    let mut copy = Connection::open(path)?;
    // The copy is synced when it is committed: before that, nobody looks at it.
    copy.execute_batch("PRAGMA synchronous = FULL")?;
    let step = Backup::new(source, &mut copy)?.step(-1)?;
    match step {
        rusqlite::backup::StepResult::Done => Ok(()),
        // With one step for all pages there is no other way to end, but by another process's lock.
        _ => Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY),
            None,
        )),
    }
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
