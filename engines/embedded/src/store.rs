use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dokit_client::ObjectId;
use dokit_storage::{AlarmChange, Batch, Error, KeyRange, Limits, Result, Store, Timestamp};

use crate::{
    database::{Database, Object},
    error::DatabaseError,
    flight::Flight,
    known::Known,
    writer::Writer,
};

/// One object's part of the shared database, with what is on its way there lying over it.
#[derive(Clone, Debug)]
pub(crate) struct SharedStore {
    shared: Arc<Shared>,
    namespace: &'static str,
    id: ObjectId,
    lane: Arc<Lane>,
}

/// What the parts of all objects have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) database: Database,
    pub(crate) writer: Writer,
    pub(crate) limits: Limits,
}

/// One object's way to the database, and its place there.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pub(crate) flight: Flight,
    place: Mutex<Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// The object's row. An object of which nothing is durable has none.
    row: Option<Object>,
    /// Whether the row does not have the name yet, because the object was reached by its id before.
    nameless: bool,
    /// With what is on its way.
    known: Known,
}

impl Lane {
    /// Puts a batch into the flight: see [`Flight::send`].
    pub(crate) fn send(
        &self,
        batch: Arc<Batch>,
        send: impl FnOnce() -> Result<(), DatabaseError>,
    ) -> Result<u64, DatabaseError> {
        let written = Arc::clone(&batch);
        self.flight.send(batch, || {
            send()?;
            // In one step with the sending: what is read beside this must not take the old value for the new.
            self.place().known.wrote(&written);
            Ok(())
        })
    }

    /// The row to write to; none where it has to be made, or to be given the name.
    pub(crate) fn row_to_write(&self) -> Option<Object> {
        let place = self.place();
        place.row.filter(|_| !place.nameless)
    }

    /// The writer says that the next `batches` are durable, in this row, which has the name if
    /// `named`.
    pub(crate) fn landed(&self, batches: usize, row: Object, named: bool) {
        // The row first: who does not find a batch on its way any more looks there.
        let mut place = self.place();
        place.row = Some(row);
        if named {
            place.nameless = false;
        }
        drop(place);
        self.flight.landed(batches);
    }

    fn row(&self) -> Option<Object> {
        self.place().row
    }

    fn place(&self) -> MutexGuard<'_, Place> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SharedStore {
    /// The store of an object of which nothing is on its way. It knows the object by its name, where
    /// the database has that.
    pub(crate) fn open(
        shared: Arc<Shared>,
        namespace: &'static str,
        mut id: ObjectId,
    ) -> Result<Self, DatabaseError> {
        let mut place = Place::default();
        if let Some((row, name)) = shared.database.find(namespace, &id)? {
            place.row = Some(row);
            match name {
                Some(name) => id = id.with_name(&name),
                None => place.nameless = id.name().is_some(),
            }
        }
        let lane = Arc::new(Lane {
            flight: Flight::default(),
            place: Mutex::new(place),
        });
        Ok(Self {
            shared,
            namespace,
            id,
            lane,
        })
    }

    pub(crate) fn id(&self) -> &ObjectId {
        &self.id
    }

    /// Whether the shared database has a row of the object, with its name where it has one.
    pub(crate) fn has_row(&self) -> bool {
        self.lane.row_to_write().is_some()
    }

    /// Whether the object has keys in the shared database.
    pub(crate) fn has_keys(&self) -> Result<bool, DatabaseError> {
        let Some(row) = self.lane.row() else {
            return Ok(false);
        };
        let mut one = KeyRange::default();
        one.limit = Some(1);
        Ok(!self.shared.database.list(row, &one)?.is_empty())
    }

    /// What is on its way.
    pub(crate) fn flight(&self) -> &Flight {
        &self.lane.flight
    }

    /// Sends a batch on its way: reads see it from now on. Gives its number in the flight; an empty
    /// batch is as durable as the one before it.
    pub(crate) fn send(&self, batch: Batch) -> Result<u64> {
        if batch.is_empty() {
            return Ok(self.flight().sent());
        }
        self.shared.limits.check(&batch)?;
        let writer = &self.shared.writer;
        let sent = writer.send(self.namespace, &self.id, batch, &self.lane);
        sent.map_err(|error| {
            self.lane.place().known.forget_all();
            Error::engine("commit", error)
        })
    }

