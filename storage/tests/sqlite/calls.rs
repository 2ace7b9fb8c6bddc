//! Calls on one database, as an engine runs them: each whole or not at all, several in one commit.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};

use dokit_storage::{
    Batch, Error, Store, Timestamp,
    sql::{Sql, SqlError},
    sqlite::{Calls, Sqlite},
};
use futures_executor::block_on;

use crate::{fresh, numbers, refusal, run};

fn calls(tables: &str) -> (Calls, Sql) {
    let (database, sql) = fresh();
    run(&sql, tables);
    (Calls::new(database), sql)
}

fn put(key: &str) -> Batch {
    let mut batch = Batch::new();
    batch.put(key, "1");
    batch
}

fn has(database: &Sqlite, key: &str) -> bool {
    block_on(database.get(key)).unwrap().is_some()
}

#[test]
fn a_call_is_kept_or_undone_alone_and_all_kept_ones_are_one_commit() {
    let (calls, sql) = calls("CREATE TABLE t (a)");
    let rows = || numbers(&sql, "SELECT a FROM t");
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (1)");
    let mut batch = put("first");
    batch.set_alarm(Timestamp::from_millis(5));
    calls.keep(&batch).unwrap();
    assert!(calls.is_uncommitted());

    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (2)");
    assert_eq!(rows(), [1, 2]);
    calls.undo().unwrap();

    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (3)");
    calls.keep(&put("third")).unwrap();
    calls.commit().unwrap();
    assert!(!calls.is_uncommitted());

    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (4)");
    calls.keep(&put("fourth")).unwrap();
    calls.begin().unwrap();
    calls.abandon().unwrap();
    assert!(!calls.is_uncommitted());
    assert_eq!(rows(), [1, 3]);
    let database = calls.database();
    assert!(has(database, "first") && has(database, "third") && !has(database, "fourth"));
    let alarm = block_on(database.alarm()).unwrap();
    assert_eq!(alarm, Some(Timestamp::from_millis(5)));
}

#[test]
fn outside_of_a_call_nothing_is_written() {
    let (calls, sql) = calls("CREATE TABLE t (a)");
    let mut database = calls.database().clone();
    for write in [
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE u (a)",
        "DELETE FROM t RETURNING a",
        "SELECT 1; UPDATE t SET a = 1",
        "DROP TABLE t",
    ] {
        let error = refusal(&sql, write);
        assert!(matches!(error, SqlError::ReadOnly), "{write}: {error:?}");
    }
    let within: Result<(), SqlError> =
        sql.transaction(|sql| sql.exec("INSERT INTO t VALUES (1)", ()).map(drop));
    assert!(matches!(within, Err(SqlError::ReadOnly)), "{within:?}");
    let refused = block_on(database.commit(put("key"))).unwrap_err();
    assert!(matches!(refused, Error::Refused { .. }), "{refused:?}");
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [0_i64; 0]);
    let sum: Result<i64, SqlError> = sql.transaction(|sql| sql.exec("SELECT 5", ())?.one());
    assert_eq!(sum.unwrap(), 5);

    calls.begin().unwrap();
    let read: Vec<i64> = numbers(&sql, "SELECT a FROM t");
    assert_eq!(read, [0_i64; 0]);
    calls.keep(&Batch::new()).unwrap();
    assert!(!calls.is_uncommitted(), "it only read");
    calls.keep(&Batch::new()).unwrap_err();
    calls.undo().unwrap_err();
    calls.begin().unwrap();
    calls.begin().unwrap_err();
}

#[test]
fn an_early_commit_stays_when_the_call_fails_later() {
    let (calls, sql) = calls("CREATE TABLE t (a)");
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (1)");
    calls.commit_early(&put("early")).unwrap();
    run(&sql, "INSERT INTO t VALUES (2)");
    block_on(calls.database().clone().commit(put("by the store"))).unwrap();
    run(&sql, "INSERT INTO t VALUES (3)");
    calls.undo().unwrap();
    calls.abandon().unwrap();
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [1, 2]);
    assert!(has(calls.database(), "early") && has(calls.database(), "by the store"));
}

#[test]
fn a_failed_statement_takes_nothing_with_it_but_itself() {
    let (calls, sql) = calls("CREATE TABLE t (a UNIQUE)");
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (1)");
    refusal(&sql, "INSERT INTO t VALUES (2), (3), (1)");
    refusal(&sql, "INSERT INTO t VALUES (4); INSERT INTO t VALUES (1)");
    let inner: Result<(), SqlError> = sql.transaction(|sql| {
        run(sql, "INSERT INTO t VALUES (5)");
        Err(refusal(sql, "SELEC"))
    });
    inner.unwrap_err();
    run(&sql, "INSERT INTO t VALUES (6)");
    calls.keep(&Batch::new()).unwrap();
    calls.commit().unwrap();
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [1, 6]);
}

