use std::collections::BTreeMap;

use crate::{Error, KeyRange, Result, Timestamp};

/// What one commit does to the alarm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AlarmChange {
    /// Leaves it as it is.
    #[default]
    Keep,
    /// Sets it, in place of one that is set already.
    Set(Timestamp),
    /// Removes it.
    Delete,
}

/// The writes of one commit: all of them take effect together, or none does.
///
/// Applied in this order: first everything is deleted if [`delete_all`](Self::delete_all) was
/// called, then the puts and deletes that came after it, then the alarm. A later write of a key
/// replaces an earlier one, so a batch holds each key once, in the order of their bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    delete_all: bool,
    writes: BTreeMap<String, Option<String>>,
    alarm: AlarmChange,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a value, given as JSON text.
    pub fn put(&mut self, key: impl Into<String>, json: impl Into<String>) {
        self.writes.insert(key.into(), Some(json.into()));
    }

    /// Deletes a key; no error where there is none.
    pub fn delete(&mut self, key: impl Into<String>) {
        self.writes.insert(key.into(), None);
    }

    /// Deletes every key and the alarm, and drops what this batch held until now.
    pub fn delete_all(&mut self) {
        self.delete_all = true;
        self.writes.clear();
        self.alarm = AlarmChange::Delete;
    }

    /// Sets the alarm, in place of one that is set already.
    pub fn set_alarm(&mut self, at: Timestamp) {
        self.alarm = AlarmChange::Set(at);
    }

    /// Removes the alarm; no error where there is none.
    pub fn delete_alarm(&mut self) {
        self.alarm = AlarmChange::Delete;
    }

    /// Adds what `later` does after this batch.
    pub fn merge(&mut self, later: Self) {
        if later.delete_all {
            self.delete_all();
        }
        self.writes.extend(later.writes);
        if later.alarm != AlarmChange::Keep {
            self.alarm = later.alarm;
        }
    }

    /// Whether every key and the alarm are deleted before the other writes.
    #[must_use]
    pub fn deletes_all(&self) -> bool {
        self.delete_all
    }

    /// The keys written, in the order of their bytes: `Some` is a put of JSON text, `None` a delete.
    pub fn writes(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.writes
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_deref()))
    }

    /// What happens to the alarm.
    #[must_use]
    pub fn alarm(&self) -> AlarmChange {
        self.alarm
    }

    /// Whether committing this would change nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.delete_all && self.writes.is_empty() && self.alarm == AlarmChange::Keep
    }

    /// What a read of `key` finds in this batch, if the batch decides it.
    pub(crate) fn read(&self, key: &str) -> Read<'_> {
        match self.writes.get(key) {
            Some(Some(value)) => Read::Value(value),
            Some(None) => Read::Missing,
            None if self.delete_all => Read::Missing,
            None => Read::Below,
        }
    }

    /// The writes within a range, in the order of their bytes.
    pub(crate) fn writes_in(
        &self,
        range: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&str, Option<&str>)> {
        self.writes
            .range::<str, _>(range.bounds())
            .map(|(key, value)| (key.as_str(), value.as_deref()))
    }

    pub(crate) fn check_alarm(&self) -> Result<()> {
        match self.alarm {
            AlarmChange::Set(at) if at <= Timestamp::EPOCH || at > Timestamp::LAST => {
                Err(Error::InvalidAlarm { at })
            }
            _ => Ok(()),
        }
    }
}

/// What a batch knows of a key.
pub(crate) enum Read<'a> {
    /// It writes this value.
    Value(&'a str),
    /// It deletes it.
    Missing,
    /// It leaves it as it is below.
    Below,
}
