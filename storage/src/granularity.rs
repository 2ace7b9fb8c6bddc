use crate::Timestamp;

/// How long a bucket of a [`TimeSeries`](crate::TimeSeries) is. Buckets begin at whole multiples since 1970, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Granularity {
    /// 1,000 ms.
    Second,
    /// 60 seconds.
    Minute,
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl Granularity {
    pub(crate) const ALL: [Self; 4] = [Self::Second, Self::Minute, Self::Hour, Self::Day];

    /// How long it is, in milliseconds.
    #[must_use]
    pub const fn millis(self) -> i64 {
        match self {
            Self::Second => 1000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// The start of the bucket that `at` falls in.
    #[must_use]
    pub const fn start_of(self, at: Timestamp) -> Timestamp {
        let millis = at.as_millis();
        Timestamp::from_millis(millis.saturating_sub(millis.rem_euclid(self.millis())))
    }

    /// The start of the first bucket that does not begin before `at`.
    pub(crate) fn first_from(self, at: Timestamp) -> Timestamp {
        let last = Timestamp::from_millis(at.as_millis().saturating_add(self.millis() - 1));
        self.start_of(last)
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}