#[test]
fn a_deferred_foreign_key_without_a_row_is_its_own_calls_failure() {
    let tables = "CREATE TABLE p (id INTEGER PRIMARY KEY);
        CREATE TABLE now (of INTEGER REFERENCES p (id));
        CREATE TABLE late (of INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
    let (calls, sql) = calls(tables);
    calls.begin().unwrap();
    run(&sql, "INSERT INTO p VALUES (1)");
    calls.keep(&Batch::new()).unwrap();
    for orphan in [
        "INSERT INTO late VALUES (9)",
        "INSERT INTO now VALUES (9)",
        "INSERT INTO now VALUES (9), (9)",
        "PRAGMA defer_foreign_keys = ON; INSERT INTO now VALUES (9)",
        "PRAGMA defer_foreign_keys = ON; INSERT INTO now VALUES (9);
         PRAGMA defer_foreign_keys = OFF",
    ] {
        calls.begin().unwrap();
        run(&sql, "PRAGMA defer_foreign_keys = ON");
        run(&sql, orphan);
        let error = calls.keep(&put("orphan")).unwrap_err();
        assert!(matches!(error, SqlError::Constraint { .. }), "{error:?}");
        calls.begin().unwrap();
        refusal(&sql, "INSERT INTO now VALUES (9)");
        calls.undo().unwrap();
    }
    calls.begin().unwrap();
    run(
        &sql,
        "INSERT INTO late VALUES (2); INSERT INTO p VALUES (2)",
    );
    calls.keep(&Batch::new()).unwrap();
    calls.commit().unwrap();
    assert_eq!(numbers(&sql, "SELECT id FROM p"), [1, 2]);
    assert_eq!(numbers(&sql, "SELECT of FROM late"), [2]);
    assert_eq!(numbers(&sql, "SELECT of FROM now"), [0_i64; 0]);
    assert!(!has(calls.database(), "orphan"));
}

#[test]
fn a_deferred_foreign_key_made_in_the_call_itself_is_noticed() {
    let (calls, sql) = calls("CREATE TABLE p (id INTEGER PRIMARY KEY)");
    let make = "CREATE TABLE c (of INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)";
    for _ in 0..2 {
        calls.begin().unwrap();
        run(&sql, "CREATE TABLE x (a)");
        calls.undo().unwrap();
        calls.begin().unwrap();
        run(&sql, make);
        run(&sql, "INSERT INTO c VALUES (9)");
        calls.keep(&Batch::new()).unwrap_err();
    }
    calls.begin().unwrap();
    calls.keep(&Batch::new()).unwrap();
    calls.commit().unwrap();
}

#[test]
fn a_statement_that_rolls_back_everything_loses_the_calls_before_it_and_says_so() {
    let (calls, sql) = calls("CREATE TABLE t (a UNIQUE); INSERT INTO t VALUES (1)");
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (2)");
    calls.keep(&Batch::new()).unwrap();
    calls.begin().unwrap();
    refusal(&sql, "INSERT OR ROLLBACK INTO t VALUES (1)");
    let later = [
        refusal(&sql, "SELECT 1"),
        calls.keep(&put("key")).unwrap_err(),
        calls.begin().unwrap_err(),
        calls.commit().unwrap_err(),
    ];
    for error in later {
        assert!(matches!(error, SqlError::Engine { .. }), "{error:?}");
    }
    block_on(calls.database().get("key")).unwrap_err();
    calls.abandon().unwrap();
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [1]);
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (3)");
    calls.keep(&put("key")).unwrap();
    calls.commit().unwrap();
    assert!(has(calls.database(), "key"));
}

const FOR_EVER: &str = "WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up)";

