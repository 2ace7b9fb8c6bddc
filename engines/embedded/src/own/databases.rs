use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use dokit_client::ObjectId;
use dokit_storage::{
    Limits, Store,
    sqlite::{Calls, Sqlite},
};
use tokio::{runtime::Handle, sync::Semaphore};

use crate::{
    deadline::Deadline,
    error::DatabaseError,
    flight::Flight,
    metrics::Metrics,
    own::{OPEN, Own, OwnStore, State},
    store::SharedStore,
    weight::Ceiling,
};

/// The folder of the databases that objects have to themselves:
/// `sql/{namespace}/{2 hex}/{64 hex}.sqlite`. Only ids are in the paths, so no name can leave it.
#[derive(Debug)]
pub(crate) struct Databases {
    folder: PathBuf,
    limits: Limits,
    limit: usize,
    /// One place for each database that may be open.
    places: Arc<Semaphore>,
    /// The folders whose own names are on disk, as far as this process knows.
    synced: Mutex<HashSet<PathBuf>>,
    runtime: Handle,
    metrics: Arc<Metrics>,
    ceiling: Arc<Ceiling>,
}

impl Databases {
    /// `limit` is how many may be open.
    pub(crate) fn new(
        data: &Path,
        limits: Limits,
        limit: usize,
        runtime: Handle,
        metrics: Arc<Metrics>,
        ceiling: Arc<Ceiling>,
    ) -> Self {
        Self {
            folder: data.join("sql"),
            limits,
            limit,
            places: Arc::new(Semaphore::new(limit)),
            synced: Mutex::default(),
            runtime,
            metrics,
            ceiling,
        }
    }

    /// Opens an object's database, made where there is none, when there is a place for it. One that has keys
    /// in the shared database, from when its type had no SQL, is refused: it would be found empty.
    pub(crate) async fn open(
        self: &Arc<Self>,
        namespace: &'static str,
        index: SharedStore,
    ) -> Result<OwnStore, DatabaseError> {
        if index.has_keys()? {
            return Err(DatabaseError::new(
                "the object has keys from when its type did not say `const SQL: bool = true`, which it would \
                 not see: export it with that type, and import it into another data folder",
            ));
        }
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.map_err(|_| DatabaseError::new("the store is closed"))?;
        let databases = Arc::clone(self);
        let path = self.path(namespace, index.id());
        let open = move || {
            databases.make_folder(&path).map_err(|error| {
                DatabaseError::new(format!("make a folder for {}: {error}", path.display()))
            })?;
            let database = Sqlite::open(&path).map_err(|error| DatabaseError::of(&error))?;
            let database = database.with_limits(databases.limits);
            let limits = database.limits();
            let calls = Calls::new(database);
            calls.stop_when(Deadline::of_this_call_has_passed);
            Ok(Own {
                calls,
                limits,
                flight: Flight::default(),
                state: Mutex::new(State::default()),
                runtime: databases.runtime.clone(),
                metrics: Arc::clone(&databases.metrics),
                weight: Mutex::new(Some(databases.ceiling.weigh(OPEN))),
                place: Some(place),
            })
        };
        let opened = self.runtime.spawn_blocking(open).await;
        let own = opened.map_err(|_| DatabaseError::new("the store is closed"))??;
        let store = OwnStore {
            own: Arc::new(own),
            index,
        };
        store.weigh();
        store.mend_hint().await?;
        Ok(store)
    }

    /// Refuses an object of a type without SQL that has a database here, from when its type had it.
    pub(crate) fn refuse_own(&self, namespace: &str, id: &ObjectId) -> Result<(), DatabaseError> {
        let path = self.path(namespace, id);
        match path.try_exists() {
            Ok(false) => Ok(()),
            Ok(true) => Err(DatabaseError::new(format!(
                "the object has a database of its own, {}, from when its type said `const SQL: bool = true`, \
                 which it would not see: export it with that type, and import it into another data folder",
                path.display()
            ))),
            Err(error) => Err(DatabaseError::new(format!(
                "look for {}: {error}",
                path.display()
            ))),
        }
    }

    /// Returns once none is open; no other is opened from then on.
    pub(crate) async fn closed(&self) {
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        if let Ok(all) = self.places.acquire_many(all).await {
            all.forget();
            self.places.close();
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn path(&self, namespace: &str, id: &ObjectId) -> PathBuf {
        let hex = id.to_string();
        let folder = self.folder.join(namespace).join(&hex[..2]);
        folder.join(format!("{hex}.sqlite"))
    }

    /// Makes the folder of a file, and sees to it that it is still there after a crash.
    fn make_folder(&self, file: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = {
            let synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
            let folders = file.ancestors().skip(1).take(3);
            folders.filter(|folder| !synced.contains(*folder)).collect()
        };
        let Some(folder) = missing.first() else {
            return Ok(());
        };
        fs::create_dir_all(folder)?;
        for folder in missing {
            // Not every file system can sync a folder; one that cannot needs no such help.
            if let Some(Ok(parent)) = folder.parent().map(File::open) {
                let _ = parent.sync_all();
            }
            let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
            synced.insert(folder.to_owned());
        }
        Ok(())
    }
}
