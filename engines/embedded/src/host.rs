use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    thread::JoinHandle,
    time::Duration,
};

use dokit_client::{CallReply, CallRequest, ErrorReply, ObjectId, TransportError, find_method};
use dokit_object::{
    Address, BoxFuture, Call, Clock, DurableObject, InvalidNamespace, Namespace, ObjectType,
    Request, Response, Router, RpcCall, Surroundings, deadline, error_response, route,
    to_call_reply,
};
use dokit_storage::Limits;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle as Task,
};

use crate::{
    SystemClock,
    database::{self, Database},
    error::{DatabaseError, StartError},
    resident::{Deadline, Envelope, Message, QUEUE, Resident},
    scheduler::{self, Scheduler},
    store::ObjectStore,
    writer::Writer,
};

/// How long a call may take where its caller does not say.
const DEADLINE: Duration = Duration::from_secs(30);

/// How long a shutdown waits for calls that run.
pub(crate) const DRAIN: Duration = Duration::from_secs(10);

/// What a [`Host`] is made of.
///
/// | option | default |
/// |---|---|
/// | [`data`](Self::data) | `./data` |
/// | [`object`](Self::object) | none; at least one is needed |
/// | [`variable`](Self::variable) | none |
/// | [`limits`](Self::limits) | [`Limits::default`], the strictest engine's |
/// | [`body_limit`](Self::body_limit) | 1 MiB |
/// | [`deadline`](Self::deadline) | 30 s |
/// | [`clock`](Self::clock) | the system's |
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    data: PathBuf,
    types: Vec<Result<ObjectType, InvalidNamespace>>,
    variables: BTreeMap<String, String>,
    limits: Limits,
    body_limit: usize,
    deadline: Duration,
    clock: Arc<dyn Clock>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            data: PathBuf::from("data"),
            types: Vec::new(),
            variables: BTreeMap::new(),
            limits: Limits::default(),
            body_limit: 1024 * 1024,
            deadline: DEADLINE,
            clock: Arc::new(SystemClock),
        }
    }

    /// The folder that holds the data, made where there is none. One host at a time uses it.
    pub fn data(mut self, folder: impl AsRef<Path>) -> Self {
        self.data = folder.as_ref().to_owned();
        self
    }

    /// Serves objects of this type.
    pub fn object<T: DurableObject>(mut self) -> Self {
        self.types.push(ObjectType::of::<T>());
        self
    }

    /// Sets a variable that objects read with `Context::variable`.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// How large keys and values may be.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The largest body of a request, in bytes. A larger one is answered 413.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.body_limit = bytes;
        self
    }

    /// How long a call may take where its caller does not say. A call that takes longer is given up:
    /// nothing of it remains.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the data and starts serving: calls in this process from now on, and alarms, those that
    /// fell due while nothing ran at once.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: objects run on the runtime that this is called in.
    pub fn start(self) -> Result<Host, StartError> {
        let mut types = BTreeMap::new();
        for object_type in self.types {
            let object_type = object_type?;
            let namespace = object_type.namespace();
            if types.insert(namespace, object_type).is_some() {
                return Err(StartError::DuplicateNamespace { namespace });
            }
        }
        if types.is_empty() {
            return Err(StartError::NoObjects);
        }
        let (database, connection) = database::open(&self.data)?;
        let database = Arc::new(database);
        let scheduler = Scheduler::default();
        let alarm_set = scheduler.clone();
        let (writer, writing) = Writer::start(connection, move |at| alarm_set.set(at));
        let (stopping, _) = watch::channel(false);
        let shared = Arc::new_cyclic(|own| Shared {
            own: own.clone(),
            types,
            database,
            writer,
            writing: Mutex::new(None),
            scheduler: scheduler.clone(),
            residents: Mutex::new(Some(HashMap::new())),
            stopping,
            limits: self.limits,
            body_limit: self.body_limit,
            deadline: self.deadline,
            runtime: Handle::current(),
            surroundings: {
                let router = Arc::new(Inside { host: own.clone() });
                let mut surroundings = Surroundings::new(self.clock, router);
                surroundings.variables = Arc::new(self.variables);
                surroundings
            },
        });
        let alarms = shared
            .runtime
            .spawn(scheduler::run(Arc::downgrade(&shared), scheduler));
        *lock(&shared.writing) = Some(writing);
        Ok(Host {
            shared,
            alarms: Arc::new(AbortOnDrop(alarms)),
        })
    }

    /// Starts, and listens on `address` until the process is told to stop (SIGTERM or ctrl-c); then
    /// finishes what runs and returns.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn serve(self, address: impl ToSocketAddrs + fmt::Display) -> Result<(), StartError> {
        let host = self.start()?;
        let listener = host.listen(address).await?;
        listener.serve(crate::gateway::told_to_stop()).await?;
        host.shutdown().await;
        Ok(())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("data", &self.data)
            .field("types", &self.types)
            .finish_non_exhaustive()
    }
}

