use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use dokit_storage::Timestamp;
use futures_util::{FutureExt, future};
use tokio::sync::oneshot;

use crate::{BoxFuture, Clock};

/// A clock that stands still until a test moves it. Clones are the same clock.
///
/// It begins at 2026-01-01T00:00:00Z.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    sleepers: Vec<(Timestamp, oneshot::Sender<()>)>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl ManualClock {
    /// A clock at its beginning.
    #[must_use]
    pub fn new() -> Self {
        let state = State {
            now: Timestamp::from_millis(1_767_225_600_000),
            sleepers: Vec::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Lets time pass: whoever sleeps until a moment that is reached is woken.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().saturating_add(by));
    }

    /// Sets the time, forward or back.
    pub fn set(&self, now: Timestamp) {
        let mut state = self.state();
        state.now = now;
        let sleepers = std::mem::take(&mut state.sleepers);
        for (until, wake) in sleepers {
            if until > now {
                state.sleepers.push((until, wake));
            } else {
                // Who has stopped waiting needs no waking.
                let _ = wake.send(());
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.state().now
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        let mut state = self.state();
        if state.now >= at {
            return Box::pin(future::ready(()));
        }
        state.sleepers.retain(|(_, wake)| !wake.is_closed());
        let (wake, woken) = oneshot::channel();
        state.sleepers.push((at, wake));
        Box::pin(woken.map(|_| ()))
    }
}