#[test]
fn a_statement_that_runs_too_long_is_stopped() {
    let (calls, sql) = calls("CREATE TABLE t (a)");
    let asked = Arc::new(AtomicU32::new(0));
    let stop = Arc::new(AtomicBool::new(true));
    let (question, answer) = (Arc::clone(&asked), Arc::clone(&stop));
    calls.stop_when(move || question.fetch_add(1, Relaxed) >= 5 && answer.load(Relaxed));
    let error = refusal(&sql, &format!("{FOR_EVER} SELECT count(*) FROM up"));
    assert!(matches!(error, SqlError::Interrupted), "{error:?}");
    let error = refusal(&sql, "SELECT 1");
    assert!(matches!(error, SqlError::Interrupted), "the next one too");
    stop.store(false, Relaxed);
    assert_eq!(numbers(&sql, "SELECT 1"), [1]);
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (1)");
    asked.store(0, Relaxed);
    stop.store(true, Relaxed);
    let error = refusal(&sql, &format!("{FOR_EVER} SELECT count(*) FROM up"));
    assert!(matches!(error, SqlError::Interrupted), "{error:?}");
    stop.store(false, Relaxed);
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [1], "it only read");

    asked.store(0, Relaxed);
    stop.store(true, Relaxed);
    let error = refusal(&sql, &format!("{FOR_EVER} INSERT INTO t SELECT n FROM up"));
    assert!(matches!(error, SqlError::Interrupted), "{error:?}");
    let after = calls.keep(&Batch::new()).unwrap_err();
    assert!(matches!(after, SqlError::Engine { .. }), "{after:?}");
    calls.abandon().unwrap();
    stop.store(false, Relaxed);
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [0_i64; 0]);
}

#[test]
fn delete_all_in_a_call_is_undone_with_it() {
    let (calls, sql) = calls(include_str!("everything.sql"));
    let tables = || numbers(&sql, "SELECT count(*) FROM sqlite_schema");
    let before = tables();
    let mut everything = put("new");
    everything.delete_all();
    calls.begin().unwrap();
    calls.commit_early(&put("old")).unwrap();
    let mut database = calls.database().clone();
    let undone: Result<(), SqlError> = sql.transaction(|sql| {
        block_on(database.commit(everything.clone())).unwrap();
        sql.delete_all()?;
        assert_ne!(tables(), before);
        Err(refusal(sql, "SELEC"))
    });
    undone.unwrap_err();
    assert_eq!(tables(), before);
    assert!(has(calls.database(), "old"));
    sql.delete_all().unwrap();
    calls.keep(&everything).unwrap();
    assert_ne!(tables(), before);
    calls.abandon().unwrap();
    assert_eq!(tables(), before);
    assert!(has(calls.database(), "old"));
}

#[test]
fn a_database_that_was_emptied_gives_its_room_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.sqlite");
    let calls = Calls::new(Sqlite::open(&path).unwrap());
    let sql = calls.database().sql();
    let fill = || {
        calls.begin().unwrap();
        run(&sql, "CREATE TABLE t (a); CREATE INDEX i ON t (a)");
        for _ in 0..5 {
            run(&sql, "INSERT INTO t VALUES (zeroblob(1000000))");
        }
        calls.keep(&put("key")).unwrap();
        calls.commit().unwrap();
    };
    let empty = || {
        calls.begin().unwrap();
        sql.delete_all().unwrap();
        let mut batch = Batch::new();
        batch.delete_all();
        batch.put("left", "1");
        batch.set_alarm(Timestamp::from_millis(5));
        calls.keep(&batch).unwrap();
    };
    fill();
    empty();
    calls.undo().unwrap_err();
    calls.abandon().unwrap();
    assert!(sql.database_size().unwrap() > 5_000_000);

    empty();
    calls.commit().unwrap();
    assert!(sql.database_size().unwrap() < 100_000);
    assert!(has(calls.database(), "left") && !has(calls.database(), "key"));
    // It serves on.
    fill();
    empty();
    calls.commit().unwrap();
    drop((calls, sql));
    assert!(path.metadata().unwrap().len() < 100_000);
    let again = Sqlite::open(&path).unwrap();
    assert!(has(&again, "left"));
    let alarm = block_on(again.alarm()).unwrap();
    assert_eq!(alarm, Some(Timestamp::from_millis(5)));
}

#[test]
fn a_database_that_has_tables_again_keeps_the_numbers_of_its_rows() {
    let (calls, sql) = calls("CREATE TABLE t (a)");
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (zeroblob(1000000))");
    calls.keep(&Batch::new()).unwrap();
    calls.begin().unwrap();
    sql.delete_all().unwrap();
    let mut batch = Batch::new();
    batch.delete_all();
    calls.keep(&batch).unwrap();
    calls.begin().unwrap();
    run(
        &sql,
        "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3); DELETE FROM t WHERE a < 3",
    );
    calls.keep(&Batch::new()).unwrap();
    calls.commit().unwrap();
    assert_eq!(numbers(&sql, "SELECT rowid FROM t"), [3]);
}
