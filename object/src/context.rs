use std::{collections::BTreeMap, fmt, sync::Arc};

use dokit_client::{CallError, ObjectId, RpcError};
use dokit_storage::{MaybeSend, MaybeSync, Store, Timestamp, sql::Sql};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    AutoResponse, Broadcast, Clock, DurableObject, Error, FailedAlarm, Later, Namespace, Request,
    Result, StateLoader, Storage, Stub, Undelivered, WebSocket, alarm,
    engine::{Chain, Router, Sockets},
    outbox,
};

/// What an object has of the world: its id, its storage, the time, other objects, and the variables
/// that its host was started with.
///
/// Clones are handles to the same. It is given to [`DurableObject::new`](crate::DurableObject::new);
/// keep it, or what is needed of it, in the object.
#[derive(Clone)]
pub struct Context {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    id: ObjectId,
    storage: Storage,
    surroundings: Surroundings,
    /// None where the engine has none, or the object no handler for them.
    sockets: Option<Sockets>,
}

/// What all objects of a host share.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Surroundings {
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// The way to other objects.
    pub router: Arc<dyn Router>,
    /// Configuration, by name.
    pub variables: Arc<BTreeMap<String, String>>,
    /// A number that no other run of this engine over the same data has, where the calls that it carries for
    /// [`Context::after_commit`] end with it. What another run had on its way is then made again at
    /// once, and not only after [`Delivery::LEASE`](crate::engine::Delivery::LEASE).
    pub run: Option<u64>,
}

impl Surroundings {
    /// A host's clock and router, no variables, and no number of a run.
    pub fn new(clock: Arc<dyn Clock>, router: Arc<dyn Router>) -> Self {
        Self {
            clock,
            router,
            variables: Arc::default(),
            run: None,
        }
    }
}

