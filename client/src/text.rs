//! Beginnings of bodies, for messages.

/// The first `limit` bytes as text, with three dots where there is more. What is not UTF-8 is
/// replaced.
pub(crate) fn head(bytes: &[u8], limit: usize) -> String {
    if bytes.len() <= limit {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    // A character that the limit cuts in two is left out.
    let cut = (limit.saturating_sub(3)..=limit)
        .rev()
        .find(|&at| bytes[at] & 0b1100_0000 != 0b1000_0000)
        .unwrap_or(limit);
    format!("{}...", String::from_utf8_lossy(&bytes[..cut]))
}

#[cfg(test)]
mod tests {
    use super::head;

    #[test]
    fn a_head_ends_between_two_characters() {
        let text = "ab\u{20ac}cd";
        assert_eq!(head(text.as_bytes(), 7), text);
        assert_eq!(head(text.as_bytes(), 5), "ab\u{20ac}...");
        assert_eq!(head(text.as_bytes(), 4), "ab...");
        assert_eq!(head(text.as_bytes(), 2), "ab...");
        assert_eq!(head(b"\x80\x80\x80\x80\x80\x80", 5).len(), 5 * 3 + 3);
    }
}
