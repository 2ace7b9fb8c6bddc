//! A machine's state as it is stored, and how what older versions wrote is read.

use std::error::Error as StdError;

use dokit_storage::{Batch, Error as StorageError, Store, Timestamp, decode, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Machine, RecordError, history::Kept, once::Remembered};

/// One forward step of the stored state: takes its JSON text as one version wrote it and gives it as
/// the next version reads it.
///
/// The text is that of the state alone, as serde writes it. A step must answer the same for the same
/// text, since a record that is only read is migrated at each read, and written in its new form with the
/// next step of the machine.
pub type Migration = fn(&str) -> Result<String, Box<dyn StdError + Send + Sync>>;

/// What is stored of a machine, but for its history and the ids it remembers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) version: u32,
    /// The name of the state, so that a state that is gone can be told by its name.
    pub(crate) name: String,
    pub(crate) state: Box<RawValue>,
    pub(crate) entered: Timestamp,
    pub(crate) deadline: Option<Timestamp>,
    pub(crate) history: Kept,
    pub(crate) ids: Remembered,
}

/// The version alone, which is read first: nothing else is known of a newer one's record.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// The number after this one, of what a record counts.
pub(crate) fn following(key: &str, number: u64) -> Result<u64, StorageError> {
    number
        .checked_add(1)
        .ok_or_else(|| StorageError::InvalidValue {
            key: key.to_owned(),
            reason: format!("nothing can follow what is numbered {number}"),
        })
}

/// Where and how the record of one machine is read and written.
pub(crate) struct Records<'a, S: 'static, E: 'static> {
    pub(crate) machine: Machine<S, E>,
    pub(crate) key: &'a str,
    pub(crate) migrations: &'static [Migration],
}

impl<S: Serialize + DeserializeOwned, E> Records<'_, S, E> {
    /// The version that this program writes.
    pub(crate) fn version(&self) -> u32 {
        u32::try_from(self.migrations.len()).map_or(u32::MAX, |steps| steps.saturating_add(1))
    }

    pub(crate) async fn read(&self, store: &impl Store) -> Result<Option<Record>, RecordError> {
        let Some(json) = store.get(self.key).await? else {
            return Ok(None);
        };
        let Versioned { version } = decode(self.key, &json)?;
        self.check_version(version)?;
        Ok(Some(decode(self.key, &json)?))
    }

    pub(crate) fn write(&self, record: &Record, batch: &mut Batch) -> Result<(), RecordError> {
        batch.put(self.key, encode(self.key, record)?);
        Ok(())
    }

    /// The JSON of a state, to be stored.
    pub(crate) fn encode(&self, state: &S) -> Result<Box<RawValue>, RecordError> {
        Ok(decode(self.key, &encode(self.key, state)?)?)
    }

    /// The state of a record, migrated where an older version wrote it.
    pub(crate) fn state(&self, record: &Record) -> Result<S, RecordError> {
        let known = self.machine.states().any(|name| name == record.name);
        if record.version == self.version() && !known {
            return Err(RecordError::UnknownState {
                key: self.key.to_owned(),
                state: record.name.clone(),
                known: self.machine.states().collect(),
            });
        }
        self.decode(record.version, &record.state)
    }

    /// A state that some version wrote.
    pub(crate) fn decode(&self, version: u32, state: &RawValue) -> Result<S, RecordError> {
        self.check_version(version)?;
        let mut json = state.get().to_owned();
        for (step, from) in self.migrations.iter().zip(1..) {
            if from < version {
                continue;
            }
            json = step(&json).map_err(|source| RecordError::Migration {
                key: self.key.to_owned(),
                from,
                source,
            })?;
        }
        Ok(decode(self.key, &json)?)
    }

    fn check_version(&self, stored: u32) -> Result<(), RecordError> {
        let supported = self.version();
        if stored > supported {
            return Err(RecordError::NewerVersion {
                key: self.key.to_owned(),
                stored,
                supported,
            });
        }
        Ok(())
    }
}
