//! The event log: sequences, snapshots and crashes.

#![expect(clippy::unwrap_used, reason = "a call that fails is a test that fails")]

use std::sync::atomic::{AtomicUsize, Ordering};

use dokit_storage::{Batch, Error, EventLog, Faults, KeyRange, Memory, Store, Transaction};
use futures_executor::block_on;
use proptest::prelude::*;

const SUM: EventLog<i64, i64> = EventLog::new("sum", |sum, change| *sum += change);

fn keys(store: &Memory) -> Vec<String> {
    let entries = block_on(store.list(&KeyRange::default())).unwrap();
    entries.into_iter().map(|(key, _)| key).collect()
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn events_are_numbered_from_one_and_read_from_where_one_left_off() {
    let mut store = Memory::new();
    assert_eq!(block_on(SUM.len(&store)).unwrap(), 0);
    assert_eq!(block_on(SUM.state(&store)).unwrap(), 0);
    for change in 1..=300 {
        let sequence = block_on(assert_send(SUM.append(&mut store, &change))).unwrap();
        assert_eq!(sequence, u64::try_from(change).unwrap());
    }
    assert_eq!(block_on(SUM.len(&store)).unwrap(), 300);
    assert_eq!(block_on(SUM.state(&store)).unwrap(), 300 * 301 / 2);
    let page = block_on(SUM.events(&store, 298, 10)).unwrap();
    assert_eq!(page, [(299, 299), (300, 300)]);
    let page = block_on(SUM.events(&store, 7, 2)).unwrap();
    assert_eq!(page, [(8, 8), (9, 9)]);
    assert!(
        block_on(SUM.events(&store, u64::MAX, 1))
            .unwrap()
            .is_empty()
    );
    let refused = block_on(SUM.events(&store, 0, 0)).unwrap_err();
    assert!(matches!(refused, Error::InvalidList { .. }));
}

#[test]
fn order_holds_past_a_million_events() {
    let mut store = Memory::new();
    let mut batch = Batch::new();
    batch.put("sum:last", "999999");
    batch.put("sum:event:00000000000000999999", "1");
    block_on(store.commit(batch)).unwrap();
    for change in [2, 3] {
        block_on(SUM.append(&mut store, &change)).unwrap();
    }
    let events = block_on(SUM.events(&store, 0, 10)).unwrap();
    assert_eq!(events, [(999_999, 1), (1_000_000, 2), (1_000_001, 3)]);
}

#[test]
fn appends_within_one_transaction_are_one_commit() {
    let mut store = Faults::new(Memory::new());
    block_on(async {
        let mut transaction = Transaction::begin(&mut store);
        assert_eq!(SUM.append(&mut transaction, &1).await?, 1);
        assert_eq!(SUM.append(&mut transaction, &2).await?, 2);
        assert_eq!(SUM.state(&transaction).await?, 3);
        transaction.commit().await?;
        Ok::<(), Error>(())
    })
    .unwrap();
    assert_eq!(store.commits(), 1);
    assert_eq!(block_on(SUM.len(&store)).unwrap(), 2);

    let mut transaction = Transaction::begin(&mut store);
    block_on(SUM.append(&mut transaction, &7)).unwrap();
    transaction.rollback();
    assert_eq!(block_on(SUM.state(&store)).unwrap(), 3);
}

#[test]
fn a_snapshot_is_written_with_the_append_that_it_is_due_with() {
    const OFTEN: EventLog<i64, i64> = SUM.snapshot_every(3);
    let disk = Memory::new();
    let mut store = Faults::new(disk.clone());
    for change in [1, 2] {
        block_on(OFTEN.append(&mut store, &change)).unwrap();
    }
    assert!(!keys(&disk).contains(&"sum:snapshot".to_owned()));
    store.fail_commit(1);
    assert!(block_on(OFTEN.append(&mut store, &3)).is_err());
    assert_eq!(block_on(OFTEN.len(&store)).unwrap(), 2);
    assert!(!keys(&disk).contains(&"sum:snapshot".to_owned()));
    block_on(OFTEN.append(&mut store, &3)).unwrap();
    assert_eq!(store.commits(), 4);
    let snapshot = block_on(disk.get("sum:snapshot")).unwrap();
    assert_eq!(
        snapshot.as_deref(),
        Some(r#"{"version":1,"sequence":3,"state":6}"#)
    );
    block_on(OFTEN.append(&mut store, &4)).unwrap();
    assert_eq!(block_on(OFTEN.state(&store)).unwrap(), 10);
}

#[test]
fn zero_is_no_snapshot_ever() {
    const NEVER: EventLog<i64, i64> = SUM.snapshot_every(0);
    let mut store = Memory::new();
    for change in 0..60 {
        block_on(NEVER.append(&mut store, &change)).unwrap();
    }
    assert!(!keys(&store).contains(&"sum:snapshot".to_owned()));
    assert_eq!(block_on(NEVER.state(&store)).unwrap(), 59 * 60 / 2);
}

#[test]
fn an_append_folds_each_event_once_at_most() {
    static FOLDED: AtomicUsize = AtomicUsize::new(0);
    const COUNTED: EventLog<u8, u64> = EventLog::new("counted", |count, _| {
        FOLDED.fetch_add(1, Ordering::Relaxed);
        *count += 1;
    });
    let mut store = Memory::new();
    for _ in 0..200 {
        block_on(COUNTED.append(&mut store, &1)).unwrap();
    }
    assert_eq!(FOLDED.load(Ordering::Relaxed), 200);
    assert_eq!(block_on(COUNTED.state(&store)).unwrap(), 200);
    assert_eq!(FOLDED.load(Ordering::Relaxed), 200);
}

#[test]
fn a_state_of_another_version_is_folded_anew() {
    const OLD: EventLog<i64, i64> = SUM.snapshot_every(2);
    const NEW: EventLog<i64, Vec<i64>> =
        EventLog::new("sum", |all: &mut Vec<i64>, change: &i64| all.push(*change))
            .snapshot_every(2)
            .state_version(2);
    let mut store = Memory::new();
    for change in [1, 2, 3] {
        block_on(OLD.append(&mut store, &change)).unwrap();
    }
    assert_eq!(block_on(NEW.state(&store)).unwrap(), [1, 2, 3]);
    block_on(NEW.append(&mut store, &4)).unwrap();
    let snapshot = block_on(store.get("sum:snapshot")).unwrap();
    assert_eq!(
        snapshot.as_deref(),
        Some(r#"{"version":2,"sequence":4,"state":[1,2,3,4]}"#)
    );
}

#[test]
fn rebuild_replaces_a_wrong_snapshot() {
    let mut store = Memory::new();
    for change in [1, 2, 3] {
        block_on(SUM.append(&mut store, &change)).unwrap();
    }
    let mut batch = Batch::new();
    batch.put(
        "sum:snapshot",
        r#"{"version":1,"sequence":2,"state":"lost"}"#,
    );
    block_on(store.commit(batch)).unwrap();
    let wrong = block_on(SUM.state(&store)).unwrap_err();
    assert!(
        matches!(wrong, Error::Decode { key, path, .. } if key == "sum:snapshot" && path == "state")
    );
    assert_eq!(block_on(SUM.rebuild(&mut store)).unwrap(), 6);
    assert_eq!(block_on(SUM.state(&store)).unwrap(), 6);
}

#[test]
fn keys_that_are_not_events_are_an_error_or_not_seen() {
    let mut store = Memory::new();
    block_on(SUM.append(&mut store, &1)).unwrap();
    let inner: EventLog<i64, i64> = EventLog::new("sum:event", |sum, change| *sum += change);
    block_on(inner.append(&mut store, &100)).unwrap();
    assert_eq!(block_on(SUM.state(&store)).unwrap(), 1);

    let mut batch = Batch::new();
    batch.put("sum:event:1x", "5");
    block_on(store.commit(batch)).unwrap();
    let error = block_on(SUM.state(&store)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid key \"sum:event:1x\": it does not end in the sequence of an event"
    );
}

#[test]
fn a_log_whose_number_is_as_high_as_it_can_be_takes_no_event() {
    let mut store = Memory::new();
    let mut batch = Batch::new();
    batch.put("sum:last", u64::MAX.to_string());
    block_on(store.commit(batch)).unwrap();
    let refused = block_on(SUM.append(&mut store, &1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid value of \"sum:last\": no event can follow the one numbered 18446744073709551615"
    );
}

proptest! {
    /// Whatever commits fail, before or after they take effect, the log is what took effect.
    #[test]
    fn no_event_is_lost_doubled_or_out_of_order(
        steps in prop::collection::vec((any::<i32>(), 0..4_u8), 1..80),
        every in 0..7_u64,
    ) {
        let log = SUM.snapshot_every(every);
        let disk = Memory::new();
        let mut store = Faults::new(disk.clone());
        let mut expected: Vec<i64> = Vec::new();
        block_on(async {
            for (change, fault) in steps {
                let change = i64::from(change);
                match fault {
                    0 => store.fail_commit(1),
                    1 => store.lose_commit_answer(1),
                    _ => {}
                }
                let answer = log.append(&mut store, &change).await;
                if fault != 0 {
                    expected.push(change);
                }
                assert_eq!(answer.is_ok(), fault > 1);
                // Another process opens the same disk.
                store = Faults::new(disk.clone());
            }
            let events = log.events(&store, 0, 1000).await?;
            let changes: Vec<i64> = events.iter().map(|(_, change)| *change).collect();
            assert_eq!(changes, expected);
            assert!(events.iter().map(|(at, _)| *at).eq(1..=events.len() as u64));
            assert_eq!(log.state(&store).await?, expected.iter().sum::<i64>());
            assert_eq!(log.rebuild(&mut store).await?, expected.iter().sum::<i64>());
            Ok::<(), Error>(())
        }).unwrap();
    }
}
