//! One object: an instance of a Durable Object class, which the platform makes when it wakes.

use std::{
    collections::BTreeMap, fmt, future::poll_fn, pin::pin, rc::Rc, sync::Arc, task::Poll,
    time::Duration,
};

use dokit_client::{Access, ErrorReply, PAYLOAD_BYTES, code};
use dokit_object::{
    Context, Response,
    engine::{
        Activation, Call, Chain, Delivery, InvalidNamespace, ObjectType, Outcome, SocketCall,
        Surroundings, deadline, error_response, fail_alarm, postpone_alarm, route,
    },
};
use dokit_storage::{Batch, Error, Store, Timestamp};
use futures_util::{FutureExt, future::join_all};
use tokio::sync::{RwLock, RwLockReadGuard, Semaphore};
use worker::{
    Env, console_error,
    js_sys::{self, Array, Date, Function, Object as JsObject, Promise, Reflect},
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
    worker_sys::DurableObjectState,
};

use crate::{
    clock::{PlatformClock, millis, timer},
    last_words, message,
    name::Name,
    router::{Bindings, read_id},
    sockets::{Event, Peers},
    store::ObjectStore,
};

/// How long a call may take where its caller does not say.
const DEADLINE: Duration = Duration::from_secs(30);

/// How many calls an object takes at a time, running or waiting. One more is answered `overloaded`.
const CALLS: usize = 1024;

/// How long an alarm's handler may take: the platform ends its event after 15 minutes.
const ALARM_DEADLINE: Duration = Duration::from_secs(14 * 60);

/// How long an exclusive call of an object with SQL may take, from one commit to the next: the platform
/// gives up the object whose transaction takes 30 seconds.
const SQL_DEADLINE: Duration = Duration::from_secs(28);

/// When an alarm that could not be run is tried again.
const ALARM_PAUSE: Duration = Duration::from_secs(30);

/// What an exported class holds: the object, and the events that the platform delivers to it.
#[derive(Clone)]
pub struct Exported {
    object: Rc<Object>,
}

impl Exported {
    /// What the class is constructed with.
    ///
    /// # Errors
    ///
    /// A JavaScript error, for the platform to show.
    pub fn new(
        object_type: Result<ObjectType, InvalidNamespace>,
        state: DurableObjectState,
        env: &Env,
    ) -> Result<Self, JsValue> {
        let object_type = object_type.map_err(|error| js_sys::Error::new(&error.to_string()))?;
        let router = Arc::new(Bindings::new(env.clone()));
        let mut surroundings = Surroundings::new(Arc::new(PlatformClock), router);
        surroundings.variables = Arc::new(variables(env));
        let id = read_id(&state.id()?)?;
        let mut store = ObjectStore::new(state.storage()?);
        if object_type.sql() {
            store = store.with_sql()?;
        }
        let now = surroundings.clock.now();
        let object = Object {
            peers: Peers::restore(Rc::new(state), &object_type, &id, now)?,
            object_type,
            name: Name::new(id),
            store,
            surroundings,
            calls: Semaphore::new(CALLS),
            awake: RwLock::new(None),
        };
        Ok(Self {
            object: Rc::new(object),
        })
    }

    /// The class's `fetch`: the path is relative to the object.
    pub fn fetch(&self, request: web_sys::Request) -> Promise {
        let object = Rc::clone(&self.object);
        let lost = Rc::clone(&object);
        let run = async move {
            let answer = object.request(&request).await;
            let mut response = answer.unwrap_or_else(|error| {
                object.log(&error);
                error_response(&error)
            });
            let upgrade = object.peers.accept(&mut response);
            object.peers.tell_orphans(object.telling()).await;
            match upgrade? {
                Some(upgrade) => Ok(upgrade.into()),
                None => message::write_response(&response).map(JsValue::from),
            }
        };
        last_words::event(run, move |why| message::write_error(&lost.ended(why)))
    }

    /// The class's `webSocketMessage`.
    pub fn websocket_message(&self, socket: web_sys::WebSocket, message: &JsValue) -> Promise {
        self.tell(socket, Event::message(message))
    }

    /// The class's `webSocketClose`.
    pub fn websocket_close(
        &self,
        socket: web_sys::WebSocket,
        code: u16,
        reason: String,
        was_clean: bool,
    ) -> Promise {
        self.tell(socket, Event::closed(code, reason, was_clean))
    }

    /// The class's `webSocketError`.
    pub fn websocket_error(&self, socket: web_sys::WebSocket, error: JsValue) -> Promise {
        self.tell(socket, Event::broken(error))
    }

