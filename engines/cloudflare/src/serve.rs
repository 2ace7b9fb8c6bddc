//! The server's end of the wire, in a Durable Object that is written by the `worker` crate alone.

use dokit_client::{Access, Dispatch, ErrorReply, Failure, PAYLOAD_BYTES, find_method, header};
use dokit_object::{Response, engine::error_response};
use http::{HeaderValue, Method as Verb};
use worker::console_error;

use crate::message;

/// Answers a request by a method of `object`: `POST /{method}`, the body a JSON array of the arguments.
///
/// It is the wire of `dokit-client`, with its statuses and codes, for the `fetch` of a Durable Object
/// that the `worker` crate's own macro exports:
///
/// ```ignore
/// async fn fetch(&self, request: worker::Request) -> worker::Result<worker::Response> {
///     let mut scores = Scores::new(self.store.clone());
///     dokit_cloudflare::serve(ScoresApiServer, &mut scores, request).await
/// }
/// ```
///
/// One request is one call. It is not a transaction, and calls overlap where they wait for anything but
/// the object's storage: a Durable Object exported by [`export!`](crate::export) has both. Answers
/// are not kept, so a call with an `idempotency-key` is refused, unless its method is idempotent by itself.
///
/// # Errors
///
/// Only where the platform takes no answer. What a caller does wrong, and what a method answers, is a
/// response.
pub async fn serve<D, T>(
    dispatcher: D,
    object: &mut T,
    request: worker::Request,
) -> worker::Result<worker::Response>
where
    D: Dispatch<T>,
{
    // A unit struct, named to say which one.
    let _ = dispatcher;
    let response = match call::<D, T>(object, &request).await {
        Ok(json) => {
            let mut response = Response::new(json.into());
            let content_type = HeaderValue::from_static(header::JSON);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            response
        }
        Err(error) => {
            if let Some(log) = &error.log {
                console_error!("{log}");
            }
            error_response(&error)
        }
    };
    Ok(message::write_response(&response)?.into())
}

async fn call<D: Dispatch<T>, T>(
    object: &mut T,
    request: &worker::Request,
) -> Result<String, ErrorReply> {
    let request = message::read_request(request.inner(), PAYLOAD_BYTES).await?;
    let name = request.uri().path().trim_start_matches('/');
    let method = find_method(D::METHODS, name)?;
    if request.method() != Verb::POST {
        let verb = request.method().as_str();
        return Err(ErrorReply::method_not_allowed(verb, method.name()));
    }
    let keyed = request.headers().contains_key(header::IDEMPOTENCY_KEY);
    if keyed && !method.is_idempotent() {
        return Err(ErrorReply::invalid_header(
            "this object keeps no answers, so that it cannot heed an idempotency-key",
        ));
    }
    let answer = match method.access() {
        Access::Shared => D::call_shared(object, method, request.body()).await,
        Access::Exclusive => D::call_exclusive(object, method, request.body()).await,
    };
    answer.map_err(Failure::into_reply)
}
