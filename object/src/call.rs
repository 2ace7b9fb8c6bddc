//! What a call is, and its outcome: values that one can look at, log and test.

use bytes::Bytes;
use dokit_client::{Access, CallReply, ErrorReply, Method, header as wire};
use dokit_storage::Batch;
use http::{HeaderValue, StatusCode, header};

use crate::{
    engine::{Delivered, SocketActions, SocketCall},
    json::response_of_json,
    sockets,
};

/// A plain HTTP request, its path relative to the object.
pub type Request = http::Request<Bytes>;

/// A plain HTTP response.
pub type Response = http::Response<Bytes>;

/// One thing for an object to do.
#[derive(Debug)]
pub enum Call {
    /// Call a method.
    Rpc(RpcCall),
    /// Answer a plain HTTP request.
    Fetch(Request),
    /// Run the alarm, if it is due. The answer may hold [deliveries](crate::engine::Delivery::take).
    Alarm,
    /// Take note of what became of a [`Delivery`](crate::engine::Delivery).
    Delivered(Delivered),
    /// Handle an event of a socket.
    Socket(SocketCall),
}

/// A call of a method.
#[derive(Clone, Debug)]
pub struct RpcCall {
    /// The method, from the table of the object's type.
    pub method: &'static Method,
    /// The arguments: a JSON array, not looked at yet.
    pub arguments: Bytes,
    /// With it, a call that has been answered already is answered the same again.
    pub idempotency_key: Option<String>,
}

impl Call {
    /// Whether it may overlap other calls, or runs alone.
    #[must_use]
    pub fn access(&self) -> Access {
        match self {
            Self::Rpc(call) => call.method.access(),
            Self::Fetch(_) | Self::Alarm | Self::Socket(_) | Self::Delivered(_) => {
                Access::Exclusive
            }
        }
    }
}

/// The outcome of a call, as a value: what it answers, what it wrote, and what it does to sockets.
///
/// The engine's whole task is to make [`writes`](Self::writes) durable, and after that to perform what
/// it does to [`sockets`](Self::sockets) and to let [`reply`](Self::reply) out. If that commit fails,
/// the sockets are left alone, the reply is not sent, an error
/// [`ErrorReply::commit_failed`] takes its place, and the object's memory is dropped.
#[derive(Debug)]
#[must_use = "a call's writes have to be committed before its reply leaves"]
pub struct Outcome {
    /// The answer.
    pub reply: Result<Response, ErrorReply>,
    /// The writes, to be committed as one. Empty for a call that failed, except for what is
    /// remembered of a failed alarm.
    ///
    /// Rows of an object that has SQL are not in it: they are in the object's open database. They are
    /// undone where [`reset`](Self::reset) is set, before these are applied, and committed with them
    /// otherwise.
    pub writes: Batch,
    /// What it does to the object's sockets. Nothing for a call that failed.
    pub sockets: SocketActions,
    /// Whether the object's memory has to be dropped, because it may hold what was not written, and
    /// the call's rows undone.
    pub reset: bool,
    /// Whether the call failed because the disk did.
    pub(crate) disk_failed: bool,
}

impl Outcome {
    /// A call that wrote nothing.
    pub(crate) fn read(reply: Result<Response, ErrorReply>) -> Self {
        Self {
            reply,
            writes: Batch::new(),
            sockets: SocketActions::default(),
            reset: false,
            disk_failed: false,
        }
    }

    /// A call that was refused before it touched the object.
    pub(crate) fn refused(reply: ErrorReply) -> Self {
        Self::read(Err(reply))
    }

    /// A call that failed while it ran.
    pub(crate) fn failed(reply: ErrorReply) -> Self {
        Self {
            reset: true,
            ..Self::refused(reply)
        }
    }
}

/// An error as the gateway answers it.
#[must_use]
pub fn error_response(error: &ErrorReply) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = response_of_json(status, error.to_body());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        let post = HeaderValue::from_static("POST");
        response.headers_mut().insert(header::ALLOW, post);
    }
    if status == StatusCode::UNAUTHORIZED {
        let bearer = HeaderValue::from_static("Bearer");
        let headers = response.headers_mut();
        headers.insert(header::WWW_AUTHENTICATE, bearer);
    }
    if let Some(pause) = error.retry_after()
        && let Ok(seconds) = HeaderValue::try_from(wire::write_retry_after(pause))
    {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    if status == StatusCode::UPGRADE_REQUIRED {
        sockets::ask_for_upgrade(response.headers_mut());
    }
    response
}

/// A response as the transport of a call within the process sees it.
#[must_use]
pub fn to_call_reply(response: Response) -> CallReply {
    let (head, body) = response.into_parts();
    let content_type = head.headers.get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let retry_after = head.headers.get(header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|value| value.to_str().ok());
    CallReply::new(head.status.as_u16(), content_type, body).with_retry_after(retry_after)
}
