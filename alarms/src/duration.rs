//! Durations as people write them: `30s`, `1h 30m`.

use std::{fmt::Write as _, time::Duration};

use dokit_storage::Timestamp;

/// Longer inputs are refused unread: no sensible duration needs them.
const LONGEST_INPUT: usize = 64;

/// humantime 2.4.0 panics where a carry overflows, which takes more digits than this
/// (<https://github.com/chronotope/humantime/issues/66>).
const MOST_DIGITS: usize = 12;

/// The longest duration: from the epoch to the last moment an alarm can be set for, 219 years.
const LONGEST: Duration = Duration::from_millis(Timestamp::LAST.as_millis().unsigned_abs());

/// The date and the time units of ISO 8601, in their order.
const ISO_UNITS: [&str; 2] = ["WD", "HMS"];

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Nothing, or only spaces.
    #[error("a duration is empty; write one such as \"30s\", \"5m\" or \"1h 30m\"")]
    Empty,
    /// More text than a duration can need.
    #[error(
        "a duration of {bytes} bytes, starting with {start:?}, is too long; the limit is {limit}"
    )]
    TooLong {
        /// The first characters.
        start: String,
        /// The length of the whole.
        bytes: usize,
        /// The longest that is read.
        limit: usize,
    },
    /// Something that is not numbers with units.
    #[error(
        "invalid duration {input:?}: expected a number at {found:?}, as in \"30s\" or \"1h 30m\""
    )]
    ExpectedNumber {
        /// The text.
        input: String,
        /// What stands in the place of a number.
        found: String,
    },
    /// A number with more digits than a duration can need, or with a point and no digits after it.
    #[error("invalid duration {input:?}: unusable number {number:?}")]
    InvalidNumber {
        /// The text.
        input: String,
        /// The number, cut to a readable length.
        number: String,
    },
    /// A number that no unit follows.
    #[error(
        "invalid duration {input:?}: {number} of what? write a unit: {number}s, {number}m, {number}h"
    )]
    MissingUnit {
        /// The text.
        input: String,
        /// The number.
        number: String,
    },
    /// A unit that is none, or one in capitals.
    #[error(
        "invalid duration {input:?}: unknown unit {unit:?}; known units: ns, us, ms, s, m, h, d, w"
    )]
    UnknownUnit {
        /// The text.
        input: String,
        /// The unit.
        unit: String,
    },
    /// Months and years, which differ in length. `M` is one of them: a slip of the hand for `m`.
    #[error(
        "invalid duration {input:?}: {unit:?} is a month or a year, of no fixed length; write days (d), or minutes (m)"
    )]
    CalendarUnit {
        /// The text.
        input: String,
        /// The unit.
        unit: String,
    },
    /// The same unit twice.
    #[error("invalid duration {input:?}: the unit {unit:?} is given twice")]
    RepeatedUnit {
        /// The text.
        input: String,
        /// The unit, as it stands the second time.
        unit: String,
    },
    /// A text that begins like a duration of ISO 8601, and is none.
    #[error(
        "invalid duration {input:?}: expected one of iso 8601, as in \"PT5M\" or \"P1DT12H\"; or write \"5m\", \"1d 12h\""
    )]
    InvalidIso {
        /// The text.
        input: String,
    },
    /// A duration of nothing.
    #[error("invalid duration {input:?}: it must be longer than nothing")]
    Zero {
        /// The text.
        input: String,
    },
    /// A fraction of a unit that is not a whole number of nanoseconds, or of seconds for hours and
    /// longer units.
    #[error("invalid duration {input:?}: the fraction is finer than can be counted")]
    TooFine {
        /// The text.
        input: String,
    },
    /// More than 219 years, the time from 1970 to the last moment that an alarm can be set for.
    #[error("invalid duration {input:?}: longer than 219 years")]
    OutOfRange {
        /// The text.
        input: String,
    },
}

/// Reads a duration such as `30s`, `5m`, `1h`, `2d`, `1w`, `500ms`, `1h30m` or `1h 30m`.
///
/// Each part is a number, a fraction allowed, and a unit: `ns`, `us`, `ms`, `s`, `m`, `h`, `d`,
/// `w`, or one of the longer names that humantime reads (`sec`, `minutes`, ..). A day has 24 hours.
/// The form of ISO 8601 is read as well, in capitals: `PT5M`, `P1DT12H`, `P2W`.
///
/// # Errors
///
/// [`DurationError`]. Refused are zero, negative numbers, a number without a unit, months and years
/// (and so `M`), a unit given twice, more than 219 years, and anything that is not a duration. No
/// input panics.
///
/// ```
/// use std::time::Duration;
/// use dokit_alarms::parse_duration;
///
/// assert_eq!(parse_duration("1h 30m")?, Duration::from_secs(5400));
/// assert_eq!(
///     parse_duration("100").unwrap_err().to_string(),
///     "invalid duration \"100\": 100 of what? write a unit: 100s, 100m, 100h"
/// );
/// # Ok::<(), dokit_alarms::DurationError>(())
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.len() > LONGEST_INPUT {
        return Err(DurationError::TooLong {
            start: cut(text),
            bytes: text.len(),
            limit: LONGEST_INPUT,
        });
    }
    match text.trim_ascii().strip_prefix('P') {
        Some(iso) => read(text, &plain(text, iso)?).map_err(|error| match error {
            DurationError::Zero { .. }
            | DurationError::OutOfRange { .. }
            | DurationError::TooFine { .. } => error,
            _ => invalid_iso(text),
        }),
        None => read(text, text),
    }
}

