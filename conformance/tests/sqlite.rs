//! The promises of a store, kept by a SQLite database of one's own.

use std::cell::Cell;

use dokit_conformance::store::{run_all, run_all_durable};
use dokit_storage::sqlite::Sqlite;
use futures_executor::block_on;
use tempfile::tempdir;

#[test]
fn a_database_in_memory_keeps_every_promise_of_a_store() {
    block_on(run_all(async || Sqlite::in_memory().unwrap()));
}

#[test]
fn a_database_in_a_file_keeps_every_promise_of_a_store_also_over_a_crash() {
    let folder = tempdir().unwrap();
    let made = Cell::new(0);
    let open = |number: u32| Sqlite::open(folder.path().join(number.to_string())).unwrap();
    let fresh = || {
        made.set(made.get() + 1);
        open(made.get())
    };
    block_on(run_all(async || fresh()));
    block_on(run_all_durable(
        async || fresh(),
        async |store| {
            // The suite opens one store a case, so the newest is the one.
            drop(store);
            open(made.get())
        },
    ));
}
