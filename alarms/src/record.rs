//! Jobs as they are stored, alive and dead, and the keys that they are stored under.

use dokit_storage::{Limits, ListOptions, Timestamp, encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::{Error, Missed, Repeat, Result, error::cut};

/// The room kept beside an action for what changes while it is tried: the counts and the last
/// error, whose text may grow sixfold by escaping.
const RESERVE: usize = 8192;

/// The longest id, in bytes.
const LONGEST_ID: usize = 512;

/// A job as stored under its time, which stands in the key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) action: Box<RawValue>,
    /// The time it was asked for; while it is tried again the key holds the time of the next try.
    pub(crate) planned: Timestamp,
    pub(crate) created: Timestamp,
    /// How often this run failed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) failed: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) repeat: Option<Repeat>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(crate) missed: Missed,
}

/// A job that is dead, as stored under its id.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Grave {
    pub(crate) job: Record,
    pub(crate) died: Timestamp,
    pub(crate) cause: Cause,
}

/// Why a job is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Cause {
    /// Its action failed as often as it may, or said that another try is no use.
    Failed,
    /// This program has no such action, or cannot tell its next time: it was made by another
    /// version of it.
    Unreadable,
}

fn is_default<V: Default + PartialEq>(value: &V) -> bool {
    *value == V::default()
}

impl Record {
    /// What a stored text that is no record at all is kept as.
    pub(crate) fn unreadable(json: &str, planned: Timestamp) -> Self {
        let action = RawValue::from_string(json.to_owned())
            .or_else(|_| serde_json::value::to_raw_value(json))
            .unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self {
            action,
            planned,
            created: planned,
            failed: 0,
            error: None,
            repeat: None,
            missed: Missed::default(),
        }
    }

    /// The action, or a text that says what is wrong with it.
    pub(crate) fn action<A: DeserializeOwned>(&self) -> Result<A, String> {
        serde_json::from_str(self.action.get())
            .map_err(|error| format!("decode action {}: {error}", cut(self.action.get(), 64)))
    }
}

/// The JSON text of an action for the job `id`.
pub(crate) fn encode_action<A: Serialize>(id: &str, action: &A) -> Result<Box<RawValue>> {
    let json = encode(id, action)?;
    let raw = RawValue::from_string(json);
    Ok(raw.expect("what serde_json has written is json"))
}

/// Refuses a job that could not be written any more once it has failed.
pub(crate) fn check_size(limits: Limits, id: &str, job: &Record) -> Result<()> {
    let bytes = encode(id, job)?.len();
    let limit = limits.value_bytes.saturating_sub(RESERVE);
    if bytes > limit {
        return Err(Error::ActionTooLarge {
            id: id.to_owned(),
            bytes,
            limit,
        });
    }
    Ok(())
}

/// Checks an id that a user has chosen.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let reason = if id.is_empty() {
        "it is empty"
    } else if id.starts_with('#') {
        "an id that begins with # is made by the library"
    } else if id.len() > LONGEST_ID {
        "it is longer than 512 bytes"
    } else {
        return Ok(());
    };
    Err(Error::InvalidId {
        id: cut(id, 64),
        reason,
    })
}

/// The keys of one [`Alarms`](crate::Alarms).
///
/// | key | value |
/// |---|---|
/// | `__alarms/due/TIME/ID` | the job; the time has 16 digits, so that keys are in the order of time |
/// | `__alarms/id/ID` | the time that its key above has |
/// | `__alarms/dead/ID` | a dead job |
/// | `__alarms/next` | the number of the next id that the library makes |
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    /// Those of the alarms of this name, which may be empty. No name's keys are within another's.
    pub(crate) fn new(name: &str) -> Self {
        let name = name.replace('%', "%25").replace('/', "%2F");
        let dot = if name.is_empty() { "" } else { "." };
        Self {
            prefix: format!("__alarms{dot}{name}/"),
        }
    }

    pub(crate) fn due(&self, at: Timestamp, id: &str) -> String {
        format!("{}due/{:016}/{id}", self.prefix, at.as_millis())
    }

    pub(crate) fn id(&self, id: &str) -> String {
        format!("{}id/{id}", self.prefix)
    }

    pub(crate) fn dead(&self, id: &str) -> String {
        format!("{}dead/{id}", self.prefix)
    }

    pub(crate) fn next(&self) -> String {
        format!("{}next", self.prefix)
    }

    /// All jobs, in the order of time.
    pub(crate) fn all_due(&self) -> ListOptions {
        ListOptions::new().prefix(format!("{}due/", self.prefix))
    }

    /// The jobs that are due at `now`.
    pub(crate) fn due_until(&self, now: Timestamp) -> ListOptions {
        let past = now.as_millis().saturating_add(1).max(0);
        self.all_due().end(format!("{}due/{past:016}", self.prefix))
    }

    pub(crate) fn all_dead(&self) -> ListOptions {
        ListOptions::new().prefix(format!("{}dead/", self.prefix))
    }

    /// The id in a key of a dead job.
    pub(crate) fn dead_id<'k>(&self, key: &'k str) -> &'k str {
        &key[self.prefix.len() + "dead/".len()..]
    }

    /// The time and the id in a key of a due job.
    pub(crate) fn due_parts<'k>(&self, key: &'k str) -> (Timestamp, &'k str) {
        let rest = &key[self.prefix.len() + "due/".len()..];
        // Nobody else writes such keys; a broken one is due at once, and then buried.
        let (time, id) = rest.split_once('/').unwrap_or(("", rest));
        (Timestamp::from_millis(time.parse().unwrap_or(0)), id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_the_order_of_time_and_of_ids() {
        let keys = Keys::new("");
        let at = Timestamp::from_millis;
        let ordered = [
            keys.due(at(9), "b"),
            keys.due(at(10), "a"),
            keys.due(at(10), "a/b"),
            keys.due(at(10), "\u{1F600}"),
            keys.due(Timestamp::LAST, ""),
        ];
        assert!(ordered.is_sorted());
        assert_eq!(ordered[2], "__alarms/due/0000000000000010/a/b");
        assert_eq!(keys.due_parts(&ordered[2]), (at(10), "a/b"));
    }

    #[test]
    fn the_keys_of_one_name_are_not_within_those_of_another() {
        let key = Keys::new("a/due").due(Timestamp::EPOCH, "x");
        assert_eq!(key, "__alarms.a%2Fdue/due/0000000000000000/x");
        assert!(Keys::new("a%2Fdue").due(Timestamp::EPOCH, "x") != key);
    }
}
