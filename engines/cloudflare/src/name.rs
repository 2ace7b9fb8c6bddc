//! The name of an object, also where the platform does not tell it: it forgets the name in the digits of an id,
//! and what was made by those stays without a name as long as it is in memory.

use std::cell::{Cell, OnceCell};

use dokit_client::ObjectId;
use dokit_object::engine::NAME_KEY;
use dokit_storage::{Batch, Result, Store, decode, encode};

use crate::store::ObjectStore;

/// An object's id, and what is known of its name.
#[derive(Debug)]
pub(crate) struct Name {
    /// As the platform tells it.
    id: ObjectId,
    /// With the name, where that was learned from elsewhere.
    learned: OnceCell<ObjectId>,
    stored: Cell<bool>,
}

impl Name {
    pub(crate) fn new(id: ObjectId) -> Self {
        Self {
            id,
            learned: OnceCell::new(),
            stored: Cell::new(false),
        }
    }

    /// The object's id, with its name as soon as that is known.
    pub(crate) fn id(&self) -> &ObjectId {
        self.learned.get().unwrap_or(&self.id)
    }

    pub(crate) fn is_known(&self) -> bool {
        self.id().name().is_some()
    }

    /// Takes the name of an id that is the object's, and says whether it is news.
    pub(crate) fn learn(&self, id: ObjectId) -> bool {
        !self.is_known() && id == self.id && self.learned.set(id).is_ok()
    }

    /// Looks for the name among what the object has stored.
    pub(crate) async fn recall(&self, store: &ObjectStore) -> Result<()> {
        let stored = store.get(NAME_KEY).await?;
        self.stored.set(stored.is_some());
        if let Some(json) = stored {
            let name: String = decode(NAME_KEY, &json)?;
            self.learn(self.id.clone().with_name(&name));
        }
        Ok(())
    }

    /// Adds the name to what a call has written, where it is to be stored with it: an object that has nothing
    /// stored stores no name either. Gives whether it is stored once that is durable.
    pub(crate) fn join(&self, writes: &mut Batch, rows: bool) -> bool {
        let stored = self.stored.get() && !writes.deletes_all();
        let keeps = rows || writes.writes().any(|(_, value)| value.is_some());
        let Some(name) = self.id().name().filter(|_| keeps && !stored) else {
            return stored;
        };
        let Ok(json) = encode(NAME_KEY, name) else {
            return stored;
        };
        writes.put(NAME_KEY, json);
        true
    }

    /// What [`join`](Self::join) has said is so.
    pub(crate) fn is_stored(&self, stored: bool) {
        self.stored.set(stored);
    }
}
