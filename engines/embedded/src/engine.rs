//! What all objects of a host share: their types, which of them are in memory, and the database.

mod calls;
mod shutdown;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dokit_client::{ErrorReply, ObjectId};
use dokit_object::{
    Clock,
    engine::{ObjectType, Router, SocketLimits, Surroundings, Switchboard},
};
use dokit_storage::Limits;
use tokio::{runtime::Handle, sync::Semaphore, task::AbortHandle};

use calls::Inside;

use crate::{
    checkpoint::Log,
    connection::Patience,
    database::{self, Database},
    doors::Doors,
    error::{DatabaseError, StartError},
    load::Load,
    metrics::{Metrics, Text},
    object_store::ObjectStore,
    own::Databases,
    resident::Message,
    residents::Residents,
    scheduler::{self, OnItsWay, Scheduler},
    serving::Serving,
    sockets::{self, Peers},
    store::{Shared, SharedStore},
    writer::{Writer, Writing},
};

pub(crate) use calls::PendingAnswer;

/// What a builder has gathered.
pub(crate) struct Settings {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) limits: Limits,
    pub(crate) body_limit: usize,
    pub(crate) deadline: Duration,
    pub(crate) longest_deadline: Duration,
    pub(crate) sleep_after: Duration,
    pub(crate) awake_memory: usize,
    pub(crate) sql_limit: usize,
    pub(crate) sockets: SocketLimits,
    pub(crate) message_limit: usize,
    pub(crate) ping_after: Duration,
    pub(crate) doors: Doors,
    pub(crate) admin: Option<String>,
    pub(crate) admin_doors: Doors,
    pub(crate) connections: usize,
    pub(crate) patience: Patience,
    pub(crate) waiting_calls: usize,
    pub(crate) waiting_bytes: usize,
    pub(crate) drain: Duration,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A running engine. Its tasks hold it weakly, so that it stops when its host is dropped.
pub(crate) struct Engine {
    own: Weak<Self>,
    types: BTreeMap<&'static str, ObjectType>,
    store: Arc<Shared>,
    databases: Arc<Databases>,
    writing: Mutex<Option<Writing>>,
    scheduler: Scheduler,
    residents: Arc<Residents>,
    switchboard: Switchboard,
    peers: Peers,
    /// The tasks of the host's own: the scheduler's and the sweeper.
    tasks: OnceLock<[AbortHandle; 3]>,
    /// Held by the one shutdown that there is.
    shutdown: tokio::sync::Mutex<()>,
    settings: Settings,
    load: Arc<Load>,
    serving: Serving,
    admin: OnceLock<(SocketAddr, AbortHandle)>,
    metrics: Arc<Metrics>,
    /// Told to stop, though what runs may finish.
    stopping: AtomicBool,
    runtime: Handle,
    surroundings: Surroundings,
}

