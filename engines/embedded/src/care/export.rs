use std::{io, path::Path};

use dokit_client::ObjectId;
use dokit_object::DurableObject;
use dokit_storage::{
    KeyRange, Store,
    sql::{SqlError, SqlPiece},
    sqlite::{Calls, Sqlite},
};
use futures_util::FutureExt;
use rusqlite::{Connection, OptionalExtension, params};

use super::line::{Cell, FORMAT, Header, Line};
use crate::{Host, database::Database, error::DatabaseError};

/// Why an object could not be exported. What was written until then is no whole export.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The object has nothing stored.
    #[error("object {id} of {namespace:?} has nothing stored")]
    NothingStored {
        /// The namespace.
        namespace: &'static str,
        /// The object.
        id: ObjectId,
    },
    /// The database cannot be read.
    #[error("read the object")]
    Database(#[source] DatabaseError),
    /// The object's own database cannot be read.
    #[error("read the object's database")]
    Sql(#[source] SqlError),
    /// What is written to refused it.
    #[error("write the export")]
    Write(#[source] io::Error),
}

impl From<rusqlite::Error> for ExportError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(DatabaseError::sqlite(&error))
    }
}

impl From<SqlError> for ExportError {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl Host {
    /// Writes all that one object has stored to `to`, as JSON lines: what is durable at one moment,
    /// while the object serves on. Gives `to` back, flushed.
    ///
    /// ```text
    /// {"object":{"format":1,"namespace":"order","id":"64 hex digits","name":"order-123"}}
    /// {"entry":{"key":"total","value":42}}
    /// {"alarm":1764000000000}
    /// {"end":{"lines":3}}
    /// ```
    ///
    /// An object with SQL has lines for its tables too: `{"sql":".."}` makes one (or, at the end, an index,
    /// a view or a trigger), `{"rows":{"table":"..","columns":[..]}}` says whose rows follow, and
    /// `{"row":[1,1.5,"text",null,{"blob":"00ff"}]}` is one. Tables of full-text indexes are made anew.
    ///
    /// Keys that the engine keeps with an object, such as answers to idempotency keys, are in it too.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    pub async fn export<T: DurableObject, W: io::Write + Send + 'static>(
        &self,
        id: &ObjectId,
        to: W,
    ) -> Result<W, ExportError> {
        let id = id.clone();
        let own = T::SQL.then(|| self.engine().own_database(T::NAMESPACE, &id));
        let export =
            move |database: &Database| export(database, T::NAMESPACE, id, own.as_deref(), to);
        self.blocking(export).await
    }
}

fn export<W: io::Write>(
    database: &Database,
    namespace: &'static str,
    id: ObjectId,
    own: Option<&Path>,
    to: W,
) -> Result<W, ExportError> {
    let mut connection = database.connect()?;
    // One moment for all that follows.
    let moment = connection.transaction()?;
    let row = moment
        .query_row(
            "SELECT object, name, alarm FROM objects WHERE namespace = ?1 AND id = ?2",
            params![namespace, id.as_bytes()],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .optional()?;
    let row: Option<(i64, Option<String>, Option<i64>)> = row;
    let nothing = |id| ExportError::NothingStored { namespace, id };
    let Some((object, name, alarm)) = row else {
        return Err(nothing(id));
    };
    let mut lines = Lines { to, written: 0 };
    let text = id.to_string();
    lines.write(&Line::Object(Header {
        format: FORMAT,
        namespace: namespace.into(),
        id: text.as_str().into(),
        name: name.as_deref().map(Into::into),
    }))?;
    match own {
        // What the shared database has of such an object is a hint.
        Some(path) => own_database(path, &mut lines)?,
        None => {
            entries(&moment, object, &mut lines)?;
            if let Some(at) = alarm {
                lines.write(&Line::Alarm(at))?;
            }
        }
    }
    if lines.written == 1 {
        return Err(nothing(id));
    }
    let written = lines.written;
    lines.write(&Line::End { lines: written })?;
    lines.to.flush().map_err(ExportError::Write)?;
    Ok(lines.to)
}

fn entries<W: io::Write>(
    moment: &Connection,
    object: i64,
    lines: &mut Lines<W>,
) -> Result<(), ExportError> {
    let mut rows =
        moment.prepare("SELECT key, value FROM entries WHERE object = ?1 ORDER BY key")?;
    let mut rows = rows.query([object])?;
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        lines.write(&Line::entry(&key, row.get(1)?))?;
    }
    Ok(())
}

/// What an object has in a database of its own, which another connection may be writing to.
fn own_database<W: io::Write>(path: &Path, lines: &mut Lines<W>) -> Result<(), ExportError> {
    // To open it would make it.
    if !path.exists() {
        return Ok(());
    }
    let database = Sqlite::open(path).map_err(|error| SqlError::engine("open", error))?;
    // It only reads, which keeps the object's calls from nothing.
    let reading = Calls::new(database);
    let database = reading.database();
    // One moment for all that follows.
    database.sql().transaction(|sql| {
        let failed = |error| SqlError::engine("read", error);
        for (key, value) in now(database.list(&KeyRange::default())).map_err(failed)? {
            lines.write(&Line::entry(&key, value))?;
        }
        if let Some(at) = now(database.alarm()).map_err(failed)? {
            lines.write(&Line::Alarm(at.as_millis()))?;
        }
        sql.dump(|piece| {
            lines.write(&match piece {
                SqlPiece::Statement(statement) => Line::Sql(statement.into()),
                SqlPiece::Rows { table, columns } => Line::Rows { table, columns },
                SqlPiece::Row(values) => Line::Row(values.into_iter().map(Cell::from).collect()),
            })
        })
    })
}

/// What a store answers that never waits.
pub(super) fn now<R>(answer: impl Future<Output = R>) -> R {
    answer
        .now_or_never()
        .expect("a database of one's own answers at once")
}

struct Lines<W> {
    to: W,
    written: u64,
}

impl<W: io::Write> Lines<W> {
    fn write(&mut self, line: &Line<'_>) -> Result<(), ExportError> {
        self.written += 1;
        writeln!(self.to, "{}", line.to_json().get()).map_err(ExportError::Write)
    }
}
