//! Migrations of tables: statements, each applied once, in order.

use crate::sql::{Sql, SqlError};

/// Why migrations were not applied. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlMigrationError {
    /// Two migrations of one name.
    #[error("migration {name:?} is in the list twice")]
    Duplicate {
        /// Their name.
        name: String,
    },
    /// An applied migration whose text is not what it was. A space is enough.
    #[error("migration {name:?} was applied with another text; add a new migration instead")]
    Changed {
        /// Its name.
        name: String,
    },
    /// An applied migration that is not in the list any more.
    #[error("migration {name:?} was applied as number {place} and is missing in the list")]
    Missing {
        /// Its name.
        name: String,
        /// Its place among the applied ones, from 1.
        place: usize,
    },
    /// An applied migration that stands elsewhere in the list.
    #[error("migration {name:?} was applied as number {place} and is number {listed} in the list")]
    Reordered {
        /// Its name.
        name: String,
        /// Its place among the applied ones, from 1.
        place: usize,
        /// Its place in the list, from 1.
        listed: usize,
    },
    /// A database that has seen all of the list, and more: a newer program has been here.
    #[error("migration {name:?} was applied by a newer program; this one knows the {known} before")]
    Newer {
        /// The first one that this program does not know.
        name: String,
        /// How many it knows.
        known: usize,
    },
    /// A migration that failed.
    #[error("apply migration {name:?}")]
    Failed {
        /// Its name.
        name: String,
        /// What its statements answered.
        source: SqlError,
    },
    /// The record of applied migrations that could not be read or written.
    #[error("read or write the record of migrations")]
    Record(#[from] SqlError),
}

/// Where it is kept which migrations were applied.
pub(super) const TABLE: &str = "_dokit_migrations";

pub(super) const MAKE: &str = "CREATE TABLE IF NOT EXISTS _dokit_migrations (\
     place INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)";

struct Applied {
    name: String,
    checksum: String,
}

pub(super) fn migrate(sql: &Sql, migrations: &[(&str, &str)]) -> Result<usize, SqlMigrationError> {
    for (at, (name, _)) in migrations.iter().enumerate() {
        if migrations[..at].iter().any(|(earlier, _)| earlier == name) {
            return Err(SqlMigrationError::Duplicate {
                name: (*name).to_owned(),
            });
        }
    }
    // Reads only, so that a database that is current is not written to when its object wakes.
    let applied = applied(sql)?;
    for (at, applied) in applied.iter().enumerate() {
        check(at, applied, migrations)?;
    }
    let pending = &migrations[applied.len()..];
    if pending.is_empty() {
        return Ok(0);
    }
    sql.transaction(|sql| {
        sql.exec_own(MAKE, ())?;
        for (at, (name, text)) in pending.iter().enumerate() {
            sql.exec(text, ())
                .map_err(|source| SqlMigrationError::Failed {
                    name: (*name).to_owned(),
                    source,
                })?;
            sql.exec_own(
                "INSERT INTO _dokit_migrations (place, name, checksum) VALUES (?, ?, ?)",
                (applied.len() + at + 1, name, checksum(text)),
            )?;
        }
        Ok(pending.len())
    })
}

/// What was applied, in order.
fn applied(sql: &Sql) -> Result<Vec<Applied>, SqlError> {
    let tables: i64 = sql
        .exec_own(
            "SELECT count(*) FROM sqlite_master WHERE name = '_dokit_migrations'",
            (),
        )?
        .one()?;
    if tables == 0 {
        return Ok(Vec::new());
    }
    let rows = sql.exec_own(
        "SELECT name, checksum FROM _dokit_migrations ORDER BY place",
        (),
    )?;
    let rows: Vec<(String, String)> = rows.to_vec()?;
    let applied = |(name, checksum)| Applied { name, checksum };
    Ok(rows.into_iter().map(applied).collect())
}

/// Checks the migration that was applied as number `at`, after those before it.
fn check(
    at: usize,
    applied: &Applied,
    migrations: &[(&str, &str)],
) -> Result<(), SqlMigrationError> {
    let name = applied.name.clone();
    match migrations.get(at) {
        Some((listed, text)) if *listed == name => {
            if checksum(text) == applied.checksum {
                Ok(())
            } else {
                Err(SqlMigrationError::Changed { name })
            }
        }
        listed => match migrations.iter().position(|(other, _)| *other == name) {
            Some(other) => Err(SqlMigrationError::Reordered {
                name,
                place: at + 1,
                listed: other + 1,
            }),
            None if listed.is_none() => Err(SqlMigrationError::Newer { name, known: at }),
            None => Err(SqlMigrationError::Missing {
                name,
                place: at + 1,
            }),
        },
    }
}

/// FNV-1a in 64 bits: it finds an edit, and is not meant to withstand somebody who hides one. Stored,
/// so it never changes.
fn checksum(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn the_checksum_is_what_it_was_in_databases_that_exist() {
        assert_eq!(checksum(""), "cbf29ce484222325");
        assert_eq!(checksum("foobar"), "85944171f73967e8");
    }
}
