//! An object's SQL database on the platform.

use std::{fmt, rc::Rc};

use dokit_storage::sql::{
    Cursor, SqlAccess, SqlEngine, SqlError, SqlLimits, SqlValue, USER_PRAGMAS,
};
use worker::{
    js_sys::{Array, ArrayBuffer, Error as JsError, Function, Reflect, Uint8Array},
    wasm_bindgen::{JsCast, JsValue, closure::ScopedClosure},
    worker_sys::{DurableObjectStorage, SqlStorage, SqlStorageCursor},
};

use crate::{
    calls::Calls,
    platform::PlatformError,
    statements::{Kind, Statement, Text},
};

/// From here on the platform's numbers have no room for each integer: 2^53.
const INEXACT: f64 = 9_007_199_254_740_992.0;

/// Beyond this no float can be an integer that was rounded: 2^63.
const LARGEST: f64 = (1_u64 << 63) as f64;

/// The database beside an object's keys.
#[derive(Clone)]
pub(crate) struct Rows {
    storage: Rc<DurableObjectStorage>,
    sql: SqlStorage,
    calls: Rc<Calls>,
    limits: SqlLimits,
}

impl Rows {
    /// The database of an object, whose class has to have one.
    pub(crate) fn new(
        storage: Rc<DurableObjectStorage>,
        calls: Rc<Calls>,
    ) -> Result<Self, JsValue> {
        // Read like this, since it throws where the class has none.
        let sql = Reflect::get(JsCast::unchecked_ref(&*storage), &"sql".into())?;
        Ok(Self {
            storage,
            sql: sql.unchecked_into(),
            calls,
            limits: SqlLimits::default(),
        })
    }

    pub(crate) fn calls(&self) -> &Rc<Calls> {
        &self.calls
    }

    fn query(&self, query: &str, bindings: Array) -> Result<SqlStorageCursor, SqlError> {
        self.sql.exec(query, bindings).map_err(failed)
    }

    fn first(&self, query: &str) -> Result<Option<Array>, SqlError> {
        let cursor = self.query(query, Array::new())?;
        let row = cursor.raw().into_iter().next();
        let row = row.transpose().map_err(failed)?;
        Ok(row.map(JsCast::unchecked_into))
    }

    fn number(&self, query: &str) -> Result<f64, SqlError> {
        let row = self.first(query)?;
        Ok(row.and_then(|row| row.get(0).as_f64()).unwrap_or_default())
    }

    /// Runs the statements, and counts what they wrote.
    fn run(&self, text: &Text<'_>, params: &[SqlValue], writes: bool) -> Result<Cursor, SqlError> {
        let Some(last) = text.last() else {
            return Err(SqlError::NoStatement);
        };
        let changes = || self.number("SELECT total_changes()");
        let before = if writes { changes()? } else { 0.0 };
        let is_integer = |which| matches!(params.get(which), Some(SqlValue::Integer(_)));
        let last_text = last.with_integers(is_integer);
        let bindings = || params.iter().map(to_js).collect::<Array>();
        let found = self.query(&text.ending_in(&last_text), bindings())?;
        let columns: Vec<String> = names(&found);
        let result = self.read(&found, columns.clone(), &[]);
        if result.is_err() && last.kind != Kind::Select {
            // The platform cannot undo a statement that writes and has not given all of its rows.
            found.raw().into_iter().for_each(drop);
        }
        let mut result = result?;
        if !result.inexact.is_empty() {
            if last.kind != Kind::Select {
                return Err(beyond(&columns[result.inexact[0]]));
            }
            let query = exactly(&last_text, columns.len(), &result.inexact);
            let again = self.query(&query, bindings())?;
            result = self.read(&again, columns, &result.inexact)?;
        }
        let written = if writes { changes()? - before } else { 0.0 };
        let (mut cursor, rows) = (result.cursor, result.rows);
        cursor.count(rows.max(whole(found.rows_read())), whole(written));
        Ok(cursor)
    }

    /// Takes the rows of a result. Behind its columns it has those of `exact` once more, as text where
    /// they are integers.
    fn read(
        &self,
        found: &SqlStorageCursor,
        columns: Vec<String>,
        exact: &[usize],
    ) -> Result<Read, SqlError> {
        let width = columns.len();
        let mut cursor = Cursor::new(columns);
        let mut inexact = Vec::new();
        let mut rows = 0;
        for row in found.raw() {
            let row: Array = row.map_err(failed)?.unchecked_into();
            let mut values = Vec::with_capacity(width);
            for at in 0..width {
                let again = exact.iter().position(|exact| *exact == at);
                let again = again.and_then(|behind| row.get(index(width + behind)).as_string());
                let integer = again.and_then(|digits| digits.parse().ok());
                let read = match integer {
                    Some(integer) => SqlValue::Integer(integer),
                    None => from_js(&row.get(index(at))),
                };
                if let SqlValue::Real(number) = read
                    && could_be_an_integer(number)
                    && !exact.contains(&at)
                    && !inexact.contains(&at)
                {
                    inexact.push(at);
                }
                values.push(read);
            }
            rows += 1;
            cursor.push(values, &self.limits)?;
        }
        Ok(Read {
            cursor,
            rows,
            inexact,
        })
    }

