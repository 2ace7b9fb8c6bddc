use std::{any::Any, fmt, future::Future, panic::AssertUnwindSafe};

use dokit_client::{Access, Dispatch, ErrorReply, Failure, code};
use dokit_storage::{Batch, MaybeSend, MaybeSync, Store, Timestamp, sql::SqlError};
use futures_util::FutureExt;
use http::StatusCode;

use crate::{
    Alarm, BoxFuture, Context, DurableObject, Error, Response, Result, Storage, alarm,
    engine::{Call, Delivered, Delivery, Outcome, RpcCall, SocketCall, SocketEvent},
    idempotency::{self, Lookup},
    json::response_of_json,
    outbox,
    sockets::{self, Staged},
    state::Unnamed,
    storage::{Ended, Mode},
};

/// An object that is awake.
///
/// The engine holds to this: calls whose [`Call::access`] is [`Access::Exclusive`] go to
/// [`exclusive`](Self::exclusive), one at a time, which the borrow checker sees to; the others go to
/// [`shared`](Self::shared) and may overlap. The outcome's writes are committed before its reply
/// leaves. After an outcome that says `reset`, or whose writes could not be committed, the activation
/// is dropped, and the next call wakes the object anew.
pub struct Activation {
    object: Box<dyn Awake>,
}

impl Activation {
    /// Wakes an object of the type `T`. The writes of `T::new` are committed before the first call
    /// runs; they are empty when it failed.
    pub(crate) async fn wake<T: DurableObject>(ctx: Context) -> Result<(Self, Batch), ErrorReply> {
        let storage = ctx.storage();
        let running = Running::begin(&ctx, Mode::Writing, sockets::Mode::Waking);
        let woken = catch_panic(async {
            let mut object = T::new(ctx.clone()).await?;
            settle(&mut object, &storage, false)?;
            Ok::<T, Error>(object)
        })
        .await;
        let (ended, _) = running.end();
        if let Some(cause) = ended.failed {
            return Err(commit_failed(cause));
        }
        let object = woken?.map_err(|error| honest(error.into_reply()))?;
        let object = Box::new(Object { object, ctx });
        let mut batch = ended.batch;
        let sealed = storage.seal(&mut batch).await;
        sealed.map_err(|error| Error::from(error).into_reply())?;
        Ok((Self { object }, batch))
    }

    /// Runs a call alone. Dropping the future before it is done gives the call up: none of its writes
    /// remain, and the activation has to be dropped too.
    pub fn exclusive(&mut self, call: Call) -> BoxFuture<'_, Outcome> {
        self.object.exclusive(call)
    }

    /// Runs a call that only reads. An exclusive one is refused.
    pub fn shared(&self, call: Call) -> BoxFuture<'_, Outcome> {
        self.object.shared(call)
    }

    /// How many bytes the object holds, for an engine that has a ceiling on that: its own size, its typed
    /// state (twice its JSON text, for the text and for the value), and what its
    /// [`held_bytes`](DurableObject::held_bytes) says.
    ///
    /// # Panics
    ///
    /// Where the object's `held_bytes` does: then drop the activation.
    pub fn bytes(&mut self) -> usize {
        self.object.bytes()
    }
}

impl fmt::Debug for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activation").finish_non_exhaustive()
    }
}

/// The object's type, forgotten.
trait Awake: MaybeSend + MaybeSync {
    fn exclusive(&mut self, call: Call) -> BoxFuture<'_, Outcome>;
    fn shared(&self, call: Call) -> BoxFuture<'_, Outcome>;
    fn bytes(&mut self) -> usize;
}

struct Object<T> {
    object: T,
    ctx: Context,
}

