//! Random statements, transactions, calls, rollbacks and reopenings against a plain map.

use std::collections::BTreeMap;

use dokit_storage::{
    Batch, Store,
    sql::{Sql, SqlError},
    sqlite::{Calls, Sqlite},
};
use futures_executor::block_on;
use proptest::prelude::*;
use tempfile::tempdir;

use crate::run;

/// What is in the table, and among the keys.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<i64, i64>,
    keys: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
enum Step {
    Insert(i64, i64),
    /// Fails where the row is there, and then also undoes the one before it.
    InsertTwo(i64, i64),
    Update(i64),
    Delete(i64),
    Put(i64),
    Fail,
    /// Steps in a transaction; kept, or not.
    Transaction(Vec<Step>, bool),
}

#[derive(Clone, Debug)]
enum Act {
    /// A call with these steps; kept, or undone.
    Call(Vec<Step>, bool),
    /// A call that commits after the first half.
    Early(Vec<Step>, Vec<Step>, bool),
    Commit,
    Abandon,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0..5_i64;
    let leaf = prop_oneof![
        4 => (id.clone(), 0..100_i64).prop_map(|(id, value)| Step::Insert(id, value)),
        2 => (id.clone(), id.clone()).prop_map(|(one, two)| Step::InsertTwo(one, two)),
        2 => (0..100_i64).prop_map(Step::Update),
        2 => id.clone().prop_map(Step::Delete),
        2 => id.prop_map(Step::Put),
        1 => Just(Step::Fail),
    ];
    let step = leaf.prop_recursive(3, 12, 4, |inner| {
        let inner = prop::collection::vec(inner, 0..4);
        (inner, any::<bool>()).prop_map(|(steps, keep)| Step::Transaction(steps, keep))
    });
    prop::collection::vec(step, 0..5)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (steps(), any::<bool>()).prop_map(|(steps, keep)| Act::Call(steps, keep)),
        2 => (steps(), steps(), any::<bool>())
            .prop_map(|(first, then, keep)| Act::Early(first, then, keep)),
        3 => Just(Act::Commit),
        1 => Just(Act::Abandon),
        1 => Just(Act::Reopen),
    ]
}

fn play(sql: &Sql, database: &Sqlite, model: &mut Model, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Insert(id, value) => {
                let done = sql.exec("INSERT INTO t VALUES (?, ?)", (id, value));
                assert_eq!(done.is_ok(), !model.rows.contains_key(id));
                model.rows.entry(*id).or_insert(*value);
            }
            Step::InsertTwo(one, two) => {
                let done = sql.exec("INSERT INTO t VALUES (?, 0), (?, 0)", (one, two));
                let fits = one != two && ![one, two].iter().any(|id| model.rows.contains_key(id));
                assert_eq!(done.is_ok(), fits);
                if fits {
                    model.rows.extend([(*one, 0), (*two, 0)]);
                }
            }
            Step::Update(by) => {
                let done = sql.exec("UPDATE t SET value = value + ? RETURNING id", (by,));
                let done: Vec<i64> = done.unwrap().to_vec().unwrap();
                assert_eq!(done.len(), model.rows.len());
                model.rows.values_mut().for_each(|value| *value += by);
            }
            Step::Delete(id) => {
                let done = sql.exec("DELETE FROM t WHERE id = ?", (id,)).unwrap();
                let found = u64::from(model.rows.remove(id).is_some());
                assert_eq!(done.rows_written(), found);
            }
            Step::Put(id) => {
                // Within a transaction; else it would be an early commit.
                let key = format!("k{id}");
                let done: Result<(), SqlError> = sql.transaction(|_| {
                    let mut batch = Batch::new();
                    batch.put(key.clone(), "1");
                    block_on(database.clone().commit(batch)).unwrap();
                    Ok(())
                });
                done.unwrap();
                model.keys.insert(key, "1".to_owned());
            }
            Step::Fail => {
                sql.exec("INSERT INTO t VALUES (100, 1); SELECT nonsense", ())
                    .unwrap_err();
            }
            Step::Transaction(steps, keep) => {
                let mut inner = model.clone();
                let done: Result<(), SqlError> = sql.transaction(|sql| {
                    play(sql, database, &mut inner, steps);
                    if *keep {
                        Ok(())
                    } else {
                        Err(SqlError::NoStatement)
                    }
                });
                assert_eq!(done.is_ok(), *keep);
                if *keep {
                    *model = inner;
                }
            }
        }
        assert_eq!(content(sql, database), *model);
    }
}

fn content(sql: &Sql, database: &Sqlite) -> Model {
    let rows = sql.exec("SELECT id, value FROM t", ()).unwrap();
    let keys = dokit_storage::KeyRange::default();
    Model {
        rows: rows.rows().map(Result::unwrap).collect(),
        keys: block_on(database.list(&keys))
            .unwrap()
            .into_iter()
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn a_random_run_is_that_of_the_model(acts in prop::collection::vec(act(), 0..12)) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("db.sqlite");
        let open = || Calls::new(Sqlite::open(&path).unwrap());
        let alone = Sqlite::open(&path).unwrap();
        run(&alone.sql(), "CREATE TABLE t (id INTEGER PRIMARY KEY, value INTEGER NOT NULL) STRICT");
        drop(alone);
        let mut calls = open();
        let (mut durable, mut model) = (Model::default(), Model::default());
        for act in acts {
            let (database, sql) = (calls.database().clone(), calls.database().sql());
            match act {
                Act::Call(steps, keep) => {
                    calls.begin().unwrap();
                    let mut inner = model.clone();
                    play(&sql, &database, &mut inner, &steps);
                    if keep {
                        calls.keep(&Batch::new()).unwrap();
                        model = inner;
                    } else {
                        calls.undo().unwrap();
                    }
                }
                Act::Early(first, then, keep) => {
                    calls.begin().unwrap();
                    play(&sql, &database, &mut model, &first);
                    calls.commit_early(&Batch::new()).unwrap();
                    durable = model.clone();
                    let mut inner = model.clone();
                    play(&sql, &database, &mut inner, &then);
                    if keep {
                        calls.keep(&Batch::new()).unwrap();
                        model = inner;
                    } else {
                        calls.undo().unwrap();
                    }
                }
                Act::Commit => {
                    calls.commit().unwrap();
                    durable = model.clone();
                }
                Act::Abandon => {
                    calls.abandon().unwrap();
                    model = durable.clone();
                }
                Act::Reopen => {
                    drop((database, sql, calls));
                    calls = open();
                    model = durable.clone();
                    prop_assert_eq!(content(&calls.database().sql(), calls.database()), model.clone());
                    continue;
                }
            }
            prop_assert_eq!(content(&sql, &database), model.clone());
        }
    }
}
