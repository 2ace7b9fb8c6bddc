use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use dokit_client::ObjectId;

thread_local! {
    /// The chain of the call that is being polled on this thread.
    static CURRENT: RefCell<Chain> = const {
        RefCell::new(Chain {
            last: None,
            trace: None,
        })
    };
}

/// What a call carries along: the objects that wait for it (the one that made it, the one that called that
/// one, and so on), and the trace that it belongs to.
///
/// A call to one that waits would wait for itself, so engines refuse it as `reentrant_call`. The chain
/// goes along by itself: an engine runs each call in a [`scope`](Self::scope), and asks
/// [`current`](Self::current) when one of its objects calls another. A task that an object starts has
/// no part in it; its calls are only ended by their deadlines.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    last: Option<Arc<Link>>,
    trace: Option<Arc<str>>,
}

#[derive(Debug)]
struct Link {
    id: ObjectId,
    before: Chain,
}

impl Chain {
    /// The chain of the call that runs here; empty outside of one.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.with_borrow(Clone::clone)
    }

    /// The chain with one more object at its end.
    #[must_use]
    pub fn with(self, id: ObjectId) -> Self {
        let trace = self.trace.clone();
        let link = Link { id, before: self };
        Self {
            last: Some(Arc::new(link)),
            trace,
        }
    }

    /// The chain in this trace, as the call's own `traceparent` says; in the one that it is in already where
    /// that says nothing.
    #[must_use]
    pub fn in_trace(self, traceparent: Option<&str>) -> Self {
        match traceparent {
            Some(traceparent) => Self {
                trace: Some(traceparent.into()),
                ..self
            },
            None => self,
        }
    }

    /// The trace that the call belongs to: the `traceparent` of W3C Trace Context that it came with.
    #[must_use]
    pub fn trace(&self) -> Option<&str> {
        self.trace.as_deref()
    }

    /// Whether an object is one of those that wait.
    #[must_use]
    pub fn contains(&self, id: &ObjectId) -> bool {
        self.ids().any(|waiting| waiting == id)
    }

    /// The objects that wait, the last one first. An engine whose calls leave the process sends them
    /// along.
    pub fn ids(&self) -> impl Iterator<Item = &ObjectId> {
        let mut chain = self;
        std::iter::from_fn(move || {
            let link = chain.last.as_deref()?;
            chain = &link.before;
            Some(&link.id)
        })
    }

    /// Runs a call as part of this chain.
    pub async fn scope<R>(self, call: impl Future<Output = R>) -> R {
        let mut call = pin!(call);
        poll_fn(|context| {
            let _outer = Restore(CURRENT.replace(self.clone()));
            call.as_mut().poll(context)
        })
        .await
    }
}

/// Puts the chain back that was current before, also when the call panics.
struct Restore(Chain);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.set(std::mem::take(&mut self.0));
    }
}