    /// Reads what is durable. An object that has written nothing has none, and reads as
    /// empty.
    fn read<R: Default>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Database, Object) -> Result<R, DatabaseError>,
    ) -> Result<R> {
        let row = self.lane.row();
        let found = row.map(|row| read(&self.shared.database, row));
        let found = found.transpose();
        found
            .map(Option::unwrap_or_default)
            .map_err(|error| Error::engine(operation, error))
    }
}

// What is on its way is looked at before the database. A batch that lands in between is seen twice,
// which is no harm; the other way round it would not be seen at all.
impl Store for SharedStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        if let Some(value) = self.lane.place().known.get(key) {
            return Ok(value.map(str::to_owned));
        }
        let sent = self.flight().sent();
        let written = |batch: &Batch| batch.written(key).map(|value| value.map(str::to_owned));
        let value = match self.flight().find(written) {
            Some(value) => value,
            None => Durable(self).get(key).await?,
        };
        // Not where it may have been written meanwhile, by an early commit.
        self.flight()
            .unless_sent_since(sent, || self.lane.place().known.read(key, value.as_deref()));
        Ok(value)
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        let over = self.flight().view(range);
        over.list_over(&Durable(self), range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        let change = |batch: &Batch| match batch.alarm() {
            AlarmChange::Keep => None,
            AlarmChange::Set(at) => Some(Some(at)),
            AlarmChange::Delete => Some(None),
        };
        match self.flight().find(change) {
            Some(alarm) => Ok(alarm),
            None => Durable(self).alarm().await,
        }
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        let number = self.send(batch)?;
        let durable = self.flight().durable(number).await;
        durable.map_err(|error| Error::engine("commit", error))
    }

    fn limits(&self) -> Limits {
        self.shared.limits
    }
}

/// What is durable of an object, below what is on its way.
struct Durable<'a>(&'a SharedStore);

