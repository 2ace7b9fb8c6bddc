//! The time series: buckets, rolling up and pruning, within the limits.

#![expect(clippy::unwrap_used, reason = "a call that fails is a test that fails")]

use std::collections::BTreeMap;

use dokit_storage::{
    Batch, Error, Faults, Granularity, KeyRange, Limits, Memory, Result, Store, TimeSeries,
    Timestamp,
};
use futures_executor::block_on;
use proptest::prelude::*;

const HITS: TimeSeries<u64> =
    TimeSeries::new("hits", Granularity::Minute, |sum, more| *sum += more);
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn keys(store: &Memory) -> Vec<String> {
    let entries = block_on(store.list(&KeyRange::default())).unwrap();
    entries.into_iter().map(|(key, _)| key).collect()
}

fn record(store: &mut Memory, values: &[(i64, u64)]) {
    for (millis, value) in values {
        block_on(HITS.record(store, at(*millis), *value)).unwrap();
    }
}

fn query(store: &Memory, granularity: Granularity, from: i64, to: i64) -> Vec<(i64, u64)> {
    let found = block_on(HITS.query(store, granularity, at(from)..at(to))).unwrap();
    found
        .into_iter()
        .map(|(start, sum)| (start.as_millis(), sum))
        .collect()
}

/// A store that refuses a commit of more keys than a batch may have, as the platform does.
#[derive(Clone)]
struct Strict(Memory);

