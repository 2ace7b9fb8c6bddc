//! What all objects of a host share: their types, which of them are in memory, the database, and the one
//! way that every call takes.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dokit_client::{Access, CallReply, CallRequest, ErrorReply, ObjectId, TransportError, header};
use dokit_object::{
    Address, BoxFuture, Call, Chain, Clock, ObjectType, Request, Response, Router, SocketCall,
    SocketEvent, SocketLimits, Surroundings, Switchboard, deadline, error_response, route,
    to_call_reply,
};
use dokit_storage::Limits;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task::AbortHandle,
};
use tracing::Span;

use crate::{
    care::{Existing, Exported, Import, ImportError},
    checkpoint::Log,
    connection::Patience,
    database::{self, Database},
    doors::Doors,
    error::{DatabaseError, StartError},
    load::{Load, Place, overloaded},
    metrics::{self, Metrics, Text, Watch},
    object_store::ObjectStore,
    own::Databases,
    resident::{Deadline, Envelope, Message, Refused, Resident},
    residents::Residents,
    scheduler::{self, OnItsWay, Scheduler},
    serving::Serving,
    sockets::{self, Peers},
    store::{Shared, SharedStore},
    trace,
    writer::{Writer, Writing},
};

/// How long a shutdown waits for databases to close, once nothing of them is on its way any more.
const CLOSING: Duration = Duration::from_secs(10);

