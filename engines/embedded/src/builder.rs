use std::{
    collections::BTreeMap,
    fmt,
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dokit_object::{Clock, DurableObject, InvalidNamespace, ObjectType, SocketLimits};
use dokit_storage::Limits;

use crate::{
    Host, SystemClock,
    engine::{Engine, Settings},
    error::StartError,
    gateway::{bind, told_to_stop},
};

/// What a [`Host`] is made of.
///
/// | option | default |
/// |---|---|
/// | [`data`](Self::data) | `./data` |
/// | [`object`](Self::object) | none; at least one is needed |
/// | [`variable`](Self::variable) | none |
/// | [`limits`](Self::limits) | [`Limits::default`], the strictest engine's |
/// | [`body_limit`](Self::body_limit) | 1 MiB |
/// | [`deadline`](Self::deadline) | 30 s |
/// | [`longest_deadline`](Self::longest_deadline) | 15 min |
/// | [`sleep_after`](Self::sleep_after) | 10 s |
/// | [`awake_limit`](Self::awake_limit) | 100,000 |
/// | [`socket_limit`](Self::socket_limit) | 65,536 |
/// | [`socket_buffer`](Self::socket_buffer) | 1 MiB |
/// | [`message_limit`](Self::message_limit) | 1 MiB |
/// | [`ping_after`](Self::ping_after) | 30 s |
/// | [`clock`](Self::clock) | the system's |
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
                awake_limit: 100_000,
                sockets: SocketLimits::default(),
                message_limit: 1024 * 1024,
                ping_after: Duration::from_secs(30),
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
        self.settings.sleep_after = idle;
        self
    }

    /// How many objects are awake at most, more or less: with more, those that were idle longest leave
    /// memory before their time. One that has something to do never leaves, so it can be exceeded.
    ///
    /// An awake object costs what it keeps in its own fields, and about 1.5 KiB beside that.
    pub fn awake_limit(mut self, objects: usize) -> Self {
        self.settings.awake_limit = objects;
        self
    }

    /// How many WebSockets are open at a time, over all objects. One more is answered 503. Each takes a
    /// file descriptor of the process.
    pub fn socket_limit(mut self, sockets: usize) -> Self {
        self.settings.sockets.sockets = sockets;
        self
    }

    /// How many bytes may wait for the peer of a WebSocket to read them. One that is slower is closed with
    /// 1013, and what waits for it is dropped; the object's other sockets notice nothing.
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
        self.settings.ping_after = silence;
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
    /// Outside a tokio runtime with time enabled: objects run on the runtime that this is called in.
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
        Engine::start(&self.data, types, self.settings).map(Host::new)
    }

    /// Starts, and listens on `address` until the process is told to stop (SIGTERM or ctrl-c); then
    /// finishes what runs and returns.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn serve(self, address: impl ToSocketAddrs + fmt::Display) -> Result<(), StartError> {
        // The address first: where it is taken, no alarm has run.
        let listener = bind(address).await?;
        let host = self.start()?;
        let served = host.listener(listener)?.serve(told_to_stop()).await;
        host.shutdown().await;
        served
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
