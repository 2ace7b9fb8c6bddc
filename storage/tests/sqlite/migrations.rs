//! Migrations: once each, all or none, and what does not fit is refused by name.

use dokit_storage::{
    Batch,
    sql::{Sql, SqlMigrationError as Error},
    sqlite::{Calls, Sqlite},
};
use tempfile::tempdir;

use crate::{fresh, numbers, run};

const A: (&str, &str) = ("a", "CREATE TABLE t (a); INSERT INTO t VALUES (1)");
const B: (&str, &str) = ("b", "ALTER TABLE t ADD COLUMN b; UPDATE t SET a = a + 1");
const C: (&str, &str) = ("c", "INSERT INTO t VALUES (10, 10)");

fn applied(sql: &Sql) -> Vec<i64> {
    numbers(sql, "SELECT a FROM t")
}

#[test]
fn each_is_applied_once_in_order_also_after_reopening() {
    let folder = tempdir().unwrap();
    let open = || Sqlite::open(folder.path().join("db.sqlite")).unwrap().sql();
    let sql = open();
    assert_eq!(sql.migrate(&[]).unwrap(), 0);
    assert_eq!(sql.migrate(&[A, B]).unwrap(), 2);
    assert_eq!(sql.migrate(&[A, B]).unwrap(), 0);
    drop(sql);
    let sql = open();
    assert_eq!(sql.migrate(&[A, B, C]).unwrap(), 1);
    assert_eq!(applied(&sql), [2, 10]);
}

#[test]
fn a_list_that_does_not_fit_the_database_is_refused_by_name_and_changes_nothing() {
    let (_, sql) = fresh();
    sql.migrate(&[A, B]).unwrap();
    let edited = (B.0, "ALTER TABLE t ADD COLUMN b;  UPDATE t SET a = a + 1");
    for (list, expected) in [
        (
            &[A, edited, C][..],
            "migration \"b\" was applied with another text; add a new migration instead",
        ),
        (
            &[B, C],
            "migration \"a\" was applied as number 1 and is missing in the list",
        ),
        (
            &[A, C],
            "migration \"b\" was applied as number 2 and is missing in the list",
        ),
        (
            &[B, A, C],
            "migration \"a\" was applied as number 1 and is number 2 in the list",
        ),
        (
            &[A, C, B],
            "migration \"b\" was applied as number 2 and is number 3 in the list",
        ),
        (
            &[A],
            "migration \"b\" was applied by a newer program; this one knows the 1 before",
        ),
        (
            &[],
            "migration \"a\" was applied by a newer program; this one knows the 0 before",
        ),
        (&[A, B, C, C], "migration \"c\" is in the list twice"),
    ] {
        let error = sql.migrate(list).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(applied(&sql), [2]);
    }
    assert_eq!(sql.migrate(&[A, B, C]).unwrap(), 1);
}

#[test]
fn one_that_fails_takes_all_that_were_pending_with_it() {
    let (_, sql) = fresh();
    sql.migrate(&[A]).unwrap();
    for bad in [
        "SELEC",
        "",
        "INSERT INTO _dokit_migrations VALUES (9, 'x', 'y')",
    ] {
        let error = sql.migrate(&[A, B, C, ("bad", bad)]).unwrap_err();
        assert!(
            matches!(&error, Error::Failed { name, .. } if name == "bad"),
            "{error:?}"
        );
        assert_eq!(applied(&sql), [1]);
        assert_eq!(
            numbers(&sql, "SELECT count(*) FROM pragma_table_info('t')"),
            [1]
        );
    }
    assert_eq!(sql.migrate(&[A, B, C]).unwrap(), 2);
}

#[test]
fn they_belong_to_the_call_and_are_not_written_to_when_current() {
    let (database, sql) = fresh();
    let calls = Calls::new(database);
    calls.begin().unwrap();
    sql.migrate(&[A, B]).unwrap();
    calls.undo().unwrap();
    sql.migrate(&[A]).unwrap_err();
    calls.begin().unwrap();
    assert_eq!(sql.migrate(&[A, B]).unwrap(), 2);
    calls.keep(&Batch::new()).unwrap();
    calls.commit().unwrap();
    assert_eq!(sql.migrate(&[A, B]).unwrap(), 0, "reading is enough");
    let error = sql.migrate(&[A, B, C]).unwrap_err();
    assert!(!matches!(error, Error::Changed { .. }), "{error:?}");
    assert_eq!(applied(&sql), [2]);
}

#[test]
fn a_table_can_be_rebuilt_under_foreign_keys() {
    let (_, sql) = fresh();
    run(
        &sql,
        "CREATE TABLE p (id INTEGER PRIMARY KEY, a TEXT);
         CREATE TABLE c (of INTEGER REFERENCES p (id));
         INSERT INTO p VALUES (1, 'x'); INSERT INTO c VALUES (1)",
    );
    let rebuild = "PRAGMA defer_foreign_keys = ON;
        CREATE TABLE p2 (id INTEGER PRIMARY KEY, a TEXT NOT NULL);
        INSERT INTO p2 SELECT id, a FROM p; DROP TABLE p; ALTER TABLE p2 RENAME TO p";
    sql.migrate(&[("rebuild", rebuild)]).unwrap();
    assert_eq!(numbers(&sql, "SELECT of FROM c JOIN p ON p.id = of"), [1]);
    sql.exec("INSERT INTO c VALUES (2)", ()).unwrap_err();
}
