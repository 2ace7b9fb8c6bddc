//! The promises of a store that outlives a crash.

use dokit_storage::{Batch, ListOptions, Memory, Store, Transaction};

use super::{
    dice::Dice,
    look::{content, get, keys, later, put},
};

pub(super) async fn what_was_committed_is_there_after_reopening<T: Store>(
    mut store: T,
    reopen: &impl AsyncFn(T) -> T,
) {
    let mut batch = Batch::new();
    batch.put("a", "1");
    batch.put("b\0\u{1F600}", "[2]");
    batch.set_alarm(later(5));
    store.commit(batch).await.unwrap();
    let before = content(&store).await;
    let mut store = reopen(store).await;
    assert_eq!(content(&store).await, before);
    put(&mut store, "a", "2").await;
    let store = reopen(store).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some("2"));
    assert_eq!(store.alarm().await.unwrap(), before.1);
}

pub(super) async fn a_deletion_outlives_reopening<T: Store>(
    mut store: T,
    reopen: &impl AsyncFn(T) -> T,
) {
    let mut batch = Batch::new();
    batch.put("a", "1");
    batch.put("b", "1");
    batch.set_alarm(later(5));
    store.commit(batch).await.unwrap();
    let mut batch = Batch::new();
    batch.delete("a");
    batch.delete_alarm();
    store.commit(batch).await.unwrap();
    let mut store = reopen(store).await;
    let left = vec![("b".to_owned(), "1".to_owned())];
    assert_eq!(content(&store).await, (left, None));
    let mut batch = Batch::new();
    batch.delete_all();
    store.commit(batch).await.unwrap();
    let store = reopen(store).await;
    assert_eq!(content(&store).await, (Vec::new(), None));
}

pub(super) async fn what_was_not_committed_is_gone_after_reopening<T: Store>(
    mut store: T,
    reopen: &impl AsyncFn(T) -> T,
) {
    put(&mut store, "a", "1").await;
    let mut transaction = Transaction::begin(&mut store);
    put(&mut transaction, "a", "2").await;
    put(&mut transaction, "b", "2").await;
    drop(transaction);
    let store = reopen(store).await;
    assert_eq!(get(&store, "a").await.as_deref(), Some("1"));
    assert_eq!(keys(&store, ListOptions::new()).await, ["a"]);
}

pub(super) async fn a_random_run_is_whole_after_each_reopening<T: Store>(
    mut store: T,
    reopen: &impl AsyncFn(T) -> T,
) {
    let mut model = Memory::new().with_limits(store.limits());
    let mut dice = Dice::new(11);
    for _ in 0..12 {
        for _ in 0..dice.below(9) {
            let batch = dice.batch();
            store.commit(batch.clone()).await.unwrap();
            model.commit(batch).await.unwrap();
        }
        store = reopen(store).await;
        assert_eq!(content(&store).await, content(&model).await);
    }
}
