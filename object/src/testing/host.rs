//! The host of a test: objects with no server, no threads, and a clock that is moved by hand.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use dokit_alarms::Interval;
use dokit_client::{Access, CallReply, CallRequest, ErrorReply, ObjectId, TransportError};
use dokit_storage::{Batch, Faults, Store, Timestamp};
use futures_util::future::join_all;
use tokio::sync::RwLock;

use super::{
    Disk, ManualClock, TestSocket,
    disk::Running,
    socket::{self, Peers},
};
use crate::{
    BoxFuture, Clock, Context, DurableObject, Namespace, Request, Response,
    engine::{
        Activation, Address, Call, Chain, Delivery, ObjectType, Outcome, Router, SocketLimits,
        Surroundings, Switchboard, error_response, route, to_call_reply, traceparent,
    },
};

/// How many alarms one [`TestHost::advance`] runs before it takes them for a loop without end.
const ALARMS: usize = 100_000;

/// An engine over memory, for tests.
///
/// What a call commits is "on disk" at once; [`crash`](Self::crash) loses everything else. Clones are
/// handles to the same host.
#[derive(Clone)]
pub struct TestHost {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    types: Mutex<BTreeMap<&'static str, ObjectType>>,
    objects: Mutex<BTreeMap<(&'static str, ObjectKey), Arc<Slot>>>,
    variables: Mutex<BTreeMap<String, String>>,
    pub(super) clock: ManualClock,
    router: Arc<dyn Router>,
    ids: AtomicU64,
    /// How often it has crashed.
    crashes: AtomicU64,
    /// Whether it has since seen to what was lost on its way.
    recovered: AtomicBool,
    switchboard: Switchboard,
    pub(super) peers: Arc<Peers>,
}

/// Ids in the order of their bytes, so that a test's runs are all alike.
type ObjectKey = [u8; 32];

/// One object: what is on its disk, and what is in memory while it is awake.
struct Slot {
    /// With its name, once somebody has called it by that.
    id: Mutex<ObjectId>,
    object_type: ObjectType,
    disk: Faults<Disk>,
    awake: RwLock<Option<Activation>>,
}

impl Default for TestHost {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHost {
    /// A host without object types.
    #[must_use]
    pub fn new() -> Self {
        let clock = ManualClock::new();
        let peers = Arc::new(Peers::default());
        let orphans = Arc::downgrade(&peers);
        let switchboard = Switchboard::new(SocketLimits::default(), clock.now(), move |orphan| {
            if let Some(peers) = orphans.upgrade() {
                peers.vanished(orphan);
            }
        });
        let shared = Arc::new_cyclic(|own: &Weak<Shared>| Shared {
            types: Mutex::default(),
            objects: Mutex::default(),
            variables: Mutex::default(),
            clock,
            router: Arc::new(Inside { host: own.clone() }),
            ids: AtomicU64::new(0),
            crashes: AtomicU64::new(0),
            recovered: AtomicBool::new(true),
            switchboard,
            peers,
        });
        Self { shared }
    }

    /// Serves objects of this type.
    ///
    /// # Panics
    ///
    /// When its namespace could not stand in an address; when it has SQL, and the crate has not the feature
    /// `sqlite`.
    #[must_use]
    #[track_caller]
    pub fn object<T: DurableObject>(self) -> Self {
        let object_type = match ObjectType::of::<T>() {
            Ok(object_type) => object_type,
            Err(invalid) => panic!("{invalid}"),
        };
        assert!(
            Disk::serves(&object_type),
            "objects of {:?} have SQL: the test kit serves them with the feature `sqlite`, of dokit or of dokit-object",
            T::NAMESPACE
        );
        lock(&self.shared.types).insert(T::NAMESPACE, object_type);
        self
    }

    /// Sets a variable, for objects that wake after this.
    #[must_use]
    pub fn variable(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        lock(&self.shared.variables).insert(name.into(), value.into());
        self
    }

    /// The objects of a type, to call them.
    #[must_use]
    pub fn namespace<T: DurableObject>(&self) -> Namespace {
        Namespace::new(T::NAMESPACE, Arc::clone(&self.shared.router))
    }

