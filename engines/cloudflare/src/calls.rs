//! The transaction of the platform's in which an exclusive call of an object with SQL runs, so that its
//! rows, its keys and its alarm are committed together, or not at all.
//!
//! The platform undoes a transaction when the promise that its closure has returned rejects, so that
//! promise is held here until it is known how the call ended. Meanwhile the platform delivers nothing
//! else to the object, timers that were set before included, and after 30 seconds it gives the object up.
//! An early commit ends one transaction and begins another.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

use worker::{
    js_sys::{Array, Error as JsError, Promise},
    wasm_bindgen::{JsValue, prelude::Closure},
    wasm_bindgen_futures::JsFuture,
    worker_sys::{DurableObjectStorage, DurableObjectTransaction},
};

use crate::{
    last_words::AtTheEnd,
    platform::{Latch, settled},
};

/// The calls of an object, one after the other.
pub(crate) struct Calls {
    platform: Rc<DurableObjectStorage>,
    open: RefCell<Option<Open>>,
    /// The transaction that was given up, until the platform has undone it.
    ending: RefCell<Option<Promise>>,
    /// How many transactions were begun.
    begun: Cell<u64>,
    wrote: Cell<bool>,
    deferred: Cell<bool>,
}

struct Open {
    /// What its closure has returned.
    held: Latch,
    /// What the platform answers once it is over.
    over: Promise,
    /// Undoes it when the program ends.
    _at_the_end: AtTheEnd,
}

impl Calls {
    pub(crate) fn new(platform: Rc<DurableObjectStorage>) -> Self {
        Self {
            platform,
            open: RefCell::default(),
            ending: RefCell::default(),
            begun: Cell::default(),
            wrote: Cell::default(),
            deferred: Cell::default(),
        }
    }

    /// Whether a call is running.
    pub(crate) fn is_running(&self) -> bool {
        self.open.borrow().is_some()
    }

    /// Which transaction is open.
    pub(crate) fn transaction(&self) -> Option<u64> {
        self.is_running().then(|| self.begun.get())
    }

    /// Whether the running call has written rows since it began, or since its last early commit.
    pub(crate) fn has_written(&self) -> bool {
        self.wrote.get()
    }

    pub(crate) fn note_writing(&self) {
        self.wrote.set(true);
    }

    /// Whether foreign keys were deferred in the transaction.
    pub(crate) fn has_deferred(&self) -> bool {
        self.deferred.get()
    }

    pub(crate) fn note_deferring(&self) {
        self.deferred.set(true);
    }

    /// What was given up and is not undone yet.
    pub(crate) fn ending(&self) -> Option<Promise> {
        self.ending.borrow().clone()
    }

    /// Begins a call, in a transaction of its own.
    pub(crate) async fn begin(&self) -> Result<(), JsValue> {
        let ending = self.ending.take();
        if let Some(ending) = ending {
            // It rejects with what it was given up for.
            let _ = JsFuture::from(ending).await;
        }
        let (held, begun) = (Latch::new(), Latch::new());
        // Before it begins: another object's panic may end the program while this one waits for it.
        let lost = held.clone();
        let at_the_end = AtTheEnd::say(move |_| lost.reject(&JsError::new("the program ended")));
        let (promise, has_begun) = (held.promise(), begun.clone());
        let closure: Closure<dyn FnMut(DurableObjectTransaction) -> Promise> =
            Closure::once(move |_| {
                has_begun.resolve(&JsValue::UNDEFINED);
                promise
            });
        let over = self.platform.transaction(&closure)?;
        JsFuture::from(Promise::race(&Array::of2(&begun.promise(), &over))).await?;
        self.wrote.set(false);
        self.deferred.set(false);
        self.begun.set(self.begun.get() + 1);
        self.open.replace(Some(Open {
            held,
            over,
            _at_the_end: at_the_end,
        }));
        Ok(())
    }

    /// Ends the call and commits what was written in its transaction.
    pub(crate) async fn keep(&self) -> Result<(), JsValue> {
        let open = self.open.take();
        let Some(open) = open else {
            return Err(JsError::new("no call is running").into());
        };
        open.held.resolve(&JsValue::UNDEFINED);
        settled(Ok(open.over)).await.map(drop)
    }

    /// Ends the call and undoes what was written since it began, or since its last early commit.
    pub(crate) async fn undo(&self) {
        self.give_up();
        let ending = self.ending.take();
        if let Some(ending) = ending {
            let _ = JsFuture::from(ending).await;
        }
    }

    /// The same, without waiting until it is done: the next call does.
    pub(crate) fn give_up(&self) {
        if let Some(open) = self.open.take() {
            let given_up = JsError::new("the call was given up");
            open.held.reject(&given_up);
            self.ending.replace(Some(open.over));
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Calls").finish_non_exhaustive()
    }
}
