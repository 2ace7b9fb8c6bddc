use std::{io, io::BufRead};

use dokit_client::{ErrorReply, ObjectId};
use dokit_object::{DurableObject, Error};
use dokit_storage::{
    Batch, KeyRange, Limits, Store, Timestamp,
    sql::{SqlError, SqlPiece, SqlValue},
};
use tokio::sync::oneshot;

use super::line::{FORMAT, Line};
use crate::{
    Host, database::Database, deadline::Deadline, flight::commit_failed, object_store::ObjectStore,
};

/// What becomes of what the object has stored already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// An object that has something stored is left as it is.
    Refuse,
    /// It is deleted, in the commit that writes what is imported.
    Replace,
}

/// Why nothing was imported. The object is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// What is read from failed.
    #[error("read line {line} of the export")]
    Read {
        /// Which line, from 1.
        line: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A line that does not belong into an export at this place.
    #[error("line {line} of the export: {reason}")]
    Malformed {
        /// Which line, from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The export is of a newer format.
    #[error("the export has format {found}; this release reads up to {supported}")]
    NewerFormat {
        /// Its format.
        found: u32,
        /// The newest this release reads.
        supported: u32,
    },
    /// The export is of an object of another type.
    #[error("the export is of an object of {found:?}, not of {expected:?}")]
    OtherNamespace {
        /// Its namespace.
        found: String,
        /// The one of the type it was to be imported as.
        expected: &'static str,
    },
    /// The export has no last line: it was cut short.
    #[error("the export ends without its last line")]
    CutShort,
    /// The object has something stored, and it was not said to replace that.
    #[error("object {id} of {namespace:?} has something stored already")]
    NotEmpty {
        /// The namespace.
        namespace: &'static str,
        /// The object.
        id: ObjectId,
    },
    /// The object's tables cannot be made of it.
    #[error("make the tables of the object")]
    Sql(#[from] SqlError),
    /// The object could not be asked, or could not make it durable.
    #[error("store what was exported")]
    Store(
        /// What a call would have been answered.
        #[source]
        Box<Error>,
    ),
}

impl From<ErrorReply> for ImportError {
    fn from(reply: ErrorReply) -> Self {
        Self::Store(Box::new(reply.into()))
    }
}

impl From<dokit_storage::Error> for ImportError {
    fn from(error: dokit_storage::Error) -> Self {
        Self::Store(Box::new(error.into()))
    }
}

impl Host {
    /// Stores what [`export`](Self::export) has written as the object of this id, which may be another
    /// than the one that was exported: all of it in one commit, between two calls of that object. When
    /// it returns, it is durable, and the object's next call wakes it with that.
    ///
    /// The whole export is read into memory. The host's limits on keys and values hold here, too, and it may
    /// take as long as the [longest call](crate::Builder::longest_deadline), and what the disk takes beside that.
    ///
    /// # Errors
    ///
    /// [`ImportError`].
    pub async fn import<T: DurableObject, R: BufRead + Send + 'static>(
        &self,
        id: &ObjectId,
        existing: Existing,
        from: R,
    ) -> Result<(), ImportError> {
        let namespace = T::NAMESPACE;
        let limits = self.engine().limits();
        let parse = move |_: &Database| parse(namespace, T::SQL, limits, from);
        let exported = self.blocking(parse).await?;
        if self
            .engine()
            .import(namespace, id, exported, existing)
            .await?
        {
            return Ok(());
        }
        Err(ImportError::NotEmpty {
            namespace,
            id: id.clone(),
        })
    }
}

/// What was exported.
#[derive(Debug, Default)]
pub(crate) struct Exported {
    /// Deletes all keys and the alarm, and writes those of the export.
    batch: Batch,
    tables: Vec<SqlPiece>,
}

/// An import on its way to its object.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) exported: Exported,
    pub(crate) existing: Existing,
    pub(crate) deadline: Deadline,
    /// Told whether there was room for it.
    pub(crate) done: oneshot::Sender<Result<bool, ImportError>>,
}

impl Import {
    /// Nothing else of the object runs meanwhile.
    pub(crate) async fn run(mut self, store: Result<ObjectStore, ErrorReply>) {
        let imported = match store {
            Ok(store) => self.write(&store).await,
            Err(error) => Err(error.into()),
        };
        // Who asked may have gone; it has happened all the same.
        let _ = self.done.send(imported);
    }

