//! The promises of an engine that has SQL, for what objects keep in rows.

use std::time::Duration;

use dokit_object::DurableObject;
use futures_util::future::{join, join_all};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{Cells, Engine, Rows, Seen, Session, Wrong, engine::Refusal};

/// Hands every case of the suite to a macro, as [`for_each_engine_case`](crate::for_each_engine_case) does.
/// The engine serves [`Rows`](crate::Rows).
#[macro_export]
macro_rules! for_each_sql_case {
    ($tests:ident, $session:path) => {
        $crate::for_each_sql_case! { $tests, $session:
            rows_keys_and_the_alarm_are_committed_together,
            a_call_that_fails_leaves_no_row,
            a_call_that_panics_leaves_no_row,
            rows_of_an_early_commit_stay_when_the_call_fails,
            a_transaction_that_fails_leaves_none_of_its_rows,
            a_shared_call_cannot_write_rows,
            rows_of_calls_that_follow_each_other_are_all_there,
            cells_of_every_kind_come_back_as_they_went_in,
            values_at_the_edges_come_back_as_they_went_in,
            statements_that_would_break_the_engine_are_refused,
            what_is_wrong_with_a_statement_is_told_by_its_kind,
            a_statement_that_fails_leaves_nothing_of_itself,
            a_statement_that_rolls_all_back_leaves_no_half_of_its_call,
            a_call_that_leaves_a_deferred_key_without_a_row_fails,
            an_alarm_that_leaves_a_deferred_key_without_a_row_is_kept_as_failed,
            migrations_run_once,
            a_broken_disk_fails_the_call_and_leaves_no_row,
            what_was_answered_while_the_disk_broke_is_in_the_rows,
            rows_of_objects_are_apart,
            an_alarm_of_an_object_with_rows_fires_after_a_crash,
            a_failed_try_of_an_alarm_leaves_no_row,
            an_alarm_that_was_never_committed_never_fires,
            deleting_everything_drops_the_tables,
            what_is_written_after_deleting_everything_stays,
        }
    };
    ($tests:ident, $session:path: $($case:ident,)*) => {
        $tests! { $session: $($case = $crate::sql::$case,)* }
    };
}

impl<E: Engine> Session<E> {
    async fn rows<R: DeserializeOwned>(
        &self,
        object: &str,
        method: &str,
        arguments: impl Serialize,
    ) -> R {
        let answer = self.try_call_of(Rows::NAMESPACE, object, method, arguments);
        let answer = answer.await;
        answer.unwrap_or_else(|(status, body)| panic!("{method} answered {status}: {body}"))
    }

    async fn no_rows(&self, object: &str, method: &str, arguments: impl Serialize) -> Refusal {
        let answer = self.try_call_of::<Value>(Rows::NAMESPACE, object, method, arguments);
        match answer.await {
            Err(refusal) => refusal,
            Ok(value) => panic!("{method} answered {value} where an error was due"),
        }
    }

    async fn insert(&self, object: &str, text: &str) {
        self.rows::<i64>(object, "insert", [text]).await;
    }

    async fn seen(&self, object: &str) -> Seen {
        self.rows(object, "seen", json!([])).await
    }
}

/// Promises 2 and 3.
pub async fn rows_keys_and_the_alarm_are_committed_together<E: Engine>(session: &mut Session<E>) {
    let arguments = json!(["x", 1000, "Well"]);
    session.rows::<()>("a", "insert_all", arguments).await;
    let seen = session.seen("a").await;
    assert_eq!(seen.texts, ["x"]);
    assert_eq!(seen.key.as_deref(), Some("x"));
    assert!(seen.alarm.is_some());
    session.engine.crash().await;
    assert_eq!(session.seen("a").await, seen);
}

async fn leaves_nothing<E: Engine>(session: &mut Session<E>, ending: &str, status: u16) {
    session.insert("a", "before").await;
    let arguments = json!(["x", 1000, ending]);
    let (answered, body) = session.no_rows("a", "insert_all", arguments).await;
    assert_eq!(answered, status, "{body}");
    let before = Seen {
        texts: vec!["before".to_owned()],
        ..Seen::default()
    };
    assert_eq!(session.seen("a").await, before);
    session.engine.crash().await;
    session.engine.advance(Duration::from_secs(10)).await;
    assert_eq!(session.seen("a").await, before);
}

/// Promise 2.
pub async fn a_call_that_fails_leaves_no_row<E: Engine>(session: &mut Session<E>) {
    leaves_nothing(session, "Error", 418).await;
}

