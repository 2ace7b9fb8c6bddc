//! The database of one's own: statements, what is refused, transactions, calls, files.
#![cfg(feature = "sqlite")]
#![expect(clippy::unwrap_used, reason = "a call that fails is a test that fails")]

mod calls;
mod dump;
mod files;
mod migrations;
mod model;
mod refused;
mod statements;

use dokit_storage::{
    sql::{Sql, SqlError},
    sqlite::Sqlite,
};

/// A database in memory, and its tables.
fn fresh() -> (Sqlite, Sql) {
    let database = Sqlite::in_memory().unwrap();
    let sql = database.sql();
    (database, sql)
}

/// Runs statements that have to succeed.
fn run(sql: &Sql, query: &str) {
    if let Err(error) = sql.exec(query, ()) {
        panic!("{query}: {error:?}");
    }
}

fn refusal(sql: &Sql, query: &str) -> SqlError {
    match sql.exec(query, ()) {
        Ok(cursor) => panic!("{query} gave {cursor:?}"),
        Err(error) => error,
    }
}

fn numbers(sql: &Sql, query: &str) -> Vec<i64> {
    sql.exec(query, ()).unwrap().to_vec().unwrap()
}
