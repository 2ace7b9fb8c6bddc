//! The promises of a store that need no crash.

use dokit_storage::{Batch, Error, ListOptions, Memory, Store, Timestamp, Transaction};

use super::{
    dice::Dice,
    look::{content, get, keys, later, list, put},
};

pub(super) async fn a_key_that_was_never_written_is_missing<T: Store>(store: T) {
    assert_eq!(get(&store, "key").await, None);
    assert_eq!(content(&store).await, (Vec::new(), None));
}

pub(super) async fn a_value_comes_back_as_the_same_text<T: Store>(mut store: T) {
    for json in [
        "null",
        "18446744073709551615",
        "-9223372036854775808",
        "0.1",
        "\"\"",
        "\"a \\u0000 \\\" \u{e9} \u{1F600}\"",
        "[]",
        "{\"b\":{\"a\":[1,null,{}]},\"a\":1}",
    ] {
        put(&mut store, "key", json).await;
        assert_eq!(get(&store, "key").await.as_deref(), Some(json));
        let listed = list(&store, ListOptions::new()).await;
        assert_eq!(listed, [("key".to_owned(), json.to_owned())]);
    }
}

pub(super) async fn a_later_write_replaces_an_earlier_one<T: Store>(mut store: T) {
    put(&mut store, "key", "1").await;
    put(&mut store, "key", "2").await;
    assert_eq!(get(&store, "key").await.as_deref(), Some("2"));
    let mut batch = Batch::new();
    batch.put("key", "3");
    batch.delete("key");
    batch.put("key", "4");
    store.commit(batch).await.unwrap();
    assert_eq!(get(&store, "key").await.as_deref(), Some("4"));
    assert_eq!(keys(&store, ListOptions::new()).await, ["key"]);
}

pub(super) async fn a_deleted_key_is_missing<T: Store>(mut store: T) {
    put(&mut store, "a", "1").await;
    put(&mut store, "b", "2").await;
    let mut batch = Batch::new();
    batch.delete("a");
    batch.delete("never written");
    store.commit(batch).await.unwrap();
    assert_eq!(get(&store, "a").await, None);
    assert_eq!(keys(&store, ListOptions::new()).await, ["b"]);
}

pub(super) async fn a_batch_deletes_everything_first_and_writes_then<T: Store>(mut store: T) {
    put(&mut store, "old", "1").await;
    put(&mut store, "kept", "1").await;
    let mut batch = Batch::new();
    batch.put("dropped", "1");
    batch.delete_all();
    batch.put("kept", "2");
    batch.put("new", "3");
    batch.set_alarm(later(5));
    store.commit(batch).await.unwrap();
    let expected = [("kept", "2"), ("new", "3")];
    let expected = expected.map(|(key, json)| (key.to_owned(), json.to_owned()));
    let alarm = Some(later(5));
    assert_eq!(content(&store).await, (expected.into(), alarm));
}

pub(super) async fn delete_all_deletes_the_keys_and_the_alarm<T: Store>(mut store: T) {
    let mut batch = Batch::new();
    batch.put("key", "1");
    batch.put("__own", "1");
    batch.set_alarm(later(5));
    store.commit(batch).await.unwrap();
    let mut batch = Batch::new();
    batch.delete_all();
    store.commit(batch).await.unwrap();
    assert_eq!(content(&store).await, (Vec::new(), None));
    put(&mut store, "key", "2").await;
    assert_eq!(get(&store, "key").await.as_deref(), Some("2"));
}

pub(super) async fn an_empty_batch_changes_nothing<T: Store>(mut store: T) {
    put(&mut store, "key", "1").await;
    let before = content(&store).await;
    store.commit(Batch::new()).await.unwrap();
    assert_eq!(content(&store).await, before);
}

