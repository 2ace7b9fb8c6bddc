use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// How often, and after which pauses, a call is tried again where that is safe.
///
/// It is safe when the method surely did not run, and else when running twice does no harm: the
/// method takes `&self`, is marked `#[rpc(idempotent)]`, or the call carries an idempotency key. It is
/// never done when the object is overloaded, nor when the pause would outlast the deadline, nor
/// without a [`Timer`](crate::Timer).
///
/// The defaults: 2 retries, so 3 attempts in all; the first pause is 50 ms and each is twice the one
/// before, up to 2 s; to each comes a random part of up to its own length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    retries: usize,
    first_pause: Duration,
    longest_pause: Duration,
}

impl Retry {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            retries: 2,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_secs(2),
        }
    }

    /// No retries.
    #[must_use]
    pub const fn never() -> Self {
        Self::new().with_retries(0)
    }

    /// How many attempts there may be after the first. Default: 2.
    #[must_use]
    pub const fn with_retries(mut self, retries: usize) -> Self {
        self.retries = retries;
        self
    }

    /// The pause before the first retry, without its random part. Default: 50 ms.
    #[must_use]
    pub const fn with_first_pause(mut self, pause: Duration) -> Self {
        self.first_pause = pause;
        self
    }

    /// What no pause is longer than, without its random part. Default: 2 s.
    #[must_use]
    pub const fn with_longest_pause(mut self, pause: Duration) -> Self {
        self.longest_pause = pause;
        self
    }

    /// The pauses, one for each retry.
    pub(crate) fn pauses(&self, seed: u64) -> impl Iterator<Item = Duration> + use<> {
        ExponentialBuilder::new()
            .with_max_times(self.retries)
            .with_min_delay(self.first_pause.min(self.longest_pause))
            .with_max_delay(self.longest_pause)
            .with_jitter()
            .with_jitter_seed(seed)
            .build()
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Retry;

    #[test]
    fn pauses_double_up_to_the_longest_and_each_has_a_random_part() {
        let millis = Duration::from_millis;
        let retry = Retry::new().with_retries(8);
        for seed in 0..100 {
            let pauses: Vec<_> = retry.pauses(seed).collect();
            let least = [50, 100, 200, 400, 800, 1600, 2000, 2000];
            assert_eq!(pauses.len(), least.len());
            for (pause, least) in pauses.into_iter().zip(least) {
                assert!(
                    pause >= millis(least) && pause <= millis(2 * least),
                    "{pause:?}"
                );
            }
        }
        assert_eq!(Retry::never().pauses(0).count(), 0);
    }

    #[test]
    fn pauses_of_any_length_are_computed_without_a_panic() {
        let endless = Retry::new()
            .with_retries(1000)
            .with_longest_pause(Duration::MAX);
        assert_eq!(endless.pauses(7).count(), 1000);
        let longest = endless.with_first_pause(Duration::MAX);
        assert_eq!(longest.pauses(7).last(), Some(Duration::MAX));
    }
}