/// What a builder has gathered.
pub(crate) struct Settings {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) limits: Limits,
    pub(crate) body_limit: usize,
    pub(crate) deadline: Duration,
    pub(crate) longest_deadline: Duration,
    pub(crate) sleep_after: Duration,
    pub(crate) awake_limit: usize,
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
    /// Those with keys alone, and those that have a database open.
    residents: [Arc<Residents>; 2],
    switchboard: Switchboard,
    peers: Peers,
    /// The tasks of the host's own: the scheduler's and the sweepers.
    tasks: OnceLock<[AbortHandle; 4]>,
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
        let residents = [settings.awake_limit, settings.sql_limit];
        let residents = residents.map(|limit| Residents::new(settings.sleep_after, limit));
        let (limits, open) = (settings.limits, settings.sql_limit);
        let counted = Arc::clone(&metrics);
        let databases = Databases::new(data, limits, open, runtime.clone(), counted);
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
                residents: residents.map(Arc::new),
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
        let alarms = scheduler::run(engine.own(), engine.scheduler.clone());
        let alarms = engine.runtime.spawn(alarms).abort_handle();
        let recovering = OnItsWay::new(engine.scheduler.clone());
        let recover = scheduler::recover(engine.own(), engine.scheduler.clone(), recovering);
        let recover = engine.runtime.spawn(recover).abort_handle();
        let [keys, sql] = engine.residents.each_ref().map(|residents| {
            let sweeper = Arc::clone(residents).sweep();
            engine.runtime.spawn(sweeper).abort_handle()
        });
        let _ = engine.tasks.set([alarms, recover, keys, sql]);
        Ok(engine)
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

    pub(crate) fn metrics(&self) -> &Metrics {
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
                self.residents.iter().map(|some| some.len()).sum(),
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

    /// The objects in memory, of types like this one.
    pub(crate) fn residents(&self, object_type: ObjectType) -> &Residents {
        let [keys, sql] = &self.residents;
        if object_type.sql() { sql } else { keys }
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

    /// How long a call takes at most where nobody says.
    pub(crate) fn patience(&self) -> Duration {
        self.deadline(None)
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

    /// Answers a request of the gateway.
    pub(crate) async fn request(&self, request: Request, place: Place) -> Response {
        let answer = match self.accept(request, place) {
            Ok(answer) => answer.await,
            Err(refused) => {
                self.refused(&refused);
                Err(refused)
            }
        };
        answer.unwrap_or_else(|error| error_response(&error))
    }

    fn accept(&self, request: Request, place: Place) -> Result<Answer, ErrorReply> {
        let router = &*self.surroundings.router;
        let address = Address::parse(request.uri().path(), self.types.values(), router)?;
        let object_type = self.types[address.namespace];
        let deadline = self.deadline(deadline(&request)?);
        let trace = request.headers().get(header::TRACEPARENT).cloned();
        let call = route(&object_type, &address.path, request)?;
        let chain = Chain::default();
        let answer = self.submit(object_type, &address.id, call, deadline, chain, place)?;
        let trace = trace.as_ref().and_then(|value| value.to_str().ok());
        trace::belongs_to(&answer.span, trace);
        Ok(answer)
    }

    /// Accepts a call of a method that comes from inside the process.
    fn rpc(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        request: CallRequest,
        chain: Chain,
    ) -> Result<Answer, ErrorReply> {
        let mut place = self.load().enter()?;
        place.bring(request.arguments.len())?;
        let object_type = self.known_type(namespace)?;
        let deadline = self.deadline(request.deadline);
        let trace = request.traceparent.clone();
        let call = object_type.call(request)?;
        let answer = self.submit(object_type, id, call, deadline, chain, place)?;
        trace::belongs_to(&answer.span, trace.as_deref());
        Ok(answer)
    }

    fn known_type(&self, namespace: &str) -> Result<ObjectType, ErrorReply> {
        self.object_type(namespace).ok_or_else(|| {
            let known: Vec<&str> = self.types.keys().copied().collect();
            ErrorReply::namespace_not_found(namespace, &known)
        })
    }

    /// Accepts an event of a socket.
    pub(crate) fn socket_event(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        call: SocketCall,
    ) -> Result<Answer, ErrorReply> {
        let mut place = self.load().enter()?;
        if let SocketEvent::Message(message) = &call.event {
            place.bring(message.as_bytes().len())?;
        }
        let object_type = self.known_type(namespace)?;
        let deadline = self.patience();
        let call = Call::Socket(call);
        self.submit(object_type, id, call, deadline, Chain::default(), place)
    }

    fn deadline(&self, asked: Option<Duration>) -> Duration {
        let asked = asked.unwrap_or(self.settings.deadline);
        asked.min(self.settings.longest_deadline)
    }

    /// Puts a call into the queue of its object: the way every call takes, wherever it comes from. The
    /// answer does not keep the engine alive.
    pub(crate) fn submit(
        &self,
        object_type: ObjectType,
        id: &ObjectId,
        call: Call,
        deadline: Duration,
        chain: Chain,
        place: Place,
    ) -> Result<Answer, ErrorReply> {
        if chain.contains(id) {
            return Err(ErrorReply::reentrant_call());
        }
        let too_much = self.store.writer.bytes() > self.settings.waiting_bytes;
        if too_much && call.access() == Access::Exclusive {
            let what = "too many bytes are on their way to the disk";
            return Err(overloaded(what));
        }
        let (reply, answer) = oneshot::channel();
        let (namespace, method) = (object_type.namespace(), metrics::method_of(&call));
        let span = trace::call(namespace, method, id);
        let deadline = Deadline::after(deadline);
        let message = Message::Call(Box::new(Envelope {
            id: id.clone(),
            call,
            deadline,
            chain,
            reply,
            span: span.clone(),
            place,
        }));
        self.tell(object_type, id, message)?;
        Ok(Answer {
            deadline,
            answer,
            span,
            watch: self.metrics.watch(namespace, method),
        })
    }

    /// Puts a message into the queue of its object.
    fn tell(
        &self,
        object_type: ObjectType,
        id: &ObjectId,
        mut message: Message,
    ) -> Result<(), ErrorReply> {
        loop {
            let make = || Resident::new(self.own(), object_type, id.clone());
            let resident = self
                .residents(object_type)
                .place((object_type.namespace(), *id.as_bytes()), make);
            let resident = resident.ok_or_else(ErrorReply::shutting_down)?;
            match resident.tell(message, &self.runtime) {
                Ok(before) => {
                    self.metrics.queued(before);
                    return Ok(());
                }
                Err(Refused::Full) => return Err(ErrorReply::overloaded()),
                // It has just left: then there is another place.
                Err(Refused::Closed(returned)) => message = returned,
            }
        }
    }

    /// Stores what was exported, between two calls of the object. False where it has something stored
    /// that is not to be replaced.
    pub(crate) async fn import(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        exported: Exported,
        existing: Existing,
    ) -> Result<bool, ImportError> {
        let object_type = self.known_type(namespace)?;
        let (done, imported) = oneshot::channel();
        let import = Import {
            exported,
            existing,
            deadline: Deadline::after(self.settings.longest_deadline),
            done,
        };
        self.tell(object_type, id, Message::Import(Box::new(import)))?;
        let imported = imported.await;
        // Given up, by a shutdown that took too long.
        imported.unwrap_or_else(|_| Err(ErrorReply::object_reset().into()))
    }

    pub(crate) async fn alarms_settled(&self) {
        self.scheduler.settled().await;
    }

    pub(crate) async fn sleep(&self) {
        for resident in self.residents.iter().flat_map(|those| those.all()) {
            // One that takes no messages has left memory already.
            let _ = resident.tell(Message::Sleep, &self.runtime);
        }
    }

    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.begins_to_stop();
        // A second one waits for the first.
        let _only = self.shutdown.lock().await;
        self.stop_tasks();
        let residents = self.close_residents();
        let finish = async {
            for resident in &residents {
                resident.finished().await;
            }
        };
        if tokio::time::timeout(grace, finish).await.is_err() {
            tracing::warn!("calls still ran after {grace:?} and were given up");
            residents.iter().for_each(|resident| resident.abort());
        }
        self.clear_residents();
        self.peers.say_goodbye(&self.switchboard).await;
        if tokio::time::timeout(CLOSING, self.databases.closed())
            .await
            .is_err()
        {
            tracing::warn!("databases of objects were still open after {CLOSING:?}");
        }
        if let Some(own) = self.own.upgrade() {
            let _ = tokio::task::spawn_blocking(move || own.close()).await;
        }
    }

    fn close_residents(&self) -> Vec<Arc<Resident>> {
        self.residents
            .iter()
            .flat_map(|those| those.close())
            .collect()
    }

    fn clear_residents(&self) {
        self.residents.iter().for_each(|those| those.clear());
    }

    fn stop_tasks(&self) {
        self.tasks
            .get()
            .into_iter()
            .flatten()
            .for_each(AbortHandle::abort);
        self.scheduler.stop();
    }

    /// Has the writer finish what it was sent, waits for it, and lets go of the data folder.
    fn close(&self) {
        let writing = self.writing.lock();
        let writing = writing.unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writing) = writing {
            self.store.writer.stop();
            writing.join();
        }
        self.store.database.unlock();
        if let Some((_, task)) = self.admin.get() {
            task.abort();
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_tasks();
        self.switchboard.forget_all();
        for resident in self.close_residents() {
            resident.abort();
        }
        self.clear_residents();
        self.close();
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("types", &self.types.keys())
            .finish_non_exhaustive()
    }
}

/// An answer that is on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    deadline: Deadline,
    answer: oneshot::Receiver<Result<Response, ErrorReply>>,
    span: Span,
    watch: Option<Watch>,
}

