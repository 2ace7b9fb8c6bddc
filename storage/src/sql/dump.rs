//! All that a database holds besides keys and alarm, out piece by piece and in again.

use crate::sql::{Sql, SqlAccess, SqlError, SqlValue, migration};

/// A piece of a database, in the order in which [`Sql::dump`] gives them and [`Sql::load`] takes them:
/// all tables, then their rows, then what is made of tables.
#[derive(Clone, Debug, PartialEq)]
pub enum SqlPiece {
    /// A statement that makes a table; or, after the rows, an index, a view or a trigger.
    Statement(String),
    /// Rows follow, of a table that has been made.
    Rows {
        /// The table.
        table: String,
        /// What the values of a row are, in their order.
        columns: Vec<String>,
    },
    /// A row.
    Row(Vec<SqlValue>),
}

/// SQLite's own table of the numbers that `AUTOINCREMENT` has given.
const SEQUENCES: &str = "sqlite_sequence";

/// Tables in which users' rows are, or what is known of migrations. Those that virtual tables are made of
/// come with these. The sequences last: inserting rows changes them.
const TABLES: &str = r"
    SELECT list.name, list.type, list.wr, made.sql
    FROM pragma_table_list AS list JOIN sqlite_master AS made USING (name)
    WHERE list.schema = 'main' AND list.type IN ('table', 'virtual')
        AND (list.name NOT LIKE '\_dokit\_%' ESCAPE '\' OR list.name = '_dokit_migrations')
        AND list.name NOT LIKE '\_cf\_%' ESCAPE '\'
        AND (list.name NOT LIKE 'sqlite\_%' ESCAPE '\' OR list.name = 'sqlite_sequence')
    ORDER BY list.name = 'sqlite_sequence', list.name <> '_dokit_migrations', list.type, made.rowid";

/// Indexes before views and triggers, which may need them; automatic indexes have no statement.
const REST: &str = "
    SELECT sql FROM sqlite_master WHERE type IN ('index', 'view', 'trigger') AND sql IS NOT NULL
    ORDER BY type = 'trigger', type, rowid";

/// How many rows are read at once, where they are small.
const PAGE: i64 = 256;

/// With more columns than this there is no room for the row's number in a result.
const COLUMNS: usize = 98;

pub(super) fn dump<E: From<SqlError>>(
    sql: &Sql,
    mut each: impl FnMut(SqlPiece) -> Result<(), E>,
) -> Result<(), E> {
    let tables: Vec<(String, String, bool, String)> = sql.exec_own(TABLES, ())?.to_vec()?;
    for (name, kind, _, made) in &tables {
        if kind == "virtual" && has_no_content(made) {
            return Err(SqlError::Refused {
                operation: format!("dump of {name:?}"),
                reason: "a full-text index without content has no rows to dump",
            }
            .into());
        }
        if ![SEQUENCES, migration::TABLE].contains(&name.as_str()) {
            each(SqlPiece::Statement(made.clone()))?;
        }
    }
    for (name, _, without_rowid, _) in tables {
        Table::look_at(sql, name, without_rowid)?.dump(sql, &mut each)?;
    }
    for statement in sql.exec_own(REST, ())?.rows() {
        each(SqlPiece::Statement(statement?))?;
    }
    Ok(())
}

/// `content=''` in any spelling.
fn has_no_content(made: &str) -> bool {
    let text: String = made.chars().filter(|char| !char.is_whitespace()).collect();
    let text = text.to_ascii_lowercase();
    text.contains("content=''") || text.contains("content=\"\"")
}

struct Table {
    name: String,
    /// What is dumped: with the row's number, where that is no column's.
    columns: Vec<String>,
    /// Whether rows can be found by their numbers.
    numbered: bool,
}

impl Table {
    fn look_at(sql: &Sql, name: String, without_rowid: bool) -> Result<Self, SqlError> {
        // Not the computed ones, nor those that a virtual table hides.
        let columns = "SELECT name, type, pk FROM pragma_table_xinfo(?) WHERE hidden = 0";
        let columns: Vec<(String, String, i64)> =
            sql.exec_own(columns, (name.as_str(),))?.to_vec()?;
        let keys: Vec<_> = columns.iter().filter(|(.., key)| *key > 0).collect();
        let is_number = matches!(*keys, [(_, kind, _)] if kind.eq_ignore_ascii_case("integer"));
        let mut columns: Vec<String> = columns.into_iter().map(|(name, ..)| name).collect();
        let numbered = !without_rowid
            && columns.len() < COLUMNS
            && !columns
                .iter()
                .any(|name| name.eq_ignore_ascii_case("rowid"));
        if numbered && !is_number {
            columns.insert(0, "rowid".to_owned());
        }
        Ok(Self {
            name,
            columns,
            numbered,
        })
    }

    /// Gives every row, a page at a time: fewer at once where they are large.
    fn dump<E: From<SqlError>>(
        &self,
        sql: &Sql,
        each: &mut impl FnMut(SqlPiece) -> Result<(), E>,
    ) -> Result<(), E> {
        let columns: Vec<_> = self.columns.iter().map(|name| quoted(name)).collect();
        let (columns, from) = (columns.join(", "), quoted(&self.name));
        let mut limit = PAGE;
        let mut read = 0;
        let mut last = None;
        loop {
            let page = match (self.numbered, last) {
                (true, None) => {
                    let first =
                        format!("SELECT {columns}, rowid FROM {from} ORDER BY rowid LIMIT ?");
                    sql.exec_own(&first, (limit,))
                }
                (true, Some(last)) => {
                    let next = format!(
                        "SELECT {columns}, rowid FROM {from} WHERE rowid > ? ORDER BY rowid LIMIT ?"
                    );
                    sql.exec_own(&next, (last, limit))
                }
                (false, _) => {
                    let next = format!("SELECT {columns} FROM {from} LIMIT ? OFFSET ?");
                    sql.exec_own(&next, (limit, read))
                }
            };
            let rows = match page {
                Err(SqlError::ResultTooLarge { .. }) if limit > 1 => {
                    limit /= 2;
                    continue;
                }
                page => page?.raw(),
            };
            let found = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            if read == 0 && found > 0 {
                each(SqlPiece::Rows {
                    table: self.name.clone(),
                    columns: self.columns.clone(),
                })?;
            }
            for mut row in rows {
                if self.numbered
                    && let Some(SqlValue::Integer(number)) = row.pop()
                {
                    last = Some(number);
                }
                each(SqlPiece::Row(row))?;
            }
            if found < limit {
                return Ok(());
            }
            read += found;
        }
    }
}

pub(super) fn load(sql: &Sql, pieces: impl IntoIterator<Item = SqlPiece>) -> Result<(), SqlError> {
    // Whatever refers to what: in the end all of it is there.
    sql.exec_own("PRAGMA defer_foreign_keys = ON", ())?;
    let loaded = load_deferred(sql, pieces);
    let off = sql.exec_own("PRAGMA defer_foreign_keys = OFF", ());
    loaded.and(off.map(drop))
}

fn load_deferred(sql: &Sql, pieces: impl IntoIterator<Item = SqlPiece>) -> Result<(), SqlError> {
    let mut insert = None;
    for piece in pieces {
        match piece {
            SqlPiece::Statement(statement) => {
                sql.exec(&statement, ())?;
            }
            SqlPiece::Rows { table, columns } => {
                let access = prepare(sql, &table)?;
                insert = Some((statement(&table, &columns), access));
            }
            SqlPiece::Row(values) => {
                let Some((insert, access)) = &insert else {
                    return Err(SqlError::Refused {
                        operation: "load of a row".to_owned(),
                        reason: "a row comes after the name of its table",
                    });
                };
                sql.exec_as(insert, &values, *access)?;
            }
        }
    }
    // Now: what was deferred is forgotten with the deferral.
    let broken = sql.exec_own("PRAGMA foreign_key_check", ())?;
    let broken = broken.rows::<(String, Option<i64>, String, i64)>().next();
    if let Some((table, _, parent, _)) = broken.transpose()? {
        return Err(SqlError::Constraint {
            message: format!("FOREIGN KEY constraint failed: {table} has no row in {parent}"),
        });
    }
    Ok(())
}

/// Sees to it that rows can come, and says whose they are.
fn prepare(sql: &Sql, table: &str) -> Result<SqlAccess, SqlError> {
    if table == migration::TABLE {
        sql.exec_own(migration::MAKE, ())?;
        return Ok(SqlAccess::Library);
    }
    if table == SEQUENCES {
        // The rows that came before have left theirs in it.
        sql.exec("DELETE FROM sqlite_sequence", ())?;
    }
    Ok(SqlAccess::User)
}

fn statement(table: &str, columns: &[String]) -> String {
    let values = vec!["?"; columns.len()].join(", ");
    let columns: Vec<_> = columns.iter().map(|name| quoted(name)).collect();
    let (table, columns) = (quoted(table), columns.join(", "));
    format!("INSERT INTO {table} ({columns}) VALUES ({values})")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
