//! A user's statements.

use rusqlite::{
    Batch, ErrorCode, Row, Statement, StatementStatus,
    fallible_iterator::FallibleIterator,
    types::{ToSqlOutput, ValueRef},
};

use super::database::{Database, Mode, OURS};
use crate::sql::{Cursor, SqlAccess, SqlError, SqlValue};

impl Database {
    /// Runs all statements of `query`, or none.
    pub(super) fn exec(
        &self,
        query: &str,
        params: &[SqlValue],
        access: SqlAccess,
    ) -> Result<Cursor, SqlError> {
        self.usable("exec")?;
        if query.contains('\0') {
            // SQLite would end there and say nothing.
            return Err(SqlError::Statement {
                message: "a nul in the text of a statement".to_owned(),
            });
        }
        let _access = self.guard.user(access == SqlAccess::User);
        self.guard.take_refused();
        self.guard.take_special();
        // Statements of ours are in the same cache, allowed already, and all have this word in them: a
        // user who writes one as we do is not to get ours.
        if (access == SqlAccess::Library) == query.contains(OURS)
            && let Ok(mut statement) = self.connection.prepare_cached(query)
        {
            if is_empty(&statement) {
                return Err(SqlError::NoStatement);
            }
            let special = self.guard.take_special();
            let ran = self.single(&mut statement, params, special);
            if special {
                // Compiled again, it is noticed again.
                statement.discard();
            }
            return ran;
        }
        // Several statements, or one that does not compile, which is said here.
        self.scoped(|| {
            let cursor = self.several(query, params)?;
            if self.guard.take_special() {
                self.check_names()?;
            }
            Ok(cursor)
        })
    }

    fn single(
        &self,
        statement: &mut Statement<'_>,
        params: &[SqlValue],
        special: bool,
    ) -> Result<Cursor, SqlError> {
        // What is to be undone when something is wrong with it afterwards: a new name, a result that
        // is too large.
        let returns = statement.column_count() > 0 && !statement.readonly();
        if !special && !returns {
            return self.step(statement, params);
        }
        self.scoped(|| {
            let cursor = self.step(statement, params)?;
            if special {
                self.check_names()?;
            }
            Ok(cursor)
        })
    }

    fn several(&self, query: &str, params: &[SqlValue]) -> Result<Cursor, SqlError> {
        let mut statements = Batch::new(&self.connection, query);
        let mut last: Option<Cursor> = None;
        let mut bound = false;
        // Each is compiled when those before it have run, since it may be about what they made.
        while let Some(mut statement) = self.compiled(statements.next())? {
            bound = statement.parameter_count() > 0;
            // What follows it need not be right to be one more statement.
            if bound && !matches!(statements.next(), Ok(None)) {
                return Err(SqlError::ParametersBeforeLast);
            }
            let mut cursor = self.step(&mut statement, if bound { params } else { &[] })?;
            if let Some(last) = last {
                cursor.count(
                    last.rows_read() + cursor.rows_read(),
                    last.rows_written() + cursor.rows_written(),
                );
            }
            last = Some(cursor);
        }
        if !bound && last.is_some() && !params.is_empty() {
            return Err(SqlError::ParameterCount {
                given: params.len(),
                expected: 0,
            });
        }
        last.ok_or(SqlError::NoStatement)
    }

    fn compiled<T>(&self, compiled: rusqlite::Result<T>) -> Result<T, SqlError> {
        compiled.map_err(|error| self.explained(&error, self.in_transaction()))
    }

    fn explained(&self, error: &rusqlite::Error, in_transaction: bool) -> SqlError {
        let failed = self.failed("exec", error, in_transaction);
        if error.sqlite_error_code() == Some(ErrorCode::AuthorizationForStatementDenied) {
            return self.guard.take_refused().unwrap_or(failed);
        }
        failed
    }

    fn step(&self, statement: &mut Statement<'_>, params: &[SqlValue]) -> Result<Cursor, SqlError> {
        let expected = statement.parameter_count();
        if params.len() != expected {
            return Err(SqlError::ParameterCount {
                given: params.len(),
                expected,
            });
        }
        if !statement.readonly() {
            if self.mode.get() == Mode::Reading {
                return Err(SqlError::ReadOnly);
            }
            self.wrote.set(true);
        }
        if self.guard.stops() {
            return Err(SqlError::Interrupted);
        }
        let in_transaction = self.in_transaction();
        let explained = |error| self.explained(&error, in_transaction);
        for (at, value) in params.iter().enumerate() {
            let value = ToSqlOutput::Borrowed(borrowed(value));
            statement
                .raw_bind_parameter(at + 1, value)
                .map_err(explained)?;
        }
        let width = statement.column_count();
        let columns = (0..width).map(|at| statement.column_name(at).map(str::to_owned));
        let columns = columns.collect::<Result<_, _>>().map_err(explained)?;
        let mut cursor = Cursor::new(columns);
        let written = self.connection.total_changes();
        statement.reset_status(StatementStatus::FullscanStep);
        let limits = self.limits.get();
        let mut found = 0_u64;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(explained)? {
            found += 1;
            let row = (0..width).map(|at| value(row, at));
            cursor.push(row.collect::<Result<_, _>>()?, &limits)?;
        }
        drop(rows);
        let scanned = statement.get_status(StatementStatus::FullscanStep);
        cursor.count(
            found.max(u64::try_from(scanned).unwrap_or_default()),
            self.connection.total_changes() - written,
        );
        Ok(cursor)
    }

    /// Refuses the new name of a table, which SQLite does not show before it has it.
    fn check_names(&self) -> Result<(), SqlError> {
        let taken = self.number(
            "exec",
            "SELECT count(*) FROM sqlite_schema \
             WHERE (lower(substr(name, 1, 7)) = '_dokit_' OR lower(substr(name, 1, 4)) = '_cf_') \
             AND name NOT IN ('_dokit_keys', '_dokit_alarm', '_dokit_migrations')",
        )?;
        if taken > 0 {
            return Err(SqlError::Refused {
                operation: "ALTER TABLE".to_owned(),
                reason: "names that begin with `_dokit_` or `_cf_` are not the user's",
            });
        }
        Ok(())
    }
}

/// Whether a text without a statement was compiled: a comment, say.
fn is_empty(statement: &Statement<'_>) -> bool {
    statement.column_count() == 0 && statement.readonly() && statement.expanded_sql().is_none()
}

fn borrowed(value: &SqlValue) -> ValueRef<'_> {
    match value {
        SqlValue::Null => ValueRef::Null,
        SqlValue::Integer(number) => ValueRef::Integer(*number),
        SqlValue::Real(number) => ValueRef::Real(*number),
        SqlValue::Text(text) => ValueRef::Text(text.as_bytes()),
        SqlValue::Blob(bytes) => ValueRef::Blob(bytes),
    }
}

fn value(row: &Row<'_>, at: usize) -> Result<SqlValue, SqlError> {
    let value = row.get_ref(at).map_err(|error| SqlError::Statement {
        message: error.to_string(),
    })?;
    Ok(match value {
        ValueRef::Null => SqlValue::Null,
        ValueRef::Integer(number) => SqlValue::Integer(number),
        ValueRef::Real(number) => SqlValue::Real(number),
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => SqlValue::Text(text.to_owned()),
            Err(_) => {
                return Err(SqlError::Statement {
                    message: format!("text in column {} is not utf-8: cast it to a blob", at + 1),
                });
            }
        },
        ValueRef::Blob(bytes) => SqlValue::Blob(bytes.to_vec()),
    })
}