impl IntoFuture for Answer {
    type Output = Result<Response, ErrorReply>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let answer = match self.deadline.run(self.answer).await {
                None => Err(ErrorReply::deadline_exceeded()),
                // The object's task was given up.
                Some(Err(_)) => Err(ErrorReply::object_reset()),
                Some(Ok(answer)) => answer,
            };
            let error = answer.as_ref().err();
            self.span
                .record("code", error.map_or("ok", |error| &error.code));
            if let Some(watch) = self.watch {
                watch.ended(error);
            }
            answer
        })
    }
}

/// The way from inside the process to its objects.
struct Inside {
    engine: Weak<Engine>,
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inside").finish_non_exhaustive()
    }
}

impl Router for Inside {
    fn call(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        request: &CallRequest,
    ) -> BoxFuture<'static, Result<CallReply, TransportError>> {
        let accepted = match self.engine.upgrade() {
            Some(engine) => {
                let accepted = engine.rpc(namespace, id, request.clone(), Chain::current());
                accepted.inspect_err(|refused| engine.refused(refused))
            }
            None => Err(ErrorReply::shutting_down()),
        };
        Box::pin(async {
            let answer = match accepted {
                Ok(answer) => answer.await,
                Err(refused) => Err(refused),
            };
            let response = answer.unwrap_or_else(|error| error_response(&error));
            Ok(to_call_reply(response))
        })
    }

    fn unique_id(&self, namespace: &'static str) -> ObjectId {
        ObjectId::unique(namespace, random())
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    // A system without randomness cannot run anything that is safe.
    getrandom::fill(&mut random).expect("the system gives random bytes");
    random
}

#[cfg(test)]
mod tests {
    use dokit_client::rpc;
    use dokit_object::{Context, DurableObject, Namespace, Result, durable_object};
    use futures_util::FutureExt;
    use tempfile::tempdir;
    use tokio::{sync::Semaphore, task::yield_now};

    use super::*;
    use crate::{Builder, Host};

    #[rpc]
    trait EchoApi {
        async fn echo(&mut self, text: String) -> Result<String>;
        /// The object's name.
        async fn name(&self) -> Result<Option<String>>;
        /// Answers once it was let go.
        async fn wait(&self) -> Result<()>;
    }

    struct Echo(Context);

    static GATE: Semaphore = Semaphore::const_new(0);

    #[durable_object]
    impl DurableObject for Echo {
        type Api = EchoApiServer;

        async fn new(ctx: Context) -> Result<Self> {
            Ok(Self(ctx))
        }
    }

    impl EchoApi for Echo {
        async fn echo(&mut self, text: String) -> Result<String> {
            Ok(text)
        }

