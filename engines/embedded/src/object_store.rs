use dokit_client::ObjectId;
use dokit_object::engine::Call;
use dokit_storage::{Batch, KeyRange, Limits, Result, Store, Timestamp, sql::Sql};

use crate::{flight::Flight, own::OwnStore, store::SharedStore};

/// Where an object's data is: with that of all others, or, where its type has SQL, in a database of its
/// own.
#[derive(Clone, Debug)]
pub(crate) enum ObjectStore {
    Shared(SharedStore),
    Own(OwnStore),
}

impl ObjectStore {
    pub(crate) fn id(&self) -> &ObjectId {
        match self {
            Self::Shared(store) => store.id(),
            Self::Own(store) => store.id(),
        }
    }

    /// What is on its way.
    pub(crate) fn flight(&self) -> &Flight {
        match self {
            Self::Shared(store) => store.flight(),
            Self::Own(store) => store.flight(),
        }
    }

    /// Whether another call may run before the disk has come further.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Shared(store) => store.flight().has_room(),
            Self::Own(store) => store.has_room(),
        }
    }

    /// Returns once another call may run.
    pub(crate) async fn room(&self) {
        match self {
            Self::Shared(store) => store.flight().room().await,
            Self::Own(store) => store.room().await,
        }
    }

    /// Says that no more calls wait: who gathers writes is to send them now.
    pub(crate) fn rest(&self) {
        if let Self::Own(store) = self {
            store.rest();
        }
    }

    /// The object lets go of it.
    pub(crate) fn leave(&self) {
        if let Self::Own(store) = self {
            store.leave();
        }
    }

    /// Returns once all that was kept is durable, or has failed.
    pub(crate) async fn settle(&self) {
        match self {
            Self::Shared(store) => store.flight().settled().await,
            Self::Own(store) => store.settle().await,
        }
    }

    /// Returns once the object may be woken, whose `new` may wait for whatever it likes.
    pub(crate) async fn ready_to_wake(&self) {
        if let Self::Own(store) = self {
            store.settle().await;
        }
    }

    /// Returns once a call may run, which may be later than there is room for any.
    pub(crate) async fn ready_for(&self, call: &Call) {
        if let Self::Own(store) = self {
            store.ready_for(call).await;
        }
    }

    /// Begins an exclusive call.
    pub(crate) fn begin(&self) -> Result<OpenCall<'_>> {
        OpenCall::begin(self)
    }

    /// Remembers of a kind of call whether it had to wait for something.
    pub(crate) fn pace(&self, kind: &'static str, waited: bool) {
        if let Self::Own(store) = self {
            store.pace(kind, waited);
        }
    }
}

/// An exclusive call whose writes may be kept. Dropped, it leaves nothing, but what it committed early.
#[derive(Debug)]
pub(crate) struct OpenCall<'a> {
    store: &'a ObjectStore,
    open: bool,
}

impl<'a> OpenCall<'a> {
    fn begin(store: &'a ObjectStore) -> Result<Self> {
        let open = match store {
            ObjectStore::Shared(_) => false,
            ObjectStore::Own(store) => {
                store.begin()?;
                true
            }
        };
        Ok(Self { store, open })
    }

    /// Keeps what the call has written, and sends it on its way with `batch`: reads see it from now on.
    /// Gives its number in the flight; nothing at all is as durable as what was before it.
    pub(crate) fn keep(mut self, batch: Batch) -> Result<u64> {
        self.open = false;
        match self.store {
            ObjectStore::Shared(store) => store.send(batch),
            ObjectStore::Own(store) => store.keep(&batch),
        }
    }

    /// Undoes what the call has written, and goes on as another.
    pub(crate) fn anew(self) -> Result<Self> {
        let store = self.store;
        drop(self);
        Self::begin(store)
    }
}

impl Drop for OpenCall<'_> {
    fn drop(&mut self) {
        if self.open
            && let ObjectStore::Own(store) = self.store
        {
            store.undo();
        }
    }
}

impl Store for ObjectStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        match self {
            Self::Shared(store) => store.get(key).await,
            Self::Own(store) => store.get(key).await,
        }
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        match self {
            Self::Shared(store) => store.list(range).await,
            Self::Own(store) => store.list(range).await,
        }
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        match self {
            Self::Shared(store) => store.alarm().await,
            Self::Own(store) => store.alarm().await,
        }
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        match self {
            Self::Shared(store) => store.commit(batch).await,
            Self::Own(store) => store.commit(batch).await,
        }
    }

    fn limits(&self) -> Limits {
        match self {
            Self::Shared(store) => store.limits(),
            Self::Own(store) => store.limits(),
        }
    }

    fn sql(&self) -> Option<Sql> {
        match self {
            Self::Shared(_) => None,
            Self::Own(store) => store.sql(),
        }
    }
}