    async fn write(&mut self, store: &ObjectStore) -> Result<bool, ImportError> {
        let exported = std::mem::take(&mut self.exported);
        let kept = self.deadline.run(keep(store, exported, self.existing));
        let late = || Err(ErrorReply::deadline_exceeded().into());
        let Some(number) = kept.await.unwrap_or_else(late)? else {
            return Ok(false);
        };
        // From here on it is the disk that decides: nobody can take it back.
        let durable = store.flight().durable(number).await;
        durable.map_err(|error| commit_failed(&error))?;
        Ok(true)
    }
}

/// Sends it on its way. Gives its number in the flight; none where there is something that is not to be replaced.
async fn keep(
    store: &ObjectStore,
    exported: Exported,
    existing: Existing,
) -> Result<Option<u64>, ImportError> {
    store.ready_to_wake().await;
    if existing == Existing::Refuse && has_something(store).await? {
        return Ok(None);
    }
    let call = store.begin()?;
    if let Some(sql) = store.sql() {
        sql.delete_all()?;
        sql.load(exported.tables)?;
    }
    let number = call.keep(exported.batch)?;
    store.rest();
    Ok(Some(number))
}

async fn has_something(store: &ObjectStore) -> Result<bool, ImportError> {
    /// Why a look at the tables ended.
    enum Stopped {
        Found,
        Failed(SqlError),
    }
    impl From<SqlError> for Stopped {
        fn from(error: SqlError) -> Self {
            Self::Failed(error)
        }
    }
    let mut any = KeyRange::default();
    any.limit = Some(1);
    if !store.list(&any).await?.is_empty() || store.alarm().await?.is_some() {
        return Ok(true);
    }
    let Some(sql) = store.sql() else {
        return Ok(false);
    };
    match sql.dump(|_| Err(Stopped::Found)) {
        Ok(()) => Ok(false),
        Err(Stopped::Found) => Ok(true),
        Err(Stopped::Failed(error)) => Err(error.into()),
    }
}

/// Reads an export.
pub(crate) fn parse(
    namespace: &'static str,
    sql: bool,
    limits: Limits,
    from: impl BufRead,
) -> Result<Exported, ImportError> {
    let mut exported = Exported::default();
    exported.batch.delete_all();
    let mut read = 0;
    let mut whole = false;
    for text in from.lines() {
        let line = read + 1;
        let malformed = |reason: String| ImportError::Malformed { line, reason };
        let text = text.map_err(|source| ImportError::Read { line, source })?;
        if whole {
            return Err(malformed("the export has ended before it".to_owned()));
        }
        let parsed = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let repeated = |key: &str| malformed(format!("key {key:?} comes a second time"));
        let mut one = Batch::new();
        match parsed {
            Line::Object(header) if read == 0 => {
                if header.format > FORMAT {
                    return Err(ImportError::NewerFormat {
                        found: header.format,
                        supported: FORMAT,
                    });
                }
                if header.namespace != namespace {
                    return Err(ImportError::OtherNamespace {
                        found: header.namespace.into_owned(),
                        expected: namespace,
                    });
                }
            }
            _ if read == 0 => return Err(malformed("an export begins with its object".to_owned())),
            Line::Object(_) => return Err(malformed("a second object".to_owned())),
            Line::Entry { key, .. } | Line::Text { key, .. }
                if matches!(exported.batch.written(&key), Some(Some(_))) =>
            {
                return Err(repeated(&key));
            }
            Line::Entry { key, value } => one.put(key, value.get()),
            Line::Text { key, value } => one.put(key, value),
            Line::Alarm(at) => one.set_alarm(Timestamp::from_millis(at)),
            Line::Sql(_) | Line::Rows { .. } | Line::Row(_) if !sql => {
                let reason = format!("objects of {namespace:?} have no sql");
                return Err(malformed(reason));
            }
            Line::Sql(sql) => exported.tables.push(SqlPiece::Statement(sql.into_owned())),
            Line::Rows { table, columns } => {
                exported.tables.push(SqlPiece::Rows { table, columns })
            }
            Line::Row(cells) => {
                let values: Result<_, _> = cells.into_iter().map(SqlValue::try_from).collect();
                exported
                    .tables
                    .push(SqlPiece::Row(values.map_err(malformed)?));
            }
            Line::End { lines } if lines == read => whole = true,
            Line::End { lines } => {
                return Err(malformed(format!(
                    "it says that {lines} lines came before it, but {read} did"
                )));
            }
        }
        let checked = limits.check(&one);
        checked.map_err(|error| malformed(error.to_string()))?;
        exported.batch.merge(one);
        read = line;
    }
    if whole {
        Ok(exported)
    } else {
        Err(ImportError::CutShort)
    }
}
