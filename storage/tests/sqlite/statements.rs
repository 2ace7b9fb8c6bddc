//! Statements and transactions of a user who has the database alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use dokit_storage::{
    Batch, Store, Timestamp,
    sql::{SqlError, SqlValue},
};
use futures_executor::block_on;
use serde::Deserialize;

use crate::{fresh, numbers, refusal, run};

#[derive(Debug, PartialEq, Deserialize)]
struct Row {
    id: i64,
    large: i64,
    paid: bool,
    share: f64,
    name: String,
    data: Vec<u8>,
    note: Option<String>,
}

#[test]
fn values_go_in_and_come_back_as_they_were() {
    let (_, sql) = fresh();
    run(
        &sql,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, large INTEGER, paid INTEGER, share REAL,
         name TEXT, data BLOB, note TEXT) STRICT",
    );
    let insert = "INSERT INTO t (large, paid, share, name, data, note) VALUES (?, ?, ?, ?, ?, ?)";
    let written = sql
        .exec(
            insert,
            (
                i64::MIN + 1,
                true,
                0.1,
                "O'Brien \0",
                vec![0_u8, 255],
                None::<String>,
            ),
        )
        .unwrap();
    assert_eq!((written.rows_written(), written.rows_read()), (1, 0));
    assert!(written.column_names().is_empty());
    let row: Row = sql.exec("SELECT * FROM t", ()).unwrap().one().unwrap();
    let expected = Row {
        id: 1,
        large: i64::MIN + 1,
        paid: true,
        share: 0.1,
        name: "O'Brien \0".to_owned(),
        data: vec![0, 255],
        note: None,
    };
    assert_eq!(row, expected);
    let kinds: (String, String, String) = sql
        .exec(
            "SELECT typeof(paid), typeof(large), typeof(data) FROM t",
            (),
        )
        .unwrap()
        .one()
        .unwrap();
    assert_eq!(kinds.0 + &kinds.1 + &kinds.2, "integerintegerblob");
    let raw = sql.exec("SELECT 1 AS a, 'x' AS a", ()).unwrap();
    assert_eq!(raw.column_names(), ["a", "a"]);
    let text = SqlValue::Text("x".to_owned());
    assert_eq!(raw.raw(), [[SqlValue::Integer(1), text]]);
}

#[test]
fn several_statements_are_one_and_the_parameters_are_the_lasts() {
    let (_, sql) = fresh();
    let three = "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); -- and then
        SELECT a + ? FROM t; -- done";
    let cursor = sql.exec(three, (10,)).unwrap();
    assert_eq!(cursor.rows_written(), 2);
    assert_eq!(cursor.to_vec::<i64>().unwrap(), [11, 12]);

    let trigger = "CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = a; SELECT 1; END;
        INSERT INTO t VALUES (?)";
    let cursor = sql.exec(trigger, (3,)).unwrap();
    assert_eq!(cursor.rows_written(), 1 + 3, "those of the trigger count");
    run(&sql, "DROP TRIGGER g");

    let count = || numbers(&sql, "SELECT count(*) FROM t");
    for (query, params) in [
        ("INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)", vec![]),
        ("INSERT INTO t VALUES (1); SELEC", vec![]),
        ("INSERT INTO t VALUES (?); SELECT 1", vec![1]),
        ("INSERT INTO t VALUES (?); SELECT ?", vec![1]),
        ("INSERT INTO t VALUES (1); SELECT ?", vec![]),
        ("INSERT INTO t VALUES (1); SELECT ?", vec![1, 2]),
        ("INSERT INTO t VALUES (1); SELECT 1", vec![1]),
        ("INSERT INTO t VALUES (1)\0; SELECT 1", vec![]),
    ] {
        sql.exec(query, &params).unwrap_err();
        assert_eq!(count(), [3], "{query}");
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let (_, sql) = fresh();
    run(&sql, "CREATE TABLE t (a INTEGER NOT NULL UNIQUE) STRICT");
    run(&sql, "INSERT INTO t VALUES (1)");
    for (query, expected) in [
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("SELEC", "near \"SELEC\": syntax error"),
        (
            "INSERT INTO t VALUES (1)",
            "constraint: UNIQUE constraint failed: t.a",
        ),
        (
            "INSERT INTO t VALUES (NULL)",
            "constraint: NOT NULL constraint failed: t.a",
        ),
        ("", "no statement in the query"),
        (" -- nothing\n /* at all */ ;;", "no statement in the query"),
        ("SELECT ?", "0 parameters given; the last statement has 1"),
        (
            "SELECT CAST(x'ff' AS TEXT)",
            "text in column 1 is not utf-8: cast it to a blob",
        ),
    ] {
        assert_eq!(refusal(&sql, query).to_string(), expected, "{query}");
    }
    let error = sql.exec("SELECT 1", (1, 2)).unwrap_err().to_string();
    assert_eq!(error, "2 parameters given; the last statement has 0");
}

#[test]
fn a_transaction_gives_its_value_and_keeps_what_was_written() {
    let (_, sql) = fresh();
    run(&sql, "CREATE TABLE t (a)");
    let sum: Result<i64, SqlError> = sql.transaction(|sql| {
        run(sql, "INSERT INTO t VALUES (1), (2)");
        sql.exec("SELECT sum(a) FROM t", ())?.one()
    });
    assert_eq!(sum.unwrap(), 3);
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [1, 2]);
}