/// Promises 2 and 6.
pub async fn a_call_that_panics_leaves_no_row<E: Engine>(session: &mut Session<E>) {
    leaves_nothing(session, "Panic", 500).await;
}

/// Promise 2.
pub async fn rows_of_an_early_commit_stay_when_the_call_fails<E: Engine>(session: &mut Session<E>) {
    let failed = session.no_rows("a", "commit_between", ["early", "late"]);
    assert_eq!(failed.await.0, 418);
    assert_eq!(session.seen("a").await.texts, ["early"]);
    session.engine.crash().await;
    assert_eq!(session.seen("a").await.texts, ["early"]);
}

/// A transaction within a call is undone alone.
pub async fn a_transaction_that_fails_leaves_none_of_its_rows<E: Engine>(session: &mut Session<E>) {
    let texts = ["kept", "undone"];
    session.rows::<()>("a", "transactions", texts).await;
    session.engine.crash().await;
    assert_eq!(session.seen("a").await.texts, ["kept"]);
}

/// Promise 1.
pub async fn a_shared_call_cannot_write_rows<E: Engine>(session: &mut Session<E>) {
    session.insert("a", "before").await;
    let (status, body) = session.no_rows("a", "insert_while_reading", ["x"]).await;
    assert_eq!((status, &body["code"]), (500, &json!("internal")), "{body}");
    assert_eq!(session.seen("a").await.texts, ["before"]);
}

/// Promises 1 and 3, for calls that share a commit.
pub async fn rows_of_calls_that_follow_each_other_are_all_there<E: Engine>(
    session: &mut Session<E>,
) {
    let texts: Vec<String> = (0..100).map(|number| format!("{number:02}")).collect();
    let inserts = texts
        .iter()
        .map(|text| session.rows::<i64>("a", "insert", [text]));
    let mut numbers = join_all(inserts).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=100).collect::<Vec<i64>>());
    session.engine.crash().await;
    let mut seen = session.seen("a").await.texts;
    seen.sort_unstable();
    assert_eq!(seen, texts);
}

/// Integers to 64 bits, truth values, bytes and NULL.
pub async fn cells_of_every_kind_come_back_as_they_went_in<E: Engine>(session: &mut Session<E>) {
    let cells = Cells {
        big: i64::MAX,
        small: i64::MIN,
        yes: true,
        no: false,
        float: 3.114_400_745_912_745_4e-109,
        text: "na\u{ef}ve \u{2713} \u{1f600} '; DROP TABLE cells; --".to_owned(),
        bytes: vec![0, 255, 128, 10],
        none: None,
    };
    let kept: Cells = session.rows("a", "keep", [&cells]).await;
    assert_eq!(kept, cells);
}

/// The same of those that platforms take for something else: what is empty, a nul, a float that is whole, 2^53
/// and its neighbours.
pub async fn values_at_the_edges_come_back_as_they_went_in<E: Engine>(session: &mut Session<E>) {
    let edge = 1 << 53;
    for (big, small, float) in [
        (edge - 1, -edge + 1, 1.0),
        (edge, -edge, 9_007_199_254_740_992.0),
        (edge + 1, -edge - 1, -0.5e300),
        (0, -1, f64::MIN_POSITIVE),
    ] {
        let cells = Cells {
            big,
            small,
            yes: true,
            no: false,
            float,
            text: String::new(),
            bytes: Vec::new(),
            none: Some("a\0b".to_owned()),
        };
        let kept: Cells = session.rows("a", "keep", [&cells]).await;
        assert_eq!(kept, cells);
    }
}

/// Promise 6: what would end the call's transaction, reach other files, or touch the engine's tables.
pub async fn statements_that_would_break_the_engine_are_refused<E: Engine>(
    session: &mut Session<E>,
) {
    session.insert("a", "before").await;
    let statements = [
        "BEGIN",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "END",
        "ROLLBACK",
        "SAVEPOINT mine",
        "RELEASE mine",
        "ATTACH DATABASE 'other.sqlite' AS other",
        "DETACH DATABASE main",
        "VACUUM",
        "VACUUM INTO 'copy.sqlite'",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA synchronous = OFF",
        "PRAGMA user_version = 7",
        "PRAGMA writable_schema = ON",
        "PRAGMA foreign_keys = OFF",
        "CREATE TABLE _dokit_mine (x)",
        "CREATE TEMP TABLE mine (x)",
        "SELECT load_extension('mine')",
        "not sql at all",
        "",
    ];
    let mut texts = vec!["before".to_owned()];
    for statement in statements {
        let refusal: Option<Wrong> = session.rows("a", "attempt", [statement]).await;
        let refusal = refusal.unwrap_or_else(|| panic!("{statement:?} was not refused"));
        assert!(!refusal.text.is_empty(), "{statement:?}");
        // What the call wrote beside it is none the worse.
        texts.push(statement.to_owned());
    }
    session.engine.crash().await;
    assert_eq!(session.seen("a").await.texts, texts);
}

