use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use dokit_client::ObjectId;

thread_local! {
    /// The chain of the call that is being polled on this thread.
    static CURRENT: RefCell<Chain> = const { RefCell::new(Chain { last: None }) };
}

/// The objects that wait for a call: the one that made it, the one that called that one, and so on.
///
/// A call to one of them would wait for itself, so engines refuse it as `reentrant_call`. The chain
/// goes along by itself: an engine runs each call in a [`scope`](Self::scope), and asks
/// [`current`](Self::current) when one of its objects calls another. A task that an object starts has
/// no part in it; its calls are only ended by their deadlines.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    last: Option<Arc<Link>>,
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
        let link = Link { id, before: self };
        Self {
            last: Some(Arc::new(link)),
        }
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
