use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use crate::{Error, Request, Response, Result};

/// Checks that a request asks for a WebSocket (RFC 6455, 4.2.1).
pub(super) fn check(request: &Request) -> Result<()> {
    let headers = request.headers();
    let asks = request.method() == Method::GET
        && lists(headers, &header::CONNECTION, "upgrade")
        && lists(headers, &header::UPGRADE, "websocket");
    if !asks {
        return Err(upgrade_required("the request does not ask for a WebSocket"));
    }
    let version = headers.get(header::SEC_WEBSOCKET_VERSION);
    if version.is_none_or(|version| version != "13") {
        return Err(upgrade_required(
            "only version 13 of the WebSocket protocol is spoken",
        ));
    }
    let invalid = |message| Err(Error::new(400, "invalid_handshake", message));
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        None => invalid("header sec-websocket-key is missing"),
        Some(key) if is_key(key.as_bytes()) => Ok(()),
        Some(_) => invalid("header sec-websocket-key is not 16 bytes in base64"),
    }
}

/// Whether these are 16 bytes in base64: 22 digits, of the last of which four bits count for nothing, and
/// the padding.
fn is_key(text: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    let digits = text.strip_suffix(b"==");
    digits.is_some_and(|digits| {
        digits.len() == 22
            && digits.iter().all(digit)
            && digits.last().is_some_and(|last| b"AQgw".contains(last))
    })
}

/// Puts on an answer of status 426 what it has to carry.
pub(crate) fn ask_for_upgrade(headers: &mut HeaderMap) {
    let websocket = HeaderValue::from_static("websocket");
    headers.insert(header::UPGRADE, websocket);
    let upgrade = HeaderValue::from_static("upgrade");
    headers.insert(header::CONNECTION, upgrade);
    let version = HeaderValue::from_static("13");
    headers.insert(header::SEC_WEBSOCKET_VERSION, version);
}

/// The answer that accepts; the engine adds what depends on the connection.
pub(super) fn accepted() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    response
}

fn upgrade_required(message: &str) -> Error {
    Error::new(426, "upgrade_required", message)
}

/// Whether a header that is a list has this word in it.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|listed| listed.trim().eq_ignore_ascii_case(word))
}
