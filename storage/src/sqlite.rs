//! A SQLite database of one's own: keys, alarm and tables in one file, one commit.
//!
//! ```
//! use dokit_storage::{Batch, Store, sqlite::Sqlite};
//!
//! # futures_executor::block_on(async {
//! let mut store = Sqlite::in_memory()?; // or Sqlite::open("shop.sqlite")?
//! let sql = store.sql();
//! sql.migrate(&[("orders", "CREATE TABLE orders (id INTEGER PRIMARY KEY, paid INTEGER NOT NULL)")])?;
//! sql.exec("INSERT INTO orders (paid) VALUES (?)", (false,))?;
//! assert_eq!(sql.exec("SELECT count(*) FROM orders", ())?.one::<u64>()?, 1);
//!
//! let mut batch = Batch::new();
//! batch.put("last order", "1");
//! store.commit(batch).await?;
//! assert_eq!(store.get("last order").await?.as_deref(), Some("1"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```
//!
//! # What a statement may not do
//!
//! SQLite's own authorizer refuses, by what a statement does and not by how it is written:
//! `ATTACH`, `DETACH`, `VACUUM`, `ANALYZE`, `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`, `RELEASE`
//! (use [`Sql::transaction`](crate::sql::Sql::transaction)), temporary tables, views and triggers,
//! `load_extension`, tables whose names begin with `_dokit_` or `_cf_`, SQLite's own tables (only
//! `sqlite_schema` is read and `sqlite_sequence` written), virtual tables other than `fts5` and
//! `fts5vocab`, and all pragmas but `table_info`, `table_xinfo`, `table_list`, `index_list`,
//! `index_info`, `index_xinfo`, `foreign_key_list`, `foreign_key_check`, `quick_check`,
//! `integrity_check`, `data_version` and `defer_foreign_keys`.
//!
//! # What holds
//!
//! - The file is in WAL mode with `synchronous = FULL`: what has committed is on disk. Foreign keys
//!   are on. [`SqlLimits`](crate::sql::SqlLimits) are SQLite's own limits of the connection. What is
//!   temporary (a sort, what a savepoint would restore) is in memory, not in files.
//! - A statement that failed has changed nothing, but for `OR FAIL` and `RAISE(FAIL)`, which keep
//!   what the statement did before. `OR ROLLBACK` and `RAISE(ROLLBACK)` end the transaction that is
//!   open: all later use of it is an error.
//! - A full or broken disk ends the open transaction in the same way.
//! - `rows_written` are the rows that SQLite counts as changed, those by triggers and foreign keys
//!   too, and nothing for indexes. `rows_read` are the rows of the result or the steps of full table
//!   scans, whichever is more: rows that an index found and the result left out are not in it.
//! - [`Batch::delete_all`](crate::Batch::delete_all) deletes all keys and the alarm, and
//!   [`Sql::delete_all`](crate::sql::Sql::delete_all) the tables; each leaves the other's.
//! - Keys have at most an eighth of [`SqlLimits::value_bytes`](crate::sql::SqlLimits::value_bytes),
//!   values the rest, whatever the [`Limits`](crate::Limits).

mod calls;
mod database;
mod error;
mod guard;
mod keys;
mod log;
mod open;
mod statement;
mod store;

pub use calls::Calls;
pub use error::OpenError;
pub use log::LogFile;
pub use store::Sqlite;
