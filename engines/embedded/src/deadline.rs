//! Until when a call is waited for.

use std::time::Duration;

use tokio::{
    task_local,
    time::{Instant, timeout_at},
};

task_local! {
    /// For what cannot wait, and so cannot be stopped from outside: a statement that runs too long.
    static DEADLINE: Deadline;
}

/// A time that can be added to any moment: a year. What is longer is cut to this.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The moment after which a call is given up, by the machine's own time, which nobody sets back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(duration: Duration) -> Self {
        let now = Instant::now();
        Self(now + duration.min(LONGEST))
    }

    /// Runs until then: none where the work took longer.
    pub(crate) async fn run<R>(self, work: impl Future<Output = R>) -> Option<R> {
        DEADLINE.scope(self, timeout_at(self.0, work)).await.ok()
    }

    /// Whether what runs on this thread just now is late.
    pub(crate) fn of_this_call_has_passed() -> bool {
        DEADLINE
            .try_with(|deadline| deadline.has_passed())
            .unwrap_or(false)
    }

    pub(crate) fn has_passed(self) -> bool {
        self.0 <= Instant::now()
    }
}
