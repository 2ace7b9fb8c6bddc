//! Whatever would break the engine, by name: as a first statement, again from the cache, in the
//! middle of others, in a transaction, and in a call.

use dokit_storage::{
    Batch, Store,
    sql::{SqlError, SqlLimits},
    sqlite::Calls,
};
use futures_executor::block_on;

use crate::{fresh, numbers, refusal, run};

const BREAKERS: &[&str] = &[
    "ATTACH 'other.sqlite' AS other",
    "ATTACH ':memory:' AS other",
    "DETACH main",
    "BEGIN",
    "BEGIN IMMEDIATE",
    "BEGIN IMMEDIATE /* _dokit_ */",
    "COMMIT",
    "COMMIT /* _dokit_ */",
    "END",
    "ROLLBACK",
    "ROLLBACK /* _dokit_ */",
    "SAVEPOINT mine",
    "SAVEPOINT _dokit",
    "RELEASE mine",
    "RELEASE _dokit_call",
    "ROLLBACK TO _dokit_call",
    "CREATE TEMP TABLE t (a)",
    "CREATE TABLE temp.t (a)",
    "CREATE TEMP VIEW v AS SELECT 1",
    "CREATE TEMP TRIGGER g AFTER INSERT ON mine BEGIN SELECT 1; END",
    "ANALYZE",
    "ANALYZE mine",
    "SELECT load_extension('x')",
    "SELECT fts3_tokenizer('simple')",
    // What is the library's or the platform's.
    "SELECT * FROM _dokit_keys",
    "SELECT value FROM _dokit_keys WHERE key = 'k'",
    "SELECT count(*) FROM _DOKIT_keys",
    "SELECT at FROM _dokit_alarm",
    "SELECT (SELECT max(at) FROM main.\"_dokit_alarm\")",
    "INSERT INTO _dokit_keys VALUES ('k', '1')",
    "UPDATE _dokit_keys SET value = '1'",
    "DELETE FROM _dokit_keys",
    "DELETE FROM _dokit_alarm",
    "DROP TABLE _dokit_keys",
    "ALTER TABLE _dokit_keys RENAME TO mine2",
    "ALTER TABLE _dokit_keys ADD COLUMN c",
    "ALTER TABLE mine RENAME TO _dokit_mine",
    "ALTER TABLE mine RENAME TO \"_CF_mine\"",
    "CREATE TABLE _dokit_mine (a)",
    "CREATE TABLE _cf_mine (a)",
    "CREATE TABLE _CF_mine (a)",
    "CREATE TABLE copy AS SELECT * FROM _dokit_keys",
    "CREATE INDEX i ON _dokit_keys (value)",
    "CREATE INDEX _dokit_i ON mine (a)",
    "CREATE TRIGGER g AFTER INSERT ON _dokit_keys BEGIN DELETE FROM mine; END",
    "CREATE TRIGGER _cf_g AFTER INSERT ON mine BEGIN DELETE FROM mine; END",
    "CREATE VIEW _dokit_v AS SELECT 1",
    // SQLite's own.
    "INSERT INTO sqlite_schema (name) VALUES ('x')",
    "UPDATE sqlite_schema SET sql = ''",
    "UPDATE sqlite_master SET sql = ''",
    "DELETE FROM sqlite_schema",
    "CREATE TABLE sqlite_mine (a)",
    "DROP TABLE sqlite_schema",
    "SELECT * FROM sqlite_stat1",
    "SELECT * FROM dbstat",
    // Virtual tables.
    "CREATE VIRTUAL TABLE r USING rtree(id, a, b)",
    "CREATE VIRTUAL TABLE f USING fts3(a)",
    "CREATE VIRTUAL TABLE f USING fts4(a)",
    "CREATE VIRTUAL TABLE d USING dbstat(main)",
    "CREATE VIRTUAL TABLE _dokit_f USING fts5(a)",
    // Pragmas.
    "PRAGMA journal_mode = DELETE",
    "PRAGMA journal_mode",
    "PRAGMA synchronous = OFF",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA writable_schema = ON",
    "PRAGMA user_version",
    "PRAGMA user_version = 7",
    "PRAGMA application_id = 7",
    "PRAGMA max_page_count = 1",
    "PRAGMA wal_checkpoint",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA query_only = ON",
    "PRAGMA temp_store_directory = '/'",
    "PRAGMA trusted_schema = ON",
    "PRAGMA ignore_check_constraints = ON",
    "PRAGMA recursive_triggers = ON",
    "PRAGMA schema_version = 99",
    "PRAGMA schema_version /* _dokit_ */",
    "PRAGMA incremental_vacuum",
    "PRAGMA shrink_memory",
    "PRAGMA optimize",
    "SELECT * FROM pragma_user_version",
];

