//! An object that is awake: its memory, and a queue of calls that run in it one at a time.
//!
//! While nothing is to be done there is no task, no timer and no channel: only these few fields. A message
//! that finds nobody working starts a task, which works the queue off and ends.

use std::{
    any::Any,
    collections::VecDeque,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Poll, Waker},
    time::Duration,
};

use dokit_client::{Access, ErrorReply, ObjectId};
use dokit_object::{
    Activation, Call, Chain, Context, ObjectType, Response, SocketActions, fail_alarm,
};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, coop::consume_budget},
    task_local,
    time::{Instant, timeout_at},
};
use tracing::{Instrument, Span};

use crate::{
    care::Import,
    engine::Engine,
    flight::{Release, commit_failed},
    load::Place,
    object_store::ObjectStore,
    own::kind,
    weight::Weight,
};

/// How many calls wait for one object at most. One more is answered `overloaded`.
const QUEUE: usize = 1024;

/// How many bytes the engine keeps for an object that is awake: its place, its queue, its context and some
/// values that it has read. `benches` measures 1.5 KiB for one that is small; up to 1 KiB of values are kept.
pub(crate) const KEPT: usize = 2 * 1024;

/// What an object is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Boxed, so that a queue's room is small.
    Call(Box<Envelope>),
    /// Store what was exported. The next call finds the object with that.
    Import(Box<Import>),
    /// Leave memory. It is in the queue with the calls, so it comes between two of them.
    Sleep,
}

/// A call on its way to an object, and who waits for the answer.
#[derive(Debug)]
pub(crate) struct Envelope {
    /// The object, with its name where the caller knows that.
    pub(crate) id: ObjectId,
    pub(crate) call: Call,
    /// When the caller stops waiting.
    pub(crate) deadline: Deadline,
    /// The objects that wait for this call.
    pub(crate) chain: Chain,
    pub(crate) reply: Reply,
    /// What the object tells `tracing` while it runs belongs to it.
    pub(crate) span: Span,
    /// Given back when the call is done.
    pub(crate) place: Place,
}

/// What a call is answered.
pub(crate) type Answer = Result<Response, ErrorReply>;

/// The way of the answer.
pub(crate) type Reply = oneshot::Sender<Answer>;

task_local! {
    /// For what cannot wait, and so cannot be stopped from outside: a statement that runs too long.
    static DEADLINE: Deadline;
}

/// The moment after which a call is given up, by the machine's own time, which nobody sets back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(duration: Duration) -> Self {
        let now = Instant::now();
        let longest = Duration::from_secs(365 * 24 * 60 * 60);
        Self(now + duration.min(longest))
    }

    /// Runs until then: none where the work took longer.
    pub(crate) async fn run<R>(self, work: impl Future<Output = R>) -> Option<R> {
        DEADLINE.scope(self, timeout_at(self.0, work)).await.ok()
    }

    /// Whether what runs on this thread just now is late.
    pub(crate) fn of_this_call_has_passed() -> bool {
        DEADLINE
            .try_with(|deadline| deadline.has_passed())
            .unwrap_or(false)
    }

    fn has_passed(self) -> bool {
        self.0 <= Instant::now()
    }
}

/// An object's place in memory.
#[derive(Debug)]
pub(crate) struct Resident {
    /// Not to be kept alive by its objects: when the host goes, their tasks are ended.
    engine: Weak<Engine>,
    object_type: ObjectType,
    key: [u8; 32],
    queue: Mutex<Queue>,
    /// Whoever holds this works on the object.
    memory: tokio::sync::Mutex<Memory>,
}

#[derive(Debug)]
struct Queue {
    messages: VecDeque<Message>,
    /// The task that works on them; none while the object is idle.
    worker: Option<AbortHandle>,
    /// Wakes the worker where it waits for the next message.
    waker: Option<Waker>,
    /// When it was idle last.
    idle_at: Instant,
    /// Whether it is in the list of those that are put to sleep when they have been idle for long.
    listed: bool,
    /// It takes no messages any more: it has left its place, or the host is closing.
    closed: bool,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many wait.
    Full,
    /// Here is nobody any more; there may be another resident of the object.
    Closed(Message),
}

