//! The keys and the alarm, in tables of ours.

use rusqlite::{OptionalExtension, params};

use super::database::Database;
use crate::{AlarmChange, Batch, KeyRange, Timestamp, sql::SqlError};

impl Database {
    pub(super) fn get(&self, key: &str) -> Result<Option<String>, SqlError> {
        self.query("read", |database| {
            database
                .ours("SELECT value FROM _dokit_keys WHERE key = ?1")?
                .query_row(params![key], |row| row.get(0))
                .optional()
        })
    }

    pub(super) fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>, SqlError> {
        let order = if range.reverse { "DESC" } else { "ASC" };
        // Two texts, not one with `?2 IS NULL OR`, which would keep SQLite from using the bound.
        let end = if range.end.is_some() {
            "AND key < ?2"
        } else {
            "AND ?2 IS NULL"
        };
        let sql = format!(
            "SELECT key, value FROM _dokit_keys WHERE key >= ?1 {end} ORDER BY key {order} LIMIT ?3"
        );
        let limit = range
            .limit
            .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
        self.query("list", |database| {
            database
                .ours(&sql)?
                .query_map(params![range.start, range.end, limit], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        })
    }

    pub(super) fn alarm(&self) -> Result<Option<Timestamp>, SqlError> {
        let at: Option<i64> = self.query("read the alarm", |database| {
            database
                .ours("SELECT at FROM _dokit_alarm")?
                .query_row([], |row| row.get(0))
                .optional()
        })?;
        Ok(at.map(Timestamp::from_millis))
    }

    pub(super) fn size(&self) -> Result<u64, SqlError> {
        self.usable("database size")?;
        let size = self.number(
            "database size",
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size() \
             /* _dokit_ */",
        )?;
        Ok(u64::try_from(size).unwrap_or_default())
    }

    /// Applies a batch within the transaction that is open.
    pub(super) fn apply(&self, batch: &Batch) -> Result<(), SqlError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.wrote.set(true);
        if batch.deletes_all() {
            self.emptied.set(true);
            self.query("commit", |database| {
                let empty = "DELETE FROM _dokit_keys; DELETE FROM _dokit_alarm";
                database.connection.execute_batch(empty)
            })?;
        }
        self.query("commit", |database| {
            for (key, value) in batch.writes() {
                match value {
                    Some(value) => database
                        .ours(
                            "INSERT INTO _dokit_keys (key, value) VALUES (?1, ?2) \
                             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                        )?
                        .execute(params![key, value])?,
                    None => database
                        .ours("DELETE FROM _dokit_keys WHERE key = ?1")?
                        .execute(params![key])?,
                };
            }
            match batch.alarm() {
                AlarmChange::Keep => 0,
                AlarmChange::Set(at) => database
                    .ours(
                        "INSERT INTO _dokit_alarm (one, at) VALUES (1, ?1) \
                         ON CONFLICT (one) DO UPDATE SET at = excluded.at",
                    )?
                    .execute(params![at.as_millis()])?,
                AlarmChange::Delete => database.ours("DELETE FROM _dokit_alarm")?.execute([])?,
            };
            Ok(())
        })
    }

    fn query<R>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Self) -> rusqlite::Result<R>,
    ) -> Result<R, SqlError> {
        self.usable(operation)?;
        let _ours = self.guard.user(false);
        let in_transaction = self.in_transaction();
        query(self).map_err(|error| self.failed(operation, &error, in_transaction))
    }
}