    fn tell(&self, socket: web_sys::WebSocket, event: Event) -> Promise {
        let object = Rc::clone(&self.object);
        let lost = Rc::clone(&object);
        let run = async move {
            let place = object.calls.try_acquire();
            let now = object.surroundings.clock.now();
            let told = object
                .peers
                .handle(&socket, event, place.is_ok(), now, object.telling());
            told.await;
            Ok(JsValue::UNDEFINED)
        };
        last_words::event(run, move |why| {
            lost.ended(why);
            last_words::answer(&JsValue::UNDEFINED)
        })
    }

    /// The class's `alarm`.
    pub fn alarm(&self, info: &JsValue) -> Promise {
        let object = Rc::clone(&self.object);
        let lost = Rc::clone(&object);
        let scheduled = scheduled_time(info);
        let run = async move {
            // What is thrown here makes the platform try the alarm again.
            let run = object.alarm(scheduled).await;
            run.map_err(|error| js_sys::Error::new(&error.message))?;
            Ok(JsValue::UNDEFINED)
        };
        last_words::event(run, move |why| lost.alarm_at_the_end(why))
    }
}

impl fmt::Debug for Exported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exported").finish_non_exhaustive()
    }
}

struct Object {
    object_type: ObjectType,
    name: Name,
    store: ObjectStore,
    peers: Peers,
    surroundings: Surroundings,
    calls: Semaphore,
    awake: RwLock<Option<Activation>>,
}

impl Object {
    async fn request(&self, raw: &web_sys::Request) -> Result<Response, ErrorReply> {
        let mut request = message::read_request(raw, PAYLOAD_BYTES).await?;
        let name = message::take_name(&mut request);
        let deadline = deadline(&request)?.unwrap_or(DEADLINE);
        let chain = message::read_chain(&request).with(self.name.id().clone());
        let path = request.uri().path().to_owned();
        let call = route(&self.object_type, &path, request)?;
        let Ok(_place) = self.calls.try_acquire() else {
            return Err(ErrorReply::overloaded());
        };
        if let Some(name) = name {
            self.learn_name(&name, deadline).await?;
        }
        self.run_within(deadline, chain, call).await
    }

    /// Has an object that the platform has made by its id wake anew by its name.
    async fn learn_name(&self, name: &str, deadline: Duration) -> Result<(), ErrorReply> {
        if self.name.is_known() {
            return Ok(());
        }
        let namespace = self.object_type.namespace();
        let id = self.surroundings.router.id_from_name(namespace, name);
        let until = self.surroundings.clock.now().saturating_add(deadline);
        let mut awake = self.within(until, self.awake.write()).await?;
        if self.name.learn(id) {
            *awake = None;
        }
        Ok(())
    }

    async fn run_within(
        &self,
        deadline: Duration,
        chain: Chain,
        call: Call,
    ) -> Result<Response, ErrorReply> {
        let until = self.surroundings.clock.now().saturating_add(deadline);
        chain.scope(self.run(call, until)).await
    }

    /// How an event of a socket is run.
    fn telling(&self) -> impl AsyncFn(SocketCall) -> Result<Response, ErrorReply> {
        async |call| {
            let chain = Chain::default().with(self.name.id().clone());
            let answer = self.run_within(DEADLINE, chain, Call::Socket(call)).await;
            if let Err(error) = &answer {
                self.log(error);
            }
            answer
        }
    }

    /// Runs the alarm that the platform delivers. It fails only where the outcome could not be
    /// committed: all else is part of the outcome, or tried again by an alarm of our own.
    async fn alarm(&self, scheduled: Timestamp) -> Result<(), ErrorReply> {
        self.store.ring(scheduled);
        // The event can be a little early by the clock that objects see.
        self.surroundings.clock.sleep_until(scheduled).await;
        let chain = Chain::default().with(self.name.id().clone());
        let until = self.surroundings.clock.now().saturating_add(ALARM_DEADLINE);
        let run = chain.scope(self.run(Call::Alarm, until)).await;
        let error = match run {
            Ok(mut done) => {
                self.store.end_ringing();
                let deliveries = Delivery::take(&mut done).into_iter();
                join_all(deliveries.map(|delivery| self.deliver(delivery))).await;
                return Ok(());
            }
            Err(error) => error,
        };
        self.log(&error);
        let settled = match &*error.code {
            code::COMMIT_FAILED => Err(error),
            // The object could not be woken, or its store not be read.
            _ if self.store.is_ringing() => self.postpone_alarm().await,
            _ => Ok(()),
        };
        self.store.end_ringing();
        settled
    }

