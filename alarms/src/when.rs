use std::time::Duration;

use dokit_storage::Timestamp;

use crate::{DurationError, Error, Result, format_duration, parse_duration};

/// When an alarm is due: after a while, or at a moment.
///
/// What takes an `impl Into<When>` takes a text (`"5m"`, see [`parse_duration`]), a [`Duration`]
/// and a [`Timestamp`]. A moment that has passed, and [`Duration::ZERO`], mean as soon as possible.
/// The text of a duration is read when it is used, so that a wrong one is that operation's error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When(Form);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Form {
    At(Timestamp),
    After(Interval),
}

impl When {
    /// At a moment.
    #[must_use]
    pub fn at(moment: Timestamp) -> Self {
        Self(Form::At(moment))
    }

    /// After a while, given as a [`Duration`] or a text such as `"1h 30m"`.
    #[must_use]
    pub fn after(interval: impl Into<Interval>) -> Self {
        Self(Form::After(interval.into()))
    }

    /// The moment that this means at `now`.
    ///
    /// # Errors
    ///
    /// [`Error::Duration`] for a text that is no duration, [`Error::InvalidTime`] for a moment that
    /// no alarm can be set for: in 1970 or before, or after 2188.
    pub fn resolve(&self, now: Timestamp) -> Result<Timestamp> {
        let at = match &self.0 {
            Form::At(at) => *at,
            Form::After(interval) => now.saturating_add(interval.resolve()?),
        };
        if at <= Timestamp::EPOCH || at > Timestamp::LAST {
            return Err(Error::InvalidTime { at });
        }
        Ok(at)
    }
}

impl From<Timestamp> for When {
    fn from(moment: Timestamp) -> Self {
        Self::at(moment)
    }
}

impl From<Duration> for When {
    fn from(duration: Duration) -> Self {
        Self::after(duration)
    }
}

impl From<&str> for When {
    fn from(text: &str) -> Self {
        Self::after(text)
    }
}

impl From<&String> for When {
    fn from(text: &String) -> Self {
        Self::after(text.as_str())
    }
}

/// A length of time: a [`Duration`], or a text that [`parse_duration`] reads when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interval(Result<Duration, DurationError>);

impl Interval {
    /// The length of time.
    ///
    /// # Errors
    ///
    /// [`Error::Duration`] for a text that is no duration.
    pub fn resolve(&self) -> Result<Duration> {
        self.0.clone().map_err(Error::Duration)
    }

    /// The length of time in whole milliseconds, refused where it is shorter than `least` or longer
    /// than an alarm can be ahead.
    pub(crate) fn millis(&self, least: Duration) -> Result<u64> {
        let interval = self.resolve()?;
        let least = least.max(Duration::from_millis(1));
        let longest = Timestamp::LAST.saturating_duration_since(Timestamp::EPOCH);
        if interval < least || interval > longest {
            return Err(Error::InvalidInterval {
                interval: format_duration(interval),
                least: format_duration(least),
            });
        }
        let rounded = Timestamp::EPOCH.saturating_add(interval).as_millis();
        Ok(rounded.unsigned_abs())
    }
}

impl From<Duration> for Interval {
    fn from(duration: Duration) -> Self {
        Self(Ok(duration))
    }
}

impl From<&str> for Interval {
    fn from(text: &str) -> Self {
        Self(parse_duration(text))
    }
}

impl From<&String> for Interval {
    fn from(text: &String) -> Self {
        Self(parse_duration(text))
    }
}