impl Store for Strict {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.0.get(key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.0.list(range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.0.alarm().await
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        self.limits().check_count(batch.writes().count())?;
        self.0.commit(batch).await
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }
}

#[test]
fn values_are_merged_into_the_bucket_of_their_time() {
    let mut store = Memory::new();
    record(
        &mut store,
        &[(0, 1), (MINUTE - 1, 2), (MINUTE, 4), (HOUR, 8)],
    );
    assert_eq!(
        keys(&store),
        [
            "hits:minute:00000000000000000000",
            "hits:minute:00000000000000060000",
            "hits:minute:00000000000003600000",
        ]
    );
    let minutes = query(&store, Granularity::Minute, 0, HOUR);
    assert_eq!(minutes, [(0, 3), (MINUTE, 4)]);
    let hours = query(&store, Granularity::Hour, i64::MIN, i64::MAX);
    assert_eq!(hours, [(0, 7), (HOUR, 8)]);
    // Only buckets that begin in the range.
    assert_eq!(query(&store, Granularity::Minute, 1, HOUR), [(MINUTE, 4)]);
    assert_eq!(query(&store, Granularity::Hour, 1, HOUR + 1), [(HOUR, 8)]);
    assert_eq!(query(&store, Granularity::Hour, HOUR, 0), []);
}

#[test]
fn a_time_before_1970_and_a_granularity_that_is_not_recorded_are_refused() {
    let mut store = Memory::new();
    let early = block_on(HITS.record(&mut store, at(-1), 1)).unwrap_err();
    assert!(matches!(early, Error::InvalidKey { .. }), "{early}");
    let fine = block_on(HITS.query(&store, Granularity::Second, at(0)..at(1))).unwrap_err();
    assert_eq!(
        fine.to_string(),
        "invalid list options: the granularity is finer than the one that is recorded"
    );
}

#[test]
fn rolling_up_moves_whole_buckets_and_may_be_repeated() {
    let mut store = Memory::new();
    record(&mut store, &[(0, 1), (MINUTE, 2), (HOUR, 4)]);
    let moved = block_on(HITS.roll_up(&mut store, Granularity::Hour, at(2 * HOUR - 1))).unwrap();
    assert_eq!(moved, 2);
    assert_eq!(
        keys(&store),
        [
            "hits:hour:00000000000000000000",
            "hits:minute:00000000000003600000",
        ]
    );
    // A value that comes late is neither lost nor does it count twice.
    record(&mut store, &[(5, 8)]);
    assert_eq!(
        query(&store, Granularity::Hour, 0, 2 * HOUR),
        [(0, 11), (HOUR, 4)]
    );
    for moved in [1, 0] {
        let again = HITS.roll_up(&mut store, Granularity::Hour, at(HOUR));
        assert_eq!(block_on(again).unwrap(), moved);
        assert_eq!(
            query(&store, Granularity::Hour, 0, 2 * HOUR),
            [(0, 11), (HOUR, 4)]
        );
    }
}

#[test]
fn pruning_deletes_whole_buckets_of_one_granularity() {
    let mut store = Memory::new();
    record(&mut store, &[(0, 1), (HOUR, 2), (HOUR + MINUTE, 4)]);
    block_on(HITS.roll_up(&mut store, Granularity::Hour, at(HOUR))).unwrap();
    let before = at(HOUR + 2 * MINUTE - 1);
    let pruned = block_on(HITS.prune(&mut store, Granularity::Minute, before)).unwrap();
    assert_eq!(pruned, 1);
    assert_eq!(
        query(&store, Granularity::Hour, 0, 2 * HOUR),
        [(0, 1), (HOUR, 4)]
    );
    let pruned = block_on(HITS.prune(&mut store, Granularity::Hour, before)).unwrap();
    assert_eq!(pruned, 1);
}

#[test]
fn no_commit_is_over_the_limit_of_a_batch() {
    let mut memory = Memory::new();
    let mut values = Vec::new();
    for minute in 0..1000 {
        values.push((minute * MINUTE, 1));
    }
    record(&mut memory, &values);
    let mut store = Strict(memory.clone());
    let all = at(1000 * MINUTE);
    let moved = block_on(HITS.roll_up(&mut store, Granularity::Hour, at(5 * HOUR))).unwrap();
    assert_eq!(moved, 300);
    let pruned = block_on(HITS.prune(&mut store, Granularity::Minute, all)).unwrap();
    assert_eq!(pruned, 700);
    assert_eq!(keys(&memory).len(), 5);
}

#[test]
fn a_crash_while_rolling_up_changes_no_answer() {
    for crash in 1..=6 {
        for lost in [false, true] {
            let mut memory = Memory::new();
            for minute in 0..300 {
                record(&mut memory, &[(minute * MINUTE, 1)]);
            }
            let expected = query(&memory, Granularity::Hour, 0, 5 * HOUR);
            let mut store = Faults::new(memory.clone());
            if lost {
                store.lose_commit_answer(crash);
            } else {
                store.fail_commit(crash);
            }
            let stopped = block_on(HITS.roll_up(&mut store, Granularity::Hour, at(5 * HOUR)));
            assert_eq!(stopped.is_err(), crash <= 5, "64 buckets a commit");
            assert_eq!(query(&memory, Granularity::Hour, 0, 5 * HOUR), expected);
            block_on(HITS.roll_up(&mut store, Granularity::Hour, at(5 * HOUR))).unwrap();
            assert_eq!(query(&memory, Granularity::Hour, 0, 5 * HOUR), expected);
            assert_eq!(keys(&memory).len(), 5);
        }
    }
}

fn granularity() -> impl Strategy<Value = Granularity> {
    prop::sample::select(vec![
        Granularity::Minute,
        Granularity::Hour,
        Granularity::Day,
    ])
}

proptest! {
    /// Rolling up changes no answer at the granularity rolled up into, or at a coarser one.
    #[test]
    fn every_value_is_counted_once(
        steps in prop::collection::vec(
            (0..400 * HOUR, 1..9_u64, prop::option::weighted(0.2, granularity())),
            1..80,
        ),
        asked in granularity(),
        range in (-HOUR..400 * HOUR, -HOUR..400 * HOUR),
    ) {
        let mut store = Memory::new();
        let mut model: BTreeMap<i64, u64> = BTreeMap::new();
        let mut coarsest = Granularity::Minute;
        for (millis, value, roll_up) in steps {
            record(&mut store, &[(millis, value)]);
            *model.entry(millis).or_default() += value;
            if let Some(into) = roll_up {
                coarsest = coarsest.max(into);
                block_on(HITS.roll_up(&mut store, into, at(millis))).unwrap();
            }
        }
        let asked = asked.max(coarsest);
        let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
        for (millis, value) in model {
            let start = asked.start_of(at(millis)).as_millis();
            if (range.0..range.1).contains(&start) {
                *expected.entry(start).or_default() += value;
            }
        }
        let expected: Vec<_> = expected.into_iter().collect();
        prop_assert_eq!(query(&store, asked, range.0, range.1), expected);
    }
}