    async fn postpone_alarm(&self) -> Result<(), ErrorReply> {
        let now = self.surroundings.clock.now();
        let at = now.saturating_add(ALARM_PAUSE);
        let writes = postpone_alarm(&self.store, now, at).await;
        let writes = writes.unwrap_or_else(|_| {
            let mut again = Batch::new();
            again.set_alarm(at);
            again
        });
        self.commit(writes).await
    }

    /// Makes calls to another object. Where what became of them cannot be told, the alarm makes them again.
    async fn deliver(&self, delivery: Delivery) {
        let delivered = delivery.run(&self.surroundings).await;
        let until = self.surroundings.clock.now().saturating_add(DEADLINE);
        if let Err(error) = self.run(delivered, until).await {
            self.log(&error);
        }
    }

    /// One call: it runs, what it wrote is committed, and only then is it answered.
    async fn run(&self, call: Call, until: Timestamp) -> Result<Response, ErrorReply> {
        match call.access() {
            Access::Shared => self.shared(call, until).await,
            Access::Exclusive => self.exclusive(call, until).await,
        }
    }

    async fn shared(&self, call: Call, until: Timestamp) -> Result<Response, ErrorReply> {
        let awake = self.awake(until).await?;
        let outcome = match &*awake {
            Some(activation) => self.within(until, activation.shared(call)).await?,
            None => return Err(ErrorReply::object_reset()),
        };
        drop(awake);
        if outcome.reset {
            *self.awake.write().await = None;
        }
        outcome.reply
    }

    async fn exclusive(&self, call: Call, until: Timestamp) -> Result<Response, ErrorReply> {
        let is_alarm = matches!(call, Call::Alarm);
        let mut awake = self.within(until, self.awake.write()).await?;
        // Out of its place while it runs: a call that is given up leaves no half-run object.
        let mut activation = match awake.take() {
            Some(activation) => activation,
            None => self.wake(until).await?,
        };
        let running = self
            .store
            .begin()
            .await
            .map_err(|error| commit_failed(&error))?;
        let outcome = match self.within(until, activation.exclusive(call)).await {
            Ok(outcome) => outcome,
            Err(late) => {
                // Dropped half way: nothing of it remains, in memory neither, but what it committed.
                running.undo().await;
                if is_alarm {
                    self.give_up_alarm().await;
                }
                return Err(late);
            }
        };
        let Outcome {
            reply,
            mut writes,
            sockets,
            reset,
            ..
        } = outcome;
        let named = self
            .name
            .join(&mut writes, !reset && self.store.has_written());
        // From here on nobody gives it up: whoever is answered knows how it ended.
        let kept = async {
            if !reset {
                return running.keep(writes).await;
            }
            if writes.is_empty() {
                running.undo().await;
                return Ok(());
            }
            running.anew().await?.keep(writes).await
        };
        kept.await.map_err(|error| commit_failed(&error))?;
        self.name.is_stored(named);
        sockets.perform();
        self.peers.settle();
        if !reset {
            *awake = Some(activation);
        }
        reply
    }

