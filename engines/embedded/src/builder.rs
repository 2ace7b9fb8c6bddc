use std::{
    collections::BTreeMap,
    fmt,
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dokit_object::{
    BoxFuture, Clock, DurableObject, Error,
    engine::{InvalidNamespace, ObjectType, SocketLimits},
};
use dokit_storage::Limits;
use tokio::sync::Semaphore;

use crate::{
    Host, SystemClock, admin,
    connection::Patience,
    deadline::LONGEST,
    doors::Doors,
    engine::{Engine, Settings},
    error::StartError,
    serving::bind,
};

/// What a [`Host`] is made of.
///
/// | option | default |
/// |---|---|
/// | [`data`](Self::data) | `./data` |
/// | [`object`](Self::object) | none; at least one is needed |
/// | [`variable`](Self::variable) | none |
/// | [`limits`](Self::limits) | [`Limits::default`], the strictest engine's |
/// | [`deadline`](Self::deadline) | 30 s |
/// | [`longest_deadline`](Self::longest_deadline) | 15 min |
/// | [`sleep_after`](Self::sleep_after) | 10 s |
/// | [`awake_memory`](Self::awake_memory) | 512 MiB |
/// | [`sql_limit`](Self::sql_limit) | 1,000 |
/// | [`socket_limit`](Self::socket_limit) | 65,536 |
/// | [`socket_buffer`](Self::socket_buffer) | 1 MiB |
/// | [`message_limit`](Self::message_limit) | 1 MiB |
/// | [`ping_after`](Self::ping_after) | 30 s |
/// | [`clock`](Self::clock) | the system's |
///
/// The doors and the limits of what comes over HTTP:
///
/// | option | default |
/// |---|---|
/// | [`token`](Self::token), [`check`](Self::check) | none: on loopback anyone may call |
/// | [`allow_anyone`](Self::allow_anyone) | no: an address that is not loopback needs a token or a check |
/// | [`allow_origin`](Self::allow_origin) | none: web pages of other origins are refused |
/// | [`allow_credentials`](Self::allow_credentials) | no: those pages send no cookies |
/// | [`allow_host`](Self::allow_host) | none: on loopback only its own names |
/// | [`admin`](Self::admin), [`admin_token`](Self::admin_token) | none |
/// | [`body_limit`](Self::body_limit) | 1 MiB |
/// | [`connections`](Self::connections) | 16,384 |
/// | [`head_timeout`](Self::head_timeout) | 10 s |
/// | [`body_timeout`](Self::body_timeout) | 30 s |
/// | [`write_timeout`](Self::write_timeout) | 30 s |
/// | [`idle_timeout`](Self::idle_timeout) | 75 s |
/// | [`waiting_calls`](Self::waiting_calls) | 65,536 |
/// | [`waiting_bytes`](Self::waiting_bytes) | 256 MiB |
/// | [`drain`](Self::drain) | 10 s |
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    data: PathBuf,
    types: Vec<Result<ObjectType, InvalidNamespace>>,
    settings: Settings,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            data: PathBuf::from("data"),
            types: Vec::new(),
            settings: Settings {
                variables: BTreeMap::new(),
                limits: Limits::default(),
                body_limit: 1024 * 1024,
                deadline: Duration::from_secs(30),
                longest_deadline: Duration::from_secs(15 * 60),
                sleep_after: Duration::from_secs(10),
                doors: Doors::default(),
                admin: None,
                admin_doors: Doors::default(),
                connections: 16_384,
                patience: Patience {
                    head: Duration::from_secs(10),
                    body: Duration::from_secs(30),
                    write: Duration::from_secs(30),
                    idle: Duration::from_secs(75),
                },
                waiting_calls: 65_536,
                waiting_bytes: 256 * 1024 * 1024,
                drain: Duration::from_secs(10),
                awake_memory: 512 * 1024 * 1024,
                sockets: SocketLimits::default(),
                message_limit: 1024 * 1024,
                ping_after: Duration::from_secs(30),
                sql_limit: 1000,
                clock: Arc::new(SystemClock),
            },
        }
    }

    /// The folder that holds the data, made where there is none. One host at a time uses it.
    pub fn data(mut self, folder: impl AsRef<Path>) -> Self {
        self.data = folder.as_ref().to_owned();
        self
    }

    /// Serves objects of this type.
    pub fn object<T: DurableObject>(mut self) -> Self {
        self.types.push(ObjectType::of::<T>());
        self
    }

    /// Sets a variable that objects read with `Context::variable`.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.variables.insert(name.into(), value.into());
        self
    }

    /// How large keys and values may be.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// The largest body of a request, in bytes. A larger one is answered 413.
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// How long a call may take, from its arrival to its answer, where its caller does not say. A call
    /// that takes longer is given up: nothing of it remains but what it committed early.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How long a caller may ask for at most.
    pub fn longest_deadline(mut self, longest: Duration) -> Self {
        self.settings.longest_deadline = longest;
        self
    }

    /// How long an object has had no call when it leaves memory: this long at least, and twice as long
    /// at most. The next call, or its alarm, wakes it, and nobody else can tell. At zero it leaves as
    /// soon as nothing waits for it. This is by the runtime's time, not by the host's clock.
    pub fn sleep_after(mut self, idle: Duration) -> Self {
        self.settings.sleep_after = idle.min(LONGEST);
        self
    }

    /// How many bytes the objects that are awake may hold together: with more, those that were idle longest
    /// leave memory before their time, until it is less. The next call wakes them, and nobody else can tell.
    ///
    /// An object counts for
    ///
    /// - 2 KiB that the engine keeps for it,
    /// - its own size, which is that of its fields,
    /// - its [`State`](dokit_object::State): twice its JSON text, for the text and for the value,
    /// - what its [`held_bytes`](DurableObject::held_bytes) says that it holds beside these,
    /// - with SQL, 190 KiB for the open database, and the database's size as it was looked at last, of which
    ///   SQLite keeps 2,000 KiB at most.
    ///
    /// Rust cannot weigh a value, so an object that keeps a map or a cache in memory and does not say so in
    /// `held_bytes` counts for too little. What is on its way to the disk or waits in queues is bounded by
    /// [`waiting_bytes`](Self::waiting_bytes), what waits for sockets by
    /// [`socket_buffer`](Self::socket_buffer).
    ///
    /// One that has something to do, or whose writes are not on disk yet, does not leave, so what is at work
    /// at once can exceed this; while it does, all that is idle leaves. An object that alone holds more leaves
    /// as soon as it is idle, so that each call wakes it anew.
    pub fn awake_memory(mut self, bytes: usize) -> Self {
        self.settings.awake_memory = bytes;
        self
    }

    /// How many objects of SQL types have their databases open at most. One more waits for its place,
    /// within its call's deadline, while the one that was idle longest is put to sleep.
    ///
    /// Each costs three file descriptors and about 190 KiB, so mind the process's own limit
    /// (`ulimit -n`). They count for [`awake_memory`](Self::awake_memory), too.
    pub fn sql_limit(mut self, databases: usize) -> Self {
        self.settings.sql_limit = databases.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many WebSockets are open at a time, over all objects. One more is answered 503. Each is one of
    /// the [`connections`](Self::connections), too.
    pub fn socket_limit(mut self, sockets: usize) -> Self {
        self.settings.sockets.sockets = sockets;
        self
    }

    /// How many bytes may wait for the peer of a WebSocket to read them, or one message where that is
    /// longer. One that is slower is closed with 1013, and what waits for it is dropped; the object's other sockets notice nothing.
    pub fn socket_buffer(mut self, bytes: usize) -> Self {
        self.settings.sockets.buffer = bytes;
        self
    }

    /// The largest message that a WebSocket takes, in bytes. A larger one closes it with 1009.
    pub fn message_limit(mut self, bytes: usize) -> Self {
        self.settings.message_limit = bytes;
        self
    }

    /// How long a WebSocket has been silent when its peer is asked by a ping whether it is there. One that
    /// is silent for as long again is gone.
    pub fn ping_after(mut self, silence: Duration) -> Self {
        self.settings.ping_after = silence.min(LONGEST);
        self
    }

    /// Lets requests in that carry this token: `authorization: Bearer {token}`. Several may be given, so
    /// that one can take another's place. The others are answered 401 `unauthorized`, whatever they ask
    /// for. Calls inside the process need none.
    pub fn token(mut self, token: impl AsRef<str>) -> Self {
        self.settings.doors.token(token.as_ref());
        self
    }

    /// Lets requests in that `check` answers `Ok` for; the others get its error, such as
    /// `Error::new(403, "forbidden", "staff only")`. It sees a request's head, before anything of its
    /// body is read, or anything looked up of what is served here. Where tokens are given too, a
    /// request needs one of them as well.
    pub fn check<F, R>(mut self, check: F) -> Self
    where
        F: Fn(http::Request<()>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let check = Arc::new(move |head| Box::pin(check(head)) as BoxFuture<'static, _>);
        self.settings.doors.check(check);
        self
    }

    /// Listens also on an address that other machines can reach though neither a token is asked for nor
    /// a check made: whoever reaches it may call. It is for a network or a proxy in front to keep
    /// strangers out then.
    pub fn allow_anyone(mut self) -> Self {
        self.settings.doors.anyone();
        self
    }

    /// Lets web pages of this origin call and read the answers (CORS), such as `https://app.example`.
    /// Pages that the host serves itself need not be named; those of any other origin are refused, 403
    /// `origin_not_allowed`. Cookies are not among what such a page may send, unless
    /// [`allow_credentials`](Self::allow_credentials) says so.
    pub fn allow_origin(mut self, origin: impl AsRef<str>) -> Self {
        self.settings.doors.origin(origin.as_ref());
        self
    }

    /// Lets the pages of the [allowed origins](Self::allow_origin) send what the browser keeps for this host,
    /// cookies above all (`fetch(.., { credentials: "include" })`), for a [`check`](Self::check) that reads
    /// them. Such a page then calls in the name of whoever looks at it: allow only origins whose pages you
    /// trust with that.
    pub fn allow_credentials(mut self) -> Self {
        self.settings.doors.credentials();
        self
    }

    /// A name that requests may be for, such as `shop.example`, where a host that listens on loopback
    /// stands behind a proxy. All but the names of the loopback are refused there, 403
    /// `host_not_allowed`, unless a token is asked for: a web page can have its own name lead to this
    /// machine.
    pub fn allow_host(mut self, host: impl AsRef<str>) -> Self {
        self.settings.doors.host(host.as_ref());
        self
    }

    /// Answers administrators at an address apart, such as `127.0.0.1:9090`, from the start of the host
    /// to its end: `/metrics` for Prometheus, `/healthz` and `/readyz`. An address that other machines
    /// can reach needs an [`admin_token`](Self::admin_token).
    pub fn admin(mut self, address: impl Into<String>) -> Self {
        self.settings.admin = Some(address.into());
        self
    }

    /// Asks administrators for this token, but not for `/healthz` and `/readyz`. Several may be given.
    pub fn admin_token(mut self, token: impl AsRef<str>) -> Self {
        self.settings.admin_doors.token(token.as_ref());
        self
    }

    /// How many connections there may be at once. The next one waits for another to end.
    pub fn connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections.min(Semaphore::MAX_PERMITS);
        self
    }

    /// How long the head of a request may take, from the opening of its connection or from its first
    /// byte. Then the connection is closed.
    pub fn head_timeout(mut self, timeout: Duration) -> Self {
        self.settings.patience.head = timeout.min(LONGEST);
        self
    }

    /// How long the body of a request may take. Then it is answered 408 `request_timeout`.
    pub fn body_timeout(mut self, timeout: Duration) -> Self {
        self.settings.patience.body = timeout.min(LONGEST);
        self
    }

    /// How long a client may take nothing of an answer. Then the connection is closed.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.settings.patience.write = timeout.min(LONGEST);
        self
    }

    /// How long a connection is kept open for the next request.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.patience.idle = timeout.min(LONGEST);
        self
    }

    /// How many calls may wait or run in the whole host at once. One more is answered 503 `overloaded`.
    /// (For one object that is 1,024.)
    pub fn waiting_calls(mut self, calls: usize) -> Self {
        self.settings.waiting_calls = calls;
        self
    }

    /// How many bytes the bodies of those calls may have together, those that are still arriving among
    /// them. What is more is answered 503 `overloaded`; so are calls that may write while more than this
    /// is on its way to the disk.
    pub fn waiting_bytes(mut self, bytes: usize) -> Self {
        self.settings.waiting_bytes = bytes;
        self
    }

    /// How long what runs may take to end when the host is told to stop. Then it is given up.
    pub fn drain(mut self, limit: Duration) -> Self {
        self.settings.drain = limit.min(LONGEST);
        self
    }

    /// Another clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.settings.clock = Arc::new(clock);
        self
    }

    /// Opens the data and starts serving: calls in this process from now on, and alarms, those that
    /// fell due while nothing ran at once.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime with time enabled, and with I/O for an [administration
    /// address](Self::admin): objects run on the runtime that this is called in.
    pub fn start(self) -> Result<Host, StartError> {
        let mut types = BTreeMap::new();
        for object_type in self.types {
            let object_type = object_type?;
            let namespace = object_type.namespace();
            if types.insert(namespace, object_type).is_some() {
                return Err(StartError::DuplicateNamespace { namespace });
            }
        }
        if types.is_empty() {
            return Err(StartError::NoObjects);
        }
        if let Some(origin) = self.settings.doors.invalid_origin() {
            let origin = origin.to_owned();
            return Err(StartError::InvalidOrigin { origin });
        }
        // The address first: where it is taken, no alarm has run.
        let admin = match &self.settings.admin {
            Some(address) => Some(admin::bind(&self.settings, address)?),
            None => None,
        };
        let engine = Engine::start(&self.data, types, self.settings)?;
        if let Some((listener, address)) = admin {
            admin::start(&engine, listener, address);
        }
        Ok(Host::new(engine))
    }

    /// Starts, and listens on `address` until the process is told to stop (SIGTERM or ctrl-c); then
    /// finishes what runs, for as long as [`drain`](Self::drain) says, and returns. Told a second time,
    /// it gives up what runs.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn serve(self, address: impl ToSocketAddrs + fmt::Display) -> Result<(), StartError> {
        // The address first: where it is taken, no alarm has run.
        let (listener, address) = bind(address)?;
        self.settings.doors.may_listen_on(address)?;
        self.start()?.listener(listener, address)?.run().await;
        Ok(())
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("data", &self.data)
            .field("types", &self.types)
            .finish_non_exhaustive()
    }
}
