//! SQL, where the engine has it: statements, rows as serde types, transactions, migrations.
//!
//! [`Sql`] is what a user holds; [`SqlEngine`] is what an engine gives below it. Everything between
//! them (parameters, rows, migrations) is written once, here.
//!
//! ```
//! use dokit_storage::sql::{Sql, SqlError};
//! use serde::Deserialize;
//!
//! #[derive(Deserialize)]
//! struct Order {
//!     id: i64,
//!     paid: bool,
//!     note: Option<String>,
//! }
//!
//! fn unpaid(sql: &Sql) -> Result<Vec<Order>, SqlError> {
//!     sql.exec("SELECT id, paid, note FROM orders WHERE paid = ?", (false,))?.to_vec()
//! }
//!
//! fn pay(sql: &Sql, id: i64) -> Result<u64, SqlError> {
//!     let paid = sql.exec("UPDATE orders SET paid = ? WHERE id = ?", (true, id))?;
//!     Ok(paid.rows_written())
//! }
//! ```
//!
//! | in Rust | in SQL | and back |
//! |---|---|---|
//! | integers | INTEGER; over `i64::MAX` refused | integers, exact to 64 bits; floats where they are exact |
//! | `f32`, `f64` | REAL; not a number refused | floats |
//! | `bool` | INTEGER 0 or 1 | `bool` from 0 or 1 |
//! | `str`, `String` | TEXT | strings, `char`, enums of unit variants |
//! | `[u8; N]` by reference, `Vec<u8>`, `[u8]` | BLOB | `Vec<u8>` and other lists of `u8` |
//! | `None` | NULL | `Option`, `()` |

mod cursor;
mod deletion;
mod dump;
mod engine;
mod error;
mod handle;
mod limits;
mod migration;
mod params;
mod row;
mod value;

pub use cursor::Cursor;
pub use dump::SqlPiece;
pub use engine::{SqlAccess, SqlEngine, USER_PRAGMAS};
pub use error::SqlError;
pub use handle::Sql;
pub use limits::SqlLimits;
pub use migration::SqlMigrationError;
pub use params::{Params, ToSql};
pub use value::SqlValue;
