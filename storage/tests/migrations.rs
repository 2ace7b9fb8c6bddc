//! Schema versions: which steps run, once, and what is refused.

#![expect(clippy::unwrap_used, reason = "a call that fails is a test that fails")]

use std::{
    error::Error as _,
    fmt,
    sync::atomic::{AtomicU32, Ordering},
};

use dokit_storage::{
    Batch, Error, Faults, KeyRange, ListOptions, Memory, Migrated, Migrations, Result, Schema,
    Step, Store, TypedStorage,
};
use futures_executor::block_on;
use serde_json::{Value, json};

#[derive(Schema)]
#[schema(version = 3)]
struct Profile {
    name: String,
    visits: u64,
}

async fn name_from_parts(mut step: Step<'_>) -> Result<()> {
    let first: String = step.get("first").await?.unwrap_or_default();
    let last: String = step.get("last").await?.unwrap_or_default();
    step.put("fullName", &format!("{first} {last}")).await?;
    assert!(step.delete("first").await?);
    assert!(!step.delete("middle").await?);
    step.delete("last").await?;
    Ok(())
}

async fn name_and_visits(mut step: Step<'_>) -> Result<()> {
    step.rename("fullName", "name").await?;
    let visits = step.list(ListOptions::new().prefix("visit:")).await?;
    for visit in &visits {
        step.delete(visit.key()).await?;
    }
    step.put("visits", &visits.len()).await
}

fn steps() -> Migrations {
    Migrations::new()
        .step(1, name_from_parts)
        .step(2, name_and_visits)
}

fn disk(values: &[(&str, Value)]) -> Memory {
    let mut disk = Memory::new();
    let mut batch = Batch::new();
    for (key, value) in values {
        batch.put(*key, value.to_string());
    }
    block_on(disk.commit(batch)).unwrap();
    disk
}

fn first_version() -> Memory {
    disk(&[
        ("first", json!("Ada")),
        ("last", json!("Lovelace")),
        ("visit:1", json!(true)),
        ("visit:2", json!(true)),
    ])
}

fn content(disk: &Memory) -> Vec<(String, String)> {
    block_on(disk.list(&KeyRange::default())).unwrap()
}

fn migrate(disk: &Memory, migrations: &Migrations) -> Result<Migrated> {
    let mut storage = TypedStorage::<Profile, _>::new(disk.clone());
    block_on(storage.migrate(migrations))
}

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn all_pending_steps_run_in_order_and_once() {
    let disk = first_version();
    let mut storage = TypedStorage::<Profile, _>::new(disk.clone());
    let steps = steps();
    let migrated = block_on(assert_send(storage.migrate(&steps)));
    assert_eq!(migrated.unwrap(), Migrated::From(1));
    let name = block_on(storage.get(Profile::NAME)).unwrap();
    assert_eq!(name.as_deref(), Some("Ada Lovelace"));
    assert_eq!(block_on(storage.get(Profile::VISITS)).unwrap(), Some(2));
    let after = content(&disk);
    let keys: Vec<&str> = after.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["__schema_version", "name", "visits"]);

    assert_eq!(migrate(&disk, &steps).unwrap(), Migrated::Current);
    assert_eq!(content(&disk), after);
}

#[test]
fn only_the_steps_from_the_stored_version_on_run() {
    let disk = disk(&[
        ("__schema_version", json!(2)),
        ("fullName", json!("Ada Lovelace")),
    ]);
    assert_eq!(migrate(&disk, &steps()).unwrap(), Migrated::From(2));
    let name = block_on(disk.get("name")).unwrap();
    assert_eq!(name.as_deref(), Some("\"Ada Lovelace\""));
    // Steps of versions that are on no disk any more may go.
    let late = Migrations::new().step(2, name_and_visits);
    assert_eq!(migrate(&disk, &late).unwrap(), Migrated::Current);
}

#[test]
fn a_fresh_store_is_stamped_and_no_step_runs() {
    for migrations in [steps(), Migrations::new()] {
        let disk = Memory::new();
        assert_eq!(migrate(&disk, &migrations).unwrap(), Migrated::Fresh);
        let stamped = [("__schema_version".to_owned(), "3".to_owned())];
        assert_eq!(content(&disk), stamped);
    }
    let only_the_librarys = disk(&[("__alarm_action", json!("cancel"))]);
    assert_eq!(
        migrate(&only_the_librarys, &steps()).unwrap(),
        Migrated::Fresh
    );
}

#[test]
fn all_steps_are_one_commit_with_the_version() {
    let disk = first_version();
    let before = content(&disk);
    let store = Faults::new(disk.clone());
    store.fail_commit(1);
    let mut storage = TypedStorage::<Profile, _>::new(store.clone());
    let error = block_on(storage.migrate(&steps())).unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(content(&disk), before);
    assert_eq!(
        block_on(storage.migrate(&steps())).unwrap(),
        Migrated::From(1)
    );
    assert_eq!(store.commits(), 2);
}

#[test]
fn a_migration_whose_answer_was_lost_does_not_run_again() {
    let store = Faults::new(first_version());
    store.lose_commit_answer(1);
    let mut storage = TypedStorage::<Profile, _>::new(store);
    assert!(block_on(storage.migrate(&steps())).is_err());
    assert_eq!(
        block_on(storage.migrate(&steps())).unwrap(),
        Migrated::Current
    );
    assert_eq!(block_on(storage.get(Profile::VISITS)).unwrap(), Some(2));
}