/// Reads the plain form of a duration, which errors call `input`.
fn read(input: &str, plain: &str) -> Result<Duration, DurationError> {
    check(plain)?;
    let input = || input.to_owned();
    match humantime::parse_duration(plain) {
        Ok(duration) if duration.is_zero() => Err(DurationError::Zero { input: input() }),
        Ok(duration) if duration > LONGEST => Err(DurationError::OutOfRange { input: input() }),
        Ok(duration) => Ok(duration),
        // The form was checked above, so what is left to fail is arithmetic: only a fraction does,
        // since twelve digits of weeks fit.
        Err(_) => Err(DurationError::TooFine { input: input() }),
    }
}

/// The plain form, such as `1d12h`, of what follows the `P` in a duration of ISO 8601.
fn plain(input: &str, iso: &str) -> Result<String, DurationError> {
    let (date, time) = match iso.split_once('T') {
        Some((_, "")) => return Err(invalid_iso(input)),
        Some((date, time)) => (date, Some(time)),
        None => (iso, None),
    };
    let mut plain = String::new();
    for (part, units) in [Some(date), time].into_iter().flatten().zip(ISO_UNITS) {
        let mut units = units.chars();
        for letter in part.chars() {
            if letter.is_ascii_digit() || letter == '.' {
                plain.push(letter);
            } else if units.any(|unit| unit == letter) {
                plain.push(letter.to_ascii_lowercase());
            } else if part == date && matches!(letter, 'Y' | 'M') {
                return Err(DurationError::CalendarUnit {
                    input: input.to_owned(),
                    unit: letter.to_string(),
                });
            } else {
                return Err(invalid_iso(input));
            }
        }
    }
    Ok(plain)
}

fn invalid_iso(input: &str) -> DurationError {
    DurationError::InvalidIso {
        input: input.to_owned(),
    }
}

/// Checks the form of a duration, and what humantime takes although it should not.
fn check(text: &str) -> Result<(), DurationError> {
    let input = || text.to_owned();
    let mut seen = Vec::new();
    let mut rest = text.trim_ascii();
    if rest.is_empty() {
        return Err(DurationError::Empty);
    }
    while !rest.is_empty() {
        let (number, after) = split(rest, |byte| byte.is_ascii_digit() || byte == b'.');
        if !number.starts_with(|first: char| first.is_ascii_digit()) {
            return Err(DurationError::ExpectedNumber {
                input: input(),
                found: cut(rest),
            });
        }
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| {
            (1..=MOST_DIGITS).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        if !digits(whole) || !digits(fraction) {
            return Err(DurationError::InvalidNumber {
                input: input(),
                number: cut(number),
            });
        }
        let after = after.trim_ascii_start();
        let (unit, after) = split(after, |byte| byte.is_ascii_alphabetic());
        if unit.is_empty() {
            return Err(match after.chars().next() {
                Some(sign) if !sign.is_ascii_digit() => DurationError::UnknownUnit {
                    input: input(),
                    unit: sign.to_string(),
                },
                _ => DurationError::MissingUnit {
                    input: input(),
                    number: number.to_owned(),
                },
            });
        }
        let size = match unit {
            "nanos" | "nsec" | "ns" => 0,
            "usec" | "us" => 1,
            "millis" | "msec" | "ms" => 2,
            "seconds" | "second" | "secs" | "sec" | "s" => 3,
            "minutes" | "minute" | "mins" | "min" | "m" => 4,
            "hours" | "hour" | "hrs" | "hr" | "h" => 5,
            "days" | "day" | "d" => 6,
            "weeks" | "week" | "wks" | "wk" | "w" => 7,
            "months" | "month" | "M" | "years" | "year" | "yrs" | "yr" | "y" => {
                return Err(DurationError::CalendarUnit {
                    input: input(),
                    unit: unit.to_owned(),
                });
            }
            _ => {
                return Err(DurationError::UnknownUnit {
                    input: input(),
                    unit: unit.to_owned(),
                });
            }
        };
        if seen.contains(&size) {
            return Err(DurationError::RepeatedUnit {
                input: input(),
                unit: unit.to_owned(),
            });
        }
        seen.push(size);
        rest = after.trim_ascii_start();
    }
    Ok(())
}

/// Splits where the first byte is not of the kind; such a place is never within a character, since
/// only ASCII is of a kind.
fn split(text: &str, kind: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|byte| !kind(byte));
    text.split_at(end.unwrap_or(text.len()))
}

/// The first characters of a text, for an error.
fn cut(text: &str) -> String {
    match text.char_indices().nth(24) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes a duration the way [`parse_duration`] reads it: `1d 2h 30m`, `500ms`.
///
/// Zero is `0s`, which is the only result that does not parse.
///
/// ```
/// use std::time::Duration;
/// assert_eq!(dokit_alarms::format_duration(Duration::from_secs(5400)), "1h 30m");
/// ```
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (u64::from(nanos / 1_000_000), "ms"),
        (u64::from(nanos / 1000 % 1000), "us"),
        (u64::from(nanos % 1000), "ns"),
    ];
    let mut text = String::new();
    for (number, unit) in parts.into_iter().filter(|(number, _)| *number > 0) {
        let space = if text.is_empty() { "" } else { " " };
        write!(text, "{space}{number}{unit}").expect("writing to a string never fails");
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}
