use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
    time::Duration,
};

use tokio::time::Instant;

use crate::{BoxFuture, Timer};

/// The timer of tokio, which needs its runtime. It follows tokio's paused clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokioTimer;

impl Timer for TokioTimer {
    fn now(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        let now = Instant::now();
        now.saturating_duration_since(*START.get_or_init(|| now))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the adapter that the clients sleep through"
    )]
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move { tokio::time::sleep(duration).await })
    }

    fn seed(&self) -> u64 {
        // Each of these is seeded anew by the system.
        RandomState::new().hash_one(0)
    }
}
