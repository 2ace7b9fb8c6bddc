//! What one run gave, and what several runs say together.

use std::time::Duration;

use crate::{Result, machine::Conditions};

/// What callers saw of one load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Measured {
    pub(crate) calls: u64,
    pub(crate) took: Duration,
    /// The time that half of the calls stayed under, and the time that all but a hundredth did.
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Measured {
    /// From the time that each call waited, in nanoseconds.
    pub(crate) fn new(mut waits: Vec<u32>, took: Duration) -> Result<Self> {
        if waits.is_empty() {
            return Err("no call was answered in the time that was measured".into());
        }
        waits.sort_unstable();
        let at = |hundredths: usize| {
            let index = (waits.len() * hundredths / 100).min(waits.len() - 1);
            Duration::from_nanos(waits[index].into())
        };
        Ok(Self {
            calls: waits.len() as u64,
            took,
            p50: at(50),
            p99: at(99),
        })
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.calls as f64 / self.took.as_secs_f64()
    }
}

/// A wait as it is collected: a u32 holds four seconds.
pub(crate) fn nanos(wait: Duration) -> u32 {
    u32::try_from(wait.as_nanos()).unwrap_or(u32::MAX)
}

/// The runs of one load on one peer, in the order of the rounds.
#[derive(Debug, Default)]
pub(crate) struct Series {
    runs: Vec<(Measured, Conditions)>,
}

impl Series {
    pub(crate) fn push(&mut self, measured: Measured, conditions: Conditions) {
        self.runs.push((measured, conditions));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn spread(&self, value: impl Fn(&Measured) -> f64) -> Spread {
        self.runs.iter().map(|(run, _)| value(run)).collect()
    }

    pub(crate) fn conditions(&self, value: impl Fn(&Conditions) -> f64) -> Spread {
        self.runs
            .iter()
            .map(|(_, conditions)| value(conditions))
            .collect()
    }

    pub(crate) fn per_second(&self) -> Spread {
        self.spread(Measured::per_second)
    }

    pub(crate) fn p50(&self) -> Spread {
        self.spread(|run| micros(run.p50))
    }

    pub(crate) fn p99(&self) -> Spread {
        self.spread(|run| micros(run.p99))
    }

    pub(crate) fn disturbed(&self) -> String {
        disturbed(self.runs.iter().map(|(_, conditions)| conditions))
    }
}

/// How many of some runs were disturbed; nothing where none was.
pub(crate) fn disturbed<'c>(runs: impl Iterator<Item = &'c Conditions>) -> String {
    let (mut disturbed, mut all) = (0, 0);
    for run in runs {
        disturbed += u32::from(run.noisy);
        all += 1;
    }
    match disturbed {
        0 => String::new(),
        _ => format!("{disturbed} of {all}"),
    }
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// One value of several runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Spread {
    /// In the order of the runs.
    values: Vec<f64>,
}

impl FromIterator<f64> for Spread {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let values = values.into_iter().collect();
        Self { values }
    }
}

impl Spread {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted
    }

    /// The middle value, or the mean of the two in the middle. Not a number where there is none.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
            _ => sorted[middle],
        }
    }

    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        self.values.iter().map(|value| change(*value)).collect()
    }

    /// This to another, run by run: what stood beside each other in time is divided.
    pub(crate) fn ratio(&self, to: &Self) -> Self {
        let pairs = self.values.iter().zip(&to.values);
        pairs.map(|(own, other)| own / other).collect()
    }

    /// `median (min-max)`, or nothing where there is no number.
    pub(crate) fn text(&self, digits: usize) -> String {
        let sorted = self.sorted();
        if self.median().is_nan() {
            return String::new();
        }
        let median = number(self.median(), digits);
        match (sorted.first(), sorted.last()) {
            (Some(min), Some(max)) if sorted.len() > 1 => {
                let [min, max] = [min, max].map(|value| number(*value, digits));
                format!("{median} ({min}-{max})")
            }
            _ => median,
        }
    }
}

/// `1 object`, `1,000 objects`.
pub(crate) fn some(count: u64, of: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{} {of}{ending}", number(count as f64, 0))
}

/// A number with thousands apart.
pub(crate) fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let whole = text.find('.').unwrap_or(text.len());
    // Infinite, or not a number.
    if !text[..whole].bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    let mut out = String::new();
    for (index, digit) in text[..whole].chars().enumerate() {
        if index > 0 && (whole - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out + &text[whole..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(values: &[f64]) -> Spread {
        values.iter().copied().collect()
    }

    #[test]
    fn half_of_the_calls_are_under_the_median_and_all_but_a_hundredth_under_the_p99() {
        let waits = (1..=1000).rev().collect();
        let measured = Measured::new(waits, Duration::from_secs(2)).unwrap();
        assert_eq!(measured.p50, Duration::from_nanos(501));
        assert_eq!(measured.p99, Duration::from_nanos(991));
        assert_eq!(measured.per_second(), 500.0);
    }

    #[test]
    fn a_run_without_calls_is_an_error_and_not_a_zero() {
        assert!(Measured::new(Vec::new(), Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert_eq!(spread(&[9.0, 1.0, 5.0]).median(), 5.0);
        assert_eq!(spread(&[9.0, 1.0, 5.0, 3.0]).median(), 4.0);
        assert!(spread(&[]).median().is_nan());
    }

    #[test]
    fn ratios_are_of_runs_that_stood_beside_each_other() {
        let ratio = spread(&[10.0, 40.0, 90.0]).ratio(&spread(&[1.0, 2.0, 3.0]));
        assert_eq!(ratio, spread(&[10.0, 20.0, 30.0]));
        assert_eq!(ratio.text(1), "20.0 (10.0-30.0)");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!(number(999.4, 0), "999");
        assert_eq!(number(1_234_567.0, 0), "1,234,567");
        assert_eq!(number(12_345.678, 2), "12,345.68");
        assert_eq!(number(f64::NAN, 1), "NaN");
        assert_eq!(some(1, "object"), "1 object");
        assert_eq!(some(1000, "object"), "1,000 objects");
    }

    #[test]
    fn what_was_not_measured_is_told_as_nothing() {
        assert_eq!(spread(&[f64::NAN, f64::NAN]).text(0), "");
        assert_eq!(spread(&[]).text(0), "");
        assert_eq!(spread(&[7.0]).text(0), "7");
    }
}
