//! An object that is awake: its memory, and a queue of calls that run in it one at a time.
//!
//! While nothing is to be done there is no task, no timer and no channel: only these few fields. A message
//! that finds nobody working starts a task, which works the queue off and ends.

mod memory;
mod running;

use std::{
    collections::VecDeque,
    future::poll_fn,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Poll, Waker},
};

use dokit_client::{ErrorReply, ObjectId};
use dokit_object::{
    Response,
    engine::{Call, Chain, ObjectType},
};
use futures_util::FutureExt;
use tokio::{
    runtime::Handle,
    sync::oneshot,
    task::{AbortHandle, coop::consume_budget},
    time::Instant,
};
use tracing::Span;

use memory::Memory;

use crate::{care::Import, deadline::Deadline, engine::Engine, load::Place, weight::Weight};

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
