//! Dropping all that is in a database.

use crate::sql::{Sql, SqlError};

/// The next thing to drop. Views come first, then virtual tables, each of which takes with it the tables that it is made
/// of and that cannot be dropped by themselves. Triggers and indexes go with their table. What begins with `_cf_` is
/// the platform's.
const NEXT: &str = r"
    SELECT type, name FROM sqlite_master
    WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
        AND (name NOT LIKE '\_dokit\_%' ESCAPE '\' OR name = '_dokit_migrations')
        AND name NOT LIKE '\_cf\_%' ESCAPE '\'
    ORDER BY type DESC, coalesce(sql LIKE 'create virtual%', 0) DESC
    LIMIT 1";

/// Drops whatever a user or a migration has made. To be run in a transaction.
pub(super) fn delete_all(sql: &Sql) -> Result<(), SqlError> {
    // Whatever refers to what: in the end nothing does.
    sql.exec_own("PRAGMA defer_foreign_keys = ON", ())?;
    loop {
        let mut next = sql.exec_own(NEXT, ())?;
        let Some(next) = next.next::<(String, String)>() else {
            break;
        };
        let (kind, name) = next?;
        let name = name.replace('"', "\"\"");
        sql.exec_own(&format!("DROP {kind} \"{name}\""), ())?;
    }
    sql.exec_own("PRAGMA defer_foreign_keys = OFF", ())?;
    Ok(())
}
