use std::collections::BTreeMap;

use crate::{Error, KeyRange, Result, Store, Timestamp};

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

    /// Leaves the alarm as it is, whatever this batch was to do to it.
    pub fn keep_alarm(&mut self) {
        self.alarm = AlarmChange::Keep;
    }

    /// Adds what `later` does after this batch.
    pub fn merge(&mut self, later: Self) {
        if later.delete_all {
            self.delete_all();
        }
        if self.writes.is_empty() {
            self.writes = later.writes;
        } else {
            self.writes.extend(later.writes);
        }
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

    /// What it says of one key: `Some(Some(_))` is a put of JSON text, `Some(None)` a delete, and
    /// `None` nothing at all, so that the store's own value shows through.
    #[must_use]
    pub fn written(&self, key: &str) -> Option<Option<&str>> {
        match self.writes.get(key) {
            Some(written) => Some(written.as_deref()),
            None => self.delete_all.then_some(None),
        }
    }

    /// What it does within a range of keys; the alarm is none of them.
    #[must_use]
    pub fn within(&self, range: &KeyRange) -> Self {
        let written = self.writes.range::<str, _>(range.bounds());
        Self {
            delete_all: self.delete_all,
            writes: written
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            alarm: AlarmChange::Keep,
        }
    }

    /// The bytes of its keys and values together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = |(key, value): (&str, Option<&str>)| key.len() + value.map_or(0, str::len);
        self.writes().map(bytes).sum()
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

    /// Reads a key as it would be once this batch were committed to `store`.
    ///
    /// This and its two siblings are all that it takes to show uncommitted writes to reads; a
    /// [`Transaction`](crate::Transaction) and an object's storage are made of them.
    pub async fn get_over<T: Store>(&self, store: &T, key: &str) -> Result<Option<String>> {
        match self.written(key) {
            Some(written) => Ok(written.map(str::to_owned)),
            None => store.get(key).await,
        }
    }

    /// Lists a range as it would be once this batch were committed to `store`.
    pub async fn list_over<T: Store>(
        &self,
        store: &T,
        range: &KeyRange,
    ) -> Result<Vec<(String, String)>> {
        let written = || self.writes.range::<str, _>(range.bounds());
        let mut found = BTreeMap::new();
        if !self.delete_all {
            // Each write in the range hides at most one entry of the store.
            let mut below = range.clone();
            below.limit = range
                .limit
                .map(|limit| limit.saturating_add(written().count()));
            found.extend(store.list(&below).await?);
        }
        for (key, value) in written() {
            match value {
                Some(value) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        Ok(range.arrange(found.into_iter()))
    }

    /// Reads the alarm as it would be once this batch were committed to `store`.
    pub async fn alarm_over<T: Store>(&self, store: &T) -> Result<Option<Timestamp>> {
        match self.alarm {
            AlarmChange::Keep => store.alarm().await,
            AlarmChange::Set(at) => Ok(Some(at)),
            AlarmChange::Delete => Ok(None),
        }
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
