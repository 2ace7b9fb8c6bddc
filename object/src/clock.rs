use std::fmt::Debug;

use dokit_storage::{MaybeSend, MaybeSync, Timestamp};

use crate::BoxFuture;

/// Where an engine takes the time from: the system's clock, or one that a test moves by hand.
///
/// A moment may be asked for twice, the clock may be set back, and a sleep may end late; whoever
/// wakes looks at [`now`](Self::now) again.
pub trait Clock: Debug + MaybeSend + MaybeSync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// Resolves once [`now`](Self::now) has reached `at`; at once where it already has.
    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()>;
}
