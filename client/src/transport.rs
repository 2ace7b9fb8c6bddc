use std::{error::Error as StdError, fmt, sync::Arc};

use crate::{CallReply, CallRequest, MaybeSend, MaybeSync, Timer};

/// A way to one object.
///
/// Each [`send`](Self::send) is one attempt, and goes to the object anew: a transport over a platform
/// whose stubs break with the first failure makes a new stub in each. Nothing is tried again here;
/// the client does that, where it is safe.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a way to an object",
    note = "a stub is: `namespace.get_by_name(\"..\")`"
)]
pub trait Transport: MaybeSend + MaybeSync {
    /// Carries a call to the object and its answer back. An error that something answered is an
    /// answer too.
    ///
    /// # Errors
    ///
    /// [`TransportError`] when nothing answered.
    fn send(
        &self,
        call: &CallRequest,
    ) -> impl Future<Output = Result<CallReply, TransportError>> + MaybeSend;

    /// What deadlines and pauses between attempts are measured by. Without one (the default) the
    /// deadline is sent along but not watched on this side, and nothing is tried again.
    fn timer(&self) -> Option<Arc<dyn Timer>> {
        None
    }
}

impl<T: Transport> Transport for &T {
    fn send(
        &self,
        call: &CallRequest,
    ) -> impl Future<Output = Result<CallReply, TransportError>> + MaybeSend {
        T::send(self, call)
    }

    fn timer(&self) -> Option<Arc<dyn Timer>> {
        T::timer(self)
    }
}

impl<T: Transport> Transport for Arc<T> {
    fn send(
        &self,
        call: &CallRequest,
    ) -> impl Future<Output = Result<CallReply, TransportError>> + MaybeSend {
        T::send(self, call)
    }

    fn timer(&self) -> Option<Arc<dyn Timer>> {
        T::timer(self)
    }
}

type Source = Box<dyn StdError + Send + Sync>;

/// Why nothing answered a call.
#[derive(Debug)]
pub struct TransportError {
    message: String,
    kind: Kind,
    source: Option<Source>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsendable,
    Unsent,
    Lost,
    TimedOut,
}

impl TransportError {
    /// The call cannot be sent as it is: its address is invalid, say. It did not run, and would not
    /// the next time.
    pub fn unsendable(message: impl Into<String>) -> Self {
        Self::new(message, Kind::Unsendable)
    }

    /// The call did not leave, so it did not run: the connection was refused, say.
    pub fn unsent(message: impl Into<String>) -> Self {
        Self::new(message, Kind::Unsent)
    }

    /// The call left and its answer never came: it may have run.
    pub fn lost(message: impl Into<String>) -> Self {
        Self::new(message, Kind::Lost)
    }

    /// The transport's own time ran out: it may have run.
    pub fn timed_out(message: impl Into<String>) -> Self {
        Self::new(message, Kind::TimedOut)
    }

    /// The same with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Whether the method may have run.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        matches!(self.kind, Kind::Lost | Kind::TimedOut)
    }

    /// Whether the same call can fare better a moment later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.kind != Kind::Unsendable
    }

    /// Whether it was a time that ran out.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.kind == Kind::TimedOut
    }

    fn new(message: impl Into<String>, kind: Kind) -> Self {
        Self {
            message: message.into(),
            kind,
            source: None,
        }
    }
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // The cast forgets `Send + Sync`.
        self.source.as_deref().map(|source| source as _)
    }
}
