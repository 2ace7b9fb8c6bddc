//! The headers of a call.

use std::time::Duration;

/// What the body is; [`JSON`].
pub const CONTENT_TYPE: &str = "content-type";

/// The content type of calls and of answers.
pub const JSON: &str = "application/json";

/// The time that is left for an answer, in whole milliseconds. It is a length and not a moment, so
/// that two clocks need not agree.
pub const TIMEOUT_MS: &str = "dokit-timeout-ms";

/// With it, a call that was answered before is answered the same again.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The trace that the call belongs to, as W3C Trace Context writes it.
pub const TRACEPARENT: &str = "traceparent";

/// How long to wait before it is worth trying again, in whole seconds. (HTTP lets it be a date too; that
/// is not read, since two clocks need not agree.)
pub const RETRY_AFTER: &str = "retry-after";

/// Writes a value of [`RETRY_AFTER`], rounded up.
#[must_use]
pub fn write_retry_after(pause: Duration) -> String {
    pause.as_nanos().div_ceil(1_000_000_000).to_string()
}

/// Reads a value of [`RETRY_AFTER`]; `None` for what is not a whole number of seconds.
#[must_use]
pub fn parse_retry_after(value: &str) -> Option<Duration> {
    whole_number(value).map(Duration::from_secs)
}

/// Writes a value of [`TIMEOUT_MS`], rounded up, so that it is never 0.
#[must_use]
pub fn write_timeout(left: Duration) -> String {
    left.as_nanos().div_ceil(1_000_000).max(1).to_string()
}

/// Reads a value of [`TIMEOUT_MS`]; `None` for what is not a whole number above 0. One that is larger
/// than `u64::MAX` is that.
#[must_use]
pub fn parse_timeout(value: &str) -> Option<Duration> {
    let millis = whole_number(value)?;
    (millis > 0).then(|| Duration::from_millis(millis))
}

/// Digits; as many as are too many are the most.
fn whole_number(value: &str) -> Option<u64> {
    let value = value.trim();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(value.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{parse_retry_after, parse_timeout, write_retry_after, write_timeout};

    #[test]
    fn a_timeout_is_rounded_up_and_read_back() {
        for (left, written) in [
            (Duration::from_secs(30), "30000"),
            (Duration::from_micros(1500), "2"),
            (Duration::ZERO, "1"),
        ] {
            assert_eq!(write_timeout(left), written);
            assert!(parse_timeout(written) >= Some(left));
        }
        assert_eq!(
            parse_timeout(&"9".repeat(99)),
            Some(Duration::from_millis(u64::MAX))
        );
        for bad in ["", "0", "-1", "+1", "1.5", "1s"] {
            assert_eq!(parse_timeout(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_retry_after_is_whole_seconds_and_a_date_is_not_read() {
        let pause = Duration::from_millis(1200);
        assert_eq!(write_retry_after(pause), "2");
        assert_eq!(parse_retry_after("2"), Some(Duration::from_secs(2)));
        assert_eq!(parse_retry_after("0"), Some(Duration::ZERO));
        for bad in ["", "-1", "1.5", "Wed, 21 Oct 2026 07:28:00 GMT"] {
            assert_eq!(parse_retry_after(bad), None, "{bad}");
        }
    }
}
