use std::time::Duration;

use dokit_object::{BoxFuture, Clock};
use dokit_storage::Timestamp;
use worker::{Delay, js_sys::Date};

/// The platform's clock. Within one event it stands still while nothing is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlatformClock;

/// How long one sleep lasts at most: a platform timer takes no more than 31 bits of milliseconds.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

impl Clock for PlatformClock {
    fn now(&self) -> Timestamp {
        millis(Date::now())
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let clock = *self;
        Box::pin(async move {
            loop {
                let left = at.saturating_duration_since(clock.now());
                if left.is_zero() {
                    return;
                }
                Delay::from(left.min(LONGEST_SLEEP)).await;
            }
        })
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
