use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since 1970-01-01T00:00:00Z, as alarms and JavaScript count it.
///
/// It serializes as that number, and prints and parses as RFC 3339. There is no `now()`: the time comes
/// from an engine's clock, from a test, or from the system's by `Timestamp::from(SystemTime::now())`.
///
/// ```
/// use dokit_storage::Timestamp;
///
/// let at: Timestamp = "2024-12-31T23:59:59Z".parse()?;
/// assert_eq!(at.as_millis(), 1_735_689_599_000);
/// assert_eq!(at.to_string(), "2024-12-31T23:59:59.000Z");
/// # Ok::<(), dokit_storage::InvalidTimestamp>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The last moment an alarm can be set for: 2189-01-01T00:00:00Z, the platform's limit
    /// (workerd refuses later ones).
    pub const LAST: Self = Self(6_911_049_600_000);

    /// The moment `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment moved later by `duration`, or the end of the range where that would pass it.
    /// Parts of a millisecond round up, so that a delay is never cut short.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis_rounded_up(duration)))
    }

    /// This moment moved earlier by `duration`, or the start of the range where that would pass it.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis_rounded_up(duration)))
    }

    /// The time from `earlier` to this moment; zero where `earlier` is later.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        let millis = i128::from(self.0) - i128::from(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

fn millis_rounded_up(duration: Duration) -> i64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    i64::try_from(millis).unwrap_or(i64::MAX)
}

/// The millisecond that it lies in.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Self(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
            Err(before) => Self::EPOCH.saturating_sub(before.duration()),
        }
    }
}

/// A text that is no moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid timestamp {input:?}: expected a date and a time with its offset, as in \
     \"2026-11-21T05:22:00Z\" or \"2026-11-21T06:22:00.250+01:00\""
)]
#[non_exhaustive]
pub struct InvalidTimestamp {
    /// The text, its first 64 characters.
    pub input: String,
}

/// Reads RFC 3339, with `Z` or an offset. Of a fraction of a second only milliseconds count.
impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        parse(text).ok_or_else(|| InvalidTimestamp {
            input: text.chars().take(64).collect(),
        })
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (time, minutes_ahead) = match time.strip_suffix(['Z', 'z']) {
        Some(time) => (time, 0),
        None => {
            let (time, offset) = time.split_at_checked(time.rfind(['+', '-'])?)?;
            let [hours, minutes] = numbers(&offset[1..], ':', [2, 2])?;
            let ahead = hours * 60 + minutes;
            let sign = if offset.starts_with('-') { -1 } else { 1 };
            (time, (hours < 24 && minutes < 60).then_some(sign * ahead)?)
        }
    };
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(*b"00").take(3);
    let millis = thousandths.fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    let days = days_from_civil(year, month, day);
    let valid = hour < 24 && minute < 60 && second < 60;
    if !valid || civil_from_days(days) != (year, month, day) {
        return None;
    }
    let minutes = days * 1440 + hour * 60 + minute - minutes_ahead;
    Some(Timestamp((minutes * 60 + second) * 1000 + millis))
}

/// Numbers of so many digits each, with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut found = [0; N];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(found)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds: `2026-11-21T05:22:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, millis) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
        let (second, milli) = (millis / 1000 % 60, millis % 1000);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z"
        )
    }
}

/// The date of the day `days` after 1970-01-01 in the proleptic Gregorian calendar
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// How many days after 1970-01-01 a date is; of one that does not exist, some other day.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9).rem_euclid(12);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_prints_as_rfc_3339() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_795_231_096_429, "2026-11-21T03:18:16.429Z"),
            (Timestamp::LAST.as_millis(), "2189-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_millis(millis).to_string(), text);
        }
    }

    #[test]
    fn a_moment_is_read_with_its_offset() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.999Z", -1),
            ("2024-12-31T23:59:59Z", 1_735_689_599_000),
            ("2024-12-31t23:59:59.5z", 1_735_689_599_500),
            ("2024-12-31T23:59:59.123987654Z", 1_735_689_599_123),
            ("2025-01-01T01:29:59+01:30", 1_735_689_599_000),
            ("2024-12-31T22:59:59-01:00", 1_735_689_599_000),
            ("2000-02-29T00:00:00-00:00", 951_782_400_000),
            ("2189-01-01T00:00:00Z", Timestamp::LAST.as_millis()),
        ] {
            assert_eq!(text.parse(), Ok(Timestamp::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "2024-12-31",
            "2024-12-31T23:59:59",
            "2024-12-31 23:59:59Z",
            "2024-12-31T23:59Z",
            "2024-12-31T24:00:00Z",
            "2024-12-31T23:60:00Z",
            "2024-12-31T23:59:60Z",
            "2024-12-31T23:59:59.Z",
            "2024-12-31T23:59:59.1e3Z",
            "2024-12-31T23:59:59+0100",
            "2024-12-31T23:59:59+24:00",
            "2024-12-31T23:59:59+\u{e9}",
            "2023-02-29T00:00:00Z",
            "2024-00-10T00:00:00Z",
            "2024-13-10T00:00:00Z",
            "2024-01-00T00:00:00Z",
            "2024-1-1T00:00:00Z",
            "+2024-01-01T00:00:00Z",
            "1735689599000",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
        assert_eq!(
            "tomorrow".parse::<Timestamp>().unwrap_err().to_string(),
            "invalid timestamp \"tomorrow\": expected a date and a time with its offset, as in \
             \"2026-11-21T05:22:00Z\" or \"2026-11-21T06:22:00.250+01:00\""
        );
    }

    #[test]
    fn a_time_of_the_system_is_the_millisecond_that_it_lies_in() {
        let after = SystemTime::UNIX_EPOCH + Duration::from_micros(1_999);
        assert_eq!(Timestamp::from(after), Timestamp::from_millis(1));
        let before = SystemTime::UNIX_EPOCH - Duration::from_micros(1);
        assert_eq!(Timestamp::from(before), Timestamp::from_millis(-1));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(millis in -62_167_219_200_000..=253_402_300_799_999_i64) {
            let at = Timestamp::from_millis(millis);
            prop_assert_eq!(at.to_string().parse(), Ok(at));
        }

        #[test]
        fn no_text_panics(text in "[0-9TtZz:+.-]{0,40}|.{0,40}") {
            let _ = text.parse::<Timestamp>();
        }
    }

    #[test]
    fn adding_never_overflows_and_never_cuts_a_delay_short() {
        let start = Timestamp::from_millis(5);
        assert_eq!(
            start.saturating_add(Duration::from_nanos(1)),
            Timestamp::from_millis(6)
        );
        assert_eq!(start.saturating_add(Duration::MAX).as_millis(), i64::MAX);
        assert_eq!(
            start.saturating_duration_since(Timestamp::from_millis(9)),
            Duration::ZERO
        );
    }
}
