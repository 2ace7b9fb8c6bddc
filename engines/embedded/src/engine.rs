//! What all objects of a host share: their types, which of them are in memory, the database, and the one
//! way that every call takes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    thread::JoinHandle,
    time::Duration,
};

use dokit_client::{CallReply, CallRequest, ErrorReply, ObjectId, TransportError};
use dokit_object::{
    Address, BoxFuture, Call, Chain, Clock, ObjectType, Request, Response, Router, Surroundings,
    deadline, error_response, route, to_call_reply,
};
use dokit_storage::Limits;
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinHandle as Task,
};

use crate::{
    connection::Patience,
    database::{self, Database},
    doors::Doors,
    error::{DatabaseError, StartError},
    load::{Load, Place},
    resident::{Deadline, Envelope, Message, QUEUE, Resident},
    scheduler::{self, Scheduler},
    serving::Serving,
    store::ObjectStore,
    writer::Writer,
};

/// What a builder has gathered.
pub(crate) struct Settings {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) limits: Limits,
    pub(crate) body_limit: usize,
    pub(crate) deadline: Duration,
    pub(crate) longest_deadline: Duration,
    pub(crate) sleep_after: Duration,
    pub(crate) doors: Doors,
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
    pub(crate) database: Arc<Database>,
    writer: Writer,
    writing: Mutex<Option<JoinHandle<()>>>,
    alarms: OnceLock<Task<()>>,
    scheduler: Scheduler,
    /// The objects in memory; none once the host is closed.
    residents: Mutex<Option<Residents>>,
    /// Says that what still runs has to be given up; so does its end.
    stopping: watch::Sender<bool>,
    /// Held by the one shutdown that there is.
    shutdown: tokio::sync::Mutex<()>,
    settings: Settings,
    load: Arc<Load>,
    serving: Serving,
    runtime: Handle,
    surroundings: Surroundings,
}

