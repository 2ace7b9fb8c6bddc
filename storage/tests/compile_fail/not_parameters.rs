use dokit_storage::sql::{Sql, SqlError};

struct Plain;

fn not_a_list(sql: &Sql) -> Result<(), SqlError> {
    sql.exec("SELECT ?", "one")?;
    Ok(())
}

fn not_a_value(sql: &Sql) -> Result<(), SqlError> {
    sql.exec("SELECT ?", (1, Plain))?;
    Ok(())
}

fn not_at_once(sql: &Sql) -> Result<(), SqlError> {
    sql.transaction(|sql| async { sql.exec("SELECT 1", ()).map(drop) })
}

fn main() {}
