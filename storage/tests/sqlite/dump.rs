use dokit_storage::{
    sql::{Sql, SqlError, SqlPiece, SqlValue},
    sqlite::Sqlite,
};

use crate::{fresh, numbers, run};

fn pieces(sql: &Sql) -> Vec<SqlPiece> {
    let mut pieces = Vec::new();
    let collect = |piece| {
        pieces.push(piece);
        Ok::<(), SqlError>(())
    };
    sql.dump(collect).unwrap();
    pieces
}

/// Everything that a user can make, and rows of every kind.
fn full() -> (Sqlite, Sql) {
    let (database, sql) = fresh();
    sql.migrate(&[
        ("first", "CREATE TABLE migrated (a)"),
        ("second", "CREATE INDEX i ON migrated (a)"),
    ])
    .unwrap();
    run(
        &sql,
        "CREATE TABLE \"odd \"\"name\"\"\" (\"a b\", b REAL, c BLOB, d AS (b * 2) STORED, e AS (b) VIRTUAL);
         CREATE TABLE parent (id INTEGER PRIMARY KEY AUTOINCREMENT, child INTEGER REFERENCES child);
         CREATE TABLE child (id INTEGER PRIMARY KEY, parent INTEGER NOT NULL REFERENCES parent);
         CREATE TABLE pairs (a TEXT, b INTEGER, n INTEGER, PRIMARY KEY (a, b)) WITHOUT ROWID, STRICT;
         CREATE TABLE numbered (rowid TEXT, a);
         CREATE TABLE empty (a);
         CREATE VIRTUAL TABLE texts USING fts5(title, body);
         CREATE TABLE counts (n INTEGER);
         CREATE VIEW seen AS SELECT a FROM pairs;
         CREATE TRIGGER counted AFTER INSERT ON child BEGIN UPDATE counts SET n = n + 1; END;
         INSERT INTO counts VALUES (0);
         PRAGMA defer_foreign_keys = ON;
         INSERT INTO parent VALUES (1, 7), (40, NULL);
         DELETE FROM parent WHERE id = 40;
         INSERT INTO child VALUES (7, 1);
         INSERT INTO numbered VALUES ('x', 1), ('y', 2);
         INSERT INTO texts VALUES ('one', 'the quick fox'), ('two', 'a slow fox');
         INSERT INTO migrated (rowid, a) VALUES (-5, 1), (9223372036854775807, 2);",
    );
    let odd = "INSERT INTO \"odd \"\"name\"\"\" (\"a b\", b, c) VALUES (?, ?, ?)";
    for values in [
        (SqlValue::Integer(i64::MIN), 1.0, vec![0, 255]),
        (
            SqlValue::Text("it's \u{0} 'odd'".to_owned()),
            f64::INFINITY,
            vec![],
        ),
        (SqlValue::Null, -0.0, vec![1; 1000]),
    ] {
        sql.exec(odd, values).unwrap();
    }
    for n in 0..600 {
        let pair = "INSERT INTO pairs VALUES (?, ?, ?)";
        sql.exec(pair, (format!("key {}", n % 7), n, n)).unwrap();
    }
    (database, sql)
}

#[test]
fn what_was_dumped_makes_the_same_database() {
    let (_database, sql) = full();
    let dumped = pieces(&sql);
    let (_copy, copy) = fresh();
    copy.load(dumped.clone()).unwrap();
    let copied = pieces(&copy);
    for (copied, dumped) in copied.iter().zip(&dumped) {
        assert_eq!(copied, dumped);
    }
    assert_eq!(copied.len(), dumped.len());

    assert_eq!(
        numbers(&copy, "SELECT rowid FROM texts WHERE texts MATCH 'quick'"),
        [1]
    );
    assert_eq!(numbers(&copy, "SELECT count(*) FROM seen"), [600]);
    assert_eq!(
        numbers(&copy, "SELECT n FROM counts"),
        [1],
        "a trigger ran for rows that were loaded"
    );
    assert_eq!(
        copy.migrate(&[
            ("first", "CREATE TABLE migrated (a)"),
            ("second", "CREATE INDEX i ON migrated (a)")
        ])
        .unwrap(),
        0
    );
    let next = copy.exec("INSERT INTO parent VALUES (NULL, NULL) RETURNING id", ());
    assert_eq!(
        next.unwrap().one::<i64>().unwrap(),
        41,
        "a number was given twice"
    );
    let bad = copy
        .exec("INSERT INTO child VALUES (8, 99)", ())
        .unwrap_err();
    assert!(matches!(bad, SqlError::Constraint { .. }), "{bad}");
}

