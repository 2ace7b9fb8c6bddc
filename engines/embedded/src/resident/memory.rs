//! What is in memory of an object: how it comes there, and how it leaves.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use dokit_client::{ErrorReply, ObjectId};
use dokit_object::{Context, engine::Activation};

use super::{Envelope, KEPT, Resident};
use crate::{flight::commit_failed, object_store::ObjectStore, weight::Weight};

/// What is in memory of an object.
#[derive(Debug)]
pub(super) struct Memory {
    pub(super) id: ObjectId,
    pub(super) activation: Option<Activation>,
    /// It outlives an activation, so that the next one sees what is on its way, and goes when a commit
    /// has failed.
    pub(super) store: Option<ObjectStore>,
    /// What all this holds.
    pub(super) weight: Weight,
}

impl Resident {
    /// Wakes the object, unless it is awake.
    pub(super) async fn wake(&self, memory: &mut Memory) -> Result<(), ErrorReply> {
        if memory.activation.is_some() && !memory.has_failed() {
            return Ok(());
        }
        if let Some(store) = &memory.store {
            store.ready_to_wake().await;
        }
        let store = self.open(memory).await?;
        let engine = self.engine.upgrade();
        let engine = engine.ok_or_else(ErrorReply::shutting_down)?;
        let ctx = Context::new(
            memory.id.clone(),
            store.clone(),
            self.object_type.handlers().alarm,
            engine.surroundings(),
        );
        let ctx = engine.switchboard().connect(ctx, &self.object_type);
        drop(engine);
        let open = store.begin().map_err(|error| commit_failed(&error))?;
        let (activation, writes) = self.object_type.wake(ctx).await?;
        open.keep(writes).map_err(|error| commit_failed(&error))?;
        memory.activation = Some(activation);
        Ok(())
    }

    /// The object's store, opened unless it is open. Where a commit has failed, what is in memory goes,
    /// and what is durable counts.
    pub(super) async fn open(&self, memory: &mut Memory) -> Result<ObjectStore, ErrorReply> {
        match &memory.store {
            Some(store) if !memory.has_failed() => return Ok(store.clone()),
            Some(_) => memory.clear(),
            None => {}
        }
        let engine = self.engine.upgrade();
        let engine = engine.ok_or_else(ErrorReply::shutting_down)?;
        let opening = engine.open_store(self.object_type, memory.id.clone());
        drop(engine);
        let store = opening.await;
        let store = store.map_err(|error| ErrorReply::internal(&error))?;
        memory.id = store.id().clone();
        memory.store = Some(store.clone());
        Ok(store)
    }

    /// Leaves memory, of which nothing may be on its way to the disk. Not so when a call has come
    /// meanwhile: then the object stays.
    pub(super) fn leave(&self, memory: &mut Memory) -> bool {
        // The object is gone before its place is: when another is made, there is none beside it.
        memory.clear();
        match self.engine.upgrade() {
            Some(engine) => engine.residents().forget(self),
            None => true,
        }
    }
}

impl Memory {
    pub(super) fn knows_less_than(&self, envelope: &Envelope) -> bool {
        self.id.name().is_none() && envelope.id.name().is_some()
    }

    /// Makes an object that was reached by its id until now wake anew, so that it learns its name. Nothing
    /// that knows the object without it is on its way then.
    pub(super) async fn learn_name(&mut self, id: &ObjectId) {
        if let Some(store) = &self.store {
            store.settle().await;
        }
        self.clear();
        self.id = id.clone();
    }

    pub(super) fn has_failed(&self) -> bool {
        let store = self.store.as_ref();
        store.is_some_and(|store| store.flight().has_failed())
    }

    pub(super) fn is_settled(&self) -> bool {
        let store = self.store.as_ref();
        store.is_none_or(|store| store.flight().is_settled())
    }

    /// Drops the object, but knows what is on its way.
    pub(super) fn reset(&mut self) {
        let activation = self.activation.take();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(activation))) {
            self.panicked(&*panic);
        }
    }

    /// Drops all of it.
    pub(super) fn clear(&mut self) {
        self.reset();
        if let Some(store) = self.store.take() {
            store.leave();
        }
        self.weight.set(0);
    }

    /// Has what it holds now counted.
    pub(super) fn weigh(&mut self) {
        let activation = self.activation.as_mut();
        let bytes = AssertUnwindSafe(|| activation.map_or(0, Activation::bytes));
        let bytes = catch_unwind(bytes).unwrap_or_else(|panic| {
            self.panicked(&*panic);
            0
        });
        self.weight.set(bytes.saturating_add(KEPT));
    }

    pub(super) fn panicked(&mut self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let (id, text) = (&self.id, text.unwrap_or("no text"));
        tracing::error!(%id, name = id.name(), "the object panicked between two calls: {text}");
        self.reset();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // With a host that goes away as it is. A panic of the object's would keep that from being closed.
        self.reset();
    }
}
