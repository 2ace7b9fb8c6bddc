use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use dokit_client::ObjectId;
use dokit_storage::{Batch, Error, KeyRange, Limits, Result, Store, Timestamp};

use crate::{
    database::{Database, Object},
    error::DatabaseError,
    writer::Writer,
};

/// One object's part of the shared database.
#[derive(Clone, Debug)]
pub(crate) struct ObjectStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    database: Arc<Database>,
    writer: Writer,
    limits: Limits,
    namespace: &'static str,
    id: ObjectId,
    /// The object's row. An object that has written nothing has none, and reads as empty.
    object: OnceLock<Object>,
    /// Whether the row does not have the name yet, because the object was reached by its id before.
    nameless: AtomicBool,
}

impl ObjectStore {
    /// The store of an object, and its id with the name that it is known by.
    pub(crate) fn open(
        database: Arc<Database>,
        writer: Writer,
        limits: Limits,
        namespace: &'static str,
        id: ObjectId,
    ) -> Result<(Self, ObjectId), DatabaseError> {
        let object = OnceLock::new();
        let mut id = id;
        let mut nameless = false;
        if let Some((row, name)) = database.find(namespace, &id)? {
            let _ = object.set(row);
            match name {
                Some(name) => id = ObjectId::from_name(namespace, &name),
                None => nameless = id.name().is_some(),
            }
        }
        let inner = Inner {
            database,
            writer,
            limits,
            namespace,
            id: id.clone(),
            object,
            nameless: AtomicBool::new(nameless),
        };
        let store = Self {
            inner: Arc::new(inner),
        };
        Ok((store, id))
    }

    fn read<R: Default>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&Database, Object) -> Result<R, DatabaseError>,
    ) -> Result<R> {
        match self.inner.object.get() {
            Some(object) => {
                read(&self.inner.database, *object).map_err(|error| Error::engine(operation, error))
            }
            None => Ok(R::default()),
        }
    }
}

impl Store for ObjectStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.read("read", |database, object| database.get(object, key))
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.read("list", |database, object| database.list(object, range))
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.read("read the alarm", Database::alarm)
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        let inner = &self.inner;
        inner.limits.check(&batch)?;
        let known = inner.object.get().copied();
        // Without the row, the commit looks it up by the id and writes the name there.
        let known = known.filter(|_| !inner.nameless.load(Ordering::Relaxed));
        let committed = inner
            .writer
            .commit(inner.namespace, inner.id.clone(), known, batch)
            .await;
        let object = committed.map_err(|error| Error::engine("commit", error))?;
        let _ = inner.object.set(object);
        inner.nameless.store(false, Ordering::Relaxed);
        Ok(())
    }

    fn limits(&self) -> Limits {
        self.inner.limits
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, thread::JoinHandle};

    use dokit_conformance::store::{run_all, run_all_durable};
    use futures_executor::block_on;
    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::database;

    /// An open data folder.
    struct Folder {
        path: TempDir,
        open: RefCell<Option<Open>>,
        objects: RefCell<u32>,
    }

    struct Open {
        database: Arc<Database>,
        writer: Writer,
        writing: JoinHandle<()>,
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
                open.writer.stop();
                open.writing.join().unwrap();
            }
            let (database, connection) =
                database::open(self.path.path(), ["test"].into_iter()).unwrap();
            let (writer, writing) = Writer::start(connection, |_| {});
            self.open.replace(Some(Open {
                database: Arc::new(database),
                writer,
                writing,
            }));
        }

        fn object(&self, id: ObjectId) -> ObjectStore {
            let open = self.open.borrow();
            let Open {
                database, writer, ..
            } = open.as_ref().unwrap();
            let (database, writer) = (Arc::clone(database), writer.clone());
            let store = ObjectStore::open(database, writer, Limits::default(), "test", id);
            store.unwrap().0
        }

        fn fresh(&self) -> ObjectStore {
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
                let id = store.inner.id.clone();
                drop(store);
                folder.reopen();
                folder.object(id)
            },
        ));
    }
}