type Residents = HashMap<(&'static str, ObjectId), ResidentHandle>;

struct ResidentHandle {
    queue: mpsc::Sender<Message>,
    task: Task<()>,
}

impl Engine {
    pub(crate) fn start(
        data: &Path,
        types: BTreeMap<&'static str, ObjectType>,
        mut settings: Settings,
    ) -> Result<Arc<Self>, StartError> {
        let (database, connection) = database::open(data, types.keys().copied())?;
        let scheduler = Scheduler::default();
        let alarm_set = scheduler.clone();
        let (writer, writing) = Writer::start(connection, move |at| alarm_set.set(at));
        let runtime = Handle::current();
        let engine = Arc::new_cyclic(|own| {
            let router = Arc::new(Inside {
                engine: own.clone(),
            });
            let mut surroundings = Surroundings::new(Arc::clone(&settings.clock), router);
            surroundings.variables = Arc::new(std::mem::take(&mut settings.variables));
            Self {
                own: own.clone(),
                types,
                database: Arc::new(database),
                writer,
                writing: Mutex::new(Some(writing)),
                alarms: OnceLock::new(),
                scheduler,
                residents: Mutex::new(Some(HashMap::new())),
                stopping: watch::Sender::new(false),
                shutdown: tokio::sync::Mutex::new(()),
                load: Arc::new(Load::new(settings.waiting_calls, settings.waiting_bytes)),
                serving: Serving {
                    patience: settings.patience,
                    connections: Arc::new(Semaphore::new(settings.connections)),
                    drain: settings.drain,
                },
                settings,
                runtime,
                surroundings,
            }
        });
        // Not sooner: a task that finds no engine ends.
        let alarms = scheduler::run(engine.own(), engine.scheduler.clone());
        let _ = engine.alarms.set(engine.runtime.spawn(alarms));
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

    pub(crate) fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// The type of a namespace, where it is registered.
    pub(crate) fn object_type(&self, namespace: &str) -> Option<ObjectType> {
        self.types.get(namespace).copied()
    }

    /// The store of an object of which no other is open.
    pub(crate) fn open_store(
        &self,
        namespace: &'static str,
        id: ObjectId,
    ) -> Result<ObjectStore, DatabaseError> {
        let database = Arc::clone(&self.database);
        ObjectStore::open(database, self.writer(), self.settings.limits, namespace, id)
    }

    /// Answers a request of the gateway.
    pub(crate) async fn request(&self, request: Request, place: Place) -> Response {
        let answer = match self.accept(request, place) {
            Ok(answer) => answer.await,
            Err(refused) => Err(refused),
        };
        answer.unwrap_or_else(|error| error_response(&error))
    }

    fn accept(&self, request: Request, place: Place) -> Result<Answer, ErrorReply> {
        let router = &*self.surroundings.router;
        let address = Address::parse(request.uri().path(), self.types.values(), router)?;
        let object_type = self.types[address.namespace];
        let deadline = self.deadline(deadline(&request)?);
        let call = route(&object_type, &address.path, request)?;
        let chain = Chain::default();
        self.submit(object_type, address.id, call, deadline, chain, place)
    }

    /// Accepts a call of a method that comes from inside the process.
    fn rpc(
        &self,
        namespace: &'static str,
        id: ObjectId,
        request: CallRequest,
        chain: Chain,
    ) -> Result<Answer, ErrorReply> {
        let Some(object_type) = self.object_type(namespace) else {
            let known: Vec<&str> = self.types.keys().copied().collect();
            return Err(ErrorReply::namespace_not_found(namespace, &known));
        };
        let mut place = self.load().enter()?;
        place.bring(request.arguments.len())?;
        let deadline = self.deadline(request.deadline);
        let call = object_type.call(request)?;
        self.submit(object_type, id, call, deadline, chain, place)
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
        id: ObjectId,
        call: Call,
        deadline: Duration,
        chain: Chain,
        place: Place,
    ) -> Result<Answer, ErrorReply> {
        if chain.contains(&id) {
            return Err(ErrorReply::reentrant_call());
        }
        let (reply, answer) = oneshot::channel();
        let deadline = Deadline::after(deadline);
        let envelope = Envelope {
            id: id.clone(),
            call,
            deadline,
            chain,
            reply,
            _place: place,
        };
        let mut residents = self.residents();
        let Some(residents) = &mut *residents else {
            return Err(ErrorReply::shutting_down());
        };
        let key = (object_type.namespace(), id);
        let queue = match residents.get(&key) {
            Some(resident) if !resident.queue.is_closed() => &resident.queue,
            // An object whose task has died, of a panic in a destructor, gets another.
            died => {
                let in_doubt = died.is_some();
                let resident = self.make_resident(object_type, key.1.clone(), in_doubt);
                &residents.entry(key).insert_entry(resident).into_mut().queue
            }
        };
        let message = Message::Call(Box::new(envelope));
        queue.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ErrorReply::overloaded(),
            mpsc::error::TrySendError::Closed(_) => ErrorReply::object_reset(),
        })?;
        Ok(Answer { deadline, answer })
    }

    fn make_resident(
        &self,
        object_type: ObjectType,
        id: ObjectId,
        in_doubt: bool,
    ) -> ResidentHandle {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let resident = Resident::new(
            self.own.clone(),
            object_type,
            id,
            waiting,
            self.settings.sleep_after,
            in_doubt,
        );
        let mut stopping = self.stopping.subscribe();
        let task = self.runtime.spawn(async move {
            tokio::select! {
                () = resident.run() => {}
                // Also when the engine is gone, and the sender with it.
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
        ResidentHandle { queue, task }
    }

    /// Takes an object out of memory, unless a call waits in its queue. Calls are put there under the
    /// same lock, so either it is seen here, or its caller sees that the object has gone.
    pub(crate) fn forget(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        queue: &mpsc::Receiver<Message>,
    ) -> bool {
        let mut residents = self.residents();
        if !queue.is_empty() {
            return false;
        }
        if let Some(residents) = &mut *residents {
            residents.remove(&(namespace, id.clone()));
        }
        true
    }

    pub(crate) async fn alarms_settled(&self) {
        self.scheduler.settled().await;
    }

    pub(crate) async fn sleep(&self) {
        let queues: Vec<_> = match &*self.residents() {
            Some(residents) => residents.values().map(|one| one.queue.clone()).collect(),
            None => return,
        };
        for queue in queues {
            // A queue that has closed belongs to an object that has left memory already.
            let _ = queue.send(Message::Sleep).await;
        }
    }

    pub(crate) async fn shutdown(&self, grace: Duration) {
        // A second one waits for the first.
        let _only = self.shutdown.lock().await;
        self.stop_alarms();
        let residents = self.residents().take().unwrap_or_default();
        let mut tasks: Vec<Task<()>> = residents.into_values().map(|one| one.task).collect();
        let finish = async {
            for task in &mut tasks {
                // A task that panicked is done too.
                let _ = task.await;
            }
        };
        if tokio::time::timeout(grace, finish).await.is_err() {
            tracing::warn!("calls still ran after {grace:?} and were given up");
            self.stopping.send_replace(true);
            for task in tasks {
                task.abort();
            }
        }
        if let Some(own) = self.own.upgrade() {
            let _ = tokio::task::spawn_blocking(move || own.close()).await;
        }
    }

    fn stop_alarms(&self) {
        if let Some(alarms) = self.alarms.get() {
            alarms.abort();
        }
        self.scheduler.stop();
    }

    /// Has the writer finish what it was sent, waits for it, and lets go of the data folder.
    fn close(&self) {
        let writing = lock(&self.writing).take();
        if let Some(writing) = writing {
            self.writer.stop();
            // A writer that panicked has ended too.
            let _ = writing.join();
        }
        self.database.unlock();
    }

    fn residents(&self) -> MutexGuard<'_, Option<Residents>> {
        lock(&self.residents)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop_alarms();
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
}

impl IntoFuture for Answer {
    type Output = Result<Response, ErrorReply>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.deadline.run(self.answer).await {
                None => Err(ErrorReply::deadline_exceeded()),
                // The object's task was given up.
                Some(Err(_)) => Err(ErrorReply::object_reset()),
                Some(Ok(answer)) => answer,
            }
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
            Some(engine) => engine.rpc(namespace, id.clone(), request.clone(), Chain::current()),
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
        let mut random = [0; 16];
        // A system without randomness cannot run anything that is safe.
        getrandom::fill(&mut random).expect("the system gives random bytes");
        ObjectId::unique(namespace, random)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code of a user runs under these locks, so a poisoned one still holds whole data.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use dokit_client::rpc;
    use dokit_object::{Context, DurableObject, Result, durable_object};
    use tempfile::tempdir;
    use tokio::task::yield_now;

    use super::*;
    use crate::Host;

    #[rpc]
    trait EchoApi {
        async fn echo(&mut self, text: String) -> Result<String>;
    }

    struct Echo;

    #[durable_object]
    impl DurableObject for Echo {
        type Api = EchoApiServer;

        async fn new(_: Context) -> Result<Self> {
            Ok(Self)
        }
    }

    impl EchoApi for Echo {
        async fn echo(&mut self, text: String) -> Result<String> {
            Ok(text)
        }
    }

    async fn call_fifty(host: &Host) {
        for number in 0..50 {
            let name = number.to_string();
            let echo = EchoApiClient::new(host.namespace::<Echo>().get_by_name(&name));
            assert_eq!(echo.echo(name.clone()).await.unwrap(), name);
        }
    }

    fn in_memory(host: &Host) -> usize {
        host.engine().residents().as_ref().map_or(0, HashMap::len)
    }

    #[tokio::test]
    async fn an_object_that_is_asleep_has_no_task_no_queue_and_no_place_in_memory() {
        let data = tempdir().unwrap();
        let host = Host::builder().data(data.path()).object::<Echo>();
        let host = host.sleep_after(Duration::ZERO).start().unwrap();
        let tasks = || Handle::current().metrics().num_alive_tasks();
        let before = tasks();
        call_fifty(&host).await;
        while in_memory(&host) > 0 || tasks() > before {
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn objects_that_are_told_to_sleep_leave_memory_too() {
        let data = tempdir().unwrap();
        let host = Host::builder().data(data.path()).object::<Echo>();
        let host = host.sleep_after(Duration::from_secs(3600)).start().unwrap();
        call_fifty(&host).await;
        assert_eq!(in_memory(&host), 50);
        host.sleep().await;
        while in_memory(&host) > 0 {
            yield_now().await;
        }
    }
}
