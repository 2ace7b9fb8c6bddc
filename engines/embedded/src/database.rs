//! The one SQLite database that the key-value objects of a host share.
//!
//! Readers are a few connections of their own; all writing is [`crate::writer`]'s. In WAL mode they do not
//! wait for each other, and a read that starts after a commit has returned sees it.

mod open;

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
    time::Duration,
};

use dokit_client::ObjectId;
use dokit_storage::{AlarmChange, Batch, KeyRange, Timestamp, sqlite::LogFile};
use rusqlite::{Connection, OptionalExtension, Row, params};

use open::{Lock, open_reader};

use crate::error::DatabaseError;

pub(crate) use open::open;

/// The file of the shared database.
pub(crate) const FILE: &str = "objects.sqlite";

/// How long a write waits for another process that has the database locked.
pub(crate) const BUSY: Duration = Duration::from_secs(10);

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
    use super::{open::TABLES, *};

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
