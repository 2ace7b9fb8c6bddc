use std::{io, io::BufRead};

use dokit_client::ObjectId;
use dokit_object::DurableObject;
use dokit_storage::{Batch, Limits, Timestamp};

use super::line::{FORMAT, Line};
use crate::{Host, error::DatabaseError};

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
    /// The host has no objects of this type, or is shutting down.
    #[error("the host does not serve {namespace:?} any more, or never did")]
    NotServed {
        /// The namespace.
        namespace: &'static str,
    },
    /// It could not be made durable.
    #[error("write the object")]
    Write(#[source] DatabaseError),
}

impl Host {
    /// Stores what [`export`](Self::export) has written as the object of this id, which may be another
    /// than the one that was exported: all of it in one commit, between two calls of that object. When
    /// it returns, it is durable, and the object's next call wakes it with that.
    ///
    /// The whole export is read into memory. Limits on the sizes of values are not applied: it is an
    /// operator's tool.
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
        let _ = (id, existing);
        let parsed = self.blocking(move |_| parse(T::NAMESPACE, from)).await?;
        let _ = parsed;
        todo!()
    }
}

/// Reads an export into the batch that makes an empty object what was exported.
pub(crate) fn parse(namespace: &'static str, from: impl BufRead) -> Result<Batch, ImportError> {
    let mut batch = Batch::new();
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
            Line::Entry { key, .. } | Line::Text { key, .. } if batch.written(&key).is_some() => {
                return Err(repeated(&key));
            }
            Line::Entry { key, .. } | Line::Text { key, .. } if key.is_empty() => {
                return Err(malformed("the key is empty".to_owned()));
            }
            Line::Entry { key, value } => batch.put(key, value.get()),
            Line::Text { key, value } => batch.put(key, value),
            Line::Alarm(at) => {
                batch.set_alarm(Timestamp::from_millis(at));
                let checked = Limits::NONE.check(&batch);
                checked.map_err(|error| malformed(error.to_string()))?;
            }
            Line::End { lines } if lines == read => whole = true,
            Line::End { lines } => {
                return Err(malformed(format!(
                    "it says that {lines} lines came before it, but {read} did"
                )));
            }
        }
        read = line;
    }
    if whole {
        Ok(batch)
    } else {
        Err(ImportError::CutShort)
    }
}