    /// Runs `body`, and undoes what it wrote where it fails.
    fn all_or_nothing<R>(&self, body: impl FnOnce() -> Result<R, SqlError>) -> Result<R, SqlError> {
        let mut body = Some(body);
        let mut outcome = None;
        self.transaction(&mut || {
            let Some(body) = body.take() else {
                return false;
            };
            outcome.insert(body()).is_ok()
        })?;
        outcome.unwrap_or_else(|| Err(SqlError::engine("exec", "the platform ran nothing")))
    }
}

/// The rows of a result.
struct Read {
    cursor: Cursor,
    rows: u64,
    /// The columns that hold a number which may be an integer that was rounded.
    inexact: Vec<usize>,
}

impl SqlEngine for Rows {
    fn exec(
        &self,
        query: &str,
        params: &[SqlValue],
        access: SqlAccess,
    ) -> Result<Cursor, SqlError> {
        if query.contains('\0') {
            return Err(SqlError::Statement {
                message: "a nul in the text of a statement".to_owned(),
            });
        }
        let text = Text::read(query);
        let Some(last) = text.last() else {
            return Err(SqlError::NoStatement);
        };
        if let (SqlAccess::User, Some(name)) = (access, text.reserved) {
            return Err(SqlError::Refused {
                operation: format!("use of {name}"),
                reason: "names that begin with `_dokit_` are not the user's",
            });
        }
        if text.rolls_back {
            return Err(SqlError::Refused {
                operation: "ROLLBACK".to_owned(),
                reason: "it would undo the whole call, which the platform would not notice: answer an error \
                         instead, and put a name in quotes",
            });
        }
        let pragmas = text
            .statements
            .iter()
            .filter_map(|one| one.pragma.as_deref());
        let foreign = |pragma: &&str| !USER_PRAGMAS.contains(pragma);
        if let (SqlAccess::User, Some(pragma)) = (access, pragmas.clone().find(foreign)) {
            return Err(SqlError::Refused {
                operation: format!("PRAGMA {pragma}"),
                reason: "only pragmas that describe tables and check them are allowed",
            });
        }
        let before = &text.statements[..text.statements.len() - 1];
        if before.iter().any(|statement| statement.parameters > 0) {
            return Err(SqlError::ParametersBeforeLast);
        }
        if params.len() != last.parameters {
            return Err(SqlError::ParameterCount {
                given: params.len(),
                expected: last.parameters,
            });
        }
        let writes = text.statements.iter().any(Statement::writes);
        if writes {
            if !self.calls.is_running() {
                return Err(SqlError::ReadOnly);
            }
            self.calls.note_writing();
        }
        if text.statements.iter().any(Statement::defers) {
            self.calls.note_deferring();
        }
        if before.is_empty() && !(last.writes() && last.returns) {
            // It is undone by itself where it fails.
            return self.run(&text, params, writes);
        }
        self.all_or_nothing(|| self.run(&text, params, writes))
    }

    fn transaction(&self, body: &mut dyn FnMut() -> bool) -> Result<(), SqlError> {
        let mut failed_itself = false;
        let mut run = || {
            if body() {
                return Ok(JsValue::UNDEFINED);
            }
            failed_itself = true;
            Err(JsError::new("undone").into())
        };
        let ended = {
            let run: ScopedClosure<'_, dyn FnMut() -> Result<JsValue, JsValue>> =
                ScopedClosure::borrow_mut_aborting(&mut run);
            let storage: &JsValue = JsCast::unchecked_ref(&*self.storage);
            let method = Reflect::get(storage, &"transactionSync".into()).map_err(failed)?;
            let method: Function = method.unchecked_into();
            Reflect::apply(&method, storage, &Array::of1(run.as_js_value()))
        };
        match ended {
            Err(_) if failed_itself => Ok(()),
            Err(thrown) => Err(failed(thrown)),
            Ok(_) => Ok(()),
        }
    }

    fn check_deferred(&self) -> Result<(), SqlError> {
        // At the commit the platform would reset the object for it.
        let deferred = "SELECT count(*) FROM sqlite_master WHERE instr(upper(sql), 'DEFERRED') > 0";
        if !self.calls.has_written()
            || (!self.calls.has_deferred() && self.number(deferred)? == 0.0)
        {
            return Ok(());
        }
        let Some(row) = self.first("PRAGMA foreign_key_check")? else {
            return Ok(());
        };
        let text = |at| row.get(at).as_string().unwrap_or_default();
        let (table, parent) = (text(0), text(2));
        Err(SqlError::Constraint {
            message: format!("FOREIGN KEY constraint failed: {table} has no row in {parent}"),
        })
    }