impl Store for Durable<'_> {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        let get = |database: &Database, row| database.get(row, key);
        self.0.read("read", get)
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        let list = |database: &Database, row| database.list(row, range);
        self.0.read("list", list)
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.0.read("read the alarm", Database::alarm)
    }

    async fn commit(&mut self, _: Batch) -> Result<()> {
        Err(Error::Refused {
            operation: "write",
            reason: "what is durable is only read",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, thread};

    use dokit_conformance::store::{run_all, run_all_durable};
    use dokit_storage::Memory;
    use futures_executor::block_on;
    use rusqlite::Connection;
    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::{checkpoint::Log, database, metrics::Metrics, writer::Writing};

    /// An open data folder.
    struct Folder {
        path: TempDir,
        open: RefCell<Option<Open>>,
        objects: RefCell<u32>,
    }

    struct Open {
        shared: Arc<Shared>,
        writing: Writing,
    }

    impl Folder {
        fn new() -> Self {
            let folder = Self {
                path: tempdir().unwrap(),
                open: RefCell::new(None),
                objects: RefCell::new(0),
            };
            folder.reopen();
            folder
        }

        fn reopen(&self) {
            if let Some(open) = self.open.take() {
                open.shared.writer.stop();
                open.writing.join();
            }
            let (database, connections) =
                database::open(self.path.path(), ["test"].into_iter()).unwrap();
            let metrics = Arc::new(Metrics::new([]));
            let log = Log::default();
            let (writer, writing) = Writer::start(connections, log, || false, |_| {}, metrics);
            let shared = Arc::new(Shared {
                database,
                writer,
                limits: Limits::default(),
            });
            self.open.replace(Some(Open { shared, writing }));
        }

        fn object(&self, id: ObjectId) -> SharedStore {
            let open = self.open.borrow();
            let shared = Arc::clone(&open.as_ref().unwrap().shared);
            SharedStore::open(shared, "test", id).unwrap()
        }

        fn fresh(&self) -> SharedStore {
            let number = self.objects.replace_with(|number| *number + 1);
            self.object(ObjectId::from_name("test", &number.to_string()))
        }
    }

    #[test]
    fn an_object_in_the_shared_database_keeps_every_promise_of_a_store() {
        let folder = Folder::new();
        block_on(run_all(async || folder.fresh()));
    }

    #[test]
    fn what_was_committed_outlives_the_process() {
        let folder = Folder::new();
        block_on(run_all_durable(
            async || folder.fresh(),
            async |store| {
                let id = store.id.clone();
                drop(store);
                folder.reopen();
                folder.object(id)
            },
        ));
    }

    #[test]
    fn what_was_read_is_not_looked_up_again() {
        let folder = Folder::new();
        let mut store = folder.fresh();
        let batch = |value: &str| {
            let mut batch = Batch::new();
            batch.put("key", value);
            batch
        };
        block_on(store.commit(batch("1"))).unwrap();
        assert_eq!(block_on(store.get("key")).unwrap().as_deref(), Some("1"));
        let disk = Connection::open(folder.path.path().join("objects.sqlite")).unwrap();
        disk.execute_batch("UPDATE entries SET value = '2'")
            .unwrap();
        assert_eq!(block_on(store.get("key")).unwrap().as_deref(), Some("1"));
        block_on(store.commit(batch("3"))).unwrap();
        assert_eq!(block_on(store.get("key")).unwrap().as_deref(), Some("3"));
        let reopened = folder.object(store.id().clone());
        assert_eq!(block_on(reopened.get("key")).unwrap().as_deref(), Some("3"));
    }

    #[test]
    fn who_reads_beside_a_write_does_not_bring_the_old_value_back() {
        let folder = Folder::new();
        let store = folder.fresh();
        let read = || block_on(store.get("key")).unwrap();
        thread::scope(|scope| {
            let writing = scope.spawn(|| {
                for number in 0..2_000 {
                    // So many that `key` is not known any more.
                    for other in 0..8 {
                        block_on(store.get(&format!("other {other}"))).unwrap();
                    }
                    let mut batch = Batch::new();
                    batch.put("key", number.to_string());
                    store.send(batch).unwrap();
                    assert_eq!(read(), Some(number.to_string()));
                }
            });
            while !writing.is_finished() {
                read();
            }
        });
    }

    /// Random batches, from a seed that the test names.
    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: u64) -> u64 {
            // Knuth's generator, of which the upper bits are good enough here.
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % bound
        }

        fn batch(&mut self) -> Batch {
            let mut batch = Batch::new();
            for _ in 0..=self.below(3) {
                let key = format!("k{}", self.below(12));
                match self.below(12) {
                    0 => batch.delete_all(),
                    1 => batch.delete_alarm(),
                    2 => batch.set_alarm(Timestamp::from_millis(1 + self.below(9).cast_signed())),
                    3..6 => batch.delete(key),
                    _ => batch.put(key, self.below(100).to_string()),
                }
            }
            batch
        }

        fn range(&mut self) -> KeyRange {
            let mut range = KeyRange::default();
            if self.below(2) == 0 {
                range.start = format!("k{}", self.below(6));
            }
            range.end = (self.below(2) == 0).then(|| format!("k{}", self.below(8)));
            range.limit = (self.below(2) == 0)
                .then(|| usize::try_from(self.below(4)).expect("it is below 4"));
            range.reverse = self.below(2) == 0;
            range
        }
    }

    #[test]
    fn what_is_on_its_way_reads_as_if_it_were_durable() {
        let folder = Folder::new();
        let disk = Connection::open(folder.path.path().join("objects.sqlite")).unwrap();
        disk.busy_timeout(std::time::Duration::from_secs(10))
            .unwrap();
        for seed in 0..40 {
            let mut random = Random(seed);
            let store = folder.fresh();
            let mut model = Memory::new();
            for _ in 0..4 {
                disk.execute_batch("BEGIN IMMEDIATE").unwrap();
                for _ in 0..10 {
                    let batch = random.batch();
                    block_on(model.commit(batch.clone())).unwrap();
                    store.send(batch).unwrap();
                    let range = random.range();
                    let key = format!("k{}", random.below(12));
                    block_on(async {
                        assert_eq!(
                            store.get(&key).await.unwrap(),
                            model.get(&key).await.unwrap()
                        );
                        assert_eq!(
                            store.list(&range).await.unwrap(),
                            model.list(&range).await.unwrap()
                        );
                        assert_eq!(store.alarm().await.unwrap(), model.alarm().await.unwrap());
                    });
                }
                disk.execute_batch("ROLLBACK").unwrap();
                if random.below(2) == 0 {
                    block_on(store.flight().settled());
                }
            }
            block_on(store.flight().settled());
            let reopened = folder.object(store.id().clone());
            block_on(async {
                let all = KeyRange::default();
                assert_eq!(
                    reopened.list(&all).await.unwrap(),
                    model.list(&all).await.unwrap()
                );
                assert_eq!(
                    reopened.alarm().await.unwrap(),
                    model.alarm().await.unwrap()
                );
            });
        }
    }
}
