use dokit_client::ObjectId;
use dokit_object::DurableObject;
use dokit_storage::Timestamp;
use rusqlite::params;

use crate::{Host, database::Database, error::DatabaseError};

/// An object that has something stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// Its id, with its name where it has ever been called by that.
    pub id: ObjectId,
    /// When its alarm is due, if one is set.
    pub alarm: Option<Timestamp>,
}

impl Host {
    /// Lists the objects of a type that have something stored, keys or an alarm, in the order of their
    /// ids: `limit` of them at most, those after `after`. To list all of them, ask again with the last
    /// id of each page until a page is empty. Of a type with SQL, those are listed that have ever stored
    /// something. Objects that are made or emptied meanwhile may be missed.
    ///
    /// # Errors
    ///
    /// When the database cannot be read.
    pub async fn list<T: DurableObject>(
        &self,
        after: Option<&ObjectId>,
        limit: usize,
    ) -> Result<Vec<Listed>, DatabaseError> {
        let after = after.map_or([0; 32], |id| *id.as_bytes());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let look = move |database: &Database| list(database, T::NAMESPACE, T::SQL, after, limit);
        self.blocking(look).await
    }
}

fn list(
    database: &Database,
    namespace: &str,
    sql: bool,
    after: [u8; 32],
    limit: i64,
) -> Result<Vec<Listed>, DatabaseError> {
    let look = || {
        let connection = database.connect()?;
        let mut rows = connection.prepare(
            "SELECT id, name, alarm FROM objects AS listed \
             WHERE namespace = ?1 AND id > ?2 AND (?4 OR alarm IS NOT NULL \
                OR EXISTS (SELECT 1 FROM entries WHERE object = listed.object)) \
             ORDER BY id LIMIT ?3",
        )?;
        let rows = rows.query_map(params![namespace, after, limit, sql], |row| {
            let id = ObjectId::from_bytes(row.get(0)?);
            let name: Option<String> = row.get(1)?;
            let alarm: Option<i64> = row.get(2)?;
            Ok(Listed {
                id: match name {
                    Some(name) => id.with_name(&name),
                    None => id,
                },
                alarm: alarm.map(Timestamp::from_millis),
            })
        })?;
        rows.collect::<rusqlite::Result<_>>()
    };
    look().map_err(|error| DatabaseError::sqlite(&error))
}
