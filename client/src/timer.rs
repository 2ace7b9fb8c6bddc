//! What a client has of time, and one that a test moves.

use std::{
    fmt::Debug,
    future::poll_fn,
    pin::pin,
    sync::{Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use crate::{BoxFuture, MaybeSend, MaybeSync};

/// What a client has of time and chance. Nothing else in the crate reads a clock or rolls a die.
pub trait Timer: Debug + MaybeSend + MaybeSync {
    /// The time since some fixed moment. It never goes back.
    fn now(&self) -> Duration;

    /// Resolves once `duration` has passed since it was first polled, or later.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;

    /// A random number: where the jitter of the pauses begins.
    fn seed(&self) -> u64;
}

/// What comes first: the output of `future`, or `None` when the sleep ended.
pub(crate) async fn within<F: Future>(
    future: F,
    mut sleep: BoxFuture<'static, ()>,
) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// A timer for tests: nobody waits, a sleep ends at once and moves the time by its length.
///
/// So a call that never gets an answer fails with its deadline at the first look, and pauses between
/// attempts can be read from [`slept`](Self::slept).
///
/// ```rust
/// use std::{sync::Arc, time::Duration};
/// use dokit_client::{TestTimer, Timer};
///
/// let timer = Arc::new(TestTimer::new());
/// futures_executor::block_on(timer.sleep(Duration::from_secs(3600)));
/// assert_eq!(timer.now(), Duration::from_secs(3600));
/// assert_eq!(timer.slept(), [Duration::from_secs(3600)]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct TestTimer {
    slept: std::sync::Arc<Mutex<Vec<Duration>>>,
}

impl TestTimer {
    /// A timer at 0. Its clones are the same timer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long each sleep was that has been waited for, in order.
    #[must_use]
    pub fn slept(&self) -> Vec<Duration> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Duration>> {
        self.slept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timer for TestTimer {
    fn now(&self) -> Duration {
        let add = |sum: Duration, slept: &Duration| sum.saturating_add(*slept);
        self.lock().iter().fold(Duration::ZERO, add)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let timer = self.clone();
        Box::pin(async move { timer.lock().push(duration) })
    }

    fn seed(&self) -> u64 {
        0
    }
}