pub(super) async fn a_batch_of_many_keys_is_one_commit<T: Store>(mut store: T) {
    // The limit on the number of keys is that of `put_many` and its like, not that of a commit.
    let mut batch = Batch::new();
    for number in 0..1000 {
        batch.put(format!("{number:04}"), number.to_string());
    }
    store.commit(batch).await.unwrap();
    let all = keys(&store, ListOptions::new()).await;
    assert!(all.into_iter().eq((0..1000).map(|n| format!("{n:04}"))));
}

pub(super) async fn keys_are_listed_in_the_order_of_their_bytes<T: Store>(mut store: T) {
    // In the order of UTF-16 units U+1F600 would stand before U+FFFD; in a locale's, "a" before "A".
    let ordered = [
        "\0",
        "A",
        "__own",
        "a",
        "a\0b",
        "ab",
        "z",
        "\u{e9}",
        "\u{FFFD}",
        "\u{1F600}",
    ];
    for at in [3, 9, 0, 7, 5, 1, 8, 2, 6, 4] {
        put(&mut store, ordered[at], &at.to_string()).await;
    }
    let mut expected: Vec<(String, String)> = ordered
        .iter()
        .enumerate()
        .map(|(at, key)| ((*key).to_owned(), at.to_string()))
        .collect();
    assert_eq!(list(&store, ListOptions::new()).await, expected);
    expected.reverse();
    let reversed = list(&store, ListOptions::new().reverse()).await;
    assert_eq!(reversed, expected);
}

pub(super) async fn a_list_keeps_to_its_range_limit_and_direction<T: Store>(mut store: T) {
    for key in ["a", "b", "b\0", "ba", "bb", "c", "d"] {
        put(&mut store, key, "1").await;
    }
    let all = ListOptions::new;
    for (options, expected) in [
        (all().start("b"), &["b", "b\0", "ba", "bb", "c", "d"][..]),
        (all().start("b!"), &["ba", "bb", "c", "d"]),
        (all().start_after("b"), &["b\0", "ba", "bb", "c", "d"]),
        (all().end("b"), &["a"]),
        (all().end("b\0"), &["a", "b"]),
        (all().prefix("b"), &["b", "b\0", "ba", "bb"]),
        (all().prefix("b").start("ba"), &["ba", "bb"]),
        (all().prefix("b").start("a").end("ba"), &["b", "b\0"]),
        (all().prefix("b").start_after("b\0").limit(1), &["ba"]),
        (all().start("b").end("d").limit(2), &["b", "b\0"]),
        (all().start("b").end("d").reverse().limit(2), &["c", "bb"]),
        (all().reverse().limit(1), &["d"]),
        (all().limit(3), &["a", "b", "b\0"]),
        (all().limit(7).start("c"), &["c", "d"]),
        (all().limit(usize::MAX).end("b"), &["a"]),
        (all().start("e"), &[]),
        (all().prefix("bbb"), &[]),
    ] {
        assert_eq!(keys(&store, options.clone()).await, expected, "{options:?}");
    }
}

pub(super) async fn an_empty_range_lists_nothing<T: Store>(mut store: T) {
    put(&mut store, "b", "1").await;
    for options in [
        ListOptions::new().start("b").end("b"),
        ListOptions::new().start("c").end("a"),
        ListOptions::new().start("c").end("a").reverse().limit(1),
        ListOptions::new().prefix("b").end("a"),
    ] {
        assert!(
            keys(&store, options.clone()).await.is_empty(),
            "{options:?}"
        );
    }
}

pub(super) async fn odd_characters_in_keys_mean_nothing<T: Store>(mut store: T) {
    let odd = [
        "%",
        "%a",
        "'; DROP TABLE x; --",
        "*",
        "../up",
        "[ab]",
        "\\",
        "_",
        "_a",
        "a b",
        "a%",
        "a_",
        "aX",
        "\n",
        "\u{10FFFF}",
        "\u{D7FF}x",
        "\u{E000}x",
    ];
    for key in odd {
        put(&mut store, key, "1").await;
    }
    for key in odd {
        assert_eq!(get(&store, key).await.as_deref(), Some("1"), "{key:?}");
        let with_prefix = keys(&store, ListOptions::new().prefix(key)).await;
        let mut expected: Vec<&str> = odd.into_iter().filter(|k| k.starts_with(key)).collect();
        expected.sort_unstable();
        assert_eq!(with_prefix, expected, "{key:?}");
    }
}

