//! Requests and responses, between the platform's and ours.

use bytes::Bytes;
use dokit_client::{CallReply, CallRequest, ErrorReply, ObjectId, header};
use dokit_object::{
    Request, Response,
    engine::{Chain, traceparent},
};
use futures_util::StreamExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use worker::{
    ByteStream,
    js_sys::{self, Array, Function, JSON, Reflect, Uint8Array},
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
    worker_sys::ext::ResponseInitExt,
};

use crate::{
    last_words,
    platform::{PlatformError, settled},
};

/// The header that takes the chain of a call from one object to the next: ids, the last one first.
pub(crate) const CHAIN: &str = "dokit-chain";

/// The header that tells an object its name, escaped: one that was first reached by its id does not learn it
/// from the platform.
pub(crate) const NAME: &str = "dokit-name";

/// Reads a request whole, up to `limit` bytes of body. Its address is the path and the query.
pub(crate) async fn read_request(
    raw: &web_sys::Request,
    limit: usize,
) -> Result<Request, ErrorReply> {
    let mut request = Request::new(Bytes::new());
    let unreadable = |what: &str| ErrorReply::new(400, "invalid_request", format!("the {what}"));
    *request.method_mut() = Method::from_bytes(raw.method().as_bytes())
        .map_err(|_| unreadable("request's verb is not one"))?;
    let url: Uri = (raw.url().parse())
        .map_err(|_| ErrorReply::invalid_path("the address is not a valid one"))?;
    *request.uri_mut() = url
        .path_and_query()
        .map_or_else(Uri::default, |path| path.clone().into());
    read_headers(&raw.headers(), request.headers_mut());
    if let Some(body) = raw.body() {
        *request.body_mut() = read_body(body, limit).await?;
    }
    Ok(request)
}

