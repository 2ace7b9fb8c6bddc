//! The length of a timeout, such as `"1d"` or `"1h 30m"`.

use syn::{Error, LitStr, Result};

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// The milliseconds that a literal names.
pub(super) fn millis(literal: &LitStr) -> Result<u64> {
    parse(&literal.value()).ok_or_else(|| {
        Error::new(
            literal.span(),
            format!(
                "`{}` is not a duration; write whole numbers with units, each unit once, as in \
                 \"30s\", \"1h 30m\" or \"2d\" (ms, s, m, h, d, w), more than zero",
                literal.value()
            ),
        )
    })
}

fn parse(text: &str) -> Option<u64> {
    let mut rest = text.trim();
    let mut seen = Vec::new();
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let unit_at = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after
            .find(|letter: char| !letter.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, millis) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if seen.contains(millis) {
            return None;
        }
        seen.push(*millis);
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        rest = after.trim_start();
    }
    (total > 0).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn numbers_with_units_add_up() {
        assert_eq!(parse("250ms"), Some(250));
        assert_eq!(parse("1d"), Some(86_400_000));
        assert_eq!(parse("1h 30m"), Some(5_400_000));
        assert_eq!(parse(" 1h30m "), Some(5_400_000));
        assert_eq!(parse("2w"), Some(1_209_600_000));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "abc",
            "100",
            "0s",
            "-5m",
            "5M",
            "1h 1h",
            "1.5h",
            "m",
            "1 h",
            "99999999999999999999s",
            "9999999999999999w",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
