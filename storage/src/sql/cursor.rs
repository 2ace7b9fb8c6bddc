use std::{any::type_name, collections::VecDeque};

use serde::de::DeserializeOwned;

use crate::sql::{SqlError, SqlLimits, SqlValue, row};

/// What a statement gave: its rows, all of them in memory, and counts.
///
/// The rows are bounded by [`SqlLimits::result_bytes`]; a larger result is an error of the statement.
///
/// A row becomes a `T` by [`serde`]: a struct or a map by the names of the columns (two columns of
/// one name are an error), a tuple by their order, and anything else from the only column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cursor {
    columns: Vec<String>,
    rows: VecDeque<Vec<SqlValue>>,
    /// How many rows were taken already.
    taken: usize,
    bytes: usize,
    rows_read: u64,
    rows_written: u64,
}

impl Cursor {
    /// A result without rows yet, for those who write a [`SqlEngine`](crate::sql::SqlEngine).
    #[must_use]
    pub fn new(columns: Vec<String>) -> Self {
        Self {
            columns,
            ..Self::default()
        }
    }

    /// Adds a row, which has a value for each column.
    ///
    /// # Errors
    ///
    /// [`SqlError::ResultTooLarge`] where the rows are now over the limit.
    ///
    /// # Panics
    ///
    /// Where the row has not one value for each column.
    pub fn push(&mut self, row: Vec<SqlValue>, limits: &SqlLimits) -> Result<(), SqlError> {
        assert_eq!(row.len(), self.columns.len(), "a value for each column");
        self.bytes += row.iter().map(SqlValue::bytes).sum::<usize>();
        if self.bytes > limits.result_bytes {
            return Err(SqlError::ResultTooLarge {
                rows: self.rows.len(),
                limit: limits.result_bytes,
            });
        }
        self.rows.push_back(row);
        Ok(())
    }

    /// Says how many rows were read and written for this result.
    pub fn count(&mut self, rows_read: u64, rows_written: u64) {
        self.rows_read = rows_read;
        self.rows_written = rows_written;
    }

    /// The names of the columns, in order; a name can be there twice.
    #[must_use]
    pub fn column_names(&self) -> &[String] {
        &self.columns
    }

    /// The rows that were read for this result: at least those that it has, and as many more as the
    /// engine counts. What is exact, and what is billed, is the engine's matter.
    #[must_use]
    pub fn rows_read(&self) -> u64 {
        self.rows_read
    }

    /// The rows that were inserted, updated and deleted, also by triggers and foreign keys.
    #[must_use]
    pub fn rows_written(&self) -> u64 {
        self.rows_written
    }

    /// All rows that were not taken yet.
    ///
    /// # Errors
    ///
    /// [`SqlError::Column`] or [`SqlError::Row`] at the first row that is no `T`.
    pub fn to_vec<T: DeserializeOwned>(mut self) -> Result<Vec<T>, SqlError> {
        let mut rows = Vec::with_capacity(self.rows.len());
        while let Some(row) = self.next() {
            rows.push(row?);
        }
        Ok(rows)
    }

    /// The only row.
    ///
    /// # Errors
    ///
    /// [`SqlError::RowCount`] where there is none, or several; [`SqlError::Column`] or
    /// [`SqlError::Row`] where it is no `T`.
    pub fn one<T: DeserializeOwned>(mut self) -> Result<T, SqlError> {
        let found = self.rows.len();
        match found {
            1 => self.next(),
            _ => None,
        }
        .unwrap_or(Err(SqlError::RowCount { found }))
    }

    /// Takes the next row; `None` after the last.
    ///
    /// # Errors
    ///
    /// [`SqlError::Column`] or [`SqlError::Row`] where it is no `T`; the row after it is next.
    #[expect(
        clippy::should_implement_trait,
        reason = "the type of a row is the caller's to say, each time"
    )]
    pub fn next<T: DeserializeOwned>(&mut self) -> Option<Result<T, SqlError>> {
        let row = self.rows.pop_front()?;
        self.taken += 1;
        let decoded = row::decode(&self.columns, row);
        Some(decoded.map_err(|problem| problem.at(self.taken, type_name::<T>())))
    }

    /// The rows that were not taken yet, one after the other, as [`next`](Self::next) gives them.
    pub fn rows<T: DeserializeOwned>(mut self) -> impl Iterator<Item = Result<T, SqlError>> {
        std::iter::from_fn(move || self.next())
    }

    /// The rows that were not taken yet as they are: a value for each column, in order, those of
    /// one name too.
    #[must_use]
    pub fn raw(self) -> Vec<Vec<SqlValue>> {
        self.rows.into()
    }
}