#[test]
fn data_written_after_delete_all_is_of_the_current_version() {
    let disk = first_version();
    let mut storage = TypedStorage::<Profile, _>::new(disk.clone());
    block_on(storage.migrate(&steps())).unwrap();
    block_on(storage.delete_all()).unwrap();
    block_on(storage.put(Profile::NAME, &"Grace Hopper".to_owned())).unwrap();
    assert_eq!(migrate(&disk, &steps()).unwrap(), Migrated::Current);
    let name = block_on(storage.get(Profile::NAME)).unwrap();
    assert_eq!(name.as_deref(), Some("Grace Hopper"));
}

#[derive(Debug, PartialEq)]
struct Unreadable(u32);

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} names cannot be read", self.0)
    }
}

impl std::error::Error for Unreadable {}

#[test]
fn a_failing_step_leaves_everything_as_it_was() {
    async fn fail(mut step: Step<'_>) -> Result<(), Unreadable> {
        step.put("half", &1).await.map_err(|_| Unreadable(0))?;
        Err(Unreadable(7))
    }

    let disk = first_version();
    let before = content(&disk);
    let steps = Migrations::new().step(1, name_from_parts).step(2, fail);
    let error = migrate(&disk, &steps).unwrap_err();
    assert_eq!(error.to_string(), "migrate from schema version 2 to 3");
    let cause = error.source().unwrap().downcast_ref::<Unreadable>();
    assert_eq!(cause, Some(&Unreadable(7)));
    assert!(!error.is_retryable());
    assert_eq!(content(&disk), before);
}

#[test]
fn a_step_that_fails_for_the_disk_can_be_tried_again() {
    let store = Faults::new(first_version());
    store.fail_read(4);
    let mut storage = TypedStorage::<Profile, _>::new(store);
    let error = block_on(storage.migrate(&steps())).unwrap_err();
    assert!(matches!(error, Error::Migration { from: 1, to: 2, .. }));
    assert!(error.is_retryable());
}

#[test]
fn data_of_a_newer_schema_is_refused_and_left_as_it_is() {
    let disk = disk(&[("__schema_version", json!(4)), ("name", json!("Ada"))]);
    let before = content(&disk);
    for migrations in [steps(), Migrations::new()] {
        let error = migrate(&disk, &migrations).unwrap_err();
        assert_eq!(
            error.to_string(),
            "stored schema version 4 is newer than this program's version 3"
        );
        assert_eq!(content(&disk), before);
    }
}

#[test]
fn a_chain_that_does_not_hold_together_is_refused_on_every_store() {
    async fn nothing(_: Step<'_>) -> Result<()> {
        Ok(())
    }
    let chain = |versions: &[u32]| {
        versions
            .iter()
            .fold(Migrations::new(), |chain, from| chain.step(*from, nothing))
    };
    for (versions, text) in [
        (&[1][..], "from schema version 1 to 3: no step from 2"),
        (
            &[1, 1, 2],
            "from schema version 1 to 3: the step from 1 is doubled or out of order",
        ),
        (
            &[2, 1],
            "from schema version 2 to 3: the step from 1 is doubled or out of order",
        ),
        (
            &[0, 1, 2],
            "from schema version 0 to 3: versions count from 1",
        ),
        (
            &[1, 2, 3],
            "from schema version 1 to 3: the step from 3 leads past 3",
        ),
        (
            &[u32::MAX],
            "from schema version 4294967295 to 3: the step from 4294967295 leads past 3",
        ),
    ] {
        for disk in [Memory::new(), first_version()] {
            let before = content(&disk);
            let error = migrate(&disk, &chain(versions)).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("migrations do not lead {text}"),
                "{versions:?}"
            );
            assert_eq!(content(&disk), before);
        }
    }
}

#[test]
fn data_older_than_the_first_step_is_refused() {
    let dropped = Migrations::new().step(2, name_and_visits);
    for migrations in [dropped, Migrations::new()] {
        let error = migrate(&first_version(), &migrations).unwrap_err();
        assert_eq!(
            error.to_string(),
            "migrations do not lead from schema version 1 to 3: no step from 1"
        );
    }
}

#[test]
fn a_schema_of_version_zero_is_refused() {
    struct Zero;
    impl Schema for Zero {
        const VERSION: u32 = 0;
    }
    let mut storage = TypedStorage::<Zero, _>::new(Memory::new());
    let error = block_on(storage.migrate(&Migrations::new())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "migrations do not lead from schema version 0 to 0: versions count from 1"
    );
}

#[test]
fn a_version_that_cannot_be_read_is_an_error_and_not_a_fresh_store() {
    let disk = disk(&[("__schema_version", json!("two"))]);
    let error = migrate(&disk, &steps()).unwrap_err();
    assert!(matches!(error, Error::Decode { key, .. } if key == "__schema_version"));
}

#[test]
fn a_step_can_be_a_closure_and_see_the_old_schema() {
    #[derive(Schema)]
    struct Old {
        first: String,
    }
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let disk = first_version();
    let steps = Migrations::new()
        .step(1, async |step: Step<'_>| {
            RUNS.fetch_add(1, Ordering::Relaxed);
            let old = TypedStorage::<Old, _>::new(step);
            let first = old.get(Old::FIRST).await?;
            let mut step = old.into_store();
            step.put("name", &first).await
        })
        .step(2, async |mut step: Step<'_>| step.put("visits", &0).await);
    assert_eq!(migrate(&disk, &steps).unwrap(), Migrated::From(1));
    assert_eq!(RUNS.load(Ordering::Relaxed), 1);
    let name = block_on(disk.get("name")).unwrap();
    assert_eq!(name.as_deref(), Some("\"Ada\""));
}