/// Promise 6.
pub async fn what_is_wrong_with_a_statement_is_told_by_its_kind<E: Engine>(
    session: &mut Session<E>,
) {
    let table =
        "CREATE TABLE kinds (one INTEGER PRIMARY KEY, two TEXT NOT NULL, three CHECK (three < 9))";
    let made: Option<Wrong> = session.rows("a", "attempt", [table]).await;
    assert_eq!(made, None);
    let filled = "INSERT INTO kinds VALUES (1, 'x', 1)";
    assert_eq!(
        session
            .rows::<Option<Wrong>>("a", "attempt", [filled])
            .await,
        None
    );
    for (statement, kind, text) in [
        (filled, "Constraint", "UNIQUE constraint failed: kinds.one"),
        (
            "INSERT INTO kinds VALUES (2, NULL, 1)",
            "Constraint",
            "NOT NULL constraint failed: kinds.two",
        ),
        (
            "INSERT INTO kinds VALUES (2, 'x', 9)",
            "Constraint",
            "CHECK constraint failed: three < 9",
        ),
        (
            "INSERT INTO kinds VALUES ('x', 'x', 1)",
            "Statement",
            "datatype mismatch",
        ),
        (
            "SELECT absent FROM kinds",
            "Statement",
            "no such column: absent",
        ),
        (
            "SELECT 1 FROM nowhere",
            "Statement",
            "no such table: nowhere",
        ),
        ("SELEKT 1", "Statement", "near \"SELEKT\": syntax error"),
        ("SELECT ?", "ParameterCount", "1"),
        ("SELECT 1; SELECT ?", "ParameterCount", "1"),
        (
            "SELECT ?; SELECT 1",
            "ParametersBeforeLast",
            "only the last",
        ),
        (
            "SELECT ?; SELECT ?",
            "ParametersBeforeLast",
            "only the last",
        ),
        ("-- nothing", "NoStatement", ""),
        (
            "PRAGMA journal_mode = DELETE",
            "Refused",
            "PRAGMA journal_mode",
        ),
    ] {
        let wrong: Option<Wrong> = session.rows("a", "attempt", [statement]).await;
        let wrong = wrong.unwrap_or_else(|| panic!("{statement:?} was not refused"));
        assert_eq!(wrong.kind, kind, "{statement:?}: {wrong:?}");
        assert!(wrong.text.contains(text), "{statement:?}: {wrong:?}");
    }
}

/// Of several statements none takes effect where one fails; nor does one whose result is too large.
pub async fn a_statement_that_fails_leaves_nothing_of_itself<E: Engine>(session: &mut Session<E>) {
    let many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) \
                INSERT INTO entries (text) SELECT hex(zeroblob(500000)) FROM n RETURNING text";
    for (statement, kind) in [
        (
            "INSERT INTO entries (text) VALUES ('one'); INSERT INTO entries (text) VALUES (NULL)",
            "Constraint",
        ),
        (
            "INSERT INTO entries (text) VALUES ('one'); SELEKT",
            "Statement",
        ),
        (
            "INSERT INTO entries (text) VALUES ('one'), (NULL) RETURNING number",
            "Constraint",
        ),
        (many, "ResultTooLarge"),
    ] {
        let wrong: Option<Wrong> = session.rows("a", "attempt", [statement]).await;
        assert_eq!(
            wrong.map(|wrong| wrong.kind).as_deref(),
            Some(kind),
            "{statement:?}"
        );
        let texts = session.seen("a").await.texts;
        assert_eq!(texts.last().map(String::as_str), Some(statement));
    }
    assert_eq!(session.seen("a").await.texts.len(), 4);
}

/// Promise 2: an engine refuses it, or fails its call.
pub async fn a_statement_that_rolls_all_back_leaves_no_half_of_its_call<E: Engine>(
    session: &mut Session<E>,
) {
    session.insert("a", "before").await;
    let statements = [
        "INSERT INTO entries (text) VALUES ('of the call')",
        "INSERT OR ROLLBACK INTO entries (number, text) VALUES (1, 'twice')",
    ];
    let ran = session.try_call_of::<()>(Rows::NAMESPACE, "a", "run", [statements]);
    let mut texts = vec!["before"];
    if ran.await.is_ok() {
        texts.extend(["of the call", "after the statements"]);
    }
    assert_eq!(session.seen("a").await.texts, texts);
    session.insert("a", "after").await;
    texts.push("after");
    session.engine.crash().await;
    assert_eq!(session.seen("a").await.texts, texts);
}

