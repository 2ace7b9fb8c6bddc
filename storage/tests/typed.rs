//! The typed view: what each method writes, in how many commits, and what it refuses.

#![expect(clippy::unwrap_used, reason = "a call that fails is a test that fails")]

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
};

use dokit_storage::{
    Batch, Error, Family, Faults, Key, KeyRange, Limits, ListOptions, Memory, Result, Schema,
    Store, Timestamp, TypedStorage,
};
use futures_executor::block_on;
use proptest::prelude::*;

#[derive(Schema)]
struct Counter {
    count: u64,
    total: u64,
    #[schema(prefix = "by:")]
    by: Family<u64>,
}

type Counters<T> = TypedStorage<Counter, T>;

fn keys<T: Store>(storage: &Counters<T>, options: ListOptions) -> Vec<String> {
    let entries = block_on(storage.list(options)).unwrap();
    entries
        .into_iter()
        .map(|entry| entry.key().to_owned())
        .collect()
}

fn members(names: std::ops::Range<u64>) -> Vec<(Key<Counter, u64>, u64)> {
    names.map(|name| (Counter::BY.key(name), name)).collect()
}

#[test]
fn several_puts_are_one_commit_or_none() {
    let store = Faults::new(Memory::new());
    let mut storage = Counters::new(store.clone());
    let entries = members(0..3);
    let entries = || entries.iter().map(|(key, value)| (key.clone(), value));
    store.fail_commit(1);
    assert!(block_on(storage.put_many(entries())).is_err());
    assert!(keys(&storage, ListOptions::new()).is_empty());
    block_on(storage.put_many(entries())).unwrap();
    assert_eq!(keys(&storage, ListOptions::new()), ["by:0", "by:1", "by:2"]);
    assert_eq!(store.commits(), 2);
}

#[test]
fn several_gets_are_in_the_order_asked_for() {
    let mut storage = Counters::new(Memory::new());
    let entries = members(0..3);
    block_on(storage.put_many(entries.iter().map(|(key, value)| (key.clone(), value)))).unwrap();
    let asked = [2, 9, 0, 2].map(|name| Counter::BY.key(name));
    let values = block_on(storage.get_many(&asked)).unwrap();
    assert_eq!(values, [Some(2), None, Some(0), Some(2)]);
}

#[test]
fn several_deletes_say_how_many_there_were() {
    let store = Faults::new(Memory::new());
    let mut storage = Counters::new(store.clone());
    let entries = members(0..3);
    block_on(storage.put_many(entries.iter().map(|(key, value)| (key.clone(), value)))).unwrap();
    let asked = [1, 7, 2, 1].map(|name| Counter::BY.key(name));
    assert_eq!(block_on(storage.delete_many(asked)).unwrap(), 2);
    assert_eq!(keys(&storage, ListOptions::new()), ["by:0"]);
    assert_eq!(store.commits(), 2);
}

#[test]
fn one_operation_names_128_keys_and_not_one_more() {
    let mut storage = Counters::new(Memory::new());
    for (count, fits) in [(128, true), (129, false)] {
        let entries = members(0..count);
        let names: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        let puts = entries.iter().map(|(key, value)| (key.clone(), value));
        let put = block_on(storage.put_many(puts));
        let got = block_on(storage.get_many(&names)).map(drop);
        let deleted = block_on(storage.delete_many(names)).map(drop);
        for result in [put, got, deleted] {
            assert_eq!(result.is_ok(), fits, "{count}");
            if let Err(error) = result {
                assert_eq!(
                    error.to_string(),
                    "129 keys in one operation; the limit is 128"
                );
            }
        }
        assert!(keys(&storage, ListOptions::new()).is_empty());
    }
}

