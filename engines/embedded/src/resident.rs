//! An object that is resident: a task with a queue of calls, run one at a time.

use std::{future::Future, sync::Weak, time::Duration};

use dokit_client::{Access, ErrorReply, ObjectId};
use dokit_object::{Activation, Call, Chain, Context, ObjectType, Response, fail_alarm};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{engine::Engine, flight::commit_failed, load::Place, store::ObjectStore};

/// How many calls wait for one object at most. One more is answered `overloaded`.
pub(crate) const QUEUE: usize = 1024;

/// What an object's task is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Boxed, since an object's queue keeps room for dozens of these.
    Call(Box<Envelope>),
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
    /// Given back when the call is done.
    pub(crate) _place: Place,
}

/// What a call is answered.
pub(crate) type Answer = Result<Response, ErrorReply>;

/// The way of the answer.
pub(crate) type Reply = oneshot::Sender<Answer>;

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
        timeout_at(self.0, work).await.ok()
    }

    fn has_passed(self) -> bool {
        self.0 <= Instant::now()
    }
}

/// The task of one object. It ends when the object leaves memory, or when its queue is closed and
/// empty, and then nothing of the object is on its way to the disk any more.
pub(crate) struct Resident {
    /// Not to be kept alive by its objects: when the host goes, their queues close, and they end.
    engine: Weak<Engine>,
    object_type: ObjectType,
    id: ObjectId,
    queue: mpsc::Receiver<Message>,
    activation: Option<Activation>,
    /// It outlives an activation, so that the next one sees what is on its way, and goes when a commit
    /// has failed.
    store: Option<ObjectStore>,
    sleep_after: Duration,
    /// Whether an earlier task of the object has died, with commits that may still be on their way.
    in_doubt: bool,
}