impl Engine {
    pub(crate) fn start(
        data: &Path,
        types: BTreeMap<&'static str, ObjectType>,
        mut settings: Settings,
    ) -> Result<Arc<Self>, StartError> {
        let (database, connections) = database::open(data, types.keys().copied())?;
        let scheduler = Scheduler::default();
        let alarm_set = scheduler.clone();
        let runtime = Handle::current();
        let load = Arc::new(Load::new(settings.waiting_calls, settings.waiting_bytes));
        let caller_may_wait = {
            // Beside a caller that waits for the disk another thread has to serve those that come.
            let serves_on = runtime.metrics().num_workers() > 1;
            let load = Arc::clone(&load);
            move || serves_on && load.calls() <= 1
        };
        let metrics = Arc::new(Metrics::new(types.values()));
        let alarm_set = move |at| alarm_set.set(at);
        let counted = Arc::clone(&metrics);
        let (writer, writing) = Writer::start(
            connections,
            Log::default(),
            caller_may_wait,
            alarm_set,
            counted,
        );
        let store = Shared {
            database,
            writer,
            limits: settings.limits,
        };
        let (limits, open) = (settings.limits, settings.sql_limit);
        let residents = Residents::new(settings.sleep_after, settings.awake_memory, open);
        let ceiling = Arc::clone(residents.ceiling());
        let counted = Arc::clone(&metrics);
        let databases = Databases::new(data, limits, open, runtime.clone(), counted, ceiling);
        let engine = Arc::new_cyclic(|own| {
            let (engine, tasks) = (Weak::clone(own), runtime.clone());
            let now = settings.clock.now();
            let switchboard = Switchboard::new(settings.sockets, now, move |orphan| {
                tasks.spawn(sockets::vanished(Weak::clone(&engine), orphan));
            });
            let router = Arc::new(Inside {
                engine: own.clone(),
            });
            let mut surroundings = Surroundings::new(Arc::clone(&settings.clock), router);
            surroundings.variables = Arc::new(std::mem::take(&mut settings.variables));
            surroundings.run = Some(u64::from_ne_bytes(random()));
            Self {
                own: own.clone(),
                types,
                store: Arc::new(store),
                databases: Arc::new(databases),
                writing: Mutex::new(Some(writing)),
                scheduler,
                residents: Arc::new(residents),
                switchboard,
                peers: Peers::default(),
                tasks: OnceLock::new(),
                shutdown: tokio::sync::Mutex::new(()),
                load,
                serving: Serving {
                    patience: settings.patience,
                    places: Arc::new(Semaphore::new(settings.connections)),
                    drain: settings.drain,
                    metrics: Arc::clone(&metrics),
                },
                admin: OnceLock::new(),
                metrics,
                stopping: AtomicBool::new(false),
                settings,
                runtime,
                surroundings,
            }
        });
        // Not sooner: a task that finds no engine ends.
        engine.spawn_tasks();
        Ok(engine)
    }

    /// Starts the tasks of the host's own.
    fn spawn_tasks(&self) {
        let alarms = scheduler::run(self.own(), self.scheduler.clone());
        let alarms = self.runtime.spawn(alarms).abort_handle();
        let recovering = OnItsWay::new(self.scheduler.clone());
        let recover = scheduler::recover(self.own(), self.scheduler.clone(), recovering);
        let recover = self.runtime.spawn(recover).abort_handle();
        let sweeper = Arc::clone(&self.residents).sweep();
        let sweeper = self.runtime.spawn(sweeper).abort_handle();
        let _ = self.tasks.set([alarms, recover, sweeper]);
    }

    /// A handle that does not keep it alive.
    pub(crate) fn own(&self) -> Weak<Self> {
        self.own.clone()
    }

