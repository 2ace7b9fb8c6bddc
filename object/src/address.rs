//! Which object and which method a request is for.

use std::time::Duration;

use dokit_client::{ErrorReply, ObjectId, find_method, header};
use http::{Method as Verb, Uri};
use percent_encoding::percent_decode_str;

use crate::{
    Request,
    engine::{Call, ObjectType, Router, RpcCall},
};

/// The longest name of an object, in bytes of UTF-8. (Beyond it the platform forgets the name.)
pub const NAME_BYTES: usize = 1024;

/// Where an engine whose platform forgets the names of objects keeps an object's, as JSON text, among its
/// keys. It is the engine's own: objects cannot write it.
pub const NAME_KEY: &str = "__object_name";

/// Which object a request is for, and what of its path the object gets to see.
///
/// ```text
/// /{namespace}/{name}/{path...}          the object of that name (percent-encoded)
/// /{namespace}@id/{64 hex}/{path...}     the object of that id
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Address {
    /// The type of the object.
    pub namespace: &'static str,
    /// The object.
    pub id: ObjectId,
    /// The rest of the path, beginning with a slash, as it was sent.
    pub path: String,
}

impl Address {
    /// Reads the address of a request's path; the ids are those of `router`'s engine.
    ///
    /// # Errors
    ///
    /// `namespace_not_found` (404), `invalid_name` (400), `invalid_id` (400) or
    /// `name_too_long` (414).
    pub fn parse<'t>(
        path: &str,
        types: impl IntoIterator<Item = &'t ObjectType>,
        router: &dyn Router,
    ) -> Result<Self, ErrorReply> {
        let mut parts = path.strip_prefix('/').unwrap_or(path).splitn(3, '/');
        let (first, second) = (parts.next().unwrap_or(""), parts.next());
        let rest = parts.next().unwrap_or("");
        let (namespace, by_id) = match first.strip_suffix("@id") {
            Some(namespace) => (namespace, true),
            None => (first, false),
        };
        let mut known = Vec::new();
        let mut found = None;
        for object_type in types {
            known.push(object_type.namespace());
            if object_type.namespace() == namespace {
                found = Some(object_type.namespace());
            }
        }
        let Some(namespace) = found else {
            known.sort_unstable();
            return Err(ErrorReply::namespace_not_found(namespace, &known));
        };
        let Some(second) = second.filter(|second| !second.is_empty()) else {
            return Err(ErrorReply::invalid_name(format!(
                "the path names no object; expected /{namespace}/{{name}}/{{method}}"
            )));
        };
        let id = if by_id {
            router
                .id_from_string(namespace, second)
                .map_err(|error| ErrorReply::invalid_id(error.to_string()))?
        } else {
            router.id_from_name(namespace, &decode_name(second)?)
        };
        Ok(Self {
            namespace,
            id,
            path: format!("/{rest}"),
        })
    }
}

fn decode_name(encoded: &str) -> Result<String, ErrorReply> {
    let mut escapes = encoded.split('%').skip(1);
    if !escapes
        .all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
    {
        return Err(ErrorReply::invalid_name(
            "the object's name has a % that two hex digits do not follow",
        ));
    }
    let name = percent_decode_str(encoded)
        .decode_utf8()
        .map_err(|_| ErrorReply::invalid_name("the object's name is not utf-8"))?;
    check_name(&name)?;
    Ok(name.into_owned())
}

/// Refuses a name that is empty or too long.
pub(crate) fn check_name(name: &str) -> Result<(), ErrorReply> {
    if name.is_empty() {
        return Err(ErrorReply::invalid_name("the object's name is empty"));
    }
    if name.len() > NAME_BYTES {
        return Err(ErrorReply::name_too_long(name.len(), NAME_BYTES));
    }
    Ok(())
}

/// Decides what a request asks of an object: the call of a method, or a plain request.
///
/// A path of one segment that is the name of a method is a call of it, and has to be a POST. All
/// else goes to `fetch`, where the object has it.
///
/// # Errors
///
/// `method_not_found` (404) with the known methods, `method_not_allowed` (405), or `invalid_header`
/// (400).
pub fn route(object_type: &ObjectType, path: &str, request: Request) -> Result<Call, ErrorReply> {
    let name = path.strip_prefix('/').unwrap_or(path);
    match find_method(object_type.methods(), name) {
        Ok(method) if request.method() == Verb::POST => Ok(Call::Rpc(RpcCall {
            method,
            idempotency_key: text_of(&request, header::IDEMPOTENCY_KEY)?.map(str::to_owned),
            arguments: request.into_body(),
        })),
        Ok(method) => Err(ErrorReply::method_not_allowed(
            request.method().as_str(),
            method.name(),
        )),
        Err(_) if object_type.handlers().fetch => Ok(Call::Fetch(relative(path, request))),
        Err(unknown) => Err(unknown),
    }
}

/// How long the caller of a request waits, where it says so.
///
/// # Errors
///
/// `invalid_header` (400) where that is not a whole number of milliseconds above 0.
pub fn deadline(request: &Request) -> Result<Option<Duration>, ErrorReply> {
    let Some(text) = text_of(request, header::TIMEOUT_MS)? else {
        return Ok(None);
    };
    header::parse_timeout(text).map(Some).ok_or_else(|| {
        let name = header::TIMEOUT_MS;
        ErrorReply::invalid_header(format!(
            "header {name} is {text:?}; expected milliseconds, a whole number above 0"
        ))
    })
}

/// The trace that the caller of a request says that it belongs to: its `traceparent`.
#[must_use]
pub fn traceparent(request: &Request) -> Option<&str> {
    request.headers().get(header::TRACEPARENT)?.to_str().ok()
}

fn text_of<'r>(request: &'r Request, name: &str) -> Result<Option<&'r str>, ErrorReply> {
    let Some(value) = request.headers().get(name) else {
        return Ok(None);
    };
    let text = value.to_str().map(Some);
    text.map_err(|_| ErrorReply::invalid_header(format!("header {name} is not ascii text")))
}

/// The request as the object sees it: its path relative to the object, its query kept.
fn relative(path: &str, mut request: Request) -> Request {
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    // A part of a path that was valid is valid.
    if let Ok(uri) = target.parse::<Uri>() {
        *request.uri_mut() = uri;
    }
    request
}
