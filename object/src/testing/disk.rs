use dokit_storage::{Batch, KeyRange, Limits, Memory, Result, Store, Timestamp, sql::Sql};

use crate::engine::ObjectType;

/// What an object has stored, as [`TestHost::disk`](super::TestHost::disk) shows it: its keys and its
/// alarm, and where its type has SQL, its rows behind [`sql`](Store::sql).
///
/// Writes to it are durable at once; make them between two calls, while the object sleeps.
#[derive(Clone, Debug)]
pub struct Disk {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Keys(Memory),
    #[cfg(feature = "sqlite")]
    Rows(dokit_storage::sqlite::Calls),
}

impl Disk {
    /// Whether there can be one for objects of this type.
    pub(super) fn serves(object_type: &ObjectType) -> bool {
        cfg!(feature = "sqlite") || !object_type.sql()
    }

    pub(super) fn new(object_type: &ObjectType) -> Self {
        #[cfg(feature = "sqlite")]
        if object_type.sql() {
            use dokit_storage::sqlite::{Calls, Sqlite};
            let database = Sqlite::in_memory().expect("there is memory for a database");
            let kind = Kind::Rows(Calls::new(database));
            return Self { kind };
        }
        debug_assert!(Self::serves(object_type), "the host has checked it");
        let kind = Kind::Keys(Memory::new());
        Self { kind }
    }

    /// Begins an exclusive call. Rows that it writes stay if they are committed.
    pub(super) fn begin(&self) -> Running<'_> {
        self.start();
        Running(self)
    }

    #[cfg_attr(
        not(feature = "sqlite"),
        expect(
            clippy::unused_self,
            reason = "without SQL there are no calls to begin"
        )
    )]
    fn start(&self) {
        #[cfg(feature = "sqlite")]
        if let Kind::Rows(calls) = &self.kind {
            // What fails here fails again when something is written.
            let _ = calls.begin();
        }
    }

    /// Loses what was not committed.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unused_self, reason = "without SQL there are none to lose")
    )]
    pub(super) fn crash(&self) {
        #[cfg(feature = "sqlite")]
        if let Kind::Rows(calls) = &self.kind {
            // A database in memory does not fail.
            let _ = calls.abandon();
        }
    }
}

/// An exclusive call. When it is dropped, its rows are as they were last committed.
pub(super) struct Running<'a>(&'a Disk);

impl Running<'_> {
    /// Whether there are rows to commit.
    #[cfg_attr(
        not(feature = "sqlite"),
        expect(clippy::unused_self, reason = "without SQL there are none")
    )]
    pub(super) fn has_written(&self) -> bool {
        #[cfg(feature = "sqlite")]
        if let Kind::Rows(calls) = &self.0.kind {
            return calls.has_written() || calls.check().is_err();
        }
        false
    }

    /// Undoes its rows.
    pub(super) fn undo(&self) {
        self.0.crash();
        self.0.start();
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.crash();
    }
}

impl Store for Disk {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        match &self.kind {
            Kind::Keys(store) => store.get(key).await,
            #[cfg(feature = "sqlite")]
            Kind::Rows(calls) => calls.database().get(key).await,
        }
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        match &self.kind {
            Kind::Keys(store) => store.list(range).await,
            #[cfg(feature = "sqlite")]
            Kind::Rows(calls) => calls.database().list(range).await,
        }
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        match &self.kind {
            Kind::Keys(store) => store.alarm().await,
            #[cfg(feature = "sqlite")]
            Kind::Rows(calls) => calls.database().alarm().await,
        }
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        match &mut self.kind {
            Kind::Keys(store) => store.commit(batch).await,
            #[cfg(feature = "sqlite")]
            Kind::Rows(calls) => {
                let mut database = calls.database().clone();
                if calls.is_running() || batch.is_empty() {
                    return database.commit(batch).await;
                }
                let between = |error| dokit_storage::Error::engine("commit", error);
                calls.begin().map_err(between)?;
                let committed = database.commit(batch).await;
                calls.undo().map_err(between)?;
                committed
            }
        }
    }

    fn limits(&self) -> Limits {
        match &self.kind {
            Kind::Keys(store) => store.limits(),
            #[cfg(feature = "sqlite")]
            Kind::Rows(calls) => calls.database().limits(),
        }
    }

    fn sql(&self) -> Option<Sql> {
        match &self.kind {
            Kind::Keys(_) => None,
            #[cfg(feature = "sqlite")]
            Kind::Rows(calls) => Some(calls.database().sql()),
        }
    }
}
