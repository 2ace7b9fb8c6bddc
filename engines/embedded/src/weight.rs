//! How many bytes awake objects hold together, and the ceiling on that.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// The most that one object counts for, so that no sum of them overflows: 1 TiB.
const HEAVIEST: u64 = 1 << 40;

/// The sum of what awake objects hold.
#[derive(Debug)]
pub(crate) struct Ceiling {
    most: u64,
    held: AtomicU64,
    /// Told each time that more is held than may be.
    exceeded: Arc<Notify>,
}

impl Ceiling {
    pub(crate) fn new(most: usize, exceeded: Arc<Notify>) -> Self {
        Self {
            most: widen(most),
            held: AtomicU64::new(0),
            exceeded,
        }
    }

    /// How many bytes are held.
    pub(crate) fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether more is held than may be.
    pub(crate) fn is_exceeded(&self) -> bool {
        self.held() > self.most
    }

    /// Counts so many bytes more.
    pub(crate) fn weigh(self: &Arc<Self>, bytes: usize) -> Weight {
        let mut weight = Weight {
            ceiling: Arc::clone(self),
            bytes: 0,
        };
        weight.set(bytes);
        weight
    }
}

/// What one holds. It is part of the sum until it is dropped.
#[derive(Debug)]
pub(crate) struct Weight {
    ceiling: Arc<Ceiling>,
    bytes: u64,
}

impl Weight {
    /// It holds so many bytes now. Where nothing has changed, nothing that others use is touched.
    pub(crate) fn set(&mut self, bytes: usize) {
        let bytes = widen(bytes).min(HEAVIEST);
        let ceiling = &*self.ceiling;
        if bytes > self.bytes {
            ceiling
                .held
                .fetch_add(bytes - self.bytes, Ordering::Relaxed);
            if ceiling.is_exceeded() {
                ceiling.exceeded.notify_one();
            }
        } else if bytes < self.bytes {
            ceiling
                .held
                .fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.set(0);
    }
}

fn widen(bytes: usize) -> u64 {
    bytes.try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn the_sum_is_that_of_what_each_holds_now() {
        let ceiling = Arc::new(Ceiling::new(10, Arc::default()));
        let mut first = ceiling.weigh(4);
        let second = ceiling.weigh(6);
        assert_eq!((ceiling.held(), ceiling.is_exceeded()), (10, false));
        first.set(5);
        assert_eq!((ceiling.held(), ceiling.is_exceeded()), (11, true));
        first.set(1);
        assert_eq!((ceiling.held(), ceiling.is_exceeded()), (7, false));
        drop(second);
        assert_eq!(ceiling.held(), 1);
        drop(first);
        assert_eq!(ceiling.held(), 0);
    }

    #[test]
    fn one_that_claims_all_there_is_does_not_make_the_sum_overflow() {
        let ceiling = Arc::new(Ceiling::new(usize::MAX, Arc::default()));
        let all: Vec<_> = (0..100).map(|_| ceiling.weigh(usize::MAX)).collect();
        assert!(!ceiling.is_exceeded());
        drop(all);
        assert_eq!(ceiling.held(), 0);
    }

    #[test]
    fn whoever_makes_room_is_told_when_more_is_held_than_may_be_and_not_before() {
        let exceeded = Arc::new(Notify::new());
        let ceiling = Arc::new(Ceiling::new(10, Arc::clone(&exceeded)));
        let mut weight = ceiling.weigh(10);
        assert!(exceeded.notified().now_or_never().is_none());
        weight.set(11);
        assert!(exceeded.notified().now_or_never().is_some());
        weight.set(11);
        assert!(exceeded.notified().now_or_never().is_none(), "nothing new");
    }
}
