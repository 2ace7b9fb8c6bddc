use std::time::Duration;

use dokit_client::Timer;
use dokit_object::{BoxFuture, Clock};
use dokit_storage::Timestamp;
use worker::{
    js_sys::{self, Array, Date, Function, Math, Reflect},
    wasm_bindgen::{JsCast, JsValue},
    wasm_bindgen_futures::JsFuture,
};

use crate::{last_words::AtTheEnd, platform::Latch};

/// The time by the platform's clock, which stands still within one event while nothing is waited for.
#[must_use]
pub fn now() -> Timestamp {
    millis(Date::now())
}

/// The platform's clock. Within one event it stands still while nothing is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlatformClock;

/// How long one sleep lasts at most.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// The longest that a timer of the platform's takes: 31 bits of milliseconds, which is 24 days.
const LONGEST_TIMER: Duration = Duration::from_millis(i32::MAX.unsigned_abs() as u64);

/// A timer of the platform's, until it is dropped. When the program ends it is taken back: until it rings the
/// platform would keep the object in memory.
struct Timeout {
    number: JsValue,
    _at_the_end: AtTheEnd,
}

impl Drop for Timeout {
    fn drop(&mut self) {
        clear(&self.number);
    }
}

/// Returns when this time has passed.
pub(crate) async fn timer(duration: Duration) {
    let rung = Latch::new();
    #[expect(clippy::cast_precision_loss, reason = "31 bits are exact")]
    let millis = duration.min(LONGEST_TIMER).as_millis() as f64;
    let arguments = Array::of2(rung.on_resolve(), &millis.into());
    let Ok(number) = call("setTimeout", &arguments) else {
        return;
    };
    let taken_back = number.clone();
    let _timeout = Timeout {
        number,
        _at_the_end: AtTheEnd::say(move |_| clear(&taken_back)),
    };
    // It is never rejected.
    let _ = JsFuture::from(rung.promise()).await;
}

fn clear(number: &JsValue) {
    // It cannot throw.
    let _ = call("clearTimeout", &Array::of1(number));
}

fn call(function: &str, arguments: &Array) -> Result<JsValue, JsValue> {
    let global = js_sys::global();
    let function: Function = Reflect::get(&global, &function.into())?.dyn_into()?;
    Reflect::apply(&function, &global, arguments)
}

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
                timer(left.min(LONGEST_SLEEP)).await;
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
