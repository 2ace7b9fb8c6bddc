//! The client's end of a call: its deadline, its retries, and what its answer means.

use std::{sync::Arc, time::Duration};

use serde::de::DeserializeOwned;
use tracing::Instrument;

use crate::{
    CallError, CallReply, CallRequest, ErrorReply, Method, PAYLOAD_BYTES, Retry, RpcError, Timer,
    Transport, Tried, code, text, timer::within,
};

/// How long a call may take where its client was told nothing else.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// How much of an answer that cannot be read is kept, in bytes.
const HEAD_BYTES: usize = 256;

/// What every client that [`#[rpc]`](crate::rpc) makes is made of: a transport and the options of its
/// calls.
///
/// The defaults: a deadline of 30 s for all attempts together, [`Retry::new`], no idempotency key, no
/// trace, the transport's own timer.
///
/// A call opens a span `dokit.call` with the method's name, and notes each retry in it.
#[derive(Clone, Debug)]
pub struct Caller<T> {
    transport: T,
    deadline: Duration,
    retry: Retry,
    idempotency_key: Option<String>,
    traceparent: Option<String>,
    timer: Option<Arc<dyn Timer>>,
}

impl<T> Caller<T> {
    /// A caller with the defaults.
    pub const fn new(transport: T) -> Self {
        Self {
            transport,
            deadline: DEFAULT_DEADLINE,
            retry: Retry::new(),
            idempotency_key: None,
            traceparent: None,
            timer: None,
        }
    }

    /// How long a call may take, its retries included. Default: 30 s.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Makes calls with the same key and the same arguments run once: the result is kept with what
    /// the call wrote, and answered again. Default: none.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// When to try again. Default: [`Retry::new`].
    #[must_use]
    pub fn with_retry(mut self, retry: Retry) -> Self {
        self.retry = retry;
        self
    }

    /// The trace that the calls belong to, as W3C Trace Context writes it. Default: none.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.traceparent = Some(traceparent.into());
        self
    }

    /// What deadlines and pauses are measured by. Default: [`Transport::timer`].
    #[must_use]
    pub fn with_timer(mut self, timer: impl Timer + 'static) -> Self {
        self.timer = Some(Arc::new(timer));
        self
    }
}

impl<T: Transport> Caller<T> {
    /// Calls a method with arguments that are the text of a JSON array.
    ///
    /// # Errors
    ///
    /// [`CallError`]
    pub async fn call<R: DeserializeOwned, E: RpcError>(
        &self,
        method: &'static Method,
        arguments: String,
    ) -> Result<R, CallError<E>> {
        if arguments.len() > PAYLOAD_BYTES {
            return Err(CallError::PayloadTooLarge {
                method: method.name(),
                bytes: arguments.len(),
                limit: PAYLOAD_BYTES,
            });
        }
        let span = tracing::debug_span!("dokit.call", method = method.name());
        self.attempts(method, arguments).instrument(span).await
    }

    /// Tries until there is an answer, or no reason to try again.
    async fn attempts<R: DeserializeOwned, E: RpcError>(
        &self,
        method: &'static Method,
        arguments: String,
    ) -> Result<R, CallError<E>> {
        let mut request = CallRequest {
            idempotency_key: self.idempotency_key.clone(),
            traceparent: self.traceparent.clone(),
            ..CallRequest::new(method.name(), arguments)
        };
        let timer = self.timer.clone().or_else(|| self.transport.timer());
        let timer = timer.as_deref();
        let started = timer.map(Timer::now);
        let left = || {
            let passed = timer.zip(started);
            let passed = passed.map(|(timer, started)| timer.now().saturating_sub(started));
            self.deadline.saturating_sub(passed.unwrap_or_default())
        };
        // Without a timer there can be no pauses, and so no retries.
        let mut pauses = timer.map(|timer| self.retry.pauses(timer.seed()));

        let mut attempts = 0;
        let mut may_have_run = false;
        loop {
            attempts += 1;
            let mut error = match self.attempt(method, &mut request, left(), timer).await {
                Ok(result) => return Ok(result),
                Err(error) => error,
            };
            may_have_run |= error.may_have_run();
            error.tried(attempts, may_have_run);
            let safe = !may_have_run || method.is_idempotent() || self.idempotency_key.is_some();
            // Whatever a coarse timer says is left of it.
            let over = matches!(error, CallError::DeadlineExceeded { .. });
            if over || !safe || !error.is_retryable() {
                return Err(error);
            }
            let pause = pauses.as_mut().and_then(Iterator::next);
            let pause = pause.map(|pause| pause.max(error.retry_after().unwrap_or_default()));
            let (Some(timer), Some(pause)) = (timer, pause.filter(|&pause| pause < left())) else {
                return Err(error);
            };
            tracing::debug!(attempts, ?pause, %error, "call is tried again");
            timer.sleep(pause).await;
        }
    }

    async fn attempt<R: DeserializeOwned, E: RpcError>(
        &self,
        method: &'static Method,
        request: &mut CallRequest,
        left: Duration,
        timer: Option<&dyn Timer>,
    ) -> Result<R, CallError<E>> {
        let tried = Tried {
            method: method.name(),
            attempts: 1,
            may_have_run: true,
        };
        let too_late = |may_have_run| CallError::DeadlineExceeded {
            deadline: self.deadline,
            tried: Tried {
                may_have_run,
                ..tried
            },
        };
        if left.is_zero() {
            return Err(too_late(false));
        }
        request.deadline = Some(left);
        let send = self.transport.send(request);
        let sent = match timer {
            Some(timer) => within(send, timer.sleep(left))
                .await
                .ok_or_else(|| too_late(true))?,
            None => send.await,
        };
        match sent {
            Ok(reply) => interpret(reply, tried),
            Err(source) => Err(CallError::Transport {
                tried: Tried {
                    may_have_run: source.may_have_run(),
                    ..tried
                },
                source,
            }),
        }
    }
}

/// What an answer says.
fn interpret<R: DeserializeOwned, E: RpcError>(
    reply: CallReply,
    tried: Tried,
) -> Result<R, CallError<E>> {
    if reply.status >= 400 {
        let pause = reply.retry_after.unwrap_or_default();
        let reply = ErrorReply::from_body(reply.status, &reply.body).with_retry_after(pause);
        let own = !code::is_reserved(&reply.code);
        if let Some(error) = own.then(|| E::from_reply(&reply)).flatten() {
            return Err(CallError::Object(error));
        }
        return Err(CallError::Remote {
            tried: Tried {
                may_have_run: reply.may_have_run(),
                ..tried
            },
            reply,
        });
    }
    let decode = |reply: CallReply, source| CallError::Decode {
        head: text::head(&reply.body, HEAD_BYTES),
        status: reply.status,
        content_type: reply.content_type,
        source,
        tried,
    };
    if !(200..300).contains(&reply.status) {
        return Err(decode(reply, None));
    }
    if reply.body.is_empty() {
        return serde_json::from_str("null").map_err(|error| decode(reply, Some(error.into())));
    }
    if !reply.content_type.as_deref().is_none_or(is_json) {
        return Err(decode(reply, None));
    }
    serde_json::from_slice(&reply.body).map_err(|error| decode(reply, Some(error.into())))
}

/// `application/json`, or a type whose suffix says that it is JSON too, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::is_json;

    #[test]
    fn json_is_told_by_its_content_type() {
        for json in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/problem+json",
        ] {
            assert!(is_json(json), "{json}");
        }
        for other in ["", "text/html", "application/jsonp", "text/json-ish"] {
            assert!(!is_json(other), "{other}");
        }
    }
}
