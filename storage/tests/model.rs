//! Memory, and transactions three deep, against a plain map: the same writes, lists and rollbacks.

#![expect(clippy::unwrap_used, reason = "a call that fails is a test that fails")]

use std::collections::BTreeMap;

use dokit_storage::{
    AlarmChange, Batch, KeyRange, ListOptions, Memory, Store, Timestamp, Transaction,
};
use futures_executor::block_on;
use proptest::prelude::*;

/// What a store holds, as plainly as it can be said.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    values: BTreeMap<String, String>,
    alarm: Option<i64>,
}

#[derive(Clone, Debug)]
enum Write {
    Put(String, String),
    Delete(String),
    DeleteAll,
    SetAlarm(i64),
    DeleteAlarm,
}

#[derive(Clone, Debug)]
enum Step {
    /// One commit of these writes.
    Commit(Vec<Write>),
    /// A transaction with steps of its own; committed, or dropped.
    Transaction(Vec<Step>, bool),
    /// A list.
    List(Options),
}

#[derive(Clone, Debug)]
struct Options {
    start: Option<String>,
    /// Whether `start` is itself left out.
    after: bool,
    end: Option<String>,
    prefix: Option<String>,
    limit: Option<usize>,
    reverse: bool,
}

impl Options {
    fn to_list_options(&self) -> ListOptions {
        let mut options = ListOptions::new();
        if let Some(start) = &self.start {
            options = if self.after {
                options.start_after(start)
            } else {
                options.start(start)
            };
        }
        if let Some(end) = &self.end {
            options = options.end(end);
        }
        if let Some(prefix) = &self.prefix {
            options = options.prefix(prefix);
        }
        if let Some(limit) = self.limit {
            options = options.limit(limit);
        }
        if self.reverse {
            options = options.reverse();
        }
        options
    }