pub(super) async fn an_alarm_is_set_replaced_kept_and_deleted<T: Store>(mut store: T) {
    assert_eq!(store.alarm().await.unwrap(), None);
    let mut set = Batch::new();
    set.set_alarm(later(1));
    let mut replace = Batch::new();
    replace.put("key", "1");
    replace.set_alarm(Timestamp::LAST);
    let mut keep = Batch::new();
    keep.put("key", "2");
    let mut delete = Batch::new();
    delete.delete_alarm();
    for (batch, expected) in [
        (set, Some(later(1))),
        (replace, Some(Timestamp::LAST)),
        (keep, Some(Timestamp::LAST)),
        (delete.clone(), None),
        (delete, None),
    ] {
        store.commit(batch).await.unwrap();
        assert_eq!(store.alarm().await.unwrap(), expected);
    }
    assert_eq!(get(&store, "key").await.as_deref(), Some("2"));
}

pub(super) async fn an_alarm_outside_its_range_is_refused<T: Store>(mut store: T) {
    let past_the_last = Timestamp::from_millis(Timestamp::LAST.as_millis() + 1);
    for at in [Timestamp::EPOCH, Timestamp::from_millis(-1), past_the_last] {
        let mut batch = Batch::new();
        batch.put("key", "1");
        batch.set_alarm(at);
        let refused = store.commit(batch).await;
        assert!(
            matches!(refused, Err(Error::InvalidAlarm { at: found }) if found == at),
            "{refused:?}"
        );
        assert_eq!(content(&store).await, (Vec::new(), None));
    }
}

pub(super) async fn a_key_at_the_limit_is_taken_and_one_over_it_is_refused<T: Store>(mut store: T) {
    let mut refused = vec![String::new()];
    let limit = store.limits().key_bytes;
    if limit < usize::MAX {
        let longest = "k".repeat(limit);
        put(&mut store, &longest, "1").await;
        assert_eq!(get(&store, &longest).await.as_deref(), Some("1"));
        // Bytes are counted, not characters.
        refused.extend([format!("{longest}k"), "\u{e9}".repeat(limit / 2 + 1)]);
    }
    let before = content(&store).await;
    for key in refused {
        let mut put = Batch::new();
        put.put(key.clone(), "1");
        let mut delete = Batch::new();
        delete.delete(key.clone());
        for batch in [put, delete] {
            let answer = store.commit(batch).await;
            assert!(
                matches!(answer, Err(Error::InvalidKey { .. })),
                "{answer:?} for {} bytes",
                key.len()
            );
        }
    }
    assert_eq!(content(&store).await, before);
}

pub(super) async fn a_value_at_the_limit_is_taken_and_one_over_it_is_refused<T: Store>(
    mut store: T,
) {
    let limit = store.limits().value_bytes;
    if limit == usize::MAX {
        return;
    }
    let text = |bytes: usize| format!("\"{}\"", "v".repeat(bytes - 2));
    put(&mut store, "key", &text(limit)).await;
    assert_eq!(get(&store, "key").await, Some(text(limit)));
    let mut batch = Batch::new();
    batch.put("key", text(limit + 1));
    let refused = store.commit(batch).await;
    assert!(
        matches!(refused, Err(Error::ValueTooLarge { bytes, .. }) if bytes == limit + 1),
        "{refused:?}"
    );
    assert_eq!(get(&store, "key").await, Some(text(limit)));
}

