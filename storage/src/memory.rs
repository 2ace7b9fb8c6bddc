use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{AlarmChange, Batch, KeyRange, Limits, Result, Store, Timestamp};

/// A store in memory, for tests and for data that may be lost.
///
/// Clones share one content. Values are copied on the way in and on the way out, keys are in the
/// order of their UTF-8 bytes, and sizes are checked, so that what passes here passes on an engine.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    content: Arc<Mutex<Content>>,
    limits: Limits,
}

#[derive(Debug, Default)]
struct Content {
    values: BTreeMap<String, String>,
    alarm: Option<Timestamp>,
}

impl Memory {
    /// An empty store with the default [`Limits`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same content seen through other limits.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        Ok(self.content().values.get(key).cloned())
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        let content = self.content();
        let found = content.values.range::<str, _>(range.bounds());
        Ok(range.arrange(found.map(|(key, value)| (key.clone(), value.clone()))))
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        Ok(self.content().alarm)
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        self.limits.check(&batch)?;
        let mut content = self.content();
        if batch.deletes_all() {
            content.values.clear();
        }
        for (key, value) in batch.writes() {
            match value {
                Some(value) => content.values.insert(key.to_owned(), value.to_owned()),
                None => content.values.remove(key),
            };
        }
        match batch.alarm() {
            AlarmChange::Keep => {}
            AlarmChange::Set(at) => content.alarm = Some(at),
            AlarmChange::Delete => content.alarm = None,
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}
