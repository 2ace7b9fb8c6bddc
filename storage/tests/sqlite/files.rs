//! Files: what outlives the process, and whose they are.

use std::fs;

use dokit_storage::{
    Batch, Store,
    sql::SqlError,
    sqlite::{Calls, OpenError, Sqlite},
};
use futures_executor::block_on;
use rusqlite::Connection;
use tempfile::tempdir;

use crate::{numbers, refusal, run};

#[test]
fn rows_and_keys_that_committed_are_there_after_reopening_and_others_are_not() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let mut database = Sqlite::open(&path).unwrap();
    let sql = database.sql();
    run(&sql, "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
    let mut batch = Batch::new();
    batch.put("key", "1");
    block_on(database.commit(batch)).unwrap();
    let calls = Calls::new(database);
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (2)");
    calls.keep(&Batch::new()).unwrap();
    calls.commit().unwrap();
    calls.begin().unwrap();
    run(&sql, "INSERT INTO t VALUES (3)");
    let mut batch = Batch::new();
    batch.put("key", "2");
    calls.keep(&batch).unwrap();
    drop((calls, sql));
    let database = Sqlite::open(&path).unwrap();
    assert_eq!(numbers(&database.sql(), "SELECT a FROM t"), [1, 2]);
    assert_eq!(block_on(database.get("key")).unwrap().as_deref(), Some("1"));
}

#[test]
fn a_file_of_somebody_else_is_refused_and_left_as_it_was() {
    let folder = tempdir().unwrap();
    let open = |name: &str, make: &str| {
        let path = folder.path().join(name);
        Connection::open(&path)
            .unwrap()
            .execute_batch(make)
            .unwrap();
        let before = fs::read(&path).unwrap();
        let error = Sqlite::open(&path).unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), before);
        error
    };
    let theirs = open("theirs.sqlite", "CREATE TABLE t (a)");
    assert!(matches!(theirs, OpenError::NotOurs { .. }), "{theirs:?}");
    let other = open(
        "other.sqlite",
        "PRAGMA application_id = 7; CREATE TABLE t (a)",
    );
    assert!(matches!(other, OpenError::NotOurs { .. }), "{other:?}");
    let newer = open(
        "newer.sqlite",
        "PRAGMA application_id = 0x646f6b73; PRAGMA user_version = 2; CREATE TABLE t (a)",
    );
    assert!(
        matches!(
            newer,
            OpenError::NewerFormat {
                found: 2,
                supported: 1,
                ..
            }
        ),
        "{newer:?}"
    );

    let path = folder.path().join("text");
    let text = "no database at all ".repeat(100);
    fs::write(&path, &text).unwrap();
    let error = Sqlite::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Database { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    let nowhere = Sqlite::open(folder.path().join("no/such/folder")).unwrap_err();
    assert!(matches!(nowhere, OpenError::Database { .. }), "{nowhere:?}");
}

#[test]
fn a_name_is_a_file_and_nothing_else() {
    let folder = tempdir().unwrap();
    for name in ["file:x?mode=memory", ":memory:"] {
        let path = folder.path().join(name);
        drop(Sqlite::open(&path).unwrap());
        assert!(path.exists(), "{name}");
    }
}

/// What the first release wrote.
#[test]
fn a_database_of_the_first_format_is_read() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("old.sqlite");
    let old = Connection::open(&path).unwrap();
    old.execute_batch(include_str!("format_1.sql")).unwrap();
    drop(old);
    let database = Sqlite::open(&path).unwrap();
    let sql = database.sql();
    assert_eq!(
        block_on(database.get("key")).unwrap().as_deref(),
        Some("[1]")
    );
    let alarm = block_on(database.alarm()).unwrap().unwrap();
    assert_eq!(alarm.as_millis(), 1234);
    let migrations = [("orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY)")];
    assert_eq!(sql.migrate(&migrations).unwrap(), 0);
    assert_eq!(numbers(&sql, "SELECT id FROM orders"), [7]);
}

#[test]
fn a_damaged_page_is_an_error_of_the_engine_and_ends_the_call() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("db.sqlite");
    let database = Sqlite::open(&path).unwrap();
    let sql = database.sql();
    run(&sql, "CREATE TABLE sound (a); INSERT INTO sound VALUES (1)");
    run(&sql, "CREATE TABLE hurt (a)");
    for _ in 0..50 {
        run(&sql, "INSERT INTO hurt VALUES (hex(randomblob(2000)))");
    }
    drop((database, sql));
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len() - 10 * 4096;
    bytes[10 * 4096..end].fill(0xff);
    fs::write(&path, bytes).unwrap();

    let database = Sqlite::open(&path).unwrap();
    let sql = database.sql();
    let calls = Calls::new(database);
    calls.begin().unwrap();
    run(&sql, "INSERT INTO sound VALUES (2)");
    let read = "SELECT sum(length(a)) FROM hurt";
    assert!(matches!(refusal(&sql, read), SqlError::Engine { .. }));
    let after = refusal(&sql, "SELECT a FROM sound");
    assert!(matches!(after, SqlError::Engine { .. }), "{after:?}");
    calls.keep(&Batch::new()).unwrap_err();
    calls.abandon().unwrap();
    assert_eq!(numbers(&sql, "SELECT a FROM sound"), [1]);
}