const WITHOUT_A_ROW: [&str; 4] = [
    "CREATE TABLE IF NOT EXISTS parents (id INTEGER PRIMARY KEY)",
    "CREATE TABLE IF NOT EXISTS children (parent REFERENCES parents (id))",
    "PRAGMA defer_foreign_keys = ON",
    "INSERT INTO children VALUES (7)",
];

/// Promise 2: it is that call's mistake, and nobody else's.
pub async fn a_call_that_leaves_a_deferred_key_without_a_row_fails<E: Engine>(
    session: &mut Session<E>,
) {
    let (status, body) = session.no_rows("a", "run", [WITHOUT_A_ROW]).await;
    assert_eq!((status, &body["code"]), (500, &json!("internal")), "{body}");
    assert_eq!(session.seen("a").await.texts, [""; 0]);
    let parent = "INSERT INTO parents VALUES (7)";
    let mended = [&WITHOUT_A_ROW[..], &[parent]].concat();
    session.rows::<()>("a", "run", [mended]).await;
    session.engine.crash().await;
    assert_eq!(session.seen("a").await.texts, ["after the statements"]);
}

/// Promise 5: so it is that of a handler, whose tries are counted.
pub async fn an_alarm_that_leaves_a_deferred_key_without_a_row_is_kept_as_failed<E: Engine>(
    session: &mut Session<E>,
) {
    let arguments = json!([1000, WITHOUT_A_ROW]);
    session.rows::<()>("a", "run_later", arguments).await;
    for _ in 0..20 {
        session.engine.advance(Duration::from_secs(100)).await;
    }
    let tries: Option<u32> = session.rows("a", "given_up", json!([])).await;
    assert_eq!(tries, Some(7));
    assert_eq!(session.seen("a").await.texts, [""; 0]);
}

/// Once, however often the object wakes.
pub async fn migrations_run_once<E: Engine>(session: &mut Session<E>) {
    for _ in 0..3 {
        let runs: u64 = session.rows("a", "migrated", json!([])).await;
        assert_eq!(runs, 1);
        session.engine.crash().await;
    }
    session.insert("a", "x").await;
    session.engine.crash().await;
    let runs: u64 = session.rows("a", "migrated", json!([])).await;
    assert_eq!(runs, 1);
}

/// Promise 4.
pub async fn a_broken_disk_fails_the_call_and_leaves_no_row<E: Engine>(session: &mut Session<E>) {
    session.insert("a", "before").await;
    session.engine.break_disk().await;
    let (status, body) = session.no_rows("a", "insert", ["x"]).await;
    assert_eq!(
        (status, &body["code"]),
        (500, &json!("commit_failed")),
        "{body}"
    );
    assert_eq!(session.seen("a").await.texts, ["before"]);
    session.engine.mend_disk().await;
    assert_eq!(session.seen("a").await.texts, ["before"]);
    session.insert("a", "after").await;
    session.engine.crash().await;
    assert_eq!(session.seen("a").await.texts, ["before", "after"]);
}

/// Promises 3 and 4, for calls that share a commit.
pub async fn what_was_answered_while_the_disk_broke_is_in_the_rows<E: Engine>(
    session: &mut Session<E>,
) {
    // So that its tables are there.
    session.insert("a", "first").await;
    let mut answered = vec!["first".to_owned()];
    for round in 0..2 {
        let session = &*session;
        let texts: Vec<String> = (0..20).map(|n| format!("{round} {n}")).collect();
        let inserts = texts.iter().map(|text| async move {
            let insert = session.try_call_of::<i64>(Rows::NAMESPACE, "a", "insert", [text]);
            insert.await.map(|_| text)
        });
        let (answers, ()) = join(join_all(inserts), session.engine.break_disk()).await;
        for answer in answers {
            match answer {
                Ok(text) => answered.push(text.clone()),
                Err((status, body)) => {
                    assert_eq!((status, &body["code"]), (500, &json!("commit_failed")));
                }
            }
        }
        session.engine.mend_disk().await;
        session.insert("a", &format!("mended {round}")).await;
        answered.push(format!("mended {round}"));
    }
    answered.sort_unstable();
    session.engine.crash().await;
    let mut texts = session.seen("a").await.texts;
    texts.sort_unstable();
    assert_eq!(texts, answered);
}