/// Durable objects in this process.
///
/// Clones are handles to the same host. Dropping them all stops it like a crash: what was answered
/// is on disk, what still runs is lost. [`shutdown`](Self::shutdown) lets it finish.
#[derive(Clone)]
pub struct Host {
    pub(crate) shared: Arc<Shared>,
    alarms: Arc<AbortOnDrop>,
}

/// The task that wakes objects for their alarms: it ends with the host.
struct AbortOnDrop(Task<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Host {
    /// What a host is made of, all at its defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The objects of a type, to call them from this process.
    ///
    /// A type that is not registered is answered `namespace_not_found`, call by call.
    #[must_use]
    pub fn namespace<T: DurableObject>(&self) -> Namespace {
        Namespace::new(T::NAMESPACE, Arc::clone(&self.shared.surroundings.router))
    }

    /// Answers a request as the gateway does: its path names the object.
    pub async fn handle(&self, request: Request) -> Response {
        match self.shared.request(request).await {
            Ok(response) => response,
            Err(error) => error_response(&error),
        }
    }

    /// Returns once every alarm that is due by the host's clock has been tried, and none runs. With a
    /// clock that a test moves, this is how the test waits for alarms.
    pub async fn alarms_settled(&self) {
        self.shared.scheduler.settled().await;
    }

    /// Puts every object to sleep, once the calls that it was sent before are done: it leaves memory,
    /// and the next call wakes it. Nobody else can tell.
    pub async fn sleep(&self) {
        let queues: Vec<_> = match &*self.shared.residents() {
            Some(residents) => residents.values().map(|one| one.queue.clone()).collect(),
            None => return,
        };
        for queue in queues {
            // A queue that has closed belongs to an object that has left memory already.
            let _ = queue.send(Message::Sleep).await;
        }
    }

    /// Takes no more calls, lets those that run or wait finish, for ten seconds at most, and closes
    /// the data. Calls that come meanwhile are answered `shutting_down`.
    pub async fn shutdown(&self) {
        self.alarms.0.abort();
        let tasks = self.shared.close();
        let finish = async {
            for task in tasks {
                // A task that panicked is done too.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(DRAIN, finish).await.is_err() {
            self.shared.stopping.send_replace(true);
            tracing::warn!("calls still ran after {DRAIN:?} and were given up");
        }
        let shared = Arc::clone(&self.shared);
        let _ = tokio::task::spawn_blocking(move || shared.stop_writing()).await;
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("types", &self.shared.types.keys())
            .finish_non_exhaustive()
    }
}

/// What the host, its objects and its gateway share.
pub(crate) struct Shared {
    own: Weak<Self>,
    types: BTreeMap<&'static str, ObjectType>,
    pub(crate) database: Arc<Database>,
    writer: Writer,
    writing: Mutex<Option<JoinHandle<()>>>,
    scheduler: Scheduler,
    /// The objects in memory; none once the host is closed.
    residents: Mutex<Option<Residents>>,
    /// Says that what still runs has to be given up.
    stopping: watch::Sender<bool>,
    limits: Limits,
    pub(crate) body_limit: usize,
    deadline: Duration,
    pub(crate) runtime: Handle,
    surroundings: Surroundings,
}

type Residents = HashMap<(&'static str, ObjectId), ResidentHandle>;

struct ResidentHandle {
    queue: mpsc::Sender<Message>,
    task: Task<()>,
}

impl Shared {
    pub(crate) fn surroundings(&self) -> Surroundings {
        self.surroundings.clone()
    }

    pub(crate) fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.surroundings.clock)
    }

    /// The type of a namespace, where it is registered.
    pub(crate) fn object_type(&self, namespace: &str) -> Option<&ObjectType> {
        self.types.get(namespace)
    }

    /// The store of an object, and its id with its name.
    pub(crate) fn open_store(
        &self,
        namespace: &'static str,
        id: ObjectId,
    ) -> Result<(ObjectStore, ObjectId), DatabaseError> {
        let database = Arc::clone(&self.database);
        ObjectStore::open(database, self.writer.clone(), self.limits, namespace, id)
    }

    /// One call of one object: the way every call takes, wherever it comes from.
    pub(crate) async fn call(
        &self,
        object_type: &ObjectType,
        id: ObjectId,
        call: Call,
        deadline: Option<Duration>,
    ) -> Result<Response, ErrorReply> {
        let (reply, answer) = oneshot::channel();
        let envelope = Envelope {
            call,
            deadline: Deadline::after(deadline.unwrap_or(self.deadline)),
            reply,
        };
        self.send(object_type, id, envelope)?;
        // The task was aborted, or the runtime is going down.
        answer.await.map_err(|_| ErrorReply::object_reset())?
    }

    /// Puts a call into the queue of its object, which is made resident if it is not.
    fn send(
        &self,
        object_type: &ObjectType,
        id: ObjectId,
        envelope: Envelope,
    ) -> Result<(), ErrorReply> {
        let mut residents = self.residents();
        let Some(residents) = &mut *residents else {
            return Err(ErrorReply::shutting_down());
        };
        let key = (object_type.namespace(), id);
        let queue = match residents.get(&key) {
            // An object whose task has died, which is a mistake of ours, gets another.
            Some(resident) if !resident.queue.is_closed() => &resident.queue,
            _ => {
                let resident = self.make_resident(*object_type, key.1.clone());
                &residents.entry(key).insert_entry(resident).into_mut().queue
            }
        };
        let message = Message::Call(Box::new(envelope));
        queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ErrorReply::overloaded(),
            mpsc::error::TrySendError::Closed(_) => ErrorReply::object_reset(),
        })
    }

    fn make_resident(&self, object_type: ObjectType, id: ObjectId) -> ResidentHandle {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let resident = Resident::new(self.own.clone(), object_type, id, waiting);
        let mut stopping = self.stopping.subscribe();
        let task = self.runtime.spawn(async move {
            tokio::select! {
                () = resident.run() => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
        ResidentHandle { queue, task }
    }

    /// Answers a request of the gateway.
    async fn request(&self, request: Request) -> Result<Response, ErrorReply> {
        let router = &*self.surroundings.router;
        let address = Address::parse(request.uri().path(), self.types.values(), router)?;
        let object_type = &self.types[address.namespace];
        let deadline = deadline(&request)?;
        let call = route(object_type, &address.path, request)?;
        self.call(object_type, address.id, call, deadline).await
    }

    /// Closes all queues and gives the tasks that are finishing them.
    fn close(&self) -> Vec<Task<()>> {
        let residents = self.residents().take().unwrap_or_default();
        residents
            .into_values()
            .map(|resident| resident.task)
            .collect()
    }

    /// Has the writer finish what it was sent, and waits for it.
    fn stop_writing(&self) {
        let writing = lock(&self.writing).take();
        if let Some(writing) = writing {
            self.writer.stop();
            // A writer that panicked has ended too.
            let _ = writing.join();
        }
    }

    fn residents(&self) -> MutexGuard<'_, Option<Residents>> {
        lock(&self.residents)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Before the data folder's lock is let go of.
        self.stop_writing();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code of a user runs under these locks, so a poisoned one still holds whole data.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way from inside the process to its objects.
struct Inside {
    host: Weak<Shared>,
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
        let host = self.host.upgrade();
        let id = id.clone();
        let request = request.clone();
        Box::pin(async move {
            let answer = match &host {
                Some(host) => host.rpc(namespace, id, request).await,
                None => Err(ErrorReply::shutting_down()),
            };
            let response = answer.unwrap_or_else(|error| error_response(&error));
            Ok(to_call_reply(response))
        })
    }

    fn unique_id(&self, namespace: &'static str) -> ObjectId {
        let host = self.host.upgrade();
        let random = host.and_then(|host| host.database.random().ok());
        ObjectId::unique(
            namespace,
            random.expect("an open database gives random bytes"),
        )
    }
}

impl Shared {
    async fn rpc(
        &self,
        namespace: &'static str,
        id: ObjectId,
        request: CallRequest,
    ) -> Result<Response, ErrorReply> {
        let Some(object_type) = self.object_type(namespace) else {
            let known: Vec<&str> = self.types.keys().copied().collect();
            return Err(ErrorReply::namespace_not_found(namespace, &known));
        };
        let call = Call::Rpc(RpcCall {
            method: find_method(object_type.methods(), &request.method)?,
            arguments: request.arguments.into(),
            idempotency_key: request.idempotency_key,
        });
        self.call(object_type, id, call, request.deadline).await
    }
}