/// What SQLite itself refuses within a transaction, where every call runs, and by the limit of
/// attached databases outside of one.
const VACUUMS: &[&str] = &["VACUUM", "VACUUM INTO 'copy.sqlite'"];

#[test]
fn a_statement_that_would_break_the_engine_is_refused_wherever_it_stands() {
    let (mut database, sql) = fresh();
    run(&sql, "CREATE TABLE mine (a)");
    let mut batch = Batch::new();
    batch.put("k", "1");
    batch.set_alarm(dokit_storage::Timestamp::from_millis(5));
    block_on(database.commit(batch)).unwrap();
    assert_eq!(
        block_on(database.get("k")).unwrap().as_deref(),
        Some("1"),
        "our own statements are in the cache now"
    );
    for breaker in BREAKERS.iter().chain(VACUUMS) {
        for _ in 0..2 {
            refusal(&sql, breaker);
        }
        refusal(&sql, &format!("INSERT INTO mine VALUES (1); {breaker}"));
        refusal(&sql, &format!("{breaker}; INSERT INTO mine VALUES (1)"));
        let within: Result<(), SqlError> = sql.transaction(|sql| {
            refusal(sql, breaker);
            run(sql, "INSERT INTO mine VALUES (2)");
            Ok(())
        });
        within.unwrap();
        let left = numbers(&sql, "SELECT a FROM mine");
        assert_eq!(left, [2], "{breaker}");
        run(&sql, "DELETE FROM mine");
    }

    let calls = Calls::new(database);
    for breaker in BREAKERS.iter().chain(VACUUMS) {
        refusal(&sql, breaker);
        calls.begin().unwrap();
        refusal(&sql, breaker);
        run(&sql, "INSERT INTO mine VALUES (3)");
        calls.keep(&Batch::new()).unwrap();
        calls.commit().unwrap();
        assert_eq!(numbers(&sql, "SELECT a FROM mine"), [3], "{breaker}");
        calls.begin().unwrap();
        run(&sql, "DELETE FROM mine");
        calls.keep(&Batch::new()).unwrap();
    }
    calls.commit().unwrap();
    let database = calls.database();
    assert_eq!(block_on(database.get("k")).unwrap().as_deref(), Some("1"));
}

#[test]
fn a_refusal_says_what_and_why() {
    let (_, sql) = fresh();
    for (query, expected) in [
        (
            "BEGIN",
            "BEGIN, COMMIT, ROLLBACK, SAVEPOINT or RELEASE refused: use `transaction`, which nests",
        ),
        (
            "SELECT * FROM _dokit_keys",
            "read of _dokit_keys refused: names that begin with `_dokit_` or `_cf_` are not the user's",
        ),
        (
            "CREATE VIRTUAL TABLE r USING rtree(id, a, b)",
            "virtual table rtree refused: of the virtual tables there are fts5 and fts5vocab",
        ),
        (
            "PRAGMA journal_mode = DELETE",
            "PRAGMA journal_mode refused: only pragmas that describe tables and check them are allowed",
        ),
        (
            "ATTACH 'x' AS y",
            "ATTACH or DETACH refused: a commit is of one database",
        ),
    ] {
        assert_eq!(refusal(&sql, query).to_string(), expected);
    }
}

#[test]
fn what_is_compiled_later_is_refused_too_in_views_triggers_and_checks() {
    let (mut database, sql) = fresh();
    let mut batch = Batch::new();
    batch.put("k", "1");
    block_on(database.commit(batch)).unwrap();
    run(
        &sql,
        "CREATE TABLE mine (a);
         CREATE VIEW peek AS SELECT value FROM _dokit_keys;
         CREATE TRIGGER reach AFTER INSERT ON mine BEGIN DELETE FROM _dokit_keys; END;
         CREATE TABLE child (k TEXT REFERENCES _dokit_keys (key))",
    );
    refusal(&sql, "SELECT * FROM peek");
    refusal(&sql, "INSERT INTO mine VALUES (1)");
    refusal(&sql, "INSERT INTO child VALUES ('k')");
    assert_eq!(block_on(database.get("k")).unwrap().as_deref(), Some("1"));
    let mut batch = Batch::new();
    batch.delete("k");
    block_on(database.commit(batch)).unwrap();
}