        async fn name(&self) -> Result<Option<String>> {
            Ok(self.0.name().map(str::to_owned))
        }

        async fn wait(&self) -> Result<()> {
            GATE.acquire().await.unwrap().forget();
            Ok(())
        }
    }

    fn start(build: impl FnOnce(Builder) -> Builder) -> (tempfile::TempDir, Host) {
        let data = tempdir().unwrap();
        let host = Host::builder().data(data.path()).object::<Echo>();
        let host = build(host).start().unwrap();
        (data, host)
    }

    fn namespace(host: &Host) -> Namespace {
        host.namespace::<Echo>()
    }

    async fn call_fifty(host: &Host) {
        for number in 0..50 {
            let name = number.to_string();
            let echo = EchoApiClient::new(namespace(host).get_by_name(&name));
            assert_eq!(echo.echo(name.clone()).await.unwrap(), name);
        }
    }

    fn in_memory(host: &Host) -> usize {
        host.engine().residents[0].len()
    }

    fn tasks() -> usize {
        Handle::current().metrics().num_alive_tasks()
    }

    #[tokio::test]
    async fn an_object_that_is_asleep_has_no_task_no_queue_and_no_place_in_memory() {
        let (_data, host) = start(|host| host.sleep_after(Duration::ZERO));
        let before = tasks();
        call_fifty(&host).await;
        while in_memory(&host) > 0 || tasks() > before {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_object_that_is_awake_and_idle_has_no_task() {
        let (_data, host) = start(|host| host.sleep_after(Duration::from_secs(3600)));
        let before = tasks();
        call_fifty(&host).await;
        while tasks() > before {
            yield_now().await;
        }
        assert_eq!(in_memory(&host), 50);
    }

    #[tokio::test]
    async fn objects_that_are_told_to_sleep_leave_memory_too() {
        let (_data, host) = start(|host| host.sleep_after(Duration::from_secs(3600)));
        call_fifty(&host).await;
        assert_eq!(in_memory(&host), 50);
        host.sleep().await;
        while in_memory(&host) > 0 {
            yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_object_that_is_used_stays_and_one_that_is_not_leaves() {
        let (_data, host) = start(|host| host.sleep_after(Duration::from_secs(10)));
        call_fifty(&host).await;
        let used = EchoApiClient::new(namespace(&host).get_by_name("7"));
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(3)).await;
            used.name().await.unwrap();
        }
        while in_memory(&host) > 1 {
            yield_now().await;
        }
        tokio::time::advance(Duration::from_secs(20)).await;
        while in_memory(&host) > 0 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn of_more_objects_than_may_be_awake_those_leave_that_were_idle_longest() {
        let (_data, host) = start(|host| {
            let host = host.sleep_after(Duration::from_secs(3600));
            host.awake_limit(10)
        });
        call_fifty(&host).await;
        while in_memory(&host) > 10 {
            yield_now().await;
        }
        let left = host.engine().residents[0].all();
        let mut left: Vec<_> = left.iter().map(|one| one.key()).collect();
        let last = (40..50).map(|number| namespace(&host).id_from_name(&number.to_string()));
        let mut last: Vec<_> = last.map(|id| *id.as_bytes()).collect();
        left.sort_unstable();
        last.sort_unstable();
        assert_eq!(left, last);
    }

    #[tokio::test]
    async fn an_object_that_has_something_to_do_stays_however_many_are_awake() {
        let (_data, host) = start(|host| host.awake_limit(0));
        let busy = EchoApiClient::new(namespace(&host).get_by_name("busy"));
        let mut waits = std::pin::pin!(busy.wait());
        assert!(waits.as_mut().now_or_never().is_none());
        call_fifty(&host).await;
        while in_memory(&host) > 1 {
            yield_now().await;
        }
        GATE.add_permits(1);
        waits.await.unwrap();
        while in_memory(&host) > 0 {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_reading_call_beside_one_that_came_by_id_sees_the_name() {
        let (_data, host) = start(|host| host);
        let named = namespace(&host).get_by_name("named");
        let by_id = namespace(&host).id_from_string(&named.id().to_string());
        let by_id = EchoApiClient::new(namespace(&host).get(&by_id.unwrap()));
        let mut waits = std::pin::pin!(by_id.wait());
        assert!(waits.as_mut().now_or_never().is_none());
        assert_eq!(by_id.name().await.unwrap(), None);
        let by_name = EchoApiClient::new(named);
        let mut name = std::pin::pin!(by_name.name());
        assert!(name.as_mut().now_or_never().is_none());
        yield_now().await;
        GATE.add_permits(1);
        assert_eq!(name.await.unwrap().as_deref(), Some("named"));
        waits.await.unwrap();
    }
}