#[test]
fn an_error_rolls_back_to_where_its_transaction_began() {
    let (_, sql) = fresh();
    run(&sql, "CREATE TABLE t (a)");
    let outer: Result<(), SqlError> = sql.transaction(|sql| {
        run(sql, "INSERT INTO t VALUES (1)");
        let inner: Result<(), SqlError> = sql.transaction(|sql| {
            run(sql, "INSERT INTO t VALUES (2)");
            sql.transaction(|sql| {
                run(sql, "INSERT INTO t VALUES (3)");
                Ok::<_, SqlError>(())
            })?;
            Err(refusal(sql, "SELEC"))
        });
        inner.unwrap_err();
        run(sql, "INSERT INTO t VALUES (4)");
        Ok(())
    });
    outer.unwrap();
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [1, 4]);
}

#[test]
fn a_panic_rolls_back_and_goes_on() {
    let (_, sql) = fresh();
    run(&sql, "CREATE TABLE t (a)");
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        sql.transaction(|sql| -> Result<(), SqlError> {
            run(sql, "INSERT INTO t VALUES (1)");
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [0_i64; 0]);
    run(&sql, "INSERT INTO t VALUES (2)");
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [2]);
}

#[test]
fn keys_and_the_alarm_belong_to_the_transaction_around_them() {
    let (database, sql) = fresh();
    run(&sql, "CREATE TABLE t (a)");
    let write = |sql: &dokit_storage::sql::Sql, ok: bool| -> Result<(), SqlError> {
        sql.transaction(|sql| {
            run(sql, "INSERT INTO t VALUES (1)");
            let mut batch = Batch::new();
            batch.put("key", "1");
            batch.set_alarm(Timestamp::from_millis(5));
            block_on(database.clone().commit(batch)).unwrap();
            if ok {
                Ok(())
            } else {
                Err(refusal(sql, "SELEC"))
            }
        })
    };
    let state = || {
        let rows = numbers(&sql, "SELECT a FROM t").len();
        let key = block_on(database.get("key")).unwrap();
        (rows, key, block_on(database.alarm()).unwrap())
    };
    write(&sql, false).unwrap_err();
    assert_eq!(state(), (0, None, None));
    write(&sql, true).unwrap();
    let alarm = Some(Timestamp::from_millis(5));
    assert_eq!(state(), (1, Some("1".to_owned()), alarm));
}

#[test]
fn a_statement_that_rolls_back_the_transaction_ends_it() {
    let (_, sql) = fresh();
    run(&sql, "CREATE TABLE t (a UNIQUE)");
    let lost: Result<(), SqlError> = sql.transaction(|sql| {
        run(sql, "INSERT INTO t VALUES (1)");
        refusal(sql, "INSERT OR ROLLBACK INTO t VALUES (1)");
        let after = refusal(sql, "INSERT INTO t VALUES (2)");
        assert!(matches!(after, SqlError::Engine { .. }), "{after:?}");
        sql.transaction(|_| Ok::<(), SqlError>(())).unwrap_err();
        Ok(())
    });
    assert!(matches!(lost, Err(SqlError::Engine { .. })), "{lost:?}");
    run(&sql, "INSERT INTO t VALUES (3)");
    assert_eq!(numbers(&sql, "SELECT a FROM t"), [3]);
}

