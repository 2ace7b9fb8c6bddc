//! Copies of the databases that objects have to themselves.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use dokit_client::ObjectId;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use super::backup::{copy, sync_folder};

pub(super) use crate::own::FOLDER;

/// Why they were not copied.
pub(super) enum Failed {
    Write(io::Error),
    Copy(rusqlite::Error),
}

/// The alarm that an object's copy holds.
pub(super) struct Alarm {
    namespace: String,
    id: ObjectId,
    at: Option<i64>,
}

/// Copies each database below `from` to the same place below `to`, each of one moment.
pub(super) fn copy_all(from: &Path, to: &Path) -> Result<Vec<Alarm>, Failed> {
    let mut alarms = Vec::new();
    for namespace in entries(from)? {
        let name = file_name(&namespace);
        for folder in entries(&namespace)? {
            let target = to.join(&name).join(file_name(&folder));
            fs::create_dir_all(&target).map_err(Failed::Write)?;
            for file in entries(&folder)? {
                let hex = file_name(&file);
                let id = hex.strip_suffix(".sqlite").map(str::parse::<ObjectId>);
                // Beside it is what SQLite keeps while it is open.
                let Some(Ok(id)) = id else {
                    continue;
                };
                let at = copy_one(&file, &target.join(&hex)).map_err(Failed::Copy)?;
                let namespace = name.clone();
                alarms.push(Alarm { namespace, id, at });
            }
            sync_folder(&target).map_err(Failed::Write)?;
        }
        sync_folder(&to.join(&name)).map_err(Failed::Write)?;
    }
    if !alarms.is_empty() {
        sync_folder(to).map_err(Failed::Write)?;
    }
    Ok(alarms)
}

fn copy_one(from: &Path, to: &Path) -> rusqlite::Result<Option<i64>> {
    let source = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    source.execute_batch("PRAGMA busy_timeout = 10000")?;
    copy(&source, to)?;
    let copied = Connection::open(to)?;
    // One that was never used may not even have its tables.
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = '_dokit_alarm'";
    if copied.query_row(tables, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(None);
    }
    let alarm = "SELECT at FROM _dokit_alarm";
    copied.query_row(alarm, [], |row| row.get(0)).optional()
}

/// Has the copy of the shared database say of alarms what the copies of the objects say.
pub(super) fn put_right(file: &Path, alarms: &[Alarm]) -> rusqlite::Result<()> {
    if alarms.is_empty() {
        return Ok(());
    }
    let mut copied = Connection::open(file)?;
    copied.execute_batch("PRAGMA synchronous = FULL")?;
    let transaction = copied.transaction()?;
    for Alarm { namespace, id, at } in alarms {
        transaction
            .prepare_cached("UPDATE objects SET alarm = ?3 WHERE namespace = ?1 AND id = ?2")?
            .execute(params![namespace, id.as_bytes(), at])?;
    }
    transaction.commit()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Failed::Write)?,
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<io::Result<_>>().map_err(Failed::Write)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
