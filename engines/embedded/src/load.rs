//! How much may wait in a host at once.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use dokit_client::ErrorReply;

/// What waits or runs in a host: calls, and the bytes that they brought.
#[derive(Debug)]
pub(crate) struct Load {
    calls: AtomicUsize,
    bytes: AtomicUsize,
    most_calls: usize,
    most_bytes: usize,
}

impl Load {
    pub(crate) fn new(most_calls: usize, most_bytes: usize) -> Self {
        Self {
            calls: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            most_calls,
            most_bytes,
        }
    }

    /// A place for a call that has brought no bytes yet.
    ///
    /// # Errors
    ///
    /// `overloaded`.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Place, ErrorReply> {
        let place = self.enter_always();
        if self.calls() > self.most_calls {
            return Err(overloaded("too many calls are waiting in the host"));
        }
        Ok(place)
    }

    /// A place for what the host itself asks of an object, and bounds in another way.
    pub(crate) fn enter_always(self: &Arc<Self>) -> Place {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Place {
            load: Arc::clone(self),
            bytes: 0,
        }
    }

    /// How many calls wait or run.
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// A call's place in its host. It goes along with the call, and is given back with the last of it.
#[derive(Debug)]
pub(crate) struct Place {
    load: Arc<Load>,
    bytes: usize,
}

impl Place {
    /// Takes room for so many bytes more.
    ///
    /// # Errors
    ///
    /// `overloaded`.
    pub(crate) fn bring(&mut self, bytes: usize) -> Result<(), ErrorReply> {
        let before = self.load.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.load.most_bytes {
            return Err(overloaded(
                "too many bytes of calls are waiting in the host",
            ));
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.load.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The error, with what there is too much of.
pub(crate) fn overloaded(message: &str) -> ErrorReply {
    let mut reply = ErrorReply::overloaded();
    message.clone_into(&mut reply.message);
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_and_their_bytes_are_bounded_and_what_leaves_makes_room() {
        let load = Arc::new(Load::new(2, 10));
        let mut first = load.enter().unwrap();
        let mut second = load.enter().unwrap();
        let refused = load.enter().unwrap_err();
        assert_eq!(refused.message, "too many calls are waiting in the host");
        first.bring(6).unwrap();
        second.bring(4).unwrap();
        let refused = second.bring(1).unwrap_err();
        assert_eq!(
            (&*refused.code, &*refused.message),
            (
                "overloaded",
                "too many bytes of calls are waiting in the host"
            )
        );
        drop(second);
        assert_eq!((load.calls(), load.bytes()), (1, 6));
        let mut third = load.enter().unwrap();
        third.bring(4).unwrap();
        drop((first, third));
        assert_eq!((load.calls(), load.bytes()), (0, 0));
    }
}
