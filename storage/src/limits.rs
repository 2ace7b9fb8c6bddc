use crate::{Batch, Error, Result};

/// How large keys, values and batches may be.
///
/// The default is the strictest of all engines, Cloudflare's key-value backed objects, so that what
/// is written here can be written everywhere. Local runtimes check none of it, so dokit does, before
/// each write.
///
/// | limit | default |
/// |---|---|
/// | `key_bytes` | 2,048 |
/// | `value_bytes` | 131,072 (128 KiB) of JSON text |
/// | `batch_keys` | 128 keys in one `get_many`, `put_many` or `delete_many` |
///
/// Source: <https://developers.cloudflare.com/durable-objects/platform/limits/>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest key, in bytes of UTF-8.
    pub key_bytes: usize,
    /// The longest value, in bytes of JSON text.
    pub value_bytes: usize,
    /// The most keys that one `_many` operation takes.
    pub batch_keys: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes: 2048,
            value_bytes: 128 * 1024,
            batch_keys: 128,
        }
    }
}

impl Limits {
    /// No limit but memory, for an engine that has none.
    pub const NONE: Self = Self {
        key_bytes: usize::MAX,
        value_bytes: usize::MAX,
        batch_keys: usize::MAX,
    };

    /// Checks every key and value of a batch, and its alarm. Each [`Store`](crate::Store) calls this
    /// first in `commit`.
    pub fn check(&self, batch: &Batch) -> Result<()> {
        for (key, value) in batch.writes() {
            self.check_key(key)?;
            if let Some(value) = value
                && value.len() > self.value_bytes
            {
                return Err(Error::ValueTooLarge {
                    key: key.to_owned(),
                    bytes: value.len(),
                    limit: self.value_bytes,
                });
            }
        }
        batch.check_alarm()
    }

    /// Checks how many keys one operation names.
    pub fn check_count(&self, keys: usize) -> Result<()> {
        if keys > self.batch_keys {
            return Err(Error::BatchTooLarge {
                keys,
                limit: self.batch_keys,
            });
        }
        Ok(())
    }

    fn check_key(&self, key: &str) -> Result<()> {
        let refuse = |reason: String| {
            Err(Error::InvalidKey {
                key: key.chars().take(64).collect(),
                reason,
            })
        };
        if key.is_empty() {
            return refuse("it is empty".to_owned());
        }
        if key.len() > self.key_bytes {
            return refuse(format!(
                "it is {} bytes; the limit is {}",
                key.len(),
                self.key_bytes
            ));
        }
        Ok(())
    }
}
