use dokit_storage::Batch;

/// How many values are kept of one object at most, and how many bytes of keys and values.
const VALUES: usize = 8;
const BYTES: usize = 1024;

/// What an awake object has read or written lately: it alone writes its keys, so what it reads again and
/// again has to be looked up only once.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The latest last.
    values: Vec<Value>,
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) struct Value {
    key: Box<str>,
    /// None where the key is known not to be there.
    pub(crate) json: Option<Box<str>>,
}

impl Value {
    fn bytes(&self) -> usize {
        self.key.len() + self.json.as_ref().map_or(0, |json| json.len())
    }
}

impl Known {
    /// What is known of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|value| *value.key == *key)
    }

    /// Remembers what was read.
    pub(crate) fn read(&mut self, key: &str, json: Option<&str>) {
        self.values.retain(|value| *value.key != *key);
        self.values.push(Value {
            key: key.into(),
            json: json.map(Into::into),
        });
        self.shrink();
    }

    /// Remembers what is written, of what was read before.
    pub(crate) fn wrote(&mut self, batch: &Batch) {
        if batch.deletes_all() {
            self.values.clear();
        }
        for value in &mut self.values {
            if let Some(written) = batch.written(&value.key) {
                value.json = written.map(Into::into);
            }
        }
        self.shrink();
    }

    pub(crate) fn forget_all(&mut self) {
        self.values = Vec::new();
    }

    fn shrink(&mut self) {
        while self.values.len() > VALUES
            || self.values.iter().map(Value::bytes).sum::<usize>() > BYTES
        {
            self.values.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known_until_it_is_written_or_there_is_too_much() {
        // `?` is what nothing is known of, `-` what is known not to be there.
        let get = |known: &Known, key| {
            let value = known.get(key);
            value.map_or("?".into(), |value| value.json.clone().unwrap_or("-".into()))
        };
        let mut known = Known::default();
        known.read("a", Some("1"));
        known.read("b", None);
        assert_eq!(&*get(&known, "a"), "1");
        assert_eq!(&*get(&known, "b"), "-");
        assert_eq!(&*get(&known, "c"), "?");

        let mut batch = Batch::new();
        batch.delete("a");
        batch.put("b", "2");
        batch.put("c", "3");
        known.wrote(&batch);
        assert_eq!(&*get(&known, "a"), "-");
        assert_eq!(&*get(&known, "b"), "2");
        assert_eq!(&*get(&known, "c"), "?", "it was never read");

        known.read("large", Some(&"1".repeat(BYTES)));
        assert_eq!(&*get(&known, "large"), "?");
        known.read("a", Some("1"));
        for key in ["c", "d", "e", "f", "g", "h", "i", "j"] {
            known.read(key, None);
        }
        assert_eq!(&*get(&known, "a"), "?");
        assert_eq!(&*get(&known, "c"), "-");

        let mut batch = Batch::new();
        batch.delete_all();
        batch.put("c", "4");
        known.wrote(&batch);
        assert_eq!(&*get(&known, "c"), "?");
        assert_eq!(&*get(&known, "j"), "?");
    }
}
