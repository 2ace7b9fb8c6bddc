use std::time::Duration;

use dokit_client::Timer;
use dokit_object::{BoxFuture, Clock};
use dokit_storage::Timestamp;
use worker::{
    Delay,
    js_sys::{Date, Math},
};

/// The time by the platform's clock, which stands still within one event while nothing is waited for.
#[must_use]
pub fn now() -> Timestamp {
    millis(Date::now())
}

/// The platform's clock. Within one event it stands still while nothing is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlatformClock;

/// How long one sleep lasts at most: a platform timer takes no more than 31 bits of milliseconds.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

impl Clock for PlatformClock {
    fn now(&self) -> Timestamp {
        now()
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let left = at.saturating_duration_since(now());
                if left.is_zero() {
                    return;
                }
                Delay::from(left.min(LONGEST_SLEEP)).await;
            }
        })
    }
}

/// What a client measures its deadlines by. (A timer's clock counts from anywhere; this one from 1970.)
impl Timer for PlatformClock {
    fn now(&self) -> Duration {
        now().saturating_duration_since(Timestamp::from_millis(0))
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.sleep_until(now().saturating_add(duration))
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "any bits will do"
    )]
    fn seed(&self) -> u64 {
        (Math::random() * 2_f64.powi(53)) as u64
    }
}

/// A time as JavaScript has it.
#[expect(
    clippy::cast_possible_truncation,
    reason = "JavaScript's times are whole milliseconds within 54 bits; what is not a number is 0"
)]
pub(crate) fn millis(time: f64) -> Timestamp {
    Timestamp::from_millis(time as i64)
}