/// Each object has a database of its own, whatever its name.
pub async fn rows_of_objects_are_apart<E: Engine>(session: &mut Session<E>) {
    let names = ["a", "b", "A", "a%2Fb", "%E2%9C%93", "..%2F..%2Fa"];
    for name in names {
        session.insert(name, name).await;
    }
    session.engine.crash().await;
    for name in names {
        assert_eq!(session.seen(name).await.texts, [name]);
    }
}

/// Promise 5.
pub async fn an_alarm_of_an_object_with_rows_fires_after_a_crash<E: Engine>(
    session: &mut Session<E>,
) {
    session.rows::<()>("a", "set_alarm", [60_000, 0]).await;
    session.engine.crash().await;
    session.engine.advance(Duration::from_millis(59_999)).await;
    assert_eq!(session.seen("a").await.texts, [""; 0]);
    session.engine.crash().await;
    session.engine.advance(Duration::from_millis(1)).await;
    // No call in between: the alarm itself wakes the object.
    session.engine.crash().await;
    session.engine.advance(Duration::from_secs(3600)).await;
    let seen = session.seen("a").await;
    assert_eq!(seen.texts, ["alarm after 0"]);
    assert_eq!(seen.alarm, None);
    // A later one takes the place of an earlier one, and one that is not reached can be taken back.
    session.rows::<()>("a", "set_alarm", [10_000, 0]).await;
    session.rows::<()>("a", "set_alarm", [20_000, 0]).await;
    session.engine.advance(Duration::from_secs(15)).await;
    assert_eq!(session.seen("a").await.texts.len(), 1);
    session.engine.advance(Duration::from_secs(15)).await;
    assert_eq!(session.seen("a").await.texts.len(), 2);
}

/// Promise 5: the writes of an alarm are exactly once.
pub async fn a_failed_try_of_an_alarm_leaves_no_row<E: Engine>(session: &mut Session<E>) {
    session.rows::<()>("a", "set_alarm", [1000, 2]).await;
    session.engine.advance(Duration::from_secs(1)).await;
    assert_eq!(session.seen("a").await.texts, [""; 0]);
    session.engine.crash().await;
    for _ in 0..4 {
        session.engine.advance(Duration::from_secs(5)).await;
    }
    assert_eq!(session.seen("a").await.texts, ["alarm after 2"]);
}

/// Promises 2 and 5.
pub async fn an_alarm_that_was_never_committed_never_fires<E: Engine>(session: &mut Session<E>) {
    session.rows::<()>("a", "set_alarm", [3_600_000, 0]).await;
    session.engine.break_disk().await;
    let arguments = json!(["x", 1000, "Well"]);
    let (_, body) = session.no_rows("a", "insert_all", arguments).await;
    assert_eq!(body["code"], "commit_failed", "{body}");
    session.engine.mend_disk().await;
    session.engine.advance(Duration::from_secs(60)).await;
    assert_eq!(session.seen("a").await.texts, [""; 0]);
    session.engine.crash().await;
    for _ in 0..3 {
        session.engine.advance(Duration::from_secs(1200)).await;
    }
    assert_eq!(session.seen("a").await.texts, ["alarm after 0"]);
}

/// Tables, keys and the alarm (the platform's `deleteAll` of today).
pub async fn deleting_everything_drops_the_tables<E: Engine>(session: &mut Session<E>) {
    let arguments = json!(["x", 1000, "Well"]);
    session.rows::<()>("a", "insert_all", arguments).await;
    session.rows::<()>("a", "delete_all", [Value::Null]).await;
    assert_eq!(session.seen("a").await, Seen::default());
    session.engine.crash().await;
    session.engine.advance(Duration::from_secs(10)).await;
    assert_eq!(session.seen("a").await, Seen::default());
    // The migrations began anew.
    let runs: u64 = session.rows("a", "migrated", json!([])).await;
    assert_eq!(runs, 1);
}

/// Deleting everything takes its place in the order of what a call writes.
pub async fn what_is_written_after_deleting_everything_stays<E: Engine>(session: &mut Session<E>) {
    session.insert("a", "before").await;
    session.rows::<()>("a", "delete_all", ["after"]).await;
    assert_eq!(session.seen("a").await.texts, ["after"]);
    session.engine.crash().await;
    assert_eq!(session.seen("a").await.texts, ["after"]);
}