    fn database_size(&self) -> Result<u64, SqlError> {
        let size = Reflect::get(&self.sql, &"databaseSize".into()).map_err(failed)?;
        Ok(whole(size.as_f64().unwrap_or_default()))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

/// A query for the same rows, with some columns once more as the text of their integers.
fn exactly(query: &str, width: usize, columns: &[usize]) -> String {
    let name = |at: &usize| format!("c{at}");
    let names: Vec<String> = (0..width).map(|at| name(&at)).collect();
    let again = columns.iter().map(|at| {
        let name = name(at);
        format!(", CASE typeof({name}) WHEN 'integer' THEN CAST({name} AS TEXT) END")
    });
    format!(
        "WITH _dokit_rows({}) AS ({query}\n) SELECT *{} FROM _dokit_rows",
        names.join(", "),
        again.collect::<String>()
    )
}

fn beyond(column: &str) -> SqlError {
    SqlError::Statement {
        message: format!(
            "a number in column {column:?} is beyond 2^53, which the platform does not give exactly \
             from this statement: select it afterwards, or cast it to text"
        ),
    }
}

fn names(found: &SqlStorageCursor) -> Vec<String> {
    let names = found.column_names().into_iter();
    names
        .map(|name| name.as_string().unwrap_or_default())
        .collect()
}

/// What is bound. Integers without a number of their own are bound as text, and cast all the same.
#[expect(
    clippy::cast_precision_loss,
    reason = "integers to 2^53 are exact, and others are not made numbers"
)]
fn to_js(value: &SqlValue) -> JsValue {
    match value {
        SqlValue::Null => JsValue::NULL,
        SqlValue::Integer(integer) if (*integer as f64).abs() < INEXACT => {
            JsValue::from_f64(*integer as f64)
        }
        SqlValue::Integer(integer) => JsValue::from_str(&integer.to_string()),
        SqlValue::Real(number) => JsValue::from_f64(*number),
        SqlValue::Text(text) => JsValue::from_str(text),
        SqlValue::Blob(bytes) => Uint8Array::from(&**bytes).into(),
    }
}

/// What was read. The platform's numbers do not say whether they were integers: those that are whole
/// are taken for it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "whole numbers below 2^53 are exact"
)]
fn from_js(value: &JsValue) -> SqlValue {
    if let Some(number) = value.as_f64() {
        let is_integer = number.fract() == 0.0 && number.abs() < INEXACT;
        return if is_integer && (number != 0.0 || number.is_sign_positive()) {
            SqlValue::Integer(number as i64)
        } else {
            SqlValue::Real(number)
        };
    }
    if let Some(text) = value.as_string() {
        return SqlValue::Text(text);
    }
    match value.dyn_ref::<ArrayBuffer>() {
        Some(buffer) => SqlValue::Blob(Uint8Array::new(buffer).to_vec()),
        None => SqlValue::Null,
    }
}

fn could_be_an_integer(number: f64) -> bool {
    (INEXACT..=LARGEST).contains(&number.abs())
}

fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole and not negative"
)]
fn whole(count: f64) -> u64 {
    count as u64
}

/// What the platform has thrown, told by the code that SQLite's messages end with there:
/// `UNIQUE constraint failed: t.a: SQLITE_CONSTRAINT (extended: SQLITE_CONSTRAINT_UNIQUE)`.
fn failed(thrown: JsValue) -> SqlError {
    let text = match thrown.dyn_ref::<JsError>() {
        Some(error) => String::from(error.message()),
        None => return SqlError::engine("exec", PlatformError::from(thrown)),
    };
    // A message may itself have anything in it.
    let told = text
        .rsplit_once(" (extended: ")
        .map_or(&*text, |told| told.0);
    let Some((message, code)) = told.rsplit_once(": SQLITE_") else {
        // What the platform itself refuses.
        return SqlError::Statement { message: text };
    };
    let message = message.to_owned();
    match code {
        "CONSTRAINT" => SqlError::Constraint { message },
        "TOOBIG" => SqlError::TooLarge { message },
        "INTERRUPT" => SqlError::Interrupted,
        "AUTH" => SqlError::Refused {
            operation: "the statement".to_owned(),
            reason: "the platform does not allow it",
        },
        "ERROR" | "MISMATCH" | "RANGE" => SqlError::Statement { message },
        _ => SqlError::engine("exec", PlatformError::from(thrown)),
    }
}