impl Resident {
    pub(crate) fn new(
        engine: Weak<Engine>,
        object_type: ObjectType,
        id: ObjectId,
        queue: mpsc::Receiver<Message>,
        sleep_after: Duration,
        in_doubt: bool,
    ) -> Self {
        Self {
            engine,
            object_type,
            id,
            queue,
            activation: None,
            store: None,
            sleep_after,
            in_doubt,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut next = None;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => match self.next().await {
                    Some(message) => message,
                    None => return,
                },
            };
            let Message::Call(envelope) = message else {
                self.activation = None;
                if self.is_settled() && self.leave() {
                    return;
                }
                continue;
            };
            if self.id.name().is_none() && envelope.id.name().is_some() {
                // It was reached by its id until now. It wakes anew to learn its name.
                self.id = envelope.id.clone();
                self.activation = None;
                self.store = self.store.take().map(|store| store.named(self.id.clone()));
            }
            let deadline = envelope.deadline;
            let woken = if deadline.has_passed() {
                None
            } else {
                deadline.run(self.wake()).await
            };
            match woken {
                None => {
                    let late = ErrorReply::deadline_exceeded();
                    let _ = envelope.reply.send(Err(late));
                    continue;
                }
                Some(Err(error)) => {
                    self.answer(envelope.reply, Err(error));
                    continue;
                }
                Some(Ok(())) => {}
            }
            next = match envelope.call.access() {
                Access::Exclusive => {
                    self.exclusive(*envelope).await;
                    None
                }
                Access::Shared => self.shared(*envelope).await,
            };
        }
    }

    /// What comes next; none when there is nothing more to do.
    async fn next(&mut self) -> Option<Message> {
        let store = self.store.clone();
        let flight = store.as_ref().map(ObjectStore::flight);
        if let Some(flight) = flight {
            // A call that waits in the queue still counts there.
            flight.room().await;
        }
        loop {
            let sleep_after = self.sleep_after;
            let idle = async {
                if let Some(flight) = flight {
                    flight.settled().await;
                }
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the time of the task, not of objects"
                )]
                tokio::time::sleep(sleep_after).await;
            };
            tokio::select! {
                biased;
                message = self.queue.recv() => {
                    if message.is_none() && let Some(flight) = flight {
                        flight.settled().await;
                    }
                    return message;
                }
                () = idle => {
                    if self.leave() {
                        return None;
                    }
                }
            }
        }
    }

    fn is_settled(&self) -> bool {
        let store = self.store.as_ref();
        store.is_none_or(|store| store.flight().is_settled())
    }

    /// Leaves memory, of which nothing may be on its way to the disk. Not so when a call has come
    /// meanwhile: then the object stays.
    fn leave(&mut self) -> bool {
        // The object is gone before its place is: when another is made, there is none beside it.
        self.activation = None;
        self.store = None;
        match self.engine.upgrade() {
            Some(engine) => engine.forget(self.object_type.namespace(), &self.id, &self.queue),
            None => true,
        }
    }

    /// Wakes the object, unless it is awake.
    async fn wake(&mut self) -> Result<(), ErrorReply> {
        if self
            .store
            .as_ref()
            .is_some_and(|store| store.flight().has_failed())
        {
            self.activation = None;
            self.store = None;
        }
        if self.activation.is_some() {
            return Ok(());
        }
        let engine = self.engine.upgrade();
        let engine = engine.ok_or_else(ErrorReply::shutting_down)?;
        if self.in_doubt {
            engine.writer().barrier().await;
            self.in_doubt = false;
        }
        let store = match &self.store {
            Some(store) => store.clone(),
            None => engine
                .open_store(self.object_type.namespace(), self.id.clone())
                .map_err(|error| ErrorReply::internal(&error))?,
        };
        self.id = store.id().clone();
        self.store = Some(store.clone());
        let ctx = Context::new(
            self.id.clone(),
            store.clone(),
            self.object_type.handlers().alarm,
            engine.surroundings(),
        );
        drop(engine);
        let (activation, writes) = self.object_type.wake(ctx).await?;
        store.send(writes).map_err(|error| commit_failed(&error))?;
        self.activation = Some(activation);
        Ok(())
    }

    /// Runs a call alone and sends what it wrote on its way. The answer leaves when that is durable,
    /// and all before it.
    async fn exclusive(&mut self, envelope: Envelope) {
        let (Some(activation), Some(store)) = (&mut self.activation, &self.store) else {
            return;
        };
        let Envelope {
            call,
            deadline,
            chain,
            reply,
            ..
        } = envelope;
        let is_alarm = matches!(call, Call::Alarm);
        let run = chain
            .with(self.id.clone())
            .scope(activation.exclusive(call));
        let Some(outcome) = deadline.run(run).await else {
            // Dropped half way: nothing of it remains, in memory neither, but what it committed.
            self.activation = None;
            if is_alarm {
                self.give_up_alarm().await;
            }
            return self.answer(reply, Err(ErrorReply::deadline_exceeded()));
        };
        let (answer, reset) = match store.send(outcome.writes) {
            Ok(_) => (outcome.reply, outcome.reset),
            Err(error) => (Err(commit_failed(&error)), true),
        };
        if reset {
            self.activation = None;
        }
        self.answer(reply, answer);
    }

    /// Counts an alarm whose handler took too long as one that failed.
    async fn give_up_alarm(&self) {
        let (Some(engine), Some(store)) = (self.engine.upgrade(), &self.store) else {
            return;
        };
        let now = engine.clock().now();
        drop(engine);
        let failed = fail_alarm(store, now, "the alarm's handler took too long").await;
        if let Ok(Some(writes)) = failed {
            // Where this cannot be written either, the alarm is still there.
            let _ = store.send(writes);
        }
    }

    /// Runs a call that only reads, and others of the kind beside it as they come. Gives back what
    /// else came and ended this.
    async fn shared(&mut self, first: Envelope) -> Option<Message> {
        let activation = self.activation.as_ref()?;
        let flight = self.store.as_ref()?.flight();
        let id = &self.id;
        let read = |envelope: Envelope| async move {
            let Envelope {
                call,
                deadline,
                chain,
                reply,
                ..
            } = envelope;
            let run = chain.with(id.clone()).scope(activation.shared(call));
            let outcome = deadline.run(run).await;
            let (answer, reset) = match outcome {
                Some(outcome) => (outcome.reply, outcome.reset),
                None => (Err(ErrorReply::deadline_exceeded()), false),
            };
            (reply, answer, reset)
        };
        let mut running = FuturesUnordered::new();
        running.push(read(first));
        let mut next = None;
        let mut reset = false;
        let mut open = true;
        while !running.is_empty() {
            tokio::select! {
                biased;
                Some((reply, answer, dirty)) = running.next() => {
                    reset |= dirty;
                    self.answer(reply, answer);
                }
                // Answers that wait for the disk are bounded, too.
                () = flight.room(), if !flight.has_room() => {}
                message = self.queue.recv(),
                    if open && next.is_none() && !reset
                        && running.len() < QUEUE && flight.has_room() => match message {
                    // One that comes after a failure is not to see what has failed.
                    Some(Message::Call(envelope))
                        if envelope.call.access() == Access::Shared && !flight.has_failed() =>
                    {
                        running.push(read(*envelope));
                    }
                    other => {
                        open = other.is_some();
                        next = other;
                    }
                },
            }
        }
        drop(running);
        if reset {
            self.activation = None;
        }
        next
    }

    /// Answers, once all that the call may have seen is durable.
    fn answer(&self, reply: Reply, answer: Answer) {
        if let Err(ErrorReply { log: Some(log), .. }) = &answer {
            tracing::error!(
                namespace = self.object_type.namespace(),
                id = %self.id,
                name = self.id.name(),
                "{log}"
            );
        }
        match &self.store {
            Some(store) => store.flight().answer(reply, answer),
            // It could not even be opened.
            None => drop(reply.send(answer)),
        }
    }
}