    /// Answers a request as a gateway does: its path names the object.
    pub async fn handle(&self, request: Request) -> Response {
        socket::pump(&self.shared).await;
        let answer = self.shared.request(request).await;
        answer.unwrap_or_else(|error| error_response(&error))
    }

    /// Opens a WebSocket to an object, by its name and a path relative to it, such as `/live?user=ann`.
    ///
    /// # Errors
    ///
    /// The object's answer, where it does not accept.
    pub async fn connect<T: DurableObject>(
        &self,
        name: &str,
        path: &str,
    ) -> Result<TestSocket, Response> {
        let id = ObjectId::from_name(T::NAMESPACE, name);
        socket::connect(&self.shared, T::NAMESPACE, &id, path).await
    }

    /// The clock of this host.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.shared.clock
    }

    /// Lets time pass, such as `"1d"` or a [`Duration`], and runs the alarms that fall due in it: each
    /// at its own time, in their order. Calls that were handed to
    /// [`Context::after_commit`](crate::Context::after_commit) are made then too.
    ///
    /// # Panics
    ///
    /// When the text is not a duration; after 100,000 alarms, which is a loop without end.
    pub async fn advance(&self, by: impl Into<Interval>) {
        let by = match by.into().resolve() {
            Ok(by) => by,
            Err(error) => panic!("{error}"),
        };
        self.pass(by).await;
    }

    /// Runs the alarms that are due now, and makes the calls that were handed to
    /// [`Context::after_commit`](crate::Context::after_commit).
    pub async fn settle(&self) {
        self.pass(Duration::ZERO).await;
    }

    async fn pass(&self, by: Duration) {
        socket::pump(&self.shared).await;
        let clock = &self.shared.clock;
        if !self.shared.recovered.swap(true, Ordering::Relaxed) {
            self.recover().await;
        }
        let end = clock.now().saturating_add(by);
        // Alarms that could not be run, such as on a dead disk, wait longer and longer.
        let mut held = HashMap::new();
        let mut failures = 0_u32;
        for _ in 0..ALARMS {
            let Some((at, key, slot)) = self.shared.next_alarm(&held).await else {
                break;
            };
            let at = at.max(clock.now());
            if at > end {
                break;
            }
            clock.set(at);
            let before = slot.disk.alarm().await.ok();
            let rung = self.ring(&slot).await;
            held.remove(&key);
            if rung.is_err() && slot.disk.alarm().await.ok() == before {
                let wait = Duration::from_secs(1 << failures.min(10));
                held.insert(key, at.saturating_add(wait));
                failures += 1;
            }
        }
        let left = self.shared.next_alarm(&held).await;
        assert!(
            left.is_none_or(|(at, ..)| at > end),
            "{ALARMS} alarms ran and more are due: an alarm sets itself again without end"
        );
        clock.set(end);
        socket::pump(&self.shared).await;
    }

    /// Calls that were on their way at the crash are made again.
    async fn recover(&self) {
        let now = self.shared.clock.now();
        let until = now.saturating_add(Delivery::LEASE);
        let slots: Vec<_> = lock(&self.shared.objects).values().cloned().collect();
        for slot in slots {
            let alarm = slot.disk.alarm().await.ok().flatten();
            if alarm.is_some_and(|at| now < at && at <= until) {
                // Where it fails it is made again later.
                let _ = self.ring(&slot).await;
            }
        }
    }

    /// Has an object look at its alarm, and makes the calls that it gives out.
    async fn ring(&self, slot: &Slot) -> Result<(), ErrorReply> {
        let id = lock(&slot.id).clone();
        let chain = Chain::default().with(id);
        let mut answer = chain.scope(self.shared.run(slot, Call::Alarm)).await?;
        let surroundings = self.shared.surroundings();
        let deliveries = Delivery::take(&mut answer).into_iter();
        join_all(deliveries.map(async |delivery| {
            let delivered = delivery.run(&surroundings).await;
            // One that cannot be noted is made again, as after a crash.
            let _ = self.shared.run(slot, delivered).await;
        }))
        .await;
        Ok(())
    }

    /// Puts every object that does not run to sleep. Nobody may be able to tell.
    pub fn sleep(&self) {
        for slot in lock(&self.shared.objects).values() {
            if let Ok(mut awake) = slot.awake.try_write() {
                *awake = None;
            }
        }
    }

