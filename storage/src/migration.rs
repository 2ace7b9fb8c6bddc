//! The version of a store's schema, and the steps from one to the next.

use std::fmt;

use crate::{
    Batch, Error, ListOptions, MaybeSend, MaybeSync, Result, Schema, Store, Transaction,
    TypedStorage, codec,
    entry::list_own,
    step::{ErasedStep, MigrationStep, Step},
};

/// The key under which the version of a store's schema stands.
const VERSION_KEY: &str = "__schema_version";

/// The steps that lead stored data from one schema version to the next.
///
/// Each step is an async function that takes a [`Step`] and leads from the version it is registered
/// for to the one after it. Keep the steps of all versions that may still be on some disk; older
/// ones can go, and data that would need them is then refused.
///
/// ```
/// use dokit_storage::{Memory, Migrated, Migrations, Result, Schema, Step, TypedStorage};
///
/// #[derive(Schema)]
/// #[schema(version = 2)]
/// struct User {
///     full_name: String,
/// }
///
/// async fn join_the_names(mut step: Step<'_>) -> Result<()> {
///     let first: String = step.get("first").await?.unwrap_or_default();
///     let last: String = step.get("last").await?.unwrap_or_default();
///     step.put("full_name", &format!("{first} {last}")).await?;
///     step.delete("first").await?;
///     step.delete("last").await?;
///     Ok(())
/// }
///
/// # futures_executor::block_on(async {
/// # let mut disk = Memory::new();
/// # let mut batch = dokit_storage::Batch::new();
/// # batch.put("first", "\"Ada\"");
/// # batch.put("last", "\"Lovelace\"");
/// # dokit_storage::Store::commit(&mut disk, batch).await?;
/// let mut storage = TypedStorage::<User, _>::new(disk);
/// let migrations = Migrations::new().step(1, join_the_names);
/// assert_eq!(storage.migrate(&migrations).await?, Migrated::From(1));
/// assert_eq!(storage.get(User::FULL_NAME).await?.as_deref(), Some("Ada Lovelace"));
/// assert_eq!(storage.migrate(&migrations).await?, Migrated::Current);
/// # Ok::<(), dokit_storage::Error>(())
/// # }).unwrap();
/// ```
#[derive(Default)]
pub struct Migrations {
    steps: Vec<(u32, Box<dyn ErasedStep>)>,
}

impl Migrations {
    /// No steps: enough while the schema is at version 1.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the step that leads from version `from` to `from + 1`. Steps are added in order.
    #[must_use]
    pub fn step<F>(mut self, from: u32, run: F) -> Self
    where
        F: for<'a> MigrationStep<'a> + MaybeSend + MaybeSync + 'static,
    {
        self.steps.push((from, Box::new(run)));
        self
    }

    /// The steps from `stored` to `target`, of a chain that was checked.
    fn pending(&self, stored: u32, target: u32) -> Result<&[(u32, Box<dyn ErasedStep>)]> {
        if stored > target {
            return Err(Error::NewerSchema {
                stored,
                supported: target,
            });
        }
        let first = self.steps.partition_point(|(from, _)| *from < stored);
        let pending = &self.steps[first..];
        if stored < target && pending.first().is_none_or(|(from, _)| *from != stored) {
            return Err(gap(stored, target, format!("no step from {stored}")));
        }
        Ok(pending)
    }

    /// Refuses a chain that is wrong whatever is stored. None at all is not wrong: all steps may have
    /// been dropped.
    fn check(&self, target: u32) -> Result<()> {
        let first = self.steps.first().map_or(target, |(from, _)| *from);
        let refuse = |reason: String| Err(gap(first, target, reason));
        if target == 0 || first == 0 {
            return refuse("versions count from 1".to_owned());
        }
        let mut expected = first;
        for (from, _) in &self.steps {
            if *from < expected {
                return refuse(format!("the step from {from} is doubled or out of order"));
            }
            if *from > expected {
                return refuse(format!("no step from {expected}"));
            }
            if *from >= target {
                return refuse(format!("the step from {from} leads past {target}"));
            }
            expected = from + 1;
        }
        if expected != target {
            return refuse(format!("no step from {expected}"));
        }
        Ok(())
    }
}

/// Writes the current version of the schema.
pub(crate) fn stamp<S: Schema>(batch: &mut Batch) -> Result<()> {
    batch.put(VERSION_KEY, codec::encode(VERSION_KEY, &S::VERSION)?);
    Ok(())
}

fn gap(from: u32, to: u32, reason: String) -> Error {
    Error::MigrationGap { from, to, reason }
}

impl fmt::Debug for Migrations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.steps.iter().map(|(from, _)| from))
            .finish()
    }
}

/// What [`TypedStorage::migrate`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Migrated {
    /// A store without data. It now bears the current version; no step ran.
    Fresh,
    /// Data of the current version.
    Current,
    /// Data of this version, which has been led to the current one.
    From(u32),
}

impl<S: Schema, T: Store> TypedStorage<S, T> {
    /// Leads what is stored to [`Schema::VERSION`]. Call it when an object wakes, before anything
    /// else.
    ///
    /// All pending steps and the new version are one transaction: once this has returned `Ok` they
    /// are all in effect and will not run again, and after an error the store is as it was (or, where
    /// the answer to the commit was lost, migrated: see [`Store::commit`]). Calling it again is safe.
    ///
    /// A store without keys, the library's own (`__..`) aside, is fresh and is only stamped with the version;
    /// one that has keys and no version is of version 1, from before there were versions.
    ///
    /// # Errors
    ///
    /// - [`Error::MigrationGap`] when the steps do not form a chain up to the current version, also
    ///   where no step is pending, so that a test on an empty store finds it;
    /// - [`Error::NewerSchema`] when a newer program wrote the data;
    /// - [`Error::Migration`] when a step failed.
    pub async fn migrate(&mut self, migrations: &Migrations) -> Result<Migrated> {
        migrations.check(S::VERSION)?;
        let mut transaction = Transaction::begin(self.store_mut());
        let marked = transaction.get(VERSION_KEY).await?;
        let marked: Option<u32> = marked
            .map(|json| codec::decode(VERSION_KEY, &json))
            .transpose()?;
        let first = ListOptions::new().limit(1);
        let fresh = marked.is_none() && list_own(&transaction, &first).await?.is_empty();
        let stored = marked.unwrap_or(1);

        let found = if fresh {
            Migrated::Fresh
        } else {
            let pending = migrations.pending(stored, S::VERSION)?;
            for (from, step) in pending {
                let ran = step.run_erased(Step::new(&mut transaction)).await;
                ran.map_err(|source| Error::Migration {
                    from: *from,
                    to: from + 1,
                    source,
                })?;
            }
            if pending.is_empty() {
                Migrated::Current
            } else {
                Migrated::From(stored)
            }
        };
        if marked != Some(S::VERSION) {
            let mut batch = Batch::new();
            stamp::<S>(&mut batch)?;
            Store::commit(&mut transaction, batch).await?;
        }
        transaction.commit().await?;
        Ok(found)
    }
}