impl Context {
    /// What an engine makes for each object that it wakes. `store` holds this object's data and
    /// nothing else, and has SQL where the object's type asks for it ([`ObjectType::sql`](crate::engine::ObjectType::sql)).
    pub fn new(
        id: ObjectId,
        store: impl Store + Clone + 'static,
        alarm_handler: bool,
        surroundings: Surroundings,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                id,
                storage: Storage::new(store, alarm_handler),
                surroundings,
                sockets: None,
            }),
        }
    }

    /// The same with the object's sockets.
    pub(crate) fn with_sockets(self, sockets: Sockets) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.inner);
        inner.sockets = Some(sockets);
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The object's id.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        &self.inner.id
    }

    /// The object's name, where it is addressed by one: the same in a call, in an alarm and after
    /// every wake.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.inner.id.name()
    }

    /// The object's storage.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.inner.storage.clone()
    }

    /// The object's SQL database, where its type says `const SQL: bool = true`.
    ///
    /// What a call writes to it belongs to the call, as its keys and its alarm do: all of it is
    /// committed together, or none of it. A call that takes `&self` may only read.
    ///
    /// # Errors
    ///
    /// `internal`, where the type did not ask for one; the log says so.
    pub fn sql(&self) -> Result<Sql> {
        let sql = self.inner.storage.sql();
        sql.ok_or_else(|| Error::internal(NotAsked))
    }

    /// The object's typed state, to be loaded in [`DurableObject::new`] into the field that
    /// `#[durable_object(state = field)]` names: see [`State`](crate::State). Where none is stored it begins
    /// with what `initial` gives, such as `Cart::default`.
    pub fn state<T: Serialize + DeserializeOwned>(
        &self,
        initial: impl Fn() -> T + MaybeSend + MaybeSync + 'static,
    ) -> StateLoader<T> {
        StateLoader::new(self.storage(), initial)
    }

    /// The run of the engine, where it told one.
    pub(crate) fn run(&self) -> Option<u64> {
        self.inner.surroundings.run
    }

    /// The time by the engine's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.surroundings.clock.now()
    }

    /// Makes durable what the running call has written so far, before it acts on the outside world,
    /// and waits until what earlier calls wrote is durable too: the next call may start before that.
    /// If the call fails later, that much of it remains. A typed state is part of it where it was
    /// [saved](crate::State::save) before. A call that takes `&self` has written
    /// nothing, but may have read what is still on its way to the disk.
    ///
    /// # Errors
    ///
    /// When the store cannot commit. The call has then failed, whatever it returns.
    pub async fn commit(&self) -> Result<()> {
        let early = self.inner.storage.take_early()?;
        // Now, too: what is done to sockets while this waits may depend on what is written meanwhile.
        let sockets = self.inner.sockets.as_ref().map(Sockets::take_early);
        self.inner.storage.commit_early(early).await?;
        if let Some(sockets) = sockets {
            sockets.perform();
        }
        Ok(())
    }

    /// Accepts the WebSocket that a request asks for, in [`fetch`](DurableObject::fetch), which has to
    /// answer with its [`into_response`](WebSocket::into_response):
    ///
    /// ```rust
    /// # use dokit_object::*;
    /// # struct Room { ctx: Context }
    /// # impl Room {
    /// async fn fetch(&mut self, request: Request) -> Result<Response> {
    ///     let socket = self.ctx.accept_websocket(&request, &["room:1"])?;
    ///     socket.send("welcome")?;
    ///     Ok(socket.into_response())
    /// }
    /// # }
    /// ```
    ///
    /// The socket stays open while the object sleeps: its messages wake it. It does not survive the end
    /// of the process. Tags are at most 10, one that is named twice counted once, and at most 256
    /// bytes long each; an object has at most 32,768 sockets.
    ///
    /// # Errors
    ///
    /// `upgrade_required` (426) for a request that asks for no WebSocket, `invalid_handshake` (400) for one
    /// that asks wrongly, `invalid_tag` (400),
    /// `too_many_sockets` (503), `missing_handler` (501) for an object without
    /// [`websocket_message`](DurableObject::websocket_message), `internal` in a call that has accepted one
    /// already or takes `&self`.
    pub fn accept_websocket(&self, request: &Request, tags: &[&str]) -> Result<WebSocket> {
        self.sockets()?.accept(request, tags)
    }

    /// The sockets that are open, in the order in which they were accepted, as the running call sees
    /// them: one that it has closed is no longer there.
    #[must_use]
    pub fn websockets(&self) -> Vec<WebSocket> {
        let sockets = self.inner.sockets.as_ref();
        sockets.map_or_else(Vec::new, |sockets| sockets.list(None))
    }

    /// Those of [`websockets`](Self::websockets) that were accepted with this tag.
    #[must_use]
    pub fn websockets_with_tag(&self, tag: &str) -> Vec<WebSocket> {
        let sockets = self.inner.sockets.as_ref();
        sockets.map_or_else(Vec::new, |sockets| sockets.list(Some(tag)))
    }

    /// One message to many sockets: `ctx.broadcast().tagged("room:1").except(socket).send("hello")?`.
    pub fn broadcast(&self) -> Broadcast<'_> {
        Broadcast::new(self.inner.sockets.as_ref())
    }

    /// From now on a message that is exactly this text is answered with the other, on every socket of
    /// the object, without waking it and without an event. It holds as long as the process, or until it
    /// is set again or cleared; [`new`](DurableObject::new) is the place for one that is always there.
    /// [`WebSocket::auto_responded_at`] tells when it was used.
    ///
    /// # Errors
    ///
    /// `internal` where a text is over 2,048 bytes, and in a call that takes `&self`;
    /// `missing_handler` (501) for an object without `websocket_message`.
    pub fn set_auto_response(
        &self,
        request: impl Into<String>,
        response: impl Into<String>,
    ) -> Result<()> {
        self.sockets()?.set_auto_response(Some(AutoResponse {
            request: request.into(),
            response: response.into(),
        }))
    }

    /// No message is answered without the object any more.
    ///
    /// # Errors
    ///
    /// As [`set_auto_response`](Self::set_auto_response).
    pub fn clear_auto_response(&self) -> Result<()> {
        self.sockets()?.set_auto_response(None)
    }

    /// What is answered without waking the object, if anything is.
    #[must_use]
    pub fn auto_response(&self) -> Option<AutoResponse> {
        self.inner.sockets.as_ref()?.auto_response()
    }

    fn sockets(&self) -> Result<&Sockets> {
        let sockets = self.inner.sockets.as_ref();
        sockets.ok_or_else(|| Error::missing_handler("websocket_message"))
    }

    /// Its sockets, for the calls of the engine.
    pub(crate) fn maybe_sockets(&self) -> Option<&Sockets> {
        self.inner.sockets.as_ref()
    }

    /// Hands over a call to another object, to be made once the running call's writes are durable, and only
    /// then: when the running call fails, it is not made.
    ///
    /// ```
    /// # use dokit_client::rpc;
    /// # use dokit_object::{Context, DurableObject, Result, durable_object};
    /// # #[rpc]
    /// # trait LedgerApi { async fn book(&mut self, cents: i64) -> Result<i64>; }
    /// # struct Ledger;
    /// # #[durable_object]
    /// # impl DurableObject for Ledger {
    /// #     type Api = LedgerApiServer;
    /// #     async fn new(_: Context) -> Result<Self> { Ok(Self) }
    /// # }
    /// # impl LedgerApi for Ledger { async fn book(&mut self, _: i64) -> Result<i64> { Ok(0) } }
    /// # async fn pay(ctx: &Context, cents: i64) -> Result<()> {
    /// let ledger = ctx.namespace::<Ledger>().get_by_name("main");
    /// ctx.after_commit(&ledger, async |ledger| LedgerApiClient::new(ledger).book(cents).await).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The call is stored with the writes, so it survives a crash. It is made at least once, with an
    /// idempotency key (its client's, or one of its own), so that a method that takes `&mut self` runs it once
    /// (if no more than a day lies between two tries, and its object does not delete everything meanwhile). Of
    /// its client nothing else counts, no deadline and no retries: a try may take 30 seconds. Calls to one object are made in the order in which they were handed over, each
    /// after the one before it was answered. What it answers is not told. One that was on its way when the
    /// process ended is made again when the next starts; on Cloudflare, within a minute.
    ///
    /// One that fails is tried 16 times in all, from 2 seconds to an hour apart; an answer from 400 to
    /// 499 that does not say "not now" (408, 425, 429) is final. It is then kept, and found in
    /// [`undelivered`](Self::undelivered), and the calls after it are made. The object's alarm stays the
    /// user's: this needs no handler and takes none away. Deleting everything deletes what has not been made.
    ///
    /// # Errors
    ///
    /// `outbox_full` (503) when 1,000 calls of this object wait, or are kept as undelivered (then revive or
    /// forget some: none is dropped in silence, nor do they grow without end), `value_too_large` (413) when the
    /// arguments are over the limit of one value, `invalid_name` or `name_too_long` for a name that no
    /// object can have, `internal` when `call` makes no call or several, or when no call that takes
    /// `&mut self` is running.
    pub async fn after_commit<R, E>(
        &self,
        to: &Stub,
        call: impl AsyncFnOnce(Later) -> Result<R, CallError<E>>,
    ) -> Result<()>
    where
        E: RpcError,
    {
        let target = to.target()?;
        let later = Later::default();
        let answered = call(later.clone()).await;
        let mut requests = later.take();
        let request = match (requests.pop(), answered) {
            (Some(request), _) if requests.is_empty() => request,
            (None, Err(error)) => return Err(Error::internal(error)),
            (one, _) => {
                let calls = requests.len() + usize::from(one.is_some());
                return Err(Error::internal(NotOneCall(calls)));
            }
        };
        let storage = &self.inner.storage;
        // The random part is for the numbers that begin anew after everything was deleted.
        let random = self.inner.surroundings.router.unique_id(target.namespace);
        let key = |number| format!("after-commit:{}:{number}:{random}", self.id());
        match outbox::hand_over(storage, self.now(), target, request, key).await? {
            Some(batch) => Ok(storage.write_own(batch)?),
            None => {
                let message = format!(
                    "{} calls of the object wait to be made, or could not be and are kept",
                    outbox::MOST
                );
                Err(Error::new(503, "outbox_full", message))
            }
        }
    }

    /// The calls handed to [`after_commit`](Self::after_commit) whose tries are used up, or that were
    /// refused, oldest first. They are kept until they are revived or forgotten.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn undelivered(&self) -> Result<Vec<Undelivered>> {
        Ok(outbox::undelivered(&self.inner.storage).await?)
    }

    /// Hands an undelivered call over again, after all that wait, and says whether there was one of
    /// this number.
    ///
    /// # Errors
    ///
    /// When no call that takes `&mut self` is running, or the store cannot be read.
    pub async fn revive_undelivered(&self, number: u64) -> Result<bool> {
        self.bury(number, true).await
    }

    /// Deletes an undelivered call, and says whether there was one of this number.
    ///
    /// # Errors
    ///
    /// When no call that takes `&mut self` is running, or the store cannot be read.
    pub async fn forget_undelivered(&self, number: u64) -> Result<bool> {
        self.bury(number, false).await
    }

    async fn bury(&self, number: u64, revive: bool) -> Result<bool> {
        let storage = &self.inner.storage;
        let Some(batch) = outbox::bury(storage, self.now(), number, revive).await? else {
            return Ok(false);
        };
        storage.write_own(batch)?;
        Ok(true)
    }

    /// The alarm that was given up after its last try, if one was and none has been set since.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn failed_alarm(&self) -> Result<Option<FailedAlarm>> {
        Ok(alarm::given_up(&self.inner.storage).await?)
    }

    /// The namespace of the objects of another type, to call them.
    #[must_use]
    pub fn namespace<T: DurableObject>(&self) -> Namespace {
        Namespace::new(T::NAMESPACE, Arc::clone(&self.inner.surroundings.router))
    }

    /// The `traceparent` of W3C Trace Context that the running call came with, for a call to elsewhere. Calls
    /// of other objects carry it along by themselves, unless they are given one of their own
    /// (`with_traceparent`); those that are handed to [`after_commit`](Self::after_commit), alarms and events
    /// of sockets have none.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        Chain::current().trace().map(str::to_owned)
    }

    /// A variable that the host was started with.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        let variables = &self.inner.surroundings.variables;
        variables.get(name).map(String::as_str)
    }

    /// A variable read as a `V`; `None` where it is not set.
    ///
    /// # Errors
    ///
    /// `invalid_variable`, with its name and its text, where it does not parse.
    pub fn parse_variable<V>(&self, name: &str) -> Result<Option<V>>
    where
        V: std::str::FromStr<Err: fmt::Display>,
    {
        let Some(text) = self.variable(name) else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|error| {
            Error::new(
                500,
                "invalid_variable",
                format!("variable {name} is {text:?}: {error}"),
            )
        })
    }
}

/// What the log gets to see of what was handed to `after_commit`.
#[derive(Debug, thiserror::Error)]
#[error("{0} calls were handed over where one is due")]
struct NotOneCall(usize);

#[derive(Debug, thiserror::Error)]
#[error(
    "the object has no sql database: write `const SQL: bool = true;` into its `impl DurableObject`"
)]
struct NotAsked;

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.inner.id)
            .finish_non_exhaustive()
    }
}
