//! A call and its answer, as a transport carries them.

use std::{borrow::Cow, time::Duration};

use crate::{ErrorReply, header};

/// The longest body a call or an answer may have: 32 MiB, which is what the platform takes.
pub const PAYLOAD_BYTES: usize = 32 * 1024 * 1024;

/// A call on its way to an object: what a [`Transport`](crate::Transport) carries.
///
/// On HTTP it is `POST /{method}` with the arguments as the body, after the object's address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRequest {
    /// The method's name on the wire. It needs no escaping in a path where [`#[rpc]`](crate::rpc)
    /// made it.
    pub method: Cow<'static, str>,
    /// The arguments: the text of a JSON array.
    pub arguments: String,
    /// The time that is left for an answer.
    pub deadline: Option<Duration>,
    /// With it, a call that was answered before is answered the same again.
    pub idempotency_key: Option<String>,
    /// The trace that the call belongs to, as W3C Trace Context writes it.
    pub traceparent: Option<String>,
}

impl CallRequest {
    /// A call with no deadline, key or trace.
    pub fn new(method: impl Into<Cow<'static, str>>, arguments: impl Into<String>) -> Self {
        Self {
            method: method.into(),
            arguments: arguments.into(),
            deadline: None,
            idempotency_key: None,
            traceparent: None,
        }
    }

    /// The headers of the call on HTTP, its content type included, for a transport to set.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let timeout = self.deadline.map(header::write_timeout);
        [
            (header::CONTENT_TYPE, Some(header::JSON.into())),
            (header::TIMEOUT_MS, timeout.map(Cow::from)),
            (
                header::IDEMPOTENCY_KEY,
                self.idempotency_key.as_deref().map(Cow::from),
            ),
            (
                header::TRACEPARENT,
                self.traceparent.as_deref().map(Cow::from),
            ),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// What came back: of an error too, as long as something answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallReply {
    /// The HTTP status.
    pub status: u16,
    /// The `content-type`, where one came.
    pub content_type: Option<String>,
    /// How long to wait before it is worth trying again, where the answer says so.
    pub retry_after: Option<Duration>,
    /// The body: JSON text, if all is well.
    pub body: Vec<u8>,
}

impl CallReply {
    /// An answer that says what it is.
    pub fn new(status: u16, content_type: Option<String>, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            content_type,
            retry_after: None,
            body: body.into(),
        }
    }

    /// The same, with the value of its [`retry-after`](header::RETRY_AFTER), where it has one.
    #[must_use]
    pub fn with_retry_after(mut self, value: Option<&str>) -> Self {
        self.retry_after = value.and_then(header::parse_retry_after);
        self
    }

    /// The answer that an error is.
    #[must_use]
    pub fn error(error: &ErrorReply) -> Self {
        Self {
            retry_after: error.retry_after(),
            ..Self::json(error.status, error.to_body())
        }
    }

    /// An answer in JSON.
    pub fn json(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, Some(header::JSON.to_owned()), body)
    }
}
