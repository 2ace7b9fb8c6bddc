use std::future::Future;

use dokit_client::Dispatch;
use dokit_storage::{MaybeSend, MaybeSync};

use crate::{
    Alarm, Close, Context, Error, Message, Request, Response, Result, SavedState, WebSocket,
    WebSocketError, engine::Handlers,
};

/// A value with a name, its own storage and its own alarms, of which there is exactly one.
///
/// Write `#[durable_object]` above the `impl`: it fills in [`NAMESPACE`](Self::NAMESPACE),
/// [`Api`](Self::Api) and [`HANDLERS`](Self::HANDLERS) where they are left out, so that only
/// what the object has is written.
///
/// # Protocol
///
/// - [`new`](Self::new) runs each time the object wakes, before any call. What it writes is committed
///   before the first call.
/// - A call that takes `&mut self` runs alone. Calls that take `&self` may overlap each other, and
///   may not write.
/// - All that an exclusive call wrote is committed together when it returns `Ok`, and its answer
///   leaves only after that. When it returns `Err` or panics, nothing of it remains: its writes are
///   dropped, and so is the object's memory, which the next call builds anew with
///   [`new`](Self::new).
/// - Between any two calls the object may be put to sleep: fields that are not in storage are lost.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a durable object",
    note = "write `#[durable_object] impl DurableObject for {Self}`"
)]
pub trait DurableObject: Sized + MaybeSend + MaybeSync + 'static {
    /// The namespace that its names live in, filled in by `#[durable_object]` where it is left out: the first part of its address. Lower-case letters,
    /// digits and hyphens, beginning with a letter; the type's name in kebab-case where left out.
    /// Stored data belongs to it: to rename it is to begin anew.
    const NAMESPACE: &'static str;

    /// Which of the handlers below are written. `#[durable_object]` fills it in.
    const HANDLERS: Handlers;

    /// Whether it has a SQL database of its own, behind [`Context::sql`]: off unless it is asked for, for
    /// it costs more than keys do. Data of an object does not move from one kind to the other, so decide
    /// it before there is any; where the two kinds are kept apart, an object that has data of the other is
    /// refused. An engine that has no SQL refuses the type when it is registered.
    const SQL: bool = false;

    /// The methods it can be called by: the `..Server` type that `#[rpc]` made of its trait, or `()`.
    type Api: Dispatch<Self>;

    /// Wakes the object.
    ///
    /// # Errors
    ///
    /// An error is the answer to the call that woke it; the next call tries again.
    fn new(ctx: Context) -> impl Future<Output = Result<Self>> + MaybeSend;

    /// The field that holds the typed state. `#[durable_object(state = field)]` fills it in; see
    /// [`State`](crate::State).
    fn saved_state(&mut self) -> Option<&mut dyn SavedState> {
        None
    }

    /// How many bytes it holds in memory beside its fields and its [`State`](crate::State): in maps, caches
    /// and buffers. 0 is right for an object that keeps its data in storage.
    ///
    /// An engine with a ceiling on memory puts objects to sleep by it, those that were idle longest first:
    /// the embedded one, with its `Builder::awake_memory`. It is asked after each call that takes `&mut self`
    /// and after reading calls, before the next call begins, so it has to be cheap: a length times a size, no
    /// walk. It need not be exact. On Cloudflare and in the test kit it is never asked.
    ///
    /// ```
    /// # use std::collections::HashMap;
    /// # use dokit_object::{Context, DurableObject, Result, durable_object};
    /// struct Prices {
    ///     cents: HashMap<u64, i64>,
    /// }
    ///
    /// #[durable_object]
    /// impl DurableObject for Prices {
    ///     async fn new(_: Context) -> Result<Self> {
    ///         Ok(Self { cents: HashMap::new() })
    ///     }
    ///
    ///     fn held_bytes(&self) -> usize {
    ///         self.cents.capacity() * size_of::<(u64, i64)>()
    ///     }
    /// }
    /// ```
    fn held_bytes(&self) -> usize {
        0
    }

    /// Answers a plain HTTP request whose path, relative to the object, is not the name of a method.
    ///
    /// The status is from 200 to 599; with any other the call fails as `internal`, on every engine.
    fn fetch(&mut self, request: Request) -> impl Future<Output = Result<Response>> + MaybeSend {
        let _ = request;
        async { Err(Error::missing_handler("fetch")) }
    }

    /// Runs when the alarm is due. An error is tried again with exponential backoff: see [`Alarm`].
    fn alarm(&mut self, alarm: Alarm) -> impl Future<Output = Result<()>> + MaybeSend {
        let _ = alarm;
        async { Err(Error::missing_handler("alarm")) }
    }

    /// Handles a message of a socket that a call of [`fetch`](Self::fetch) accepted with
    /// [`Context::accept_websocket`]. The events of one socket come one after the other, each as a call
    /// of its own.
    ///
    /// An error is for the log: nothing of the call remains, what it sent neither, and the socket stays
    /// open. Where the event itself got lost, so that this handler cannot know, the socket is closed: with
    /// 1011 when what the call wrote could not be made durable, with 1013 when it was not handled within
    /// its deadline.
    fn websocket_message(
        &mut self,
        socket: &WebSocket,
        message: Message,
    ) -> impl Future<Output = Result<()>> + MaybeSend {
        let _ = (socket, message);
        async { Err(Error::missing_handler("websocket_message")) }
    }

    /// Is told that a socket has ended, whoever ended it: the last event of each socket that was
    /// accepted, unless the process ends first. It is told again where that could not be committed. The socket's tags and its attachment can still be read;
    /// it is no longer one of [`Context::websockets`].
    fn websocket_close(
        &mut self,
        socket: &WebSocket,
        close: Close,
    ) -> impl Future<Output = Result<()>> + MaybeSend {
        let _ = (socket, close);
        async { Ok(()) }
    }

    /// Is told what broke a socket, before [`websocket_close`](Self::websocket_close). A peer that just
    /// went is no error: its socket closes with code 1006.
    fn websocket_error(
        &mut self,
        socket: &WebSocket,
        error: WebSocketError,
    ) -> impl Future<Output = Result<()>> + MaybeSend {
        let _ = (socket, error);
        async { Ok(()) }
    }
}