/// What is in memory of an object.
#[derive(Debug)]
struct Memory {
    id: ObjectId,
    activation: Option<Activation>,
    /// It outlives an activation, so that the next one sees what is on its way, and goes when a commit
    /// has failed.
    store: Option<ObjectStore>,
    /// What all this holds.
    weight: Weight,
}

impl Resident {
    pub(crate) fn new(
        engine: Weak<Engine>,
        object_type: ObjectType,
        id: ObjectId,
        weight: Weight,
    ) -> Self {
        Self {
            engine,
            object_type,
            key: *id.as_bytes(),
            queue: Mutex::new(Queue {
                messages: VecDeque::new(),
                worker: None,
                waker: None,
                idle_at: Instant::now(),
                listed: false,
                closed: false,
            }),
            memory: tokio::sync::Mutex::new(Memory {
                id,
                activation: None,
                store: None,
                weight,
            }),
        }
    }

    pub(crate) fn namespace(&self) -> &'static str {
        self.object_type.namespace()
    }

    pub(crate) fn has_sql(&self) -> bool {
        self.object_type.sql()
    }

    /// The bytes of its id.
    pub(crate) fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Puts a message into the queue, and sees to it that somebody works on it. Gives how many wait
    /// before it.
    pub(crate) fn tell(
        self: &Arc<Self>,
        message: Message,
        runtime: &Handle,
    ) -> Result<usize, Refused> {
        let mut queue = self.queue();
        let before = queue.messages.len();
        if queue.closed {
            return Err(Refused::Closed(message));
        }
        match (&message, queue.messages.back()) {
            (Message::Sleep, Some(Message::Sleep)) => return Ok(before),
            (Message::Sleep, _) => {}
            (_, _) if queue.messages.len() < QUEUE => {}
            (_, _) => return Err(Refused::Full),
        }
        queue.messages.push_back(message);
        if let Some(waker) = queue.waker.take() {
            waker.wake();
        }
        // One that has ended and is still here was killed by a bug of ours, and is not missed.
        if queue.worker.as_ref().is_none_or(AbortHandle::is_finished) {
            let worker = runtime.spawn(Arc::clone(self).work());
            queue.worker = Some(worker.abort_handle());
        }
        Ok(before)
    }

    /// Since when it is idle, if it is, and is not in the list of those yet: now it is.
    pub(crate) fn enlist(&self) -> Option<Instant> {
        let mut queue = self.queue();
        let since = queue.idle_since().filter(|_| !queue.listed);
        queue.listed |= since.is_some();
        since
    }

    /// Since when it is idle. One that is not, leaves the list; when it is again, it comes back.
    pub(crate) fn still_idle(&self) -> Option<Instant> {
        let mut queue = self.queue();
        let since = queue.idle_since();
        queue.listed = since.is_some();
        since
    }

    /// It was taken out of the list of the idle ones.
    pub(crate) fn delist(&self) {
        self.queue().listed = false;
    }

    /// Takes no more messages; those in the queue are worked on.
    pub(crate) fn close(&self) {
        self.queue().closed = true;
    }

    /// Takes no more messages, unless one waits: then it stays. What it had in memory has to be gone.
    pub(crate) fn close_if_empty(&self) -> bool {
        let mut queue = self.queue();
        let empty = queue.messages.is_empty();
        queue.closed |= empty;
        empty
    }

    /// Gives up what runs.
    pub(crate) fn abort(&self) {
        if let Some(worker) = &self.queue().worker {
            worker.abort();
        }
    }

    /// Puts it to sleep, once nothing of it is on its way to the disk; not where it is used again
    /// before that.
    pub(crate) async fn put_to_sleep(&self) {
        let settling = {
            let Ok(mut memory) = self.memory.try_lock() else {
                // Somebody works on it, or has just done so.
                return;
            };
            if memory.is_settled() {
                self.leave(&mut memory);
                return;
            }
            memory.store.clone()
        };
        if let Some(store) = settling {
            store.flight().settled().await;
        }
    }

    /// Returns once it has nothing to do, nothing is on its way to the disk, and it is asleep. It has to
    /// be closed.
    pub(crate) async fn finished(&self) {
        loop {
            let mut memory = self.memory.lock().await;
            if self.queue().messages.is_empty() {
                if let Some(store) = memory.store.clone() {
                    store.flight().settled().await;
                }
                memory.clear();
                return;
            }
            drop(memory);
            // A task that is about to work on them comes first now.
            tokio::task::yield_now().await;
        }
    }

    /// The task: it works on messages until there are no more.
    async fn work(self: Arc<Self>) {
        // The one before may be about to let go.
        let mut memory = self.memory.lock().await;
        let mut next = None;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => match self.next(&memory).await {
                    Some(message) => message,
                    None => break,
                },
            };
            match message {
                Message::Sleep => {
                    memory.reset();
                    if memory.is_settled() && self.leave(&mut memory) {
                        return;
                    }
                }
                Message::Import(import) => {
                    memory.reset();
                    import.run(self.open(&mut memory).await).await;
                }
                Message::Call(envelope) => {
                    // What the object's own code does in a destructor may panic, too.
                    let call = AssertUnwindSafe(self.call(&mut memory, *envelope));
                    next = call.catch_unwind().await.unwrap_or_else(|panic| {
                        memory.panicked(&*panic);
                        None
                    });
                }
            }
            memory.weigh();
        }
        drop(memory);
        if let Some(engine) = self.engine.upgrade() {
            engine.residents().idle(&self);
        }
    }

    /// What comes next; none when there is nothing more to do, and then the object is idle.
    async fn next(&self, memory: &Memory) -> Option<Message> {
        // A task that never has to wait lets others run all the same.
        consume_budget().await;
        if let Some(store) = &memory.store
            && !store.has_room()
            && !self.queue().messages.is_empty()
        {
            // A call that waits in the queue still counts there.
            store.room().await;
        }
        let mut queue = self.queue();
        let message = queue.messages.pop_front();
        if message.is_none() {
            queue.worker = None;
            queue.waker = None;
            queue.messages = VecDeque::new();
            queue.idle_at = Instant::now();
            drop(queue);
            if let Some(store) = &memory.store {
                store.rest();
            }
        }
        message
    }

    /// Does what a call wants done. Gives back what came beside it and has to come after it.
    async fn call(&self, memory: &mut Memory, envelope: Envelope) -> Option<Message> {
        let deadline = envelope.deadline;
        let woken = if deadline.has_passed() {
            None
        } else {
            let ready = async {
                if memory.knows_less_than(&envelope) {
                    memory.learn_name(&envelope.id).await;
                }
                if let Some(store) = &memory.store {
                    store.ready_for(&envelope.call).await;
                }
                self.wake(memory).await
            };
            deadline.run(ready).await
        };
        match (woken, envelope.call.access()) {
            (None, _) => {
                let late = ErrorReply::deadline_exceeded();
                let _ = envelope.reply.send(Err(late));
                None
            }
            (Some(Err(error)), _) => {
                self.answer(memory, envelope.reply, Err(error));
                None
            }
            (Some(Ok(())), Access::Exclusive) => {
                self.exclusive(memory, envelope).await;
                None
            }
            (Some(Ok(())), Access::Shared) => self.shared(memory, envelope).await,
        }
    }

    /// Wakes the object, unless it is awake.
    async fn wake(&self, memory: &mut Memory) -> Result<(), ErrorReply> {
        if memory.activation.is_some() && !memory.has_failed() {
            return Ok(());
        }
        if let Some(store) = &memory.store {
            store.ready_to_wake().await;
        }
        let store = self.open(memory).await?;
        let engine = self.engine.upgrade();
        let engine = engine.ok_or_else(ErrorReply::shutting_down)?;
        let ctx = Context::new(
            memory.id.clone(),
            store.clone(),
            self.object_type.handlers().alarm,
            engine.surroundings(),
        );
        let ctx = engine.switchboard().connect(ctx, &self.object_type);
        drop(engine);
        let open = store.begin().map_err(|error| commit_failed(&error))?;
        let (activation, writes) = self.object_type.wake(ctx).await?;
        open.keep(writes).map_err(|error| commit_failed(&error))?;
        memory.activation = Some(activation);
        Ok(())
    }

    /// The object's store, opened unless it is open. Where a commit has failed, what is in memory goes,
    /// and what is durable counts.
    async fn open(&self, memory: &mut Memory) -> Result<ObjectStore, ErrorReply> {
        match &memory.store {
            Some(store) if !memory.has_failed() => return Ok(store.clone()),
            Some(_) => memory.clear(),
            None => {}
        }
        let engine = self.engine.upgrade();
        let engine = engine.ok_or_else(ErrorReply::shutting_down)?;
        let opening = engine.open_store(self.object_type, memory.id.clone());
        drop(engine);
        let store = opening.await;
        let store = store.map_err(|error| ErrorReply::internal(&error))?;
        memory.id = store.id().clone();
        memory.store = Some(store.clone());
        Ok(store)
    }

    /// Runs a call alone and sends what it wrote on its way. The answer leaves when that is durable,
    /// and all before it.
    async fn exclusive(&self, memory: &mut Memory, envelope: Envelope) {
        let (Some(activation), Some(store)) = (&mut memory.activation, &memory.store) else {
            return;
        };
        let Envelope {
            call,
            deadline,
            chain,
            reply,
            span,
            // Held until the call is done.
            place: _place,
            ..
        } = envelope;
        let is_alarm = matches!(call, Call::Alarm);
        let kind = kind(&call);
        let open = match store.begin() {
            Ok(open) => open,
            Err(error) => {
                let failed = commit_failed(&error);
                return self.answer(memory, reply, Err(failed));
            }
        };
        let mut waited = false;
        let run = notice_waiting(activation.exclusive(call), &mut waited);
        let run = chain.with(memory.id.clone()).scope(run);
        let run = run.instrument(span);
        let outcome = deadline.run(run).await;
        store.pace(kind, waited);
        let Some(outcome) = outcome else {
            // Dropped half way: nothing of it remains, in memory neither, but what it committed.
            drop(open);
            if is_alarm {
                self.give_up_alarm(store).await;
            }
            memory.reset();
            return self.answer(memory, reply, Err(ErrorReply::deadline_exceeded()));
        };
        let open = if outcome.reset { open.anew() } else { Ok(open) };
        let kept = open.and_then(|open| open.keep(outcome.writes));
        let (answer, sockets, reset) = match kept {
            Ok(_) => (outcome.reply, outcome.sockets, outcome.reset),
            Err(error) => (Err(commit_failed(&error)), SocketActions::default(), true),
        };
        if reset {
            memory.reset();
        }
        self.release(memory, reply, answer, sockets);
    }

    /// Counts an alarm whose handler took too long as one that failed.
    async fn give_up_alarm(&self, store: &ObjectStore) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let now = engine.clock().now();
        drop(engine);
        // Where this cannot be written either, the alarm is still there.
        store.ready_for(&Call::Alarm).await;
        let Ok(open) = store.begin() else {
            return;
        };
        let failed = fail_alarm(store, now, "the alarm's handler took too long").await;
        if let Ok(Some(writes)) = failed {
            let _ = open.keep(writes);
        }
    }

    /// Runs a call that only reads, and others of the kind beside it as they come. Gives back what
    /// else came and ended this.
    async fn shared(&self, memory: &mut Memory, first: Envelope) -> Option<Message> {
        let activation = memory.activation.as_ref()?;
        let store = memory.store.as_ref()?;
        let id = &memory.id;
        let read = |envelope: Envelope| async move {
            let Envelope {
                call,
                deadline,
                chain,
                reply,
                span,
                place: _place,
                ..
            } = envelope;
            let run = chain.with(id.clone()).scope(activation.shared(call));
            let run = run.instrument(span);
            let outcome = deadline.run(run).await;
            let (answer, reset) = match outcome {
                Some(outcome) => (outcome.reply, outcome.reset),
                None => (Err(ErrorReply::deadline_exceeded()), false),
            };
            (reply, answer, reset)
        };
        // One that comes after a failure is not to see what has failed, and one that knows the name has
        // the object wake first.
        let joins = |envelope: &Envelope| {
            envelope.call.access() == Access::Shared
                && !envelope.deadline.has_passed()
                && !memory.knows_less_than(envelope)
                && !store.flight().has_failed()
        };
        let mut running = FuturesUnordered::new();
        running.push(read(first));
        let mut next = None;
        let mut reset = false;
        while !running.is_empty() {
            let full = next.is_some() || reset || running.len() >= QUEUE;
            if full || self.queue().messages.is_empty() {
                // What came before these does not wait for them.
                store.rest();
            }
            tokio::select! {
                biased;
                Some((reply, answer, dirty)) = running.next() => {
                    reset |= dirty;
                    self.answer(memory, reply, answer);
                }
                // Answers that wait for the disk are bounded, too.
                () = store.room(), if !store.has_room() => {}
                message = self.arrival(), if !full && store.has_room() => {
                    match message {
                        Message::Call(envelope) if joins(&envelope) => {
                            running.push(read(*envelope));
                        }
                        other => next = Some(other),
                    }
                }
            }
        }
        drop(running);
        if reset {
            memory.reset();
        }
        next
    }

    /// The next message, when it comes. It is for the one worker.
    async fn arrival(&self) -> Message {
        poll_fn(|context| {
            let mut queue = self.queue();
            match queue.messages.pop_front() {
                Some(message) => Poll::Ready(message),
                None => {
                    queue.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Answers, once all that the call may have seen is durable.
    fn answer(&self, memory: &Memory, reply: Reply, answer: Answer) {
        self.release(memory, reply, answer, SocketActions::default());
    }

    /// Does what a call does to sockets and answers it, once all that it wrote or may have seen is
    /// durable.
    fn release(&self, memory: &Memory, reply: Reply, answer: Answer, sockets: SocketActions) {
        if let Err(ErrorReply { log: Some(log), .. }) = &answer {
            let (namespace, id) = (self.namespace(), &memory.id);
            tracing::error!(namespace, %id, name = id.name(), "{log}");
        }
        match &memory.store {
            Some(store) => store.flight().release(Release {
                sockets,
                reply,
                answer,
            }),
            // It could not even be opened.
            None => drop(reply.send(answer)),
        }
    }

    /// Leaves memory, of which nothing may be on its way to the disk. Not so when a call has come
    /// meanwhile: then the object stays.
    fn leave(&self, memory: &mut Memory) -> bool {
        // The object is gone before its place is: when another is made, there is none beside it.
        memory.clear();
        match self.engine.upgrade() {
            Some(engine) => engine.residents().forget(self),
            None => true,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn idle_since(&self) -> Option<Instant> {
        let idle = self.worker.is_none() && self.messages.is_empty() && !self.closed;
        idle.then_some(self.idle_at)
    }
}

impl Memory {
    fn knows_less_than(&self, envelope: &Envelope) -> bool {
        self.id.name().is_none() && envelope.id.name().is_some()
    }

    /// Makes an object that was reached by its id until now wake anew, so that it learns its name. Nothing
    /// that knows the object without it is on its way then.
    async fn learn_name(&mut self, id: &ObjectId) {
        if let Some(store) = &self.store {
            store.settle().await;
        }
        self.clear();
        self.id = id.clone();
    }

    fn has_failed(&self) -> bool {
        let store = self.store.as_ref();
        store.is_some_and(|store| store.flight().has_failed())
    }

    fn is_settled(&self) -> bool {
        let store = self.store.as_ref();
        store.is_none_or(|store| store.flight().is_settled())
    }

    /// Drops the object, but knows what is on its way.
    fn reset(&mut self) {
        let activation = self.activation.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(activation))) {
            self.panicked(&*panic);
        }
    }

    /// Drops all of it.
    fn clear(&mut self) {
        self.reset();
        if let Some(store) = self.store.take() {
            store.leave();
        }
        self.weight.set(0);
    }

    /// Has what it holds now counted.
    fn weigh(&mut self) {
        let activation = self.activation.as_mut();
        let bytes = AssertUnwindSafe(|| activation.map_or(0, Activation::bytes));
        let bytes = catch_unwind(bytes).unwrap_or_else(|panic| {
            self.panicked(&*panic);
            0
        });
        self.weight.set(bytes.saturating_add(KEPT));
    }

    fn panicked(&mut self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let (id, text) = (&self.id, text.unwrap_or("no text"));
        tracing::error!(%id, name = id.name(), "the object panicked between two calls: {text}");
        self.reset();
    }
}

/// Does the work, and notices whether it had to wait for something.
async fn notice_waiting<R>(work: impl Future<Output = R>, waited: &mut bool) -> R {
    let mut work = pin!(work);
    poll_fn(|context| {
        let done = work.as_mut().poll(context);
        *waited |= done.is_pending();
        done
    })
    .await
}