    /// Loses everything that is not on disk, as `kill -9` does. Calls that run are the caller's to
    /// drop; to its peers every socket has ended with 1006.
    pub fn crash(&self) {
        self.shared.switchboard.forget_all();
        self.shared.peers.cut();
        self.shared.crashes.fetch_add(1, Ordering::Relaxed);
        self.shared.recovered.store(false, Ordering::Relaxed);
        let objects = &mut *lock(&self.shared.objects);
        for slot in objects.values_mut() {
            let id = lock(&slot.id).clone();
            slot.disk.store().crash();
            *slot = Arc::new(Slot {
                id: Mutex::new(id),
                object_type: slot.object_type,
                disk: slot.disk.clone(),
                awake: RwLock::new(None),
            });
        }
    }

    /// The disk of an object: to look at what is stored, and to break it.
    ///
    /// # Panics
    ///
    /// When the type is not served.
    #[must_use]
    pub fn disk<T: DurableObject>(&self, id: &ObjectId) -> Faults<Disk> {
        match self.shared.slot(T::NAMESPACE, id) {
            Ok(slot) => slot.disk.clone(),
            Err(error) => panic!("{}", error.message),
        }
    }
}

impl fmt::Debug for TestHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestHost").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn object_type(&self, namespace: &str) -> Result<ObjectType, ErrorReply> {
        let types = lock(&self.types);
        let known = || types.keys().copied().collect::<Vec<_>>();
        let found = types.get(namespace).copied();
        found.ok_or_else(|| ErrorReply::namespace_not_found(namespace, &known()))
    }

    fn slot(&self, namespace: &str, id: &ObjectId) -> Result<Arc<Slot>, ErrorReply> {
        let object_type = self.object_type(namespace)?;
        let key = (object_type.namespace(), *id.as_bytes());
        let slot = || {
            Arc::new(Slot {
                id: Mutex::new(id.clone()),
                object_type,
                disk: Faults::new(Disk::new(&object_type)),
                awake: RwLock::new(None),
            })
        };
        Ok(Arc::clone(
            lock(&self.objects).entry(key).or_insert_with(slot),
        ))
    }

    async fn request(&self, request: Request) -> Result<Response, ErrorReply> {
        let types: Vec<ObjectType> = lock(&self.types).values().copied().collect();
        let address = Address::parse(request.uri().path(), &types, &*self.router)?;
        let object_type = self.object_type(address.namespace)?;
        let chain = Chain::default().in_trace(traceparent(&request));
        let call = route(&object_type, &address.path, request)?;
        self.call(address.namespace, &address.id, call, chain).await
    }

    /// One call of one object.
    pub(super) async fn call(
        &self,
        namespace: &str,
        id: &ObjectId,
        call: Call,
        chain: Chain,
    ) -> Result<Response, ErrorReply> {
        let slot = self.slot(namespace, id)?;
        if chain.contains(id) {
            return Err(ErrorReply::reentrant_call());
        }
        let learns_name = lock(&slot.id).name().is_none() && id.name().is_some();
        if learns_name {
            // It was reached by its id until now. It wakes anew to learn its name.
            let mut awake = slot.awake.write().await;
            *lock(&slot.id) = id.clone();
            *awake = None;
        }
        let answer = chain.with(id.clone()).scope(self.run(&slot, call)).await;
        if let Err(ErrorReply { log: Some(log), .. }) = &answer {
            // What a host would write into its log. A test that fails shows it.
            eprintln!("{namespace} {:?}: {log}", id.name().unwrap_or_default());
        }
        answer
    }

    async fn run(&self, slot: &Slot, call: Call) -> Result<Response, ErrorReply> {
        if call.access() == Access::Shared {
            let awake = self.awake(slot).await?;
            let outcome = match &*awake {
                Some(activation) => activation.shared(call).await,
                None => return Err(ErrorReply::object_reset()),
            };
            drop(awake);
            if outcome.reset {
                *slot.awake.write().await = None;
            }
            return outcome.reply;
        }
        let mut awake = slot.awake.write().await;
        // Out of its place while it runs: a caller that stops waiting leaves no half-run object.
        let mut activation = match awake.take() {
            Some(activation) => activation,
            None => self.wake(slot).await?,
        };
        let running = slot.disk.store().begin();
        let Outcome {
            reply,
            writes,
            sockets,
            reset,
            ..
        } = activation.exclusive(call).await;
        if reset {
            running.undo();
        }
        commit(slot, &running, writes).await?;
        drop(running);
        sockets.perform();
        if !reset {
            *awake = Some(activation);
        }
        reply
    }

    fn surroundings(&self) -> Surroundings {
        let mut surroundings =
            Surroundings::new(Arc::new(self.clock.clone()), Arc::clone(&self.router));
        surroundings.variables = Arc::new(lock(&self.variables).clone());
        surroundings.run = Some(self.crashes.load(Ordering::Relaxed));
        surroundings
    }

    async fn awake<'s>(
        &self,
        slot: &'s Slot,
    ) -> Result<tokio::sync::RwLockReadGuard<'s, Option<Activation>>, ErrorReply> {
        let awake = slot.awake.read().await;
        if awake.is_some() {
            return Ok(awake);
        }
        drop(awake);
        let mut awake = slot.awake.write().await;
        if awake.is_none() {
            *awake = Some(self.wake(slot).await?);
        }
        Ok(awake.downgrade())
    }

    async fn wake(&self, slot: &Slot) -> Result<Activation, ErrorReply> {
        let alarm_handler = slot.object_type.handlers().alarm;
        let ctx = Context::new(
            lock(&slot.id).clone(),
            slot.disk.clone(),
            alarm_handler,
            self.surroundings(),
        );
        let ctx = self.switchboard.connect(ctx, &slot.object_type);
        let running = slot.disk.store().begin();
        let (activation, writes) = slot.object_type.wake(ctx).await?;
        commit(slot, &running, writes).await?;
        Ok(activation)
    }

    /// The earliest alarm of all, and whose it is.
    async fn next_alarm(
        &self,
        held: &HashMap<(&'static str, ObjectKey), Timestamp>,
    ) -> Option<(Timestamp, (&'static str, ObjectKey), Arc<Slot>)> {
        let slots: Vec<_> = lock(&self.objects)
            .iter()
            .map(|(key, slot)| (*key, Arc::clone(slot)))
            .collect();
        let mut next: Option<(Timestamp, (&'static str, ObjectKey), Arc<Slot>)> = None;
        for (key, slot) in slots {
            // A disk that cannot be read has no alarm that could be run.
            let Ok(Some(at)) = slot.disk.alarm().await else {
                continue;
            };
            let at = held.get(&key).map_or(at, |until| at.max(*until));
            if next.as_ref().is_none_or(|(earliest, ..)| at < *earliest) {
                next = Some((at, key, slot));
            }
        }
        next
    }
}

/// Makes durable what a call has written.
async fn commit(slot: &Slot, running: &Running<'_>, writes: Batch) -> Result<(), ErrorReply> {
    if writes.is_empty() && !running.has_written() {
        return Ok(());
    }
    let committed = slot.disk.clone().commit(writes).await;
    committed.map_err(|_| ErrorReply::commit_failed())
}

/// The way from one object to another.
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
        let chain = Chain::current();
        let (id, request) = (id.clone(), request.clone());
        let run = async move {
            let host = host.ok_or_else(ErrorReply::shutting_down)?;
            if chain.ids().next().is_none() {
                socket::pump(&host).await;
            }
            let chain = chain.in_trace(request.traceparent.as_deref());
            let call = host.object_type(namespace)?.call(request)?;
            host.call(namespace, &id, call, chain).await
        };
        reply(run)
    }

    fn unique_id(&self, namespace: &'static str) -> ObjectId {
        let next = self.host.upgrade();
        let next = next.map_or(0, |host| host.ids.fetch_add(1, Ordering::Relaxed));
        ObjectId::unique(namespace, u128::from(next).to_be_bytes())
    }
}

fn reply(
    run: impl Future<Output = Result<Response, ErrorReply>> + Send + 'static,
) -> BoxFuture<'static, Result<CallReply, TransportError>> {
    Box::pin(async {
        let response = run.await.unwrap_or_else(|error| error_response(&error));
        Ok(to_call_reply(response))
    })
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No code of a user runs under these locks, so a poisoned one still holds whole data.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