#[test]
fn rows_too_large_to_be_read_together_are_dumped_all_the_same() {
    let (_database, sql) = fresh();
    run(
        &sql,
        "CREATE TABLE t (a); CREATE TABLE w (a PRIMARY KEY, b) WITHOUT ROWID",
    );
    for n in 0..12 {
        run(&sql, "INSERT INTO t VALUES (zeroblob(1900000))");
        sql.exec("INSERT INTO w VALUES (?, zeroblob(1900000))", (n,))
            .unwrap();
    }
    let rows = pieces(&sql)
        .into_iter()
        .filter(|piece| matches!(piece, SqlPiece::Row(_)));
    assert_eq!(rows.count(), 24);
}

#[test]
fn a_load_that_fails_leaves_nothing() {
    let made = || SqlPiece::Statement("CREATE TABLE t (a UNIQUE)".to_owned());
    let rows = |table: &str| SqlPiece::Rows {
        table: table.to_owned(),
        columns: vec!["a".to_owned()],
    };
    let row = || SqlPiece::Row(vec![SqlValue::Integer(1)]);
    let statement = |sql: &str| SqlPiece::Statement(sql.to_owned());
    for (bad, reason) in [
        (
            vec![made(), row()],
            "load of a row refused: a row comes after the name of its table",
        ),
        (
            vec![made(), rows("t"), row(), row()],
            "constraint: UNIQUE constraint failed: t.a",
        ),
        (
            vec![made(), rows("t"), SqlPiece::Row(vec![])],
            "0 parameters given; the last statement has 1",
        ),
        (vec![made(), rows("u"), row()], "no such table: u"),
        (
            vec![made(), rows("_dokit_keys"), row()],
            "_dokit_keys refused",
        ),
        (
            vec![made(), statement("ATTACH 'x' AS y")],
            "ATTACH or DETACH refused",
        ),
        (vec![made(), statement("DROP TABLE _dokit_keys")], "refused"),
    ] {
        let (_database, sql) = fresh();
        let refused = sql.load(bad).unwrap_err();
        assert!(refused.to_string().contains(reason), "{refused}");
        assert_eq!(pieces(&sql), []);
    }
}

#[test]
fn a_full_text_index_without_content_is_refused_and_named() {
    let (_database, sql) = fresh();
    run(&sql, "CREATE VIRTUAL TABLE t USING fts5(a, content = '')");
    let refused = sql.dump(|_| Ok::<(), SqlError>(())).unwrap_err();
    assert!(
        refused.to_string().starts_with("dump of \"t\" refused"),
        "{refused}"
    );
}

#[test]
fn rows_that_refer_to_rows_that_are_not_there_are_refused() {
    let statement = |text: &str| SqlPiece::Statement(text.to_owned());
    let rows = |table: &str| SqlPiece::Rows {
        table: table.to_owned(),
        columns: vec!["id".to_owned()],
    };
    let row = |id| SqlPiece::Row(vec![SqlValue::Integer(id)]);
    let load = |parents: &[i64]| {
        let (_database, sql) = fresh();
        let tables = [
            statement("CREATE TABLE child (id INTEGER PRIMARY KEY REFERENCES parent)"),
            statement("CREATE TABLE parent (id INTEGER PRIMARY KEY)"),
            rows("child"),
            row(1),
            row(2),
            rows("parent"),
        ];
        let parents = parents.iter().map(|id| row(*id));
        let loaded = sql.load(tables.into_iter().chain(parents));
        (loaded, pieces(&sql))
    };
    load(&[2, 1]).0.unwrap();
    let (refused, left) = load(&[1]);
    let refused = refused.unwrap_err();
    assert!(
        matches!(refused, SqlError::Constraint { .. }),
        "{refused:?}"
    );
    let expected = "constraint: FOREIGN KEY constraint failed: child has no row in parent";
    assert_eq!(refused.to_string(), expected);
    assert_eq!(left, []);
}
