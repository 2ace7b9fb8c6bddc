//! What a user's statement may not do, decided by SQLite's authorizer while it compiles.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::sql::{SqlError, USER_PRAGMAS};

type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

const DEFER: &str = "defer_foreign_keys";

/// SQLite's own tables that a statement touches when it creates, alters or drops. SQLite refuses
/// by itself to have the schema written in any other way.
const SCHEMA: [&str; 5] = [
    "sqlite_master",
    "sqlite_schema",
    "sqlite_temp_master",
    "sqlite_temp_schema",
    "sqlite_sequence",
];

const FUNCTIONS: [&str; 3] = ["load_extension", "fts3_tokenizer", "sqlite_log"];

/// Shared by a connection, its authorizer and its progress handler.
#[derive(Default)]
pub(super) struct Guard {
    /// Whether a user's statement is compiled or run, and not one of ours.
    user: AtomicBool,
    /// What was refused last, with the reason.
    refused: Mutex<Option<(String, &'static str)>>,
    /// Whether a statement was compiled that is to be looked at each time: one that alters a table,
    /// whose new name is seen only afterwards, or one that defers foreign keys.
    special: AtomicBool,
    /// Whether foreign keys were deferred in the open transaction.
    deferred: AtomicBool,
    stop: Mutex<Option<Stop>>,
}

impl Guard {
    /// Whose statements are compiled from now on, until the answer is dropped.
    pub(super) fn user(&self, user: bool) -> impl Drop + use<'_> {
        struct Restore<'a>(&'a AtomicBool, bool);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                self.0.store(self.1, Relaxed);
            }
        }
        Restore(&self.user, self.user.swap(user, Relaxed))
    }

    pub(super) fn stop_when(&self, stop: Stop) {
        *lock(&self.stop) = Some(stop);
    }

    /// Whether the running statement is to stop.
    pub(super) fn stops(&self) -> bool {
        if !self.user.load(Relaxed) {
            return false;
        }
        let stop = lock(&self.stop).clone();
        stop.is_some_and(|stop| stop())
    }

    pub(super) fn take_special(&self) -> bool {
        self.special.swap(false, Relaxed)
    }

    pub(super) fn take_deferred(&self) -> bool {
        self.deferred.swap(false, Relaxed)
    }

    pub(super) fn is_deferred(&self) -> bool {
        self.deferred.load(Relaxed)
    }

    pub(super) fn take_refused(&self) -> Option<SqlError> {
        let (operation, reason) = lock(&self.refused).take()?;
        Some(SqlError::Refused { operation, reason })
    }

    pub(super) fn authorize(&self, context: &AuthContext<'_>) -> Authorization {
        if !self.user.load(Relaxed) {
            return Authorization::Allow;
        }
        if context.database_name == Some("temp")
            && matches!(context.action, AuthAction::Insert { .. })
        {
            // `CREATE TABLE temp.name` says nothing else of it. Altering a table updates there.
            *lock(&self.refused) = Some(temporary());
            return Authorization::Deny;
        }
        match self.check(&context.action) {
            Ok(()) => Authorization::Allow,
            Err(refused) => {
                *lock(&self.refused) = Some(refused);
                Authorization::Deny
            }
        }
    }

    fn check(&self, action: &AuthAction<'_>) -> Result<(), (String, &'static str)> {
        let refuse = |operation: String, reason| Err((operation, reason));
        match *action {
            AuthAction::Select | AuthAction::Recursive => Ok(()),
            AuthAction::Read {
                table_name: name, ..
            } => table("read of", name),
            AuthAction::Insert { table_name: name }
            | AuthAction::Delete { table_name: name }
            | AuthAction::Update {
                table_name: name, ..
            } => table("write to", name),
            AuthAction::CreateTable { table_name: name }
            | AuthAction::DropTable { table_name: name }
            | AuthAction::Reindex { index_name: name } => named("change of", name),
            AuthAction::CreateView { view_name: name }
            | AuthAction::DropView { view_name: name } => named("change of", name),
            AuthAction::CreateIndex {
                index_name: name,
                table_name: on,
            }
            | AuthAction::DropIndex {
                index_name: name,
                table_name: on,
            }
            | AuthAction::CreateTrigger {
                trigger_name: name,
                table_name: on,
            }
            | AuthAction::DropTrigger {
                trigger_name: name,
                table_name: on,
            } => named("change of", name).and_then(|()| named("change of", on)),
            AuthAction::AlterTable {
                table_name: name, ..
            } => {
                self.special.store(true, Relaxed);
                named("change of", name)
            }
            AuthAction::CreateVtable {
                table_name: name,
                module_name: module,
            }
            | AuthAction::DropVtable {
                table_name: name,
                module_name: module,
            } => {
                if ["fts5", "fts5vocab"].contains(&module.to_ascii_lowercase().as_str()) {
                    return named("change of", name);
                }
                let reason = "of the virtual tables there are fts5 and fts5vocab";
                refuse(format!("virtual table {module}"), reason)
            }
            AuthAction::Pragma {
                pragma_name: name,
                pragma_value: value,
            } => {
                let lower = name.to_ascii_lowercase();
                if !USER_PRAGMAS.contains(&lower.as_str()) {
                    let reason = "only pragmas that describe tables and check them are allowed";
                    return refuse(format!("PRAGMA {name}"), reason);
                }
                if lower == DEFER && value.is_some() {
                    self.special.store(true, Relaxed);
                    self.deferred.store(true, Relaxed);
                }
                Ok(())
            }
            AuthAction::Function {
                function_name: name,
            } => {
                if FUNCTIONS.contains(&name.to_ascii_lowercase().as_str()) {
                    return refuse(format!("function {name}"), "it reaches out of the database");
                }
                Ok(())
            }
            AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => refuse(
                "BEGIN, COMMIT, ROLLBACK, SAVEPOINT or RELEASE".to_owned(),
                "use `transaction`, which nests",
            ),
            AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
                refuse("ATTACH or DETACH".to_owned(), "a commit is of one database")
            }
            AuthAction::CreateTempIndex { .. }
            | AuthAction::CreateTempTable { .. }
            | AuthAction::CreateTempTrigger { .. }
            | AuthAction::CreateTempView { .. }
            | AuthAction::DropTempIndex { .. }
            | AuthAction::DropTempTable { .. }
            | AuthAction::DropTempTrigger { .. }
            | AuthAction::DropTempView { .. } => Err(temporary()),
            AuthAction::Analyze { .. } => {
                refuse("ANALYZE".to_owned(), "it writes tables of SQLite's own")
            }
            ref other => refuse(format!("{other:?}"), "it is not known to be harmless"),
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn temporary() -> (String, &'static str) {
    let reason = "what is temporary does not outlive the sleep of an object";
    ("TEMP".to_owned(), reason)
}

/// Whether a name is the library's, or the platform's.
fn is_reserved(name: &str) -> bool {
    ["_dokit_", "_cf_"].iter().any(|prefix| {
        let start = name.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    })
}

fn named(what: &str, name: &str) -> Result<(), (String, &'static str)> {
    if is_reserved(name) {
        let reason = "names that begin with `_dokit_` or `_cf_` are not the user's";
        return Err((format!("{what} {name}"), reason));
    }
    Ok(())
}

fn table(what: &str, name: &str) -> Result<(), (String, &'static str)> {
    named(what, name)?;
    let lower = name.to_ascii_lowercase();
    let own = lower.starts_with("sqlite_") && !SCHEMA.contains(&lower.as_str());
    if own || lower == "dbstat" {
        return Err((format!("{what} {name}"), "it is SQLite's own"));
    }
    Ok(())
}