#[test]
fn sizes_are_checked_before_anything_is_written() {
    let mut storage = TypedStorage::<Counter, _>::new(Memory::new());
    let text: Key<Counter, String> = Key::new("text");
    // Two quotes belong to the JSON text.
    let longest = "v".repeat(128 * 1024 - 2);
    block_on(storage.put(text.clone(), &longest)).unwrap();
    let error = block_on(storage.put(text.clone(), &format!("{longest}v"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "value of \"text\" is 131073 bytes; the limit is 131072"
    );
    assert_eq!(block_on(storage.get(text)).unwrap(), Some(longest));

    let member = "k".repeat(2048 - "by:".len());
    block_on(storage.put(Counter::BY.key(&member), &1)).unwrap();
    let error = block_on(storage.put(Counter::BY.key(format!("{member}k")), &1)).unwrap_err();
    let shown = format!("by:{}", "k".repeat(61));
    assert_eq!(
        error.to_string(),
        format!("invalid key {shown:?}: it is 2049 bytes; the limit is 2048")
    );
}

#[test]
fn the_user_may_say_other_limits() {
    let mut limits = Limits::NONE;
    limits.value_bytes = 3;
    let mut storage = Counters::new(Memory::new().with_limits(limits));
    block_on(storage.put(Counter::COUNT, &999)).unwrap();
    assert!(matches!(
        block_on(storage.put(Counter::COUNT, &1000)),
        Err(Error::ValueTooLarge {
            bytes: 4,
            limit: 3,
            ..
        })
    ));
    // Within a transaction it is refused at the write, not at the commit.
    let mut transaction = storage.begin();
    assert!(block_on(transaction.put(Counter::COUNT, &1000)).is_err());
    drop(transaction);
    let entries = members(0..500);
    let puts = entries.iter().map(|(key, value)| (key.clone(), value));
    block_on(storage.put_many(puts)).unwrap();
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let storage = Counters::new(Memory::new());
    for (options, text) in [
        (
            ListOptions::new().start("a").start_after("a"),
            "invalid list options: start and start_after exclude each other",
        ),
        (
            ListOptions::new().limit(0),
            "invalid list options: limit must be positive",
        ),
    ] {
        let listed = block_on(storage.list(options.clone())).unwrap_err();
        assert_eq!(listed.to_string(), text);
        let listed = block_on(storage.list_family(Counter::BY, options)).unwrap_err();
        assert_eq!(listed.to_string(), text);
    }
}

#[test]
fn delete_all_deletes_the_librarys_keys_and_the_alarm_too() {
    let store = Memory::new();
    let mut storage = Counters::new(store.clone());
    let mut own = Batch::new();
    own.put("__own", "1");
    block_on(storage.store_mut().commit(own)).unwrap();
    block_on(storage.put(Counter::COUNT, &1)).unwrap();
    block_on(storage.set_alarm(Timestamp::from_millis(5))).unwrap();
    block_on(storage.delete_all()).unwrap();
    assert!(
        block_on(store.list(&KeyRange::default()))
            .unwrap()
            .is_empty()
    );
    assert_eq!(block_on(storage.alarm()).unwrap(), None);
}

#[test]
fn a_transaction_is_one_commit_with_its_alarm() {
    let store = Faults::new(Memory::new());
    let mut storage = Counters::new(store.clone());
    let sum = block_on(storage.transaction(async |txn| {
        txn.put(Counter::COUNT, &1).await?;
        txn.set_alarm(Timestamp::from_millis(5)).await?;
        let count = txn.get(Counter::COUNT).await?.unwrap_or(0);
        txn.put(Counter::TOTAL, &(count + 1)).await?;
        Ok::<_, Error>(count + 1)
    }));
    assert_eq!(sum.unwrap(), 2);
    assert_eq!(store.commits(), 1);
    assert_eq!(
        block_on(storage.alarm()).unwrap(),
        Some(Timestamp::from_millis(5))
    );
    let read = block_on(storage.transaction(async |txn| txn.get(Counter::TOTAL).await));
    assert_eq!(read.unwrap(), Some(2));
    assert_eq!(store.commits(), 1, "reading alone commits nothing");
}

#[derive(Debug)]
enum OrderError {
    SoldOut,
    Storage(Error),
}

impl From<Error> for OrderError {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

#[test]
fn a_transaction_that_answers_an_error_leaves_nothing() {
    let store = Faults::new(Memory::new());
    let mut storage = Counters::new(store.clone());
    block_on(storage.put(Counter::COUNT, &1)).unwrap();
    let answer = block_on(storage.transaction(async |txn| {
        txn.delete_all().await?;
        txn.put(Counter::TOTAL, &7).await?;
        Err::<(), _>(OrderError::SoldOut)
    }));
    assert!(matches!(answer, Err(OrderError::SoldOut)));
    assert_eq!(keys(&storage, ListOptions::new()), ["count"]);
    assert_eq!(store.commits(), 1);

    store.fail_commit(1);
    let answer = block_on(storage.transaction(async |txn| {
        txn.put(Counter::TOTAL, &7).await?;
        Ok::<_, OrderError>(())
    }));
    assert!(matches!(answer, Err(OrderError::Storage(error)) if error.is_retryable()));
    assert_eq!(keys(&storage, ListOptions::new()), ["count"]);
}

#[test]
fn a_transaction_whose_future_is_dropped_leaves_nothing() {
    let mut storage = Counters::new(Memory::new());
    {
        let mut future = pin!(storage.transaction(async |txn| {
            txn.put(Counter::COUNT, &1).await?;
            std::future::pending::<()>().await;
            Ok::<_, Error>(())
        }));
        let poll = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
    }
    assert!(keys(&storage, ListOptions::new()).is_empty());
}

#[test]
fn a_savepoint_is_rolled_back_without_the_transaction_around_it() {
    let mut storage = Counters::new(Memory::new());
    block_on(storage.transaction(async |txn| {
        txn.put(Counter::COUNT, &1).await?;
        let failed = txn
            .transaction(async |inner| {
                inner.put(Counter::COUNT, &2).await?;
                Err::<(), _>(OrderError::SoldOut)
            })
            .await;
        assert!(matches!(failed, Err(OrderError::SoldOut)));
        let mut inner = txn.begin();
        inner.put(Counter::TOTAL, &3).await?;
        inner.commit().await?;
        Ok::<_, Error>(())
    }))
    .unwrap();
    assert_eq!(block_on(storage.get(Counter::COUNT)).unwrap(), Some(1));
    assert_eq!(block_on(storage.get(Counter::TOTAL)).unwrap(), Some(3));
}

#[test]
fn a_guard_that_is_dropped_or_rolled_back_leaves_nothing() {
    let mut storage = Counters::new(Memory::new());
    let mut dropped = storage.begin();
    block_on(dropped.put(Counter::COUNT, &1)).unwrap();
    drop(dropped);
    let mut rolled_back = storage.begin();
    block_on(rolled_back.put(Counter::COUNT, &1)).unwrap();
    rolled_back.rollback();
    assert!(keys(&storage, ListOptions::new()).is_empty());
    let mut committed = storage.begin();
    block_on(committed.put(Counter::COUNT, &1)).unwrap();
    block_on(committed.commit()).unwrap();
    assert_eq!(keys(&storage, ListOptions::new()), ["count"]);
}

#[test]
fn handles_of_one_store_see_each_others_commits_and_copies_of_values() {
    let store = Memory::new();
    let mut one = Counters::new(store.clone());
    let other = Counters::new(store);
    block_on(one.put(Counter::COUNT, &1)).unwrap();
    assert_eq!(block_on(other.get(Counter::COUNT)).unwrap(), Some(1));
    let entry = block_on(other.list(ListOptions::new())).unwrap().remove(0);
    block_on(one.put(Counter::COUNT, &2)).unwrap();
    assert_eq!((entry.key(), entry.json()), ("count", "1"));
    assert_eq!(entry.decode::<u64>().unwrap(), 1);
}

/// Counts the entries that lists read.
#[derive(Clone, Default)]
struct Counting {
    store: Memory,
    read: Arc<Mutex<Vec<usize>>>,
}

impl Store for Counting {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.store.get(key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        let entries = self.store.list(range).await?;
        self.read.lock().unwrap().push(entries.len());
        Ok(entries)
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.store.alarm().await
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        self.store.commit(batch).await
    }
}

#[test]
fn a_list_reads_no_more_than_it_returns() {
    let store = Counting::default();
    let mut storage = Counters::new(store.clone());
    let mut batch = Batch::new();
    for number in 0..500 {
        batch.put(format!("__own:{number}"), "1");
        batch.put(format!("A{number:03}"), "1");
        batch.put(format!("z{number:03}"), "1");
    }
    block_on(storage.store_mut().commit(batch)).unwrap();
    for (options, expected, read) in [
        (ListOptions::new().limit(2), &["A000", "A001"][..], &[2][..]),
        (
            ListOptions::new().start("A499").limit(3),
            &["A499", "z000", "z001"],
            &[1, 2],
        ),
        (
            ListOptions::new().reverse().end("z001").limit(3),
            &["z000", "A499", "A498"],
            &[1, 2],
        ),
        (ListOptions::new().prefix("__own:"), &[], &[]),
        (ListOptions::new().prefix("_"), &[], &[0, 0]),
        (
            ListOptions::new().prefix("z49").limit(2),
            &["z490", "z491"],
            &[2],
        ),
        (ListOptions::new().start("__").end("__z"), &[], &[]),
    ] {
        store.read.lock().unwrap().clear();
        assert_eq!(keys(&storage, options.clone()), expected, "{options:?}");
        assert_eq!(*store.read.lock().unwrap(), read, "{options:?}");
    }
}

fn any_key() -> impl Strategy<Value = String> {
    "[_`^a]{1,4}"
}

proptest! {
    /// A list is the list of the store without the library's keys, for all options.
    #[test]
    fn a_list_is_that_of_the_store_without_the_librarys_keys(
        written in prop::collection::btree_set(any_key(), 0..40),
        start in prop::option::of(any_key()),
        end in prop::option::of(any_key()),
        prefix in prop::option::of("[_`^a]{0,3}"),
        limit in prop::option::of(1..9_usize),
        reverse in any::<bool>(),
    ) {
        let mut storage = Counters::new(Memory::new());
        let mut batch = Batch::new();
        for key in &written {
            batch.put(key, "1");
        }
        block_on(storage.store_mut().commit(batch)).unwrap();
        let mut options = ListOptions::new();
        if let Some(start) = start {
            options = options.start(start);
        }
        if let Some(end) = end {
            options = options.end(end);
        }
        if let Some(prefix) = prefix {
            options = options.prefix(prefix);
        }
        if reverse {
            options = options.reverse();
        }
        let everything = options.to_range().unwrap();
        let expected: Vec<String> = block_on(storage.store().list(&everything))
            .unwrap()
            .into_iter()
            .map(|(key, _)| key)
            .filter(|key| !key.starts_with("__"))
            .take(limit.unwrap_or(usize::MAX))
            .collect();
        if let Some(limit) = limit {
            options = options.limit(limit);
        }
        prop_assert_eq!(keys(&storage, options), expected);
    }
}
