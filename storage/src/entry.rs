use serde::de::DeserializeOwned;

use crate::{ListOptions, Result, Store, codec};

/// A key with its value, as [`TypedStorage::list`](crate::TypedStorage::list) finds it: the type is not known until it is
/// decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    key: String,
    json: String,
}

impl Entry {
    /// The key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value as JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The value as a `V`.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`](crate::Error::Decode).
    pub fn decode<V: DeserializeOwned>(&self) -> Result<V> {
        codec::decode(&self.key, &self.json)
    }
}

/// Lists what the options ask for, without the library's own keys, and reads no more than that.
pub(crate) async fn list_own<T: Store>(store: &T, options: &ListOptions) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for mut range in options.to_range()?.around_library_keys() {
        if range.limit == Some(found.len()) {
            break;
        }
        range.limit = range.limit.map(|limit| limit - found.len());
        let entries = store.list(&range).await?;
        found.extend(entries.into_iter().map(|(key, json)| Entry { key, json }));
    }
    Ok(found)
}
