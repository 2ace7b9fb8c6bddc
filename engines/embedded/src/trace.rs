//! What `tracing` is told of a call. With nobody who listens it costs a look at one flag.

use dokit_client::ObjectId;
use tracing::{Span, field::Empty};

/// The span of a call, from its arrival to its answer. Arguments and bodies are not in it.
/// `traceparent` is what it was told of the trace that it belongs to.
pub(crate) fn call(
    namespace: &str,
    method: &str,
    id: &ObjectId,
    traceparent: Option<&str>,
) -> Span {
    let span = tracing::debug_span!(
        "dokit.handle",
        namespace,
        method,
        %id,
        name = id.name(),
        trace_id = Empty,
        parent_id = Empty,
        code = Empty,
    );
    if !span.is_disabled()
        && let Some((trace, parent)) = traceparent.and_then(parse)
    {
        span.record("trace_id", trace);
        span.record("parent_id", parent);
    }
    span
}

/// The trace and the span of a `traceparent`, as W3C Trace Context writes it (level 1, section 3.2.2).
/// Versions to come begin in the same way.
fn parse(value: &str) -> Option<(&str, &str)> {
    let value = value.trim();
    let mut parts = value.splitn(5, '-');
    let (version, trace) = (parts.next()?, parts.next()?);
    let (parent, flags) = (parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        text.len() == length && text.bytes().all(digit)
    };
    let is_zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let well_formed = hex(version, 2) && hex(trace, 32) && hex(parent, 16) && hex(flags, 2);
    let is_known = version != "ff" && (version != "00" || parts.next().is_none());
    (well_formed && is_known && !is_zero(trace) && !is_zero(parent)).then_some((trace, parent))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let parent = "b7ad6b7169203331";
        for good in [
            format!("00-{trace}-{parent}-01"),
            format!("  00-{trace}-{parent}-00 "),
            format!("cc-{trace}-{parent}-01-what-the-future-will-be"),
        ] {
            assert_eq!(parse(&good), Some((trace, parent)), "{good}");
        }
        for bad in [
            String::new(),
            "00".to_owned(),
            format!("00-{trace}-{parent}"),
            format!("00-{trace}-{parent}-01-more"),
            format!("ff-{trace}-{parent}-01"),
            format!("0-{trace}-{parent}-01"),
            format!("00-{}-{parent}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-{}-{parent}-01", trace.to_uppercase()),
            format!("00-{trace}x-{parent}-01"),
            format!("00-{trace}-{parent}-\u{e9}"),
        ] {
            assert_eq!(parse(&bad), None, "{bad}");
        }
    }
}
