//! Calls that carry an idempotency key run once: the result is stored with the writes of the call,
//! and answered again.

use std::time::Duration;

use dokit_client::ErrorReply;
use dokit_storage::{
    Batch, ListOptions, Result as StorageResult, Store, Timestamp, decode, encode,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Storage, engine::RpcCall};

/// How long an answer is remembered.
const TIME_TO_LIVE: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest key, in bytes.
const KEY_BYTES: usize = 256;

/// How many forgotten answers one call clears away.
const CLEARED: usize = 16;

/// What all keys of this module begin with.
pub(crate) const PREFIX: &str = "__idempotency";

const BY_KEY: &str = "__idempotency:";
const BY_TIME: &str = "__idempotency_at:";

/// What is remembered of an answered call.
#[derive(Serialize, Deserialize)]
struct Record {
    /// SHA-256 of the method and the arguments.
    fingerprint: String,
    expires: Timestamp,
    /// The result as JSON text.
    result: String,
}

/// What is known of a key.
pub(crate) enum Lookup {
    /// The call was answered with this JSON.
    Answered(String),
    /// It has to run.
    New(Entry),
}

/// A key whose call is about to run.
pub(crate) struct Entry {
    key: String,
    fingerprint: String,
}

/// Looks a call's key up.
///
/// # Errors
///
/// `idempotency_conflict` when the key was used for another call, `invalid_idempotency_key` when it
/// is empty or too long.
pub(crate) async fn look_up(
    storage: &Storage,
    now: Timestamp,
    key: &str,
    call: &RpcCall,
) -> Result<Lookup, Error> {
    if key.is_empty() || key.len() > KEY_BYTES {
        return Err(ErrorReply::invalid_idempotency_key(key.len(), KEY_BYTES).into());
    }
    let fingerprint = fingerprint(call);
    let name = format!("{BY_KEY}{key}");
    let record = match storage.get(&name).await? {
        Some(json) => Some(decode::<Record>(&name, &json)?),
        None => None,
    };
    match record.filter(|record| record.expires > now) {
        None => Ok(Lookup::New(Entry {
            key: key.to_owned(),
            fingerprint,
        })),
        Some(record) if record.fingerprint == fingerprint => Ok(Lookup::Answered(record.result)),
        Some(_) => Err(ErrorReply::idempotency_conflict(key).into()),
    }
}

impl Entry {
    /// Adds the answer to the call's writes, and clears away some that have expired.
    pub(crate) async fn remember(
        self,
        storage: &Storage,
        now: Timestamp,
        result: &str,
    ) -> StorageResult<()> {
        let mut batch = Batch::new();
        let expired = ListOptions::new()
            .start(BY_TIME)
            .end(by_time(now, ""))
            .limit(CLEARED);
        for (index, key) in storage.list(&expired.to_range()?).await? {
            let name = format!("{BY_KEY}{}", decode::<String>(&index, &key)?);
            // The key may have been used again since; then a younger index leads to it.
            let record = storage.get(&name).await?;
            let stale = match record {
                Some(json) => decode::<Record>(&name, &json)?.expires <= now,
                None => false,
            };
            if stale {
                batch.delete(name);
            }
            batch.delete(index);
        }
        let name = format!("{BY_KEY}{}", self.key);
        let expires = now.saturating_add(TIME_TO_LIVE);
        let record = Record {
            fingerprint: self.fingerprint,
            expires,
            result: result.to_owned(),
        };
        batch.put(name.clone(), encode(&name, &record)?);
        let index = by_time(expires, &self.key);
        batch.put(index.clone(), encode(&index, &self.key)?);
        storage.add(batch)
    }
}

/// An index key, ordered by time: 16 digits hold every time an alarm can have.
fn by_time(at: Timestamp, key: &str) -> String {
    format!("{BY_TIME}{:016}:{key}", at.as_millis().max(0))
}

fn fingerprint(call: &RpcCall) -> String {
    let mut hash = Sha256::new();
    hash.update(call.method.name());
    hash.update([0]);
    hash.update(&call.arguments);
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