    async fn awake(
        &self,
        until: Timestamp,
    ) -> Result<RwLockReadGuard<'_, Option<Activation>>, ErrorReply> {
        let awake = self.within(until, self.awake.read()).await?;
        if awake.is_some() {
            return Ok(awake);
        }
        drop(awake);
        let mut awake = self.within(until, self.awake.write()).await?;
        if awake.is_none() {
            *awake = Some(self.wake(until).await?);
        }
        Ok(awake.downgrade())
    }

    async fn wake(&self, until: Timestamp) -> Result<Activation, ErrorReply> {
        let recalled = self.name.recall(&self.store).await;
        recalled.map_err(|error| ErrorReply::internal(&error))?;
        let ctx = Context::new(
            self.name.id().clone(),
            self.store.clone(),
            self.object_type.handlers().alarm,
            self.surroundings.clone(),
        );
        let ctx = self.peers.connect(ctx, &self.object_type);
        let running = self
            .store
            .begin()
            .await
            .map_err(|error| commit_failed(&error))?;
        let woken = self.within(until, self.object_type.wake(ctx)).await;
        match woken.and_then(|woken| woken) {
            Ok((activation, mut writes)) => {
                let named = self.name.join(&mut writes, self.store.has_written());
                let kept = running.keep(writes).await;
                kept.map_err(|error| commit_failed(&error))?;
                self.name.is_stored(named);
                self.peers.settle();
                Ok(activation)
            }
            Err(error) => {
                running.undo().await;
                Err(error)
            }
        }
    }

    /// Gives up what takes too long. A timer that was set before a transaction of the platform's does not
    /// ring within it, so there is another for each.
    async fn within<R>(
        &self,
        until: Timestamp,
        run: impl Future<Output = R>,
    ) -> Result<R, ErrorReply> {
        let mut run = pin!(run);
        loop {
            let transaction = self.store.transaction();
            let mut left = until.saturating_duration_since(self.surroundings.clock.now());
            if transaction.is_some() {
                left = left.min(SQL_DEADLINE);
            }
            let mut timer = pin!(timer(left));
            let ended = poll_fn(|context| {
                if let Poll::Ready(done) = run.as_mut().poll(context) {
                    return Poll::Ready(Some(Ok(done)));
                }
                if self.store.transaction() != transaction {
                    return Poll::Ready(None);
                }
                let late = timer.as_mut().poll(context);
                late.map(|()| Some(Err(ErrorReply::deadline_exceeded())))
            });
            if let Some(ended) = ended.await {
                return ended;
            }
        }
    }

    /// Counts an alarm whose handler took too long as one that failed.
    async fn give_up_alarm(&self) {
        let now = self.surroundings.clock.now();
        let failed = fail_alarm(&self.store, now, "the alarm's handler took too long").await;
        // Where this cannot be written either, the alarm is still there.
        if let Ok(Some(writes)) = failed
            && let Err(error) = self.commit(writes).await
        {
            self.log(&error);
        }
    }

    async fn commit(&self, writes: Batch) -> Result<(), ErrorReply> {
        if writes.is_empty() {
            return Ok(());
        }
        let committed = self.store.clone().commit(writes).await;
        committed.map_err(|error| commit_failed(&error))
    }

    /// What an event is answered when the program ends, given why it was this one that ended it.
    fn ended(&self, why: Option<&str>) -> ErrorReply {
        let error = match why {
            Some(why) => ErrorReply::internal(&Panicked(why.to_owned())),
            None => ErrorReply::object_reset(),
        };
        self.log(&error);
        error
    }

    /// Counts an alarm whose handler ended the program as one that failed. The platform writes that when what
    /// the handler wrote is undone; nothing of ours runs then any more. One that another event ended is the
    /// platform's to try again: it lets nobody write to an object from another's event.
    fn alarm_at_the_end(&self, why: Option<&str>) -> Result<Function, JsValue> {
        let error = self.ended(why);
        let text = error.log.as_deref().unwrap_or(&error.message);
        let (now, stored) = (self.surroundings.clock.now(), self.store.at_once());
        let again = || last_words::throw(&js_sys::Error::new(text));
        if why.is_none() {
            return again();
        }
        if stored.ringing.is_none() {
            // What becomes of it is on disk.
            return last_words::answer(&JsValue::UNDEFINED);
        }
        let writes = async {
            match fail_alarm(&stored, now, text).await? {
                Some(writes) => Ok(writes),
                None => postpone_alarm(&stored, now, now.saturating_add(ALARM_PAUSE)).await,
            }
        };
        match writes.now_or_never() {
            Some(Ok(writes)) => last_words::answer(&self.store.leave(&writes)),
            _ => again(),
        }
    }

    fn log(&self, error: &ErrorReply) {
        if let Some(log) = &error.log {
            let (namespace, id) = (self.object_type.namespace(), self.name.id());
            console_error!("{namespace} {id:?}: {log}");
        }
    }
}

/// What the log gets to see of a panic; the caller sees `internal error`.
#[derive(Debug, thiserror::Error)]
#[error("the object panicked: {0}")]
struct Panicked(String);

fn commit_failed(error: &Error) -> ErrorReply {
    let mut failed = ErrorReply::commit_failed();
    failed.log = ErrorReply::internal(error).log;
    failed
}

/// The Worker's variables: those of its bindings that are text.
fn variables(env: &Env) -> BTreeMap<String, String> {
    let bindings: &JsObject = env.unchecked_ref();
    let texts = JsObject::entries(bindings).into_iter().filter_map(|entry| {
        let entry: Array = entry.unchecked_into();
        entry.get(0).as_string().zip(entry.get(1).as_string())
    });
    texts.collect()
}

/// When the alarm was set for, by what the platform delivers with it.
fn scheduled_time(info: &JsValue) -> Timestamp {
    let time = Reflect::get(info, &"scheduledTime".into()).unwrap_or_default();
    let date = time.dyn_ref::<Date>().map(Date::get_time);
    millis(time.as_f64().or(date).unwrap_or_else(Date::now))
}