impl<T: DurableObject> Awake for Object<T> {
    fn exclusive(&mut self, call: Call) -> BoxFuture<'_, Outcome> {
        match call {
            Call::Rpc(call) if call.method.access() == Access::Shared => Box::pin(self.read(call)),
            Call::Rpc(call) => Box::pin(self.method(call)),
            Call::Fetch(request) => {
                let ctx = self.ctx.clone();
                Box::pin(transact(ctx, Mode::Writing, async move {
                    let storage = self.ctx.storage();
                    let answer = self.object.fetch(request).await;
                    let answer = answer.and_then(sendable);
                    let answer = answer.map_err(|error| Failure::Method(error.into_reply()));
                    keep(&mut self.object, &storage, answer)
                }))
            }
            Call::Alarm => Box::pin(self.alarm()),
            Call::Delivered(delivered) => Box::pin(self.delivered(delivered)),
            Call::Socket(call) => Box::pin(self.socket(call)),
        }
    }

    fn shared(&self, call: Call) -> BoxFuture<'_, Outcome> {
        match call {
            Call::Rpc(call) if call.method.access() == Access::Shared => Box::pin(self.read(call)),
            Call::Rpc(_) | Call::Fetch(_) | Call::Alarm | Call::Socket(_) | Call::Delivered(_) => {
                Box::pin(async { Outcome::refused(ErrorReply::internal(&NotShared)) })
            }
        }
    }

    fn bytes(&mut self) -> usize {
        let state = self.object.saved_state().map_or(0, |state| state.bytes());
        size_of::<Self>()
            .saturating_add(state)
            .saturating_add(self.object.held_bytes())
    }
}

impl<T: DurableObject> Object<T> {
    /// A method that takes `&self`.
    async fn read(&self, call: RpcCall) -> Outcome {
        let run = T::Api::call_shared(&self.object, call.method, &call.arguments);
        match catch_panic(run).await {
            Ok(Ok(json)) => Outcome::read(Ok(response_of_json(StatusCode::OK, json))),
            Ok(Err(Failure::Refused(reply))) => Outcome::refused(reply),
            Ok(Err(Failure::Method(reply))) => Outcome::read(Err(honest(reply))),
            Err(panicked) => Outcome::failed(panicked),
        }
    }

    /// A method that takes `&mut self`, answered from memory where its idempotency key is known.
    async fn method(&mut self, call: RpcCall) -> Outcome {
        let storage = self.ctx.storage();
        let now = self.ctx.now();
        let seen = match &call.idempotency_key {
            Some(key) => match idempotency::look_up(&storage, now, key, &call).await {
                Ok(Lookup::Answered(json)) => {
                    return Outcome::read(Ok(response_of_json(StatusCode::OK, json)));
                }
                Ok(Lookup::New(entry)) => Some(entry),
                Err(error) => return Outcome::refused(error.into_reply()),
            },
            None => None,
        };
        let object = &mut self.object;
        transact(self.ctx.clone(), Mode::Writing, async move {
            let answer = async {
                let json = T::Api::call_exclusive(object, call.method, &call.arguments).await?;
                if let Some(entry) = seen {
                    let remembered = entry.remember(&storage, now, &json).await;
                    remembered.map_err(|error| Failure::Method(Error::from(error).into_reply()))?;
                }
                Ok(response_of_json(StatusCode::OK, json))
            };
            let answer = answer.await;
            keep(object, &storage, answer)
        })
        .await
    }

    /// The alarm, if the store says that it is due.
    async fn alarm(&mut self) -> Outcome {
        let storage = self.ctx.storage();
        let now = self.ctx.now();
        let run = self.ctx.run();
        let due = async {
            if storage.has_outbox().await? && outbox::has_lost(&storage, run).await? {
                // They come first: the alarm is still there after them.
                return Ok(None);
            }
            alarm::due(&storage, storage.alarm().await?, now).await
        };
        let due = match due.await {
            Ok(Some(due)) => due,
            Ok(None) => return self.give_out().await,
            Err(error) => return Outcome::refused(Error::from(error).into_reply()),
        };
        let outcome = transact(self.ctx.clone(), Mode::Alarm, async {
            let answer = match self.object.alarm(due).await {
                Ok(()) => Ok(done()),
                Err(error) => Err(Failure::Method(error.into_reply())),
            };
            keep(&mut self.object, &storage, answer)
        })
        .await;
        // By the time it is now: the handler may have taken longer than its next try would wait.
        let outcome = settle_alarm(due, self.ctx.now(), outcome);
        seal(&storage, outcome).await
    }

    /// Sends what was handed to `after_commit` and is due.
    async fn give_out(&mut self) -> Outcome {
        let storage = self.ctx.storage();
        let mut done = done();
        let given = outbox::give_out(&storage, self.ctx.now(), self.ctx.run()).await;
        let writes = match given {
            Ok(Some((writes, deliveries))) => {
                Delivery::attach(&mut done, deliveries);
                writes
            }
            Ok(None) => return Outcome::read(Ok(done)),
            Err(error) => return Outcome::refused(Error::from(error).into_reply()),
        };
        let outcome = Outcome {
            writes,
            ..Outcome::read(Ok(done))
        };
        seal(&storage, outcome).await
    }

