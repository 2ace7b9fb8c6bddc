//! What waits for the peer of a socket to read it, bounded.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use dokit_storage::Timestamp;
use futures_util::task::AtomicWaker;

use super::{Message, Wire};

/// What waits counts this much beside its own bytes, so that empty messages are bounded too.
const FRAME_BYTES: usize = 64;

/// What is to be sent to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outgoing {
    /// A message.
    Message(Arc<Message>),
    /// A close frame, after which nothing is sent.
    Close {
        /// The code.
        code: u16,
        /// The reason.
        reason: String,
    },
}

/// What waits to be sent to one peer.
#[derive(Debug)]
pub(super) struct Line {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

struct Queue {
    /// Where what is sent goes instead of waiting, once there is such a place.
    wire: Option<Box<dyn Wire>>,
    waiting: VecDeque<Outgoing>,
    /// How much waits, and how much may.
    bytes: usize,
    limit: usize,
    /// Whether a close frame waits, or has been sent.
    closed: bool,
    overrun: bool,
}

impl Line {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            queue: Mutex::new(Queue {
                wire: None,
                waiting: VecDeque::new(),
                bytes: 0,
                limit,
                closed: false,
                overrun: false,
            }),
            waker: AtomicWaker::new(),
        }
    }

    pub(super) fn send(&self, message: Arc<Message>) {
        let mut queue = self.queue();
        if queue.closed {
            return;
        }
        if let Some(wire) = &queue.wire {
            wire.send(&message);
            return;
        }
        let bytes = size(&message);
        if queue.bytes > 0 && queue.bytes + bytes > queue.limit {
            queue.waiting.clear();
            queue.bytes = 0;
            queue.overrun = true;
            queue.close(1013, "too slow a reader");
        } else {
            queue.bytes += bytes;
            queue.waiting.push_back(Outgoing::Message(message));
        }
        drop(queue);
        self.waker.wake();
    }

    /// Sends a close frame after what waits. A second one is dropped.
    pub(super) fn close(&self, code: u16, reason: &str) {
        self.queue().close(code, reason);
        self.waker.wake();
    }

    /// Sends what waits, and from now on all else, by this.
    pub(super) fn plug(&self, wire: Box<dyn Wire>) {
        let mut queue = self.queue();
        for outgoing in std::mem::take(&mut queue.waiting) {
            match outgoing {
                Outgoing::Message(message) => wire.send(&message),
                Outgoing::Close { code, reason } => wire.close(code, &reason),
            }
        }
        queue.bytes = 0;
        queue.wire = Some(wire);
    }

    pub(super) fn attach(&self, attachment: &str) {
        if let Some(wire) = &self.queue().wire {
            wire.attach(attachment);
        }
    }

    pub(super) fn auto_responded_at(&self) -> Option<Timestamp> {
        self.queue().wire.as_ref()?.auto_responded_at()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue().closed
    }

    /// Whether it was closed because too much waited.
    pub(super) fn overrun(&self) -> Option<usize> {
        let queue = self.queue();
        queue.overrun.then_some(queue.limit)
    }

    pub(super) fn poll_next(&self, waker: &Waker) -> Poll<Outgoing> {
        // Before it is looked at, so that nothing comes in between unseen.
        self.waker.register(waker);
        match self.try_next() {
            Some(outgoing) => Poll::Ready(outgoing),
            None => Poll::Pending,
        }
    }

    pub(super) fn poll_overrun(&self, waker: &Waker) -> Poll<()> {
        self.waker.register(waker);
        match self.overrun() {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }

    pub(super) fn try_next(&self) -> Option<Outgoing> {
        let mut queue = self.queue();
        let next = queue.waiting.pop_front()?;
        if let Outgoing::Message(message) = &next {
            queue.bytes -= size(message);
        }
        if queue.waiting.is_empty() {
            // A quiet socket keeps no room for more.
            queue.waiting = VecDeque::new();
        }
        Some(next)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn close(&mut self, code: u16, reason: &str) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        match &self.wire {
            Some(wire) => wire.close(code, reason),
            None => self.waiting.push_back(Outgoing::Close {
                code,
                reason: reason.to_owned(),
            }),
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("waiting", &self.waiting)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

fn size(message: &Message) -> usize {
    message.as_bytes().len() + FRAME_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_not_read_is_closed_and_what_waited_is_let_go() {
        let line = Line::new(1000);
        let message = Arc::new(Message::from("x".repeat(400)));
        line.send(Arc::clone(&message));
        line.send(Arc::clone(&message));
        assert_eq!(line.overrun(), None);
        line.send(Arc::clone(&message));
        assert_eq!(line.overrun(), Some(1000));
        assert_eq!(Arc::strong_count(&message), 1);
        let next = line.try_next();
        assert!(matches!(next, Some(Outgoing::Close { code: 1013, .. })));
        line.send(message);
        assert_eq!(line.try_next(), None, "nothing follows a close frame");
    }

    #[test]
    fn one_message_over_the_limit_reaches_a_peer_that_has_read_what_was_before() {
        let line = Line::new(1000);
        let long = Arc::new(Message::from("x".repeat(5000)));
        for _ in 0..3 {
            line.send(Arc::clone(&long));
            assert!(matches!(line.try_next(), Some(Outgoing::Message(_))));
        }
        assert_eq!(line.overrun(), None);
        line.send(long);
        line.send(Arc::new(Message::from("")));
        assert_eq!(line.overrun(), Some(1000));
    }

    #[test]
    fn messages_of_no_length_are_bounded_too() {
        let line = Line::new(1000);
        for _ in 0..20 {
            line.send(Arc::new(Message::from("")));
        }
        assert!(line.overrun().is_some());
    }

    #[test]
    fn what_was_sent_before_the_close_leaves_before_it_and_a_reader_makes_room() {
        let line = Line::new(1000);
        let message = Arc::new(Message::from("x".repeat(900)));
        for _ in 0..10 {
            line.send(Arc::clone(&message));
            assert!(matches!(line.try_next(), Some(Outgoing::Message(_))));
        }
        line.send(message);
        line.close(1000, "done");
        line.close(4000, "again");
        assert!(matches!(line.try_next(), Some(Outgoing::Message(_))));
        assert!(matches!(
            line.try_next(),
            Some(Outgoing::Close { code: 1000, .. })
        ));
        assert_eq!(line.try_next(), None);
    }
}
