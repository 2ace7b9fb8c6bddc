use std::time::Duration;

use dokit_storage::Timestamp;

/// How often and after what time a failing action is tried again.
///
/// | setting | default |
/// |---|---|
/// | [`tries`](Self::tries), the first included | 10 |
/// | [`first_delay`](Self::first_delay), after the first failure | 2 s |
/// | [`longest_delay`](Self::longest_delay) | 1 h |
///
/// The delay doubles with each failure up to the longest, and up to a quarter is added to it. How
/// much is worked out from the alarm's id, the time it was made and the number of the try, so that
/// many objects that failed together do not come back together, and a test sees the same each time.
/// By default the tenth failure comes about twenty minutes after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Retries {
    pub(crate) tries: u32,
    first: Duration,
    longest: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self::new()
    }
}

impl Retries {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            tries: 10,
            first: Duration::from_secs(2),
            longest: Duration::from_secs(3600),
        }
    }

    /// How often an action is tried in all; zero counts as one.
    pub const fn tries(mut self, tries: u32) -> Self {
        self.tries = if tries == 0 { 1 } else { tries };
        self
    }

    /// The delay after the first failure.
    pub const fn first_delay(mut self, delay: Duration) -> Self {
        self.first = delay;
        self
    }

    /// The delay that is not exceeded, but for what is added at random.
    pub const fn longest_delay(mut self, delay: Duration) -> Self {
        self.longest = delay;
        self
    }

    /// The moment of the next try, after the `failed`-th one failed at `now`.
    pub(crate) fn next(&self, now: Timestamp, failed: u32, seed: &str) -> Timestamp {
        let doublings = failed.saturating_sub(1).min(31);
        let delay = self.first.saturating_mul(1 << doublings).min(self.longest);
        // A quarter of the delay, in 256 steps.
        let added = (delay / 1024).saturating_mul(u32::from(hash(seed, failed)));
        let at = now.saturating_add(delay.saturating_add(added));
        at.min(Timestamp::LAST)
    }
}

/// A byte that is the same for the same seed and number, and evenly spread over different ones:
/// FNV-1a with a last mixing step. It is not stored, so it may change between versions.
fn hash(seed: &str, number: u32) -> u8 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in seed.bytes().chain(number.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash.to_be_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn delay(retries: Retries, failed: u32, seed: &str) -> Duration {
        retries
            .next(NOW, failed, seed)
            .saturating_duration_since(NOW)
    }

    #[test]
    fn delays_double_up_to_the_longest_and_add_at_most_a_quarter() {
        for failed in 1..=40 {
            let plain = Duration::from_secs(2u64.saturating_pow(failed).min(3600));
            let delay = delay(Retries::new(), failed, "id");
            assert!(delay >= plain, "{failed}: {delay:?}");
            assert!(delay <= plain + plain / 4, "{failed}: {delay:?}");
        }
    }

    #[test]
    fn the_same_failure_waits_as_long_each_time_and_others_spread() {
        let of = |seed: &str| delay(Retries::new(), 3, seed);
        assert_eq!(of("a"), of("a"));
        let spread: std::collections::BTreeSet<_> = (0..100)
            .map(|object| of(&format!("cleanup {object}")))
            .collect();
        assert!(spread.len() > 60, "{} of 100", spread.len());
    }

    #[test]
    fn absurd_delays_end_at_the_last_moment() {
        let retries = Retries::new()
            .first_delay(Duration::MAX)
            .longest_delay(Duration::MAX);
        assert_eq!(retries.next(NOW, u32::MAX, ""), Timestamp::LAST);
        assert_eq!(Retries::new().tries(0).tries, 1);
    }
}
