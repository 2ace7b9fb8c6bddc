//! How the calls of an object run: those that write alone, those that only read beside each other.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use dokit_client::{Access, ErrorReply};
use dokit_object::engine::{Call, SocketActions, fail_alarm, gives_up_alarm};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tracing::Instrument;

use super::{Answer, Envelope, Message, QUEUE, Reply, Resident, memory::Memory};
use crate::{
    flight::{Release, commit_failed},
    metrics::Metrics,
    object_store::ObjectStore,
    own::kind,
};

impl Resident {
    /// Does what a call wants done. Gives back what came beside it and has to come after it.
    pub(super) async fn call(&self, memory: &mut Memory, envelope: Envelope) -> Option<Message> {
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
            let gave_up = is_alarm && self.fail_alarm(store).await;
            memory.reset();
            let late = Err(ErrorReply::deadline_exceeded());
            return self.release(memory, reply, late, SocketActions::default(), gave_up);
        };
        let gave_up = is_alarm && outcome.reply.is_err() && gives_up_alarm(&outcome.writes);
        let open = if outcome.reset { open.anew() } else { Ok(open) };
        let kept = open.and_then(|open| open.keep(outcome.writes));
        let (answer, sockets, reset) = match kept {
            Ok(_) => (outcome.reply, outcome.sockets, outcome.reset),
            Err(error) => (Err(commit_failed(&error)), SocketActions::default(), true),
        };
        if reset {
            memory.reset();
        }
        self.release(memory, reply, answer, sockets, gave_up);
    }

    /// Counts an alarm whose handler took too long as one that failed, and says whether it was the last try.
    async fn fail_alarm(&self, store: &ObjectStore) -> bool {
        let Some(engine) = self.engine.upgrade() else {
            return false;
        };
        let now = engine.clock().now();
        drop(engine);
        // Where this cannot be written either, the alarm is still there.
        store.ready_for(&Call::Alarm).await;
        let Ok(open) = store.begin() else {
            return false;
        };
        let failed = fail_alarm(store, now, "the alarm's handler took too long").await;
        match failed {
            Ok(Some(writes)) => {
                let last = gives_up_alarm(&writes);
                open.keep(writes).is_ok() && last
            }
            _ => false,
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

    /// Answers, once all that the call may have seen is durable.
    fn answer(&self, memory: &Memory, reply: Reply, answer: Answer) {
        self.release(memory, reply, answer, SocketActions::default(), false);
    }

    /// Does what a call does to sockets and answers it, once all that it wrote or may have seen is
    /// durable: with `gave_up`, that an alarm is kept as failed.
    fn release(
        &self,
        memory: &Memory,
        reply: Reply,
        answer: Answer,
        sockets: SocketActions,
        gave_up: bool,
    ) {
        if let Err(ErrorReply { log: Some(log), .. }) = &answer {
            let (namespace, id) = (self.namespace(), &memory.id);
            tracing::error!(namespace, %id, name = id.name(), "{log}");
        }
        match &memory.store {
            Some(store) => store.flight().release(Release {
                sockets,
                reply,
                answer,
                gave_up: gave_up.then(|| self.metrics()).flatten(),
            }),
            // It could not even be opened.
            None => drop(reply.send(answer)),
        }
    }

    fn metrics(&self) -> Option<Arc<Metrics>> {
        let engine = self.engine.upgrade()?;
        Some(Arc::clone(engine.metrics()))
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