    /// Takes what was delivered out of the outbox.
    async fn delivered(&mut self, delivered: Delivered) -> Outcome {
        let storage = self.ctx.storage();
        match outbox::settle(&storage, self.ctx.now(), delivered).await {
            Ok(writes) => {
                let outcome = Outcome {
                    writes,
                    ..Outcome::read(Ok(done()))
                };
                seal(&storage, outcome).await
            }
            Err(error) => Outcome::refused(Error::from(error).into_reply()),
        }
    }

    /// An event of a socket.
    async fn socket(&mut self, call: SocketCall) -> Outcome {
        let ctx = self.ctx.clone();
        let Some(socket) = ctx.maybe_sockets().and_then(|all| all.get(call.socket)) else {
            // Its host has forgotten it meanwhile.
            return Outcome::read(Ok(done()));
        };
        let storage = ctx.storage();
        transact(ctx, Mode::Writing, async {
            let handled = match call.event {
                SocketEvent::Message(message) => {
                    self.object.websocket_message(&socket, message).await
                }
                SocketEvent::Error(error) => self.object.websocket_error(&socket, error).await,
                SocketEvent::Close(close) => self.object.websocket_close(&socket, close).await,
            };
            // It is the log's: nobody waits for an answer, and a code that is another call's would
            // be taken for the fate of this one.
            let failed = |error: Error| Failure::Method(unanswered(error.into_reply()));
            let answer = handled.map(|()| done()).map_err(failed);
            keep(&mut self.object, &storage, answer)
        })
        .await
    }
}

/// Makes the engine's alarm of the user's in what a call has written.
async fn seal(storage: &Storage, mut outcome: Outcome) -> Outcome {
    match storage.seal(&mut outcome.writes).await {
        Ok(()) => outcome,
        Err(error) => Outcome::failed(Error::from(error).into_reply()),
    }
}

/// The answer of what has none.
fn done() -> Response {
    response_of_json(StatusCode::OK, "null")
}

/// The end of an exclusive call, with the typed state among its writes.
struct Kept(Result<Response, Failure>);

/// Stores the typed state of an object whose call succeeded. A call that fails here has failed.
fn keep<T: DurableObject>(
    object: &mut T,
    storage: &Storage,
    answer: Result<Response, Failure>,
) -> Kept {
    Kept(answer.and_then(|response| {
        let settled = settle(object, storage, true);
        settled.map_err(|error| Failure::Method(error.into_reply()))?;
        Ok(response)
    }))
}

/// Stores an object's typed state where it changed, or, with `first`, was never stored.
fn settle<T: DurableObject>(object: &mut T, storage: &Storage, first: bool) -> Result<()> {
    match object.saved_state() {
        Some(state) => state.settle(first),
        None if storage.has_state() => Err(Error::internal(Unnamed)),
        None => Ok(()),
    }
}

/// Runs an exclusive call: `Ok` keeps its writes, anything else drops them.
async fn transact(ctx: Context, mode: Mode, run: impl Future<Output = Kept>) -> Outcome {
    let storage = ctx.storage();
    let running = Running::begin(&ctx, mode, sockets::Mode::Writing);
    let result = catch_panic(run).await;
    let (ended, staged) = running.end();
    if let Some(cause) = ended.failed {
        // It outweighs what the call made of it.
        return Outcome {
            disk_failed: true,
            ..Outcome::failed(commit_failed(cause))
        };
    }
    let Kept(answer) = match result {
        Ok(kept) => kept,
        Err(panicked) => return Outcome::failed(panicked),
    };
    let answer = answer.and_then(|response| match storage.check_rows() {
        Err(broken @ SqlError::Constraint { .. }) => {
            Err(Failure::Method(Error::from(broken).into_reply()))
        }
        // Whatever else is wrong, the commit will say.
        _ => Ok(response),
    });
    match answer {
        Ok(mut response) => match staged.deliver(&mut response) {
            Ok(sockets) => {
                let outcome = Outcome {
                    writes: ended.batch,
                    sockets,
                    ..Outcome::read(Ok(response))
                };
                match mode {
                    // What became of the alarm is added first.
                    Mode::Alarm => outcome,
                    _ => seal(&storage, outcome).await,
                }
            }
            Err(undelivered) => Outcome::failed(undelivered.into_reply()),
        },
        Err(Failure::Refused(reply)) => Outcome::refused(reply),
        Err(Failure::Method(reply)) => Outcome::failed(honest(reply)),
    }
}