    pub(crate) fn surroundings(&self) -> Surroundings {
        self.surroundings.clone()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.surroundings.clock)
    }

    pub(crate) fn router(&self) -> Arc<dyn Router> {
        Arc::clone(&self.surroundings.router)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn body_limit(&self) -> usize {
        self.settings.body_limit
    }

    pub(crate) fn load(&self) -> &Arc<Load> {
        &self.load
    }

    pub(crate) fn doors(&self) -> &Doors {
        &self.settings.doors
    }

    pub(crate) fn serving(&self) -> &Serving {
        &self.serving
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The text of all that is counted and of all that there is.
    pub(crate) fn metrics_text(&self) -> String {
        let mut text = Text::default();
        self.metrics.write(&mut text);
        let free = self.serving.places.available_permits();
        for (name, help, value) in [
            (
                "dokit_calls_waiting",
                "Calls that wait or run.",
                self.load.calls(),
            ),
            (
                "dokit_calls_waiting_bytes",
                "Bytes of the bodies of those calls.",
                self.load.bytes(),
            ),
            (
                "dokit_objects_awake",
                "Objects in memory.",
                self.residents.len(),
            ),
            (
                "dokit_sockets_open",
                "WebSockets that are open.",
                self.switchboard.open(),
            ),
            (
                "dokit_connections_open",
                "Connections that are open.",
                self.settings.connections.saturating_sub(free),
            ),
        ] {
            text.gauge(name, help, value);
        }
        text.gauge(
            "dokit_objects_awake_bytes",
            "Bytes that they hold.",
            self.residents.ceiling().held(),
        );
        let now = self.surroundings.clock.now();
        match self.store.database.late(now) {
            Ok((due, oldest)) => {
                let late = oldest.map_or(0, |at| now.as_millis().saturating_sub(at.as_millis()));
                text.gauge("dokit_alarms_due", "Alarms that are due.", due);
                text.gauge(
                    "dokit_alarms_late_seconds",
                    "For how long the first of them has been.",
                    late / 1000,
                );
            }
            Err(error) => tracing::error!("count the alarms that are due: {error}"),
        }
        text.into_string()
    }

    /// A call was refused before it reached an object.
    pub(crate) fn refused(&self, error: &ErrorReply) {
        if let Some(log) = &error.log {
            tracing::error!("refuse a call: {log}");
        }
        self.metrics.refused(error);
    }

    /// From now on it says that it is not ready.
    pub(crate) fn begins_to_stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// Why no more calls are to be sent here, if so.
    pub(crate) fn unready(&self) -> Option<&'static str> {
        if self.stopping.load(Ordering::Relaxed) {
            Some("it is stopping")
        } else if self.metrics.disk_is_broken() {
            Some("the last commits failed")
        } else {
            None
        }
    }

    pub(crate) fn admin_doors(&self) -> &Doors {
        &self.settings.admin_doors
    }

    /// Holds the task that answers administrators.
    pub(crate) fn administered(&self, address: SocketAddr, task: AbortHandle) {
        let _ = self.admin.set((address, task));
    }

    pub(crate) fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.get().map(|(address, _)| *address)
    }

    pub(crate) fn limits(&self) -> Limits {
        self.settings.limits
    }

    /// The file of the database that an object of a SQL type has to itself.
    pub(crate) fn own_database(&self, namespace: &str, id: &ObjectId) -> PathBuf {
        self.databases.path(namespace, id)
    }

    /// The folder that those are in.
    pub(crate) fn own_databases(&self) -> PathBuf {
        self.databases.folder().to_owned()
    }

    pub(crate) fn database(&self) -> &Database {
        &self.store.database
    }

    /// The objects in memory.
    pub(crate) fn residents(&self) -> &Residents {
        &self.residents
    }

    /// The sockets of all objects, those asleep too.
    pub(crate) fn switchboard(&self) -> &Switchboard {
        &self.switchboard
    }

    /// The connections of those sockets.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The largest message of a peer, in bytes.
    pub(crate) fn message_limit(&self) -> usize {
        self.settings.message_limit
    }

    /// How long a peer is silent when it is asked whether it is there.
    pub(crate) fn ping_after(&self) -> Duration {
        self.settings.ping_after
    }

    /// The type of a namespace, where it is registered.
    pub(crate) fn object_type(&self, namespace: &str) -> Option<ObjectType> {
        self.types.get(namespace).copied()
    }

    /// The store of an object of which no other is open. Who waits for it does not keep the engine alive.
    pub(crate) fn open_store(
        &self,
        object_type: ObjectType,
        id: ObjectId,
    ) -> impl Future<Output = Result<ObjectStore, DatabaseError>> + use<> {
        let store = Arc::clone(&self.store);
        let databases = Arc::clone(&self.databases);
        async move {
            let namespace = object_type.namespace();
            let shared = SharedStore::open(store, namespace, id)?;
            Ok(if object_type.sql() {
                ObjectStore::Own(databases.open(namespace, shared).await?)
            } else {
                databases.refuse_own(namespace, shared.id())?;
                ObjectStore::Shared(shared)
            })
        }
    }

    pub(crate) async fn alarms_settled(&self) {
        self.scheduler.settled().await;
    }

    pub(crate) async fn sleep(&self) {
        for resident in self.residents.all() {
            // One that takes no messages has left memory already.
            let _ = resident.tell(Message::Sleep, &self.runtime);
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("types", &self.types.keys())
            .finish_non_exhaustive()
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    // A system without randomness cannot run anything that is safe.
    getrandom::fill(&mut random).expect("the system gives random bytes");
    random
}

#[cfg(test)]
mod tests;
