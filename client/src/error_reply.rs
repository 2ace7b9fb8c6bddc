//! Errors on the wire: what a peer may see of one, what the log keeps, and how it is read.

use std::{
    borrow::Cow, error::Error as StdError, fmt::Write as _, num::NonZeroU16, time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::{__private::FieldsOut, code, text};

/// How much of a foreign body becomes a message, in bytes.
const MESSAGE_BYTES: usize = 1024;

/// When to come back to a host that has too much to do, or that is about to stop.
const PAUSE: Duration = Duration::from_secs(1);

/// An error as it crosses the wire: an HTTP status and a JSON body
/// `{"error": message, "code": code, "details": details}`, without `details` where there are none.
///
/// ```rust
/// use dokit_client::ErrorReply;
///
/// let reply = ErrorReply::new(409, "sold_out", "no seats left").with_details(["A1", "A2"]);
/// let body = r#"{"error":"no seats left","code":"sold_out","details":["A1","A2"]}"#;
/// assert_eq!(reply.to_body(), body);
/// assert_eq!(ErrorReply::from_body(409, body.as_bytes()), reply);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ErrorReply {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The stable code, in `snake_case`. Those of dokit itself are in [`code`].
    pub code: Cow<'static, str>,
    /// What a person is told.
    pub message: String,
    /// What only the log of the host gets to see. It is never sent.
    pub log: Option<String>,
    /// In seconds. Small, so that results that can be this error are.
    retry_after: Option<NonZeroU16>,
    details: Option<Box<RawValue>>,
}

/// The body, written.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a RawValue>,
}

/// The body, read: any JSON object, in which some fields are known.
#[derive(Deserialize)]
struct Read {
    error: Option<Value>,
    message: Option<Value>,
    code: Option<Value>,
    #[serde(default)]
    details: Option<Box<RawValue>>,
}