#[test]
fn a_deferred_foreign_key_is_checked_at_the_commit() {
    let (_, sql) = fresh();
    run(
        &sql,
        "CREATE TABLE parent (id INTEGER PRIMARY KEY);
         CREATE TABLE child (of INTEGER REFERENCES parent (id))",
    );
    let error = refusal(&sql, "INSERT INTO child VALUES (1)");
    assert!(matches!(error, SqlError::Constraint { .. }), "{error:?}");
    let orphan = |fix: &'static str| -> Result<(), SqlError> {
        sql.transaction(|sql| {
            run(
                sql,
                "PRAGMA defer_foreign_keys = ON; INSERT INTO child VALUES (1)",
            );
            sql.exec(fix, ()).map(drop)
        })
    };
    let error = orphan("SELECT 1").unwrap_err();
    assert!(matches!(error, SqlError::Constraint { .. }), "{error:?}");
    assert_eq!(numbers(&sql, "SELECT of FROM child"), [0_i64; 0]);
    orphan("INSERT INTO parent VALUES (1)").unwrap();
    assert_eq!(numbers(&sql, "SELECT of FROM child"), [1]);
    refusal(&sql, "INSERT INTO child VALUES (2)");
}

#[test]
fn deleting_all_drops_whatever_the_user_made() {
    let (mut database, sql) = fresh();
    let make = [("all", include_str!("everything.sql"))];
    sql.migrate(&make).unwrap();
    let mut batch = Batch::new();
    batch.put("old", "1");
    batch.set_alarm(Timestamp::from_millis(5));
    block_on(database.commit(batch)).unwrap();
    let mut batch = Batch::new();
    batch.delete_all();
    batch.put("new", "2");
    block_on(database.commit(batch)).unwrap();
    let eggs = numbers(&sql, "SELECT id FROM egg");
    assert_eq!(eggs, [1], "keys are one thing, rows another");
    sql.delete_all().unwrap();
    let names = "SELECT name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name";
    let names: Vec<String> = sql.exec(names, ()).unwrap().to_vec().unwrap();
    assert_eq!(names, ["_dokit_alarm", "_dokit_keys"]);
    assert_eq!(block_on(database.get("old")).unwrap(), None);
    assert_eq!(block_on(database.get("new")).unwrap().as_deref(), Some("2"));
    assert_eq!(block_on(database.alarm()).unwrap(), None);
    assert_eq!(sql.migrate(&make).unwrap(), 1, "all from the start");
    run(&sql, "PRAGMA foreign_key_check");
    refusal(&sql, "INSERT INTO egg (hen) VALUES (99)");
}

#[test]
fn the_size_grows_with_what_is_in_it() {
    let (_, sql) = fresh();
    let before = sql.database_size().unwrap();
    run(
        &sql,
        "CREATE TABLE t (a); INSERT INTO t VALUES (zeroblob(100000))",
    );
    assert!(sql.database_size().unwrap() >= before + 100_000);
}

#[test]
fn the_counts_are_those_of_the_rows() {
    let (_, sql) = fresh();
    run(
        &sql,
        "CREATE TABLE p (id INTEGER PRIMARY KEY);
         CREATE TABLE c (of INTEGER REFERENCES p (id) ON DELETE CASCADE);
         INSERT INTO p VALUES (1), (2), (3), (4); INSERT INTO c VALUES (1), (1), (2)",
    );
    let counts = |query: &str| {
        let cursor = sql.exec(query, ()).unwrap();
        (cursor.rows_read(), cursor.rows_written())
    };
    assert_eq!(counts("SELECT * FROM p"), (4, 0));
    assert_eq!(counts("SELECT * FROM p WHERE id = 2"), (1, 0));
    assert!(
        counts("SELECT count(of) FROM c").0 >= 2,
        "it scans three rows"
    );
    assert_eq!(
        counts("DELETE FROM p WHERE id = 1").1,
        3,
        "with those that go with it"
    );
    assert_eq!(counts("CREATE TABLE q (a)"), (0, 0));
    assert_eq!(counts("UPDATE p SET id = id WHERE id > 2").1, 2);
}