pub(super) async fn a_refused_batch_changes_nothing<T: Store>(mut store: T) {
    put(&mut store, "key", "1").await;
    let mut alarm = Batch::new();
    alarm.set_alarm(later(5));
    store.commit(alarm).await.unwrap();
    let before = content(&store).await;
    let mut batch = Batch::new();
    batch.delete_all();
    batch.put("key", "2");
    batch.put("z", "3");
    batch.put("", "no key");
    batch.set_alarm(later(6));
    let refused = store.commit(batch).await;
    assert!(
        matches!(refused, Err(Error::InvalidKey { .. })),
        "{refused:?}"
    );
    assert_eq!(content(&store).await, before);
}

pub(super) async fn a_transaction_is_seen_from_within_and_takes_effect_on_commit<T: Store>(
    mut store: T,
) {
    put(&mut store, "a", "1").await;
    put(&mut store, "c", "1").await;
    let mut transaction = Transaction::begin(&mut store);
    put(&mut transaction, "b", "2").await;
    let mut batch = Batch::new();
    batch.delete("a");
    batch.set_alarm(later(5));
    Store::commit(&mut transaction, batch).await.unwrap();
    let within = content(&transaction).await;
    assert_eq!(keys(&transaction, ListOptions::new()).await, ["b", "c"]);
    let last = ListOptions::new().reverse().limit(1);
    assert_eq!(keys(&transaction, last).await, ["c"]);
    assert_eq!(within.1, Some(later(5)));
    transaction.commit().await.unwrap();
    assert_eq!(content(&store).await, within);
}

pub(super) async fn a_transaction_that_is_dropped_leaves_nothing<T: Store>(mut store: T) {
    put(&mut store, "a", "1").await;
    let before = content(&store).await;
    let mut transaction = Transaction::begin(&mut store);
    let mut batch = Batch::new();
    batch.delete_all();
    batch.put("b", "2");
    batch.set_alarm(later(5));
    Store::commit(&mut transaction, batch).await.unwrap();
    assert_eq!(keys(&transaction, ListOptions::new()).await, ["b"]);
    drop(transaction);
    assert_eq!(content(&store).await, before);
}

pub(super) async fn a_savepoint_is_rolled_back_alone<T: Store>(mut store: T) {
    let mut outer = Transaction::begin(&mut store);
    put(&mut outer, "a", "1").await;
    let mut inner = Transaction::begin(&mut outer);
    put(&mut inner, "a", "2").await;
    put(&mut inner, "b", "2").await;
    assert_eq!(get(&inner, "a").await.as_deref(), Some("2"));
    inner.rollback();
    assert_eq!(keys(&outer, ListOptions::new()).await, ["a"]);
    let mut inner = Transaction::begin(&mut outer);
    put(&mut inner, "c", "3").await;
    inner.commit().await.unwrap();
    outer.commit().await.unwrap();
    let expected = [("a", "1"), ("c", "3")];
    let expected = expected.map(|(key, json)| (key.to_owned(), json.to_owned()));
    assert_eq!(content(&store).await.0, expected);
}

pub(super) async fn two_stores_share_nothing<T: Store>(mut one: T, mut other: T) {
    let mut batch = Batch::new();
    batch.put("key", "1");
    batch.set_alarm(later(5));
    one.commit(batch.clone()).await.unwrap();
    assert_eq!(content(&other).await, (Vec::new(), None));
    other.commit(batch).await.unwrap();
    let before = content(&other).await;
    let mut batch = Batch::new();
    batch.delete_all();
    one.commit(batch).await.unwrap();
    assert_eq!(content(&other).await, before);
    assert_eq!(content(&one).await, (Vec::new(), None));
}

pub(super) async fn random_commits_and_lists_are_those_of_memory<T: Store>(mut store: T) {
    let mut model = Memory::new().with_limits(store.limits());
    let mut dice = Dice::new(7);
    for _ in 0..400 {
        let batch = dice.batch();
        store.commit(batch.clone()).await.unwrap();
        model.commit(batch.clone()).await.unwrap();
        let range = dice.range();
        let expected = model.list(&range).await.unwrap();
        let listed = store.list(&range).await.unwrap();
        assert_eq!(listed, expected, "{range:?} after {batch:?}");
    }
    assert_eq!(content(&store).await, content(&model).await);
}
