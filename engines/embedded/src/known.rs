//! What is known of an object's keys without asking the database.

use dokit_storage::Batch;

/// How many values are kept of one object at most, and how many bytes of keys and values.
const VALUES: usize = 8;
const BYTES: usize = 1024;

/// What an awake object has read or written lately: it alone writes its keys, so what it reads again and
/// again has to be looked up only once.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The latest last. A key that is known not to be there has no value.
    values: Vec<(Box<str>, Option<Box<str>>)>,
}

impl Known {
    /// The value of a key, where it is known whether there is one.
    #[expect(
        clippy::option_option,
        reason = "whether it is known, and whether it is there"
    )]
    pub(crate) fn get(&self, key: &str) -> Option<Option<&str>> {
        let (_, value) = self.values.iter().find(|(known, _)| **known == *key)?;
        Some(value.as_deref())
    }

    /// Remembers what was read.
    pub(crate) fn read(&mut self, key: &str, value: Option<&str>) {
        self.values.retain(|(known, _)| **known != *key);
        self.values.push((key.into(), value.map(Into::into)));
        self.shrink();
    }

    /// Remembers what is written, of what was read before.
    pub(crate) fn wrote(&mut self, batch: &Batch) {
        if batch.deletes_all() {
            self.values.clear();
        }
        for (key, value) in &mut self.values {
            if let Some(written) = batch.written(key) {
                *value = written.map(Into::into);
            }
        }
        self.shrink();
    }

    pub(crate) fn forget_all(&mut self) {
        self.values = Vec::new();
    }

    fn shrink(&mut self) {
        let bytes = |values: &[(Box<str>, Option<Box<str>>)]| -> usize {
            let bytes = |value: &Option<Box<str>>| value.as_ref().map_or(0, |value| value.len());
            values
                .iter()
                .map(|(key, value)| key.len() + bytes(value))
                .sum()
        };
        while self.values.len() > VALUES || bytes(&self.values) > BYTES {
            self.values.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known_until_it_is_written_or_there_is_too_much() {
        let mut known = Known::default();
        known.read("a", Some("1"));
        known.read("b", None);
        assert_eq!(known.get("a"), Some(Some("1")));
        assert_eq!(known.get("b"), Some(None));
        assert_eq!(known.get("c"), None);

        let mut batch = Batch::new();
        batch.delete("a");
        batch.put("b", "2");
        batch.put("c", "3");
        known.wrote(&batch);
        assert_eq!(known.get("a"), Some(None));
        assert_eq!(known.get("b"), Some(Some("2")));
        assert_eq!(known.get("c"), None, "it was never read");

        known.read("large", Some(&"1".repeat(BYTES)));
        assert_eq!(known.get("large"), None);
        known.read("a", Some("1"));
        for key in ["c", "d", "e", "f", "g", "h", "i", "j"] {
            known.read(key, None);
        }
        assert_eq!(known.get("a"), None);
        assert_eq!(known.get("c"), Some(None));

        let mut batch = Batch::new();
        batch.delete_all();
        batch.put("c", "4");
        known.wrote(&batch);
        assert_eq!(known.get("c"), None);
        assert_eq!(known.get("j"), None);
    }
}
