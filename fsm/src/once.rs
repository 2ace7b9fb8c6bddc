//! The ids of events that were sent: the same id again gets the earlier answer.

use std::collections::BTreeMap;

use dokit_storage::{Batch, Result, Store, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::record::following;

/// The longest id in bytes. It is part of a key, and keys have at most 2,048.
pub(crate) const LONGEST_ID: usize = 512;

/// The most old ids that one step forgets, so that a bound lowered from a large one does not make one
/// large commit.
const FORGOTTEN_AT_ONCE: u64 = 32;

/// The ids of one machine, the newest `bound` of them. Each is two keys: one by the id, to find it,
/// and one by a number, to know which is the oldest.
pub(crate) struct Ids<'a> {
    pub(crate) key: &'a str,
    pub(crate) bound: usize,
}

/// What an id was used for, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answered {
    /// The name of the event.
    pub(crate) event: String,
    /// The event with its data: see [`fingerprint`].
    pub(crate) fingerprint: String,
    /// The state that was answered, and the version that wrote it.
    pub(crate) state: Box<RawValue>,
    pub(crate) version: u32,
}

/// Which numbers are stored: those after `forgotten`, up to `last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    forgotten: u64,
    last: u64,
}

impl Ids<'_> {
    pub(crate) async fn find(&self, store: &impl Store, id: &str) -> Result<Option<Answered>> {
        let key = self.key_of(id);
        let json = store.get(&key).await?;
        json.map(|json| decode(&key, &json)).transpose()
    }

    /// Adds an id to a batch, and deletes those that it pushes out.
    pub(crate) async fn push(
        &self,
        store: &impl Store,
        mut kept: Remembered,
        id: &str,
        answered: &Answered,
        batch: &mut Batch,
    ) -> Result<Remembered> {
        if self.bound == 0 {
            return Ok(kept);
        }
        kept.last = following(self.key, kept.last)?;
        for (key, json) in [
            (self.key_of(id), encode(id, answered)?),
            (self.number(kept.last), encode(id, id)?),
        ] {
            batch.put(key, json);
        }
        let bound = u64::try_from(self.bound).unwrap_or(u64::MAX);
        let end = kept.last.saturating_sub(bound);
        for _ in 0..FORGOTTEN_AT_ONCE {
            if kept.forgotten >= end {
                break;
            }
            kept.forgotten += 1;
            let number = self.number(kept.forgotten);
            if let Some(json) = store.get(&number).await? {
                let oldest: String = decode(&number, &json)?;
                batch.delete(self.key_of(&oldest));
                batch.delete(number);
            }
        }
        Ok(kept)
    }

    fn key_of(&self, id: &str) -> String {
        format!("{}:id:{id}", self.key)
    }

    fn number(&self, number: u64) -> String {
        format!("{}:ids:{number:020}", self.key)
    }
}

/// A short text that is the same for the same event, data included: the 128-bit FNV-1a hash of its
/// JSON with the members of every object in order, so that a `HashMap` in an event does no harm. It is
/// stored, so it must never change.
pub(crate) fn fingerprint(key: &str, event: &impl Serialize) -> Result<String> {
    let json = encode(key, event)?;
    let mut hash = Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
    hash.json(key, &json)?;
    Ok(format!("{:032x}", hash.0))
}

struct Fnv(u128);

impl Fnv {
    fn json(&mut self, key: &str, json: &str) -> Result<()> {
        match json.as_bytes().first() {
            Some(b'{') => {
                self.text("{");
                for (name, value) in &decode::<BTreeMap<String, Box<RawValue>>>(key, json)? {
                    self.text(name);
                    self.text(":");
                    self.json(key, value.get())?;
                }
                self.text("}");
            }
            Some(b'[') => {
                self.text("[");
                for value in &decode::<Vec<Box<RawValue>>>(key, json)? {
                    self.json(key, value.get())?;
                    self.text(",");
                }
                self.text("]");
            }
            // A number, a string, a boolean or null is written in one way only.
            _ => self.text(json),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 ^= u128::from(byte);
            self.0 = self
                .0
                .wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_never_changes() {
        let of = |json: &str| {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            fingerprint("id", &value).unwrap()
        };
        assert_eq!(of("\"pay\""), "78a266ade683d94f708098e2080cac59");
        assert_eq!(
            of(r#"{"b": [1, {"y": null, "x": 2}], "a": "c"}"#),
            of(r#"{"a": "c", "b": [1, {"x": 2, "y": null}]}"#),
        );
        assert_ne!(
            of(r#"{"a": 18446744073709551615}"#),
            of(r#"{"a": 18446744073709551614}"#)
        );
        assert_ne!(of("[[1], 2]"), of("[[1, 2]]"));
    }
}