fn commit_failed(cause: String) -> ErrorReply {
    let mut reply = ErrorReply::commit_failed();
    reply.log = Some(cause);
    reply
}

/// An error of a method that ran, which no caller may take for one that did not: such a code comes
/// from another object that this one has called, and speaks of that.
fn honest(reply: ErrorReply) -> ErrorReply {
    if reply.may_have_run() || reply.code == code::MISSING_HANDLER {
        return reply;
    }
    ErrorReply::internal(&Borrowed(reply.code.into_owned(), reply.message))
}

/// What the log gets to see of a code that is not the method's to give.
#[derive(Debug, thiserror::Error)]
#[error("the method answered {1:?} with the engine's own code {0:?}")]
struct Borrowed(String, String);

/// What the log gets to see of a failed handler that nobody waits for.
fn unanswered(mut reply: ErrorReply) -> ErrorReply {
    if reply.log.is_some() {
        reply.code = code::INTERNAL.into();
        return reply;
    }
    ErrorReply::internal(&Unanswered(reply.code.into_owned(), reply.message))
}

#[derive(Debug, thiserror::Error)]
#[error("the handler of a socket's event failed: {0}: {1}")]
struct Unanswered(String, String);

/// Adds to the outcome of an alarm what is remembered of its failures.
fn settle_alarm(due: Alarm, now: Timestamp, mut outcome: Outcome) -> Outcome {
    match &outcome.reply {
        Ok(_) => alarm::succeeded(&mut outcome.writes),
        // The disk failed, not the handler: the alarm is still there, and is none the worse.
        Err(_) if outcome.disk_failed => {}
        Err(reply) => {
            let error = reply.log.as_ref().unwrap_or(&reply.message);
            match alarm::failed(due, now, error) {
                Ok(writes) => outcome.writes = writes,
                Err(error) => return Outcome::failed(Error::from(error).into_reply()),
            }
        }
    }
    outcome
}

/// The time in which writes are allowed. It ends with the call, also when the call's future is
/// dropped half way.
struct Running<'a> {
    ctx: &'a Context,
}

impl<'a> Running<'a> {
    fn begin(ctx: &'a Context, mode: Mode, sockets: sockets::Mode) -> Self {
        ctx.storage().begin(mode);
        if let Some(own) = ctx.maybe_sockets() {
            own.begin(sockets);
        }
        Self { ctx }
    }

    fn end(self) -> (Ended, Staged) {
        let sockets = self.ctx.maybe_sockets();
        let staged = sockets.map_or_else(Staged::default, |own| own.end_call());
        (self.ctx.storage().end(), staged)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.ctx.storage().end();
        if let Some(sockets) = self.ctx.maybe_sockets() {
            // What it has gathered is undone by being dropped.
            drop(sockets.end_call());
        }
    }
}

async fn catch_panic<R>(run: impl Future<Output = R>) -> Result<R, ErrorReply> {
    // What the call may have left half done is dropped with the activation.
    let result = AssertUnwindSafe(run).catch_unwind().await;
    result.map_err(|panic| ErrorReply::internal(&Panicked(panic_text(&*panic).to_owned())))
}

/// Refuses a response that not every engine can send. (Of 101 the sockets know whether it is in place.)
fn sendable(response: Response) -> Result<Response> {
    match response.status().as_u16() {
        101 | 200..=599 => Ok(response),
        status => Err(Error::internal(Unsendable(status))),
    }
}

/// What the log gets to see of such a response.
#[derive(Debug, thiserror::Error)]
#[error("the object answered with status {0}; an answer has one from 200 to 599")]
struct Unsendable(u16);

/// An engine's mistake.
#[derive(Debug, thiserror::Error)]
#[error("an exclusive call was run as a shared one")]
struct NotShared;

/// What the log gets to see of a panic; the caller sees `internal error`.
#[derive(Debug, thiserror::Error)]
#[error("the object panicked: {0}")]
struct Panicked(String);

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
