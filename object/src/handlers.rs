/// Which of its optional handlers an object type has. `#[durable_object]` fills it in from the
/// methods that are written.
///
/// An engine that cannot serve one of them refuses the type when it is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handlers {
    /// It answers plain HTTP requests.
    pub fetch: bool,
    /// It can be woken by an alarm. Without it no alarm can be set.
    pub alarm: bool,
    /// It takes messages of sockets. Without it no socket can be accepted.
    pub websocket_message: bool,
    /// It is told when a socket has ended.
    pub websocket_close: bool,
    /// It is told what broke a socket.
    pub websocket_error: bool,
}

impl Handlers {
    /// None at all: an object that is only called by RPC.
    pub const NONE: Self = Self {
        fetch: false,
        alarm: false,
        websocket_message: false,
        websocket_close: false,
        websocket_error: false,
    };

    /// The same with `fetch`.
    #[must_use]
    pub const fn with_fetch(self) -> Self {
        Self {
            fetch: true,
            ..self
        }
    }

    /// The same with `alarm`.
    #[must_use]
    pub const fn with_alarm(self) -> Self {
        Self {
            alarm: true,
            ..self
        }
    }

    /// The same with `websocket_message`.
    #[must_use]
    pub const fn with_websocket_message(self) -> Self {
        Self {
            websocket_message: true,
            ..self
        }
    }

    /// The same with `websocket_close`.
    #[must_use]
    pub const fn with_websocket_close(self) -> Self {
        Self {
            websocket_close: true,
            ..self
        }
    }

    /// The same with `websocket_error`.
    #[must_use]
    pub const fn with_websocket_error(self) -> Self {
        Self {
            websocket_error: true,
            ..self
        }
    }
}