async fn read_body(body: web_sys::ReadableStream, limit: usize) -> Result<Bytes, ErrorReply> {
    let mut chunks = ByteStream::from(body);
    let mut whole = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|_| ErrorReply::new(400, "invalid_body", "the body broke off"))?;
        if whole.len() + chunk.len() > limit {
            return Err(ErrorReply::payload_too_large(limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

/// Headers that are not text are left out: the platform gives none.
fn read_headers(from: &web_sys::Headers, to: &mut HeaderMap) {
    for entry in from.entries().into_iter().flatten() {
        let entry: Array = entry.unchecked_into();
        let (name, value) = (entry.get(0).as_string(), entry.get(1).as_string());
        let name = name.and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        let value = value.and_then(|value| HeaderValue::from_str(&value).ok());
        if let (Some(name), Some(value)) = (name, value) {
            to.append(name, value);
        }
    }
}

/// A request to an object, of a path relative to it.
pub(crate) fn write_request(request: &Request, path: &str) -> Result<web_sys::Request, JsValue> {
    let init = web_sys::RequestInit::new();
    init.set_method(request.method().as_str());
    init.set_headers(write_headers(request.headers())?.as_ref());
    // The platform refuses a body with these two, also an empty one.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        init.set_body(&Uint8Array::from(&**request.body()));
    }
    let query = request.uri().query().map(|query| format!("?{query}"));
    // The host is not looked at: the stub says which object.
    let url = format!("https://object{path}{}", query.unwrap_or_default());
    web_sys::Request::new_with_str_and_init(&url, &init)
}

/// The chain that a call came by. Only objects send it: the gateway lets none in.
pub(crate) fn read_chain(request: &Request) -> Chain {
    let ids = request
        .headers()
        .get(CHAIN)
        .and_then(|ids| ids.to_str().ok());
    let ids = ids.unwrap_or_default().split(',').rev();
    let chain = Chain::default().in_trace(traceparent(request));
    ids.filter_map(|id| id.parse().ok())
        .fold(chain, Chain::with)
}

/// Says in a call what it comes by.
pub(crate) fn write_chain(call: &web_sys::Request, chain: &Chain) -> Result<(), JsValue> {
    let headers = call.headers();
    if let Some(trace) = chain.trace()
        && !headers.has(header::TRACEPARENT)?
    {
        headers.set(header::TRACEPARENT, trace)?;
    }
    let ids: Vec<String> = chain.ids().map(ToString::to_string).collect();
    if !ids.is_empty() {
        headers.set(CHAIN, &ids.join(","))?;
    }
    Ok(())
}

/// Takes the name that the object is called by out of a request to it.
pub(crate) fn take_name(request: &mut Request) -> Option<String> {
    let name = request.headers_mut().remove(NAME)?;
    js_sys::decode_uri_component(name.to_str().ok()?)
        .ok()
        .map(String::from)
}

/// Says in a request to an object by what name it is called.
pub(crate) fn write_name(request: &web_sys::Request, id: &ObjectId) -> Result<(), JsValue> {
    match id.name() {
        Some(name) => {
            let escaped = String::from(js_sys::encode_uri_component(name));
            request.headers().set(NAME, &escaped)
        }
        None => Ok(()),
    }
}

/// The call of a method.
pub(crate) fn write_call(call: &CallRequest) -> Result<web_sys::Request, JsValue> {
    let init = web_sys::RequestInit::new();
    init.set_method("POST");
    let headers = web_sys::Headers::new()?;
    for (name, value) in call.headers() {
        headers.append(name, &value)?;
    }
    init.set_headers(&headers);
    init.set_body(&call.arguments.as_str().into());
    let url = format!("https://object/{}", call.method);
    web_sys::Request::new_with_str_and_init(&url, &init)
}

fn write_headers(from: &HeaderMap) -> Result<web_sys::Headers, JsValue> {
    let headers = web_sys::Headers::new()?;
    for (name, value) in from {
        headers.append(name.as_str(), &String::from_utf8_lossy(value.as_bytes()))?;
    }
    Ok(headers)
}

pub(crate) fn write_response(response: &Response) -> Result<web_sys::Response, JsValue> {
    let init = web_sys::ResponseInit::new();
    init.set_status(response.status().as_u16());
    init.set_headers(write_headers(response.headers())?.as_ref());
    // Statuses that may not have a body may not have an empty one either.
    let body = (!response.body().is_empty()).then(|| Uint8Array::from(&**response.body()));
    web_sys::Response::new_with_opt_js_u8_array_and_init(body.as_ref(), &init)
}

/// A function of JavaScript's that makes the response to an error: for when the program ends.
pub(crate) fn write_error(error: &ErrorReply) -> Result<Function, JsValue> {
    let init = web_sys::ResponseInit::new();
    init.set_status(error.status);
    let class = Reflect::get(&js_sys::global(), &"Response".into())?;
    let json: Function = Reflect::get(&class, &"json".into())?.unchecked_into();
    let body = JSON::parse(&error.to_body())?;
    last_words::bound(&json, &class, &Array::of2(&body, &init))
}

/// The answer that leads to a socket of the platform's, with the headers of `response`.
pub(crate) fn write_upgrade(
    response: &Response,
    socket: &web_sys::WebSocket,
) -> Result<web_sys::Response, JsValue> {
    let mut init = web_sys::ResponseInit::new();
    init.set_status(response.status().as_u16());
    init.set_headers(write_headers(response.headers())?.as_ref());
    init.websocket(socket)?;
    web_sys::Response::new_with_opt_str_and_init(None, &init)
}

pub(crate) async fn read_reply(raw: &web_sys::Response) -> Result<CallReply, PlatformError> {
    let content_type = raw.headers().get(header::CONTENT_TYPE)?;
    let retry_after = raw.headers().get(header::RETRY_AFTER)?;
    let body = settled(raw.array_buffer()).await?;
    let body = Uint8Array::new(&body).to_vec();
    let reply = CallReply::new(raw.status(), content_type, body);
    Ok(reply.with_retry_after(retry_after.as_deref()))
}
