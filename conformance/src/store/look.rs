//! Looking at a store, and writing one key.

use dokit_storage::{Batch, KeyRange, ListOptions, Store, Timestamp};

/// A moment that comes long after the test: a platform rings alarms by a clock of its own.
pub(super) fn later(millis: i64) -> Timestamp {
    Timestamp::from_millis(4_000_000_000_000 + millis)
}

pub(super) async fn put<T: Store>(store: &mut T, key: &str, json: &str) {
    let mut batch = Batch::new();
    batch.put(key, json);
    store.commit(batch).await.unwrap();
}

pub(super) async fn get<T: Store>(store: &T, key: &str) -> Option<String> {
    store.get(key).await.unwrap()
}

pub(super) async fn list<T: Store>(store: &T, options: ListOptions) -> Vec<(String, String)> {
    store.list(&options.to_range().unwrap()).await.unwrap()
}

pub(super) async fn keys<T: Store>(store: &T, options: ListOptions) -> Vec<String> {
    let entries = list(store, options).await;
    entries.into_iter().map(|(key, _)| key).collect()
}

/// Everything that can be read of a store.
pub(super) async fn content<T: Store>(store: &T) -> (Vec<(String, String)>, Option<Timestamp>) {
    let entries = store.list(&KeyRange::default()).await.unwrap();
    for (key, json) in &entries {
        assert_eq!(get(store, key).await.as_ref(), Some(json), "{key:?}");
    }
    (entries, store.alarm().await.unwrap())
}
