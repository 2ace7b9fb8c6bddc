use dokit_client::header::{self, parse_timeout, write_timeout};
use dokit_object::{Request, engine::deadline};
use http::HeaderValue;

/// The value of a header.
pub fn headers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let digits = text.trim();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = parse_timeout(&text);
    assert_eq!(
        parsed.is_some(),
        is_number && digits.bytes().any(|byte| byte != b'0'),
        "{text:?}"
    );
    if let Some(timeout) = parsed {
        assert!(!timeout.is_zero());
        assert_eq!(
            parse_timeout(&write_timeout(timeout)),
            Some(timeout),
            "{text:?}"
        );
    }
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let is_text = value.to_str().is_ok();
        let mut request = Request::default();
        request.headers_mut().insert(header::TIMEOUT_MS, value);
        match deadline(&request) {
            Ok(found) => assert!(is_text && found == parsed && found.is_some(), "{text:?}"),
            Err(error) => {
                assert!(parsed.is_none() || !is_text, "{text:?}");
                assert_eq!((error.status, &*error.code), (400, "invalid_header"));
                assert!(
                    error.message.contains(header::TIMEOUT_MS),
                    "{}",
                    error.message
                );
            }
        }
    }
}