#[test]
fn what_is_useful_is_allowed() {
    let (_, sql) = fresh();
    for query in [
        "CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, mail TEXT UNIQUE, n INTEGER)",
        "INSERT INTO orders (mail, n) VALUES ('a', 1), ('b', 2)",
        "CREATE INDEX by_n ON orders (n)",
        "CREATE VIEW many AS SELECT * FROM orders WHERE n > 1",
        "CREATE TRIGGER count AFTER DELETE ON orders BEGIN UPDATE orders SET n = n + 1; END",
        "SELECT * FROM many",
        "SELECT name, sql FROM sqlite_schema",
        "SELECT * FROM sqlite_sequence",
        "PRAGMA table_info(orders)",
        "PRAGMA table_list",
        "PRAGMA index_list('orders')",
        "PRAGMA foreign_key_list(orders)",
        "PRAGMA foreign_key_check",
        "PRAGMA quick_check",
        "SELECT name FROM pragma_table_info('orders')",
        "SELECT value FROM json_each('[1,2]')",
        "WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 9) SELECT n FROM up",
        "EXPLAIN QUERY PLAN SELECT * FROM orders",
        "ALTER TABLE orders RENAME COLUMN n TO number",
        "ALTER TABLE orders ADD COLUMN note TEXT DEFAULT ''",
        "ALTER TABLE orders DROP COLUMN note",
        "ALTER TABLE orders RENAME TO bought",
        "INSERT INTO bought (mail) VALUES ('c') ON CONFLICT DO NOTHING RETURNING id",
        "DELETE FROM bought WHERE id = 1",
        "REINDEX by_n",
        "CREATE VIRTUAL TABLE notes USING fts5(body, tokenize = 'porter')",
        "INSERT INTO notes VALUES ('the quick brown fox'), ('slow dogs')",
        "SELECT highlight(notes, 0, '<', '>') FROM notes WHERE notes MATCH 'quick'",
        "CREATE VIRTUAL TABLE terms USING fts5vocab(notes, row)",
        "SELECT * FROM terms",
        "DROP TABLE terms",
        "DROP TABLE notes",
        "DROP VIEW many",
        "DROP TABLE bought",
    ] {
        run(&sql, query);
    }
    let left: Vec<String> = sql
        .exec(
            "SELECT name FROM sqlite_schema WHERE name NOT LIKE '\\_dokit%' ESCAPE '\\'",
            (),
        )
        .unwrap()
        .to_vec()
        .unwrap();
    assert_eq!(left, ["sqlite_sequence"]);
}

#[test]
fn what_is_over_a_limit_is_refused() {
    let (_, sql) = fresh();
    let list = |of: &str, count: usize| vec![of; count].join(", ");
    for (fits, over) in [
        (
            format!("SELECT 1 /*{}*/", "x".repeat(100_000 - 13)),
            format!("SELECT 1 /*{}*/", "x".repeat(100_000)),
        ),
        (
            format!("SELECT {}", list("1", 100)),
            format!("SELECT {}", list("1", 101)),
        ),
        (
            format!("SELECT max({})", list("1", 32)),
            format!("SELECT max({})", list("1", 33)),
        ),
        (
            "SELECT 1 ".to_owned() + &"UNION SELECT 1 ".repeat(4),
            "SELECT 1 ".to_owned() + &"UNION SELECT 1 ".repeat(5),
        ),
        (
            format!("SELECT 'a' LIKE '{}'", "x".repeat(50)),
            format!("SELECT 'a' LIKE '{}'", "x".repeat(51)),
        ),
        (
            "SELECT length(zeroblob(2000000))".to_owned(),
            "SELECT length(randomblob(2000001))".to_owned(),
        ),
    ] {
        run(&sql, &fits);
        refusal(&sql, &over);
    }
    let hundred = vec![1; 100];
    let placeholders = list("?", 100);
    let query = format!("SELECT max(a) FROM (SELECT {placeholders} AS a)");
    sql.exec(&query, &hundred).unwrap();
    let query = format!("SELECT {placeholders}, ?");
    sql.exec(&query, vec![1; 101]).unwrap_err();

    let large = sql.exec("SELECT ?", (vec![0_u8; 2_000_001],)).unwrap_err();
    assert!(matches!(large, SqlError::TooLarge { .. }), "{large:?}");
}

#[test]
fn a_result_over_the_limit_is_refused_and_what_it_wrote_is_undone() {
    let (database, _) = fresh();
    let mut limits = SqlLimits::default();
    limits.result_bytes = 10_000;
    let sql = database.with_sql_limits(limits).sql();
    run(&sql, "CREATE TABLE t (a)");
    let many = "WITH RECURSIVE up (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM up WHERE n < 1000)";
    let error = refusal(&sql, &format!("{many} SELECT n FROM up"));
    assert!(
        matches!(error, SqlError::ResultTooLarge { limit: 10_000, rows } if rows > 100),
        "{error:?}"
    );
    refusal(
        &sql,
        &format!("{many} INSERT INTO t SELECT n FROM up RETURNING a"),
    );
    assert_eq!(numbers(&sql, "SELECT count(*) FROM t"), [0]);
    run(&sql, &format!("{many} INSERT INTO t SELECT n FROM up"));
    assert_eq!(numbers(&sql, "SELECT count(*) FROM t"), [1000]);
}