impl ErrorReply {
    /// An error without details. A `status` that is none of an error is made 500.
    pub fn new(
        status: u16,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            status: if (400..600).contains(&status) {
                status
            } else {
                500
            },
            code: code.into(),
            message: message.into(),
            log: None,
            retry_after: None,
            details: None,
        }
    }

    /// The same with details for the caller's program. `null` is none; so are details that have no
    /// JSON form, and then the log says why.
    #[must_use]
    pub fn with_details(mut self, details: impl Serialize) -> Self {
        match serde_json::value::to_raw_value(&details) {
            Ok(details) => self.details = Some(details).filter(|details| details.get() != "null"),
            Err(error) => {
                self.log = Some(format!("the error's details have no json form: {error}"))
            }
        }
        self
    }

    /// The details as JSON text.
    #[must_use]
    pub fn details_json(&self) -> Option<&str> {
        self.details.as_deref().map(RawValue::get)
    }

    /// The details as a `D`; `None` where there are none or they are something else.
    #[must_use]
    pub fn details<D: DeserializeOwned>(&self) -> Option<D> {
        serde_json::from_str(self.details_json()?).ok()
    }

    /// How long to wait before it is worth trying again, where the host says so. On HTTP it is the
    /// header [`retry-after`](crate::header::RETRY_AFTER).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let seconds = self.retry_after?.get();
        Some(Duration::from_secs(seconds.into()))
    }

    /// The same, which says how long to wait: in whole seconds, rounded up, 18 hours at most. Zero says
    /// nothing.
    #[must_use]
    pub fn with_retry_after(mut self, pause: Duration) -> Self {
        let seconds = pause.as_nanos().div_ceil(1_000_000_000);
        self.retry_after = NonZeroU16::new(u16::try_from(seconds).unwrap_or(u16::MAX));
        self
    }

    /// Whether the method may have run. For all but the reserved codes that say otherwise, it may.
    #[must_use]
    pub fn may_have_run(&self) -> bool {
        code::meaning(&self.code, self.status).ran
    }

    /// Whether the same call can fare better a moment later. If it is safe to try is another
    /// question: see [`may_have_run`](Self::may_have_run).
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        code::meaning(&self.code, self.status).passing
    }

    /// The body: JSON text.
    #[must_use]
    pub fn to_body(&self) -> String {
        let body = Body {
            error: &self.message,
            code: &self.code,
            details: self.details.as_deref(),
        };
        // Strings and JSON that is JSON already cannot fail.
        serde_json::to_string(&body).unwrap_or_default()
    }

    /// Reads a body, ours or anybody's: an error that is an object with a `message` of its own, a
    /// `message` beside it, a JSON string, plain text, nothing at all. What has no code gets
    /// [`code::UNKNOWN`]; the message is never empty.
    #[must_use]
    pub fn from_body(status: u16, body: &[u8]) -> Self {
        let read = match serde_json::from_slice::<Read>(body) {
            Ok(read) if body.trim_ascii_start().starts_with(b"{") => Some(read),
            _ => None,
        };
        let (error, beside, code, details) = match read {
            Some(read) => (read.error, read.message, read.code, read.details),
            None => (None, None, None, None),
        };
        let inner = error.as_ref().and_then(Value::as_object);
        let part = |name| inner.and_then(|inner| inner.get(name));
        let code = code.as_ref().or(part("code")).and_then(Value::as_str);
        let message = error
            .as_ref()
            .and_then(Value::as_str)
            .or(part("message").and_then(Value::as_str))
            .or(beside.as_ref().and_then(Value::as_str))
            .filter(|message| !message.is_empty())
            .map_or_else(|| foreign_message(status, body), str::to_owned);
        Self {
            details: details
                .filter(|details| details.get() != "null")
                .or_else(|| {
                    part("details").and_then(|part| serde_json::value::to_raw_value(part).ok())
                }),
            ..Self::new(status, code.unwrap_or(code::UNKNOWN).to_owned(), message)
        }
    }

    /// [`code::METHOD_NOT_FOUND`]: the message and the details name the methods that there are.
    #[must_use]
    pub fn method_not_found(method: &str, known: &[&str]) -> Self {
        Self::of(
            code::METHOD_NOT_FOUND,
            format!(
                "unknown method {method:?}; known methods: [{}]",
                known.join(", ")
            ),
        )
        .with_details(FieldsOut::new().with("method", method).with("known", known))
    }

    /// [`code::METHOD_NOT_ALLOWED`]: a method asked for with a verb that is not POST.
    #[must_use]
    pub fn method_not_allowed(verb: &str, method: &str) -> Self {
        Self::of(
            code::METHOD_NOT_ALLOWED,
            format!("method {method:?} is called with POST, not with {verb}"),
        )
        .with_details(
            FieldsOut::new()
                .with("method", method)
                .with("allowed", ["POST"]),
        )
    }

    /// [`code::NAMESPACE_NOT_FOUND`]: the message and the details name the namespaces that there are.
    #[must_use]
    pub fn namespace_not_found(namespace: &str, known: &[&str]) -> Self {
        Self::of(
            code::NAMESPACE_NOT_FOUND,
            format!(
                "unknown namespace {namespace:?}; known namespaces: [{}]",
                known.join(", ")
            ),
        )
        .with_details(
            FieldsOut::new()
                .with("namespace", namespace)
                .with("known", known),
        )
    }

    /// [`code::INVALID_ARGUMENTS`].
    pub fn invalid_arguments(message: impl Into<String>) -> Self {
        Self::of(code::INVALID_ARGUMENTS, message)
    }

    /// [`code::INVALID_PATH`].
    pub fn invalid_path(message: impl Into<String>) -> Self {
        Self::of(code::INVALID_PATH, message)
    }

    /// [`code::INVALID_NAME`].
    pub fn invalid_name(message: impl Into<String>) -> Self {
        Self::of(code::INVALID_NAME, message)
    }

    /// [`code::INVALID_ID`].
    pub fn invalid_id(message: impl Into<String>) -> Self {
        Self::of(code::INVALID_ID, message)
    }

    /// [`code::INVALID_HEADER`].
    pub fn invalid_header(message: impl Into<String>) -> Self {
        Self::of(code::INVALID_HEADER, message)
    }

    /// [`code::NAME_TOO_LONG`], with both lengths in bytes.
    #[must_use]
    pub fn name_too_long(bytes: usize, limit: usize) -> Self {
        Self::of(
            code::NAME_TOO_LONG,
            format!("the object's name is {bytes} bytes; the limit is {limit}"),
        )
        .with_details(FieldsOut::new().with("bytes", bytes).with("limit", limit))
    }

    /// [`code::PAYLOAD_TOO_LARGE`], with the limit in bytes.
    #[must_use]
    pub fn payload_too_large(limit: usize) -> Self {
        Self::of(
            code::PAYLOAD_TOO_LARGE,
            format!("the body is over the limit of {limit} bytes"),
        )
        .with_details(FieldsOut::new().with("limit", limit))
    }

    /// [`code::INVALID_IDEMPOTENCY_KEY`], with both lengths in bytes.
    #[must_use]
    pub fn invalid_idempotency_key(bytes: usize, limit: usize) -> Self {
        Self::of(
            code::INVALID_IDEMPOTENCY_KEY,
            format!("the idempotency key is {bytes} bytes; it has to be 1 to {limit}"),
        )
        .with_details(FieldsOut::new().with("bytes", bytes).with("limit", limit))
    }

    /// [`code::IDEMPOTENCY_CONFLICT`].
    #[must_use]
    pub fn idempotency_conflict(key: &str) -> Self {
        Self::of(
            code::IDEMPOTENCY_CONFLICT,
            format!("idempotency key {key:?} was used for another call"),
        )
        .with_details(FieldsOut::new().with("key", key))
    }

    /// [`code::UNAUTHORIZED`].
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::of(code::UNAUTHORIZED, "a valid bearer token is needed")
    }

    /// [`code::OVERLOADED`].
    #[must_use]
    pub fn overloaded() -> Self {
        Self::of(
            code::OVERLOADED,
            "too many calls are waiting for the object",
        )
        .with_retry_after(PAUSE)
    }

    /// [`code::ORIGIN_NOT_ALLOWED`].
    pub fn origin_not_allowed(message: impl Into<String>) -> Self {
        Self::of(code::ORIGIN_NOT_ALLOWED, message)
    }

    /// [`code::HOST_NOT_ALLOWED`].
    pub fn host_not_allowed(message: impl Into<String>) -> Self {
        Self::of(code::HOST_NOT_ALLOWED, message)
    }

    /// [`code::REQUEST_TIMEOUT`].
    #[must_use]
    pub fn request_timeout() -> Self {
        Self::of(
            code::REQUEST_TIMEOUT,
            "the request did not come within its time",
        )
    }

    /// [`code::REENTRANT_CALL`].
    #[must_use]
    pub fn reentrant_call() -> Self {
        Self::of(
            code::REENTRANT_CALL,
            "the call came back to an object that is waiting for it",
        )
    }

    /// [`code::SHUTTING_DOWN`].
    #[must_use]
    pub fn shutting_down() -> Self {
        Self::of(code::SHUTTING_DOWN, "the host is shutting down").with_retry_after(PAUSE)
    }

    /// [`code::DEADLINE_EXCEEDED`].
    #[must_use]
    pub fn deadline_exceeded() -> Self {
        Self::of(
            code::DEADLINE_EXCEEDED,
            "the call was not answered within its deadline",
        )
    }

    /// [`code::COMMIT_FAILED`].
    #[must_use]
    pub fn commit_failed() -> Self {
        Self::of(
            code::COMMIT_FAILED,
            "what the call wrote could not be made durable",
        )
    }

    /// [`code::OBJECT_RESET`].
    #[must_use]
    pub fn object_reset() -> Self {
        Self::of(
            code::OBJECT_RESET,
            "the object was reset to what is durable while the call depended on it",
        )
    }

    /// [`code::MISSING_HANDLER`].
    #[must_use]
    pub fn missing_handler(handler: &str) -> Self {
        Self::of(
            code::MISSING_HANDLER,
            format!("the object has no {handler} handler"),
        )
    }

    /// [`code::INTERNAL`]: the caller sees `internal error`, the log the text of `source` and of its
    /// causes.
    pub fn internal(source: &(impl StdError + ?Sized)) -> Self {
        Self {
            log: Some(chain(source)),
            ..Self::of(code::INTERNAL, "internal error")
        }
    }

    /// A reserved code with its own status.
    fn of(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(code::meaning(code, 500).status, code, message)
    }
}

/// Details are compared by their text.
impl PartialEq for ErrorReply {
    fn eq(&self, other: &Self) -> bool {
        self.status == other.status
            && self.code == other.code
            && self.message == other.message
            && self.log == other.log
            && self.retry_after == other.retry_after
            && self.details_json() == other.details_json()
    }
}

/// What to say of an error whose body says it in a way of its own.
fn foreign_message(status: u16, body: &[u8]) -> String {
    let quoted = serde_json::from_slice::<String>(body);
    let said = quoted.unwrap_or_else(|_| text::head(body, MESSAGE_BYTES));
    match said.trim() {
        "" | "null" => format!("status {status} with no message"),
        said => said.to_owned(),
    }
}

/// An error and its causes, in one line.
fn chain(error: &(impl StdError + ?Sized)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string cannot fail.
        let _ = write!(line, ": {error}");
        cause = error.source();
    }
    line
}
