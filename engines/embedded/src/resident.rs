//! An object that is resident: a task with a queue of calls, run one at a time.

use std::{future::Future, sync::Weak, time::Duration};

use dokit_client::{Access, ErrorReply, ObjectId};
use dokit_object::{Activation, Call, Chain, Context, ObjectType, Outcome, Response, fail_alarm};
use dokit_storage::{Batch, Store};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use crate::{engine::Engine, store::ObjectStore};

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
    pub(crate) reply: oneshot::Sender<Result<Response, ErrorReply>>,
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
        timeout_at(self.0, work).await.ok()
    }

    fn has_passed(self) -> bool {
        self.0 <= Instant::now()
    }
}

/// The task of one object. It ends when its queue is closed and empty.
pub(crate) struct Resident {
    /// Not to be kept alive by its objects: when the host goes, their queues close, and they end.
    engine: Weak<Engine>,
    object_type: ObjectType,
    id: ObjectId,
    queue: mpsc::Receiver<Message>,
    awake: Option<Awake>,
    /// Whether a call was given up half way, whose commit may still be on its way to the disk.
    in_doubt: bool,
}

/// The object in memory and its store.
struct Awake {
    activation: Activation,
    store: ObjectStore,
}

impl Resident {
    pub(crate) fn new(
        engine: Weak<Engine>,
        object_type: ObjectType,
        id: ObjectId,
        queue: mpsc::Receiver<Message>,
    ) -> Self {
        Self {
            engine,
            object_type,
            id,
            queue,
            awake: None,
            in_doubt: false,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut next = None;
        loop {
            let message = match next.take() {
                Some(message) => message,
                None => match self.queue.recv().await {
                    Some(message) => message,
                    None => return,
                },
            };
            let Message::Call(envelope) = message else {
                self.awake = None;
                continue;
            };
            if self.id.name().is_none() && envelope.id.name().is_some() {
                // It was reached by its id until now. It wakes anew to learn its name.
                self.id = envelope.id.clone();
                self.awake = None;
            }
            let deadline = envelope.deadline;
            let woken = if deadline.has_passed() {
                None
            } else {
                deadline.run(self.wake()).await
            };
            if let Err(error) = woken.unwrap_or_else(|| Err(ErrorReply::deadline_exceeded())) {
                self.answer(envelope.reply, Err(error));
                continue;
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

    /// Wakes the object, unless it is awake.
    async fn wake(&mut self) -> Result<(), ErrorReply> {
        if self.awake.is_some() {
            return Ok(());
        }
        let engine = self.engine.upgrade();
        let engine = engine.ok_or_else(ErrorReply::shutting_down)?;
        if self.in_doubt {
            engine.writer().barrier().await;
            self.in_doubt = false;
        }
        let (store, id) = engine
            .open_store(self.object_type.namespace(), self.id.clone())
            .map_err(|error| ErrorReply::internal(&error))?;
        self.id = id.clone();
        let ctx = Context::new(
            id,
            store.clone(),
            self.object_type.handlers().alarm,
            engine.surroundings(),
        );
        drop(engine);
        // Until all of this is done, it may be given up with a commit under way.
        self.in_doubt = true;
        let (activation, writes) = self.object_type.wake(ctx).await?;
        let mut awake = Awake { activation, store };
        awake.commit(writes).await?;
        self.in_doubt = false;
        self.awake = Some(awake);
        Ok(())
    }

    /// Runs a call alone, commits what it wrote, and only then answers.
    async fn exclusive(&mut self, envelope: Envelope) {
        let Some(awake) = &mut self.awake else {
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
            .scope(awake.activation.exclusive(call));
        let outcome = deadline.run(run).await;
        let (answer, reset) = match outcome {
            None => {
                // Dropped half way: nothing of it remains, in memory neither, but what it committed.
                self.in_doubt = true;
                if is_alarm {
                    self.give_up_alarm().await;
                }
                (Err(ErrorReply::deadline_exceeded()), true)
            }
            Some(Outcome {
                reply,
                writes,
                reset,
                ..
            }) => match awake.commit(writes).await {
                Ok(()) => (reply, reset),
                Err(failed) => (Err(failed), true),
            },
        };
        if reset {
            self.awake = None;
        }
        self.answer(reply, answer);
    }

    /// Counts an alarm whose handler took too long as one that failed.
    async fn give_up_alarm(&mut self) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let now = engine.clock().now();
        drop(engine);
        let Some(awake) = &mut self.awake else {
            return;
        };
        let failed = fail_alarm(&awake.store, now, "the alarm's handler took too long").await;
        if let Ok(Some(writes)) = failed {
            // Where this cannot be written either, the alarm is still there.
            let _ = awake.commit(writes).await;
        }
    }

    /// Runs a call that only reads, and others of the kind beside it as they come. Gives back what
    /// else came and ended this.
    async fn shared(&mut self, first: Envelope) -> Option<Message> {
        let activation = &self.awake.as_ref()?.activation;
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
                message = self.queue.recv(),
                    if open && next.is_none() && !reset && running.len() < QUEUE => match message {
                    Some(Message::Call(envelope))
                        if envelope.call.access() == Access::Shared =>
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
            self.awake = None;
        }
        next
    }

    fn answer(
        &self,
        reply: oneshot::Sender<Result<Response, ErrorReply>>,
        answer: Result<Response, ErrorReply>,
    ) {
        if let Err(ErrorReply { log: Some(log), .. }) = &answer {
            tracing::error!(
                namespace = self.object_type.namespace(),
                id = %self.id,
                name = self.id.name(),
                "{log}"
            );
        }
        // The caller may have gone; the call has happened all the same.
        let _ = reply.send(answer);
    }
}

impl Awake {
    /// Makes the writes of a call durable.
    async fn commit(&mut self, writes: Batch) -> Result<(), ErrorReply> {
        if writes.is_empty() {
            return Ok(());
        }
        self.store.commit(writes).await.map_err(|error| {
            let mut failed = ErrorReply::commit_failed();
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            failed.log = Some(format!("{error}: {}", cause.unwrap_or_default()));
            failed
        })
    }
}