    /// The options by their definition, one condition after the other.
    fn of(&self, values: &BTreeMap<String, String>) -> Vec<(String, String)> {
        let within = |key: &str| {
            self.start.as_deref().is_none_or(|start| {
                if self.after {
                    key > start
                } else {
                    key >= start
                }
            }) && self.end.as_deref().is_none_or(|end| key < end)
                && self
                    .prefix
                    .as_deref()
                    .is_none_or(|prefix| key.starts_with(prefix))
        };
        let mut found: Vec<(String, String)> = values
            .iter()
            .filter(|(key, _)| within(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if self.reverse {
            found.reverse();
        }
        found.truncate(self.limit.unwrap_or(usize::MAX));
        found
    }
}

/// Few letters, so that keys collide, nest and stand on both sides of U+D800 and of `__`.
fn key() -> impl Strategy<Value = String> {
    let letters = vec![
        '\0',
        '_',
        'A',
        'a',
        'b',
        '\u{e9}',
        '\u{D7FF}',
        '\u{E000}',
        '\u{FFFD}',
        '\u{1F600}',
        '\u{10FFFF}',
    ];
    prop::collection::vec(prop::sample::select(letters), 1..4)
        .prop_map(|letters| letters.into_iter().collect())
}

fn write() -> impl Strategy<Value = Write> {
    prop_oneof![
        6 => (key(), 0..50_u8).prop_map(|(key, value)| Write::Put(key, value.to_string())),
        3 => key().prop_map(Write::Delete),
        1 => Just(Write::DeleteAll),
        1 => (1..100_i64).prop_map(Write::SetAlarm),
        1 => Just(Write::DeleteAlarm),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    (
        prop::option::of(key()),
        any::<bool>(),
        prop::option::of(key()),
        prop::option::of(key()),
        prop::option::of(1..5_usize),
        any::<bool>(),
    )
        .prop_map(|(start, after, end, prefix, limit, reverse)| Options {
            start,
            after,
            end,
            prefix,
            limit,
            reverse,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = prop_oneof![
        prop::collection::vec(write(), 0..5).prop_map(Step::Commit),
        options().prop_map(Step::List),
    ];
    let step = leaf.prop_recursive(3, 40, 8, |inner| {
        (prop::collection::vec(inner, 0..8), any::<bool>())
            .prop_map(|(steps, commit)| Step::Transaction(steps, commit))
    });
    prop::collection::vec(step, 0..12)
}

fn batch(writes: &[Write], model: &mut Model) -> Batch {
    let mut batch = Batch::new();
    for write in writes {
        match write {
            Write::Put(key, value) => {
                batch.put(key, value);
                model.values.insert(key.clone(), value.clone());
            }
            Write::Delete(key) => {
                batch.delete(key);
                model.values.remove(key);
            }
            Write::DeleteAll => {
                batch.delete_all();
                *model = Model::default();
            }
            Write::SetAlarm(at) => {
                batch.set_alarm(Timestamp::from_millis(*at));
                model.alarm = Some(*at);
            }
            Write::DeleteAlarm => {
                batch.delete_alarm();
                model.alarm = None;
            }
        }
    }
    batch
}

fn assert_same<T: Store>(store: &T, model: &Model) {
    block_on(async {
        let all = store.list(&KeyRange::default()).await.unwrap();
        assert!(
            all.iter()
                .map(|(key, value)| (key, value))
                .eq(&model.values)
        );
        for (key, value) in &model.values {
            let read = store.get(key).await.unwrap();
            assert_eq!(read.as_ref(), Some(value));
        }
        let alarm = store.alarm().await.unwrap();
        assert_eq!(alarm.map(Timestamp::as_millis), model.alarm);
    });
}

/// Runs the steps on a store and on the model. `depth` bounds the types: each transaction is a store
/// of another type.
fn run<T: Store>(store: &mut T, model: &mut Model, steps: &[Step], nest: Nest<T>) {
    for step in steps {
        match step {
            Step::Commit(writes) => {
                let batch = batch(writes, model);
                block_on(store.commit(batch)).unwrap();
            }
            Step::List(options) => {
                let range = options.to_list_options().to_range().unwrap();
                let listed = block_on(store.list(&range)).unwrap();
                assert_eq!(listed, options.of(&model.values), "{options:?}");
            }
            Step::Transaction(steps, commit) => nest(store, model, steps, *commit),
        }
        assert_same(store, model);
    }
}

/// How to run a transaction on a store of this type.
type Nest<T> = fn(&mut T, &mut Model, &[Step], bool);

fn nested<T: Store>(
    store: &mut T,
    model: &mut Model,
    steps: &[Step],
    commit: bool,
    deeper: for<'a> fn(&mut Transaction<'a, T>, &mut Model, &[Step], bool),
) {
    let mut transaction = Transaction::begin(store);
    let mut within = model.clone();
    for step in steps {
        run(
            &mut transaction,
            &mut within,
            std::slice::from_ref(step),
            deeper,
        );
    }
    if commit {
        block_on(transaction.commit()).unwrap();
        *model = within;
    }
}

fn once<T: Store>(store: &mut T, model: &mut Model, steps: &[Step], commit: bool) {
    nested(
        store,
        model,
        steps,
        commit,
        |store, model, steps, commit| {
            twice(store, model, steps, commit);
        },
    );
}

fn twice<T: Store>(store: &mut T, model: &mut Model, steps: &[Step], commit: bool) {
    nested(store, model, steps, commit, |_, _, _, _| {});
}

proptest! {
    #[test]
    fn a_store_and_its_transactions_are_a_map(steps in steps()) {
        let mut store = Memory::new();
        let mut model = Model::default();
        run(&mut store, &mut model, &steps, once);
    }

    /// However writes are cut into batches that are merged, they do the same.
    #[test]
    fn merged_batches_do_what_they_do_one_after_the_other(
        writes in prop::collection::vec(prop::collection::vec(write(), 0..5), 0..6),
    ) {
        let mut model = Model::default();
        let mut merged = Batch::new();
        let mut apart = Memory::new();
        for writes in &writes {
            let batch = batch(writes, &mut model);
            block_on(apart.commit(batch.clone())).unwrap();
            merged.merge(batch);
        }
        let mut together = Memory::new();
        prop_assert_eq!(
            merged.is_empty(),
            !merged.deletes_all()
                && merged.writes().next().is_none()
                && merged.alarm() == AlarmChange::Keep
        );
        block_on(together.commit(merged)).unwrap();
        assert_same(&apart, &model);
        assert_same(&together, &model);
    }
}

#[test]
fn keys_are_in_the_order_of_their_utf8_bytes_and_the_empty_one_is_refused() {
    let ordered = ["A", "a", "a\0b", "z", "\u{e9}", "\u{FFFD}", "\u{1F600}"];
    let mut store = Memory::new();
    let mut batch = Batch::new();
    for key in ordered.iter().rev() {
        batch.put(*key, "1");
    }
    block_on(store.commit(batch)).unwrap();
    let listed = block_on(store.list(&KeyRange::default())).unwrap();
    let keys: Vec<&str> = listed.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ordered);

    let mut empty = Batch::new();
    empty.put("", "1");
    let refused = block_on(store.commit(empty)).unwrap_err();
    assert_eq!(refused.to_string(), "invalid key \"\": it is empty");
}
