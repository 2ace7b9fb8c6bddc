//! The sockets of all objects of a host.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use dokit_client::ObjectId;
use dokit_storage::Timestamp;

use super::{Connection, SocketId, Sockets, limits::too_many, registry::Inner};
use crate::{Context, Result, engine::ObjectType};

/// Which object.
pub(super) type Key = (&'static str, ObjectId);

/// The sockets of all objects of a host, whether they are awake or asleep. One that has none costs
/// nothing here.
pub struct Switchboard {
    board: Arc<Board>,
}

/// How much a host spends on sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketLimits {
    /// How many are open at a time, over all objects: 65,536.
    pub sockets: usize,
    /// How many bytes may wait for a peer to read them: 1 MiB, or one message, where that is longer. One
    /// that is slower is closed with 1013.
    pub buffer: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            sockets: 65_536,
            buffer: 1024 * 1024,
        }
    }
}

pub(super) struct Board {
    pub(super) limits: SocketLimits,
    pub(super) orphaned: Box<dyn Fn(Connection) + Send + Sync>,
    objects: Mutex<HashMap<Key, Place>>,
    next: AtomicU64,
    open: AtomicUsize,
}

/// The sockets of an object are there as long as one is open, or the object is awake.
struct Place {
    sockets: Weak<Inner>,
    /// Or as long as the host, where an automatic answer was set that the object's next wake would not
    /// set again.
    kept: Option<Arc<Inner>>,
}

impl Switchboard {
    /// A host's switchboard. `now` is the time at which the host starts: ids of sockets go on from
    /// there, so that those of an earlier run do not come again. `orphaned` is given each connection
    /// that was dropped before its end was told: it has to tell it.
    pub fn new(
        limits: SocketLimits,
        now: Timestamp,
        orphaned: impl Fn(Connection) + Send + Sync + 'static,
    ) -> Self {
        // A thousand a millisecond, and still a number that JSON carries exactly.
        let first = now.as_millis().unsigned_abs().saturating_mul(1000);
        Self {
            board: Arc::new(Board {
                limits,
                orphaned: Box::new(orphaned),
                objects: Mutex::default(),
                next: AtomicU64::new(first),
                open: AtomicUsize::new(0),
            }),
        }
    }

    /// Gives an object that wakes its sockets, where its type has a handler for them.
    #[must_use]
    pub fn connect(&self, ctx: Context, object_type: &ObjectType) -> Context {
        match self.sockets(object_type, ctx.id()) {
            Some(sockets) => ctx.with_sockets(sockets),
            None => ctx,
        }
    }

    /// An object's sockets, where its type has a handler for them: those that [`connect`](Self::connect)
    /// gives it, for as long as this is held.
    #[must_use]
    pub fn sockets(&self, object_type: &ObjectType, id: &ObjectId) -> Option<Sockets> {
        if !object_type.handlers().websocket_message {
            return None;
        }
        let key = (object_type.namespace(), id.clone());
        let mut objects = self.board.objects();
        let found = objects.get(&key).and_then(|place| place.sockets.upgrade());
        Some(match found {
            Some(inner) => Sockets::from_inner(inner),
            None => {
                let board = Arc::clone(&self.board);
                let sockets = Sockets::new(board, key.clone(), object_type.handlers());
                let place = Place {
                    sockets: Arc::downgrade(sockets.inner()),
                    kept: None,
                };
                objects.insert(key, place);
                sockets
            }
        })
    }

    /// How many sockets are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.board.open.load(Ordering::Relaxed)
    }

    /// Closes all sockets, as a host does that stops.
    pub fn close_all(&self, code: u16, reason: &str) {
        for sockets in self.board.all() {
            sockets.close_all(code, reason);
        }
    }

    /// Forgets all sockets, as a crash does: their connections have nothing to tell any more.
    pub fn forget_all(&self) {
        for sockets in self.board.all() {
            sockets.forget();
        }
        let forgotten = std::mem::take(&mut *self.board.objects());
        drop(forgotten);
    }
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switchboard")
            .field("open", &self.open())
            .finish_non_exhaustive()
    }
}

impl Board {
    /// Counts a socket more, and gives it its id.
    pub(super) fn open(&self) -> Result<SocketId> {
        let limit = self.limits.sockets;
        let counted = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < limit).then_some(open + 1)
            });
        match counted {
            Ok(_) => Ok(SocketId(self.next.fetch_add(1, Ordering::Relaxed))),
            Err(_) => Err(too_many(limit, "the host")),
        }
    }

    /// Counts a socket that there was before, whose id none may have after it.
    pub(super) fn reopen(&self, id: SocketId) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.next.fetch_max(id.0 + 1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn keep(&self, sockets: &Sockets) {
        let (namespace, id) = sockets.object();
        if let Some(place) = self.objects().get_mut(&(namespace, id.clone())) {
            place
                .kept
                .get_or_insert_with(|| Arc::clone(sockets.inner()));
        }
    }

    /// The last handle to an object's sockets is gone.
    pub(super) fn leave(&self, key: &Key) {
        let mut objects = self.objects();
        // The object may have woken meanwhile, and have others.
        let gone = objects
            .get(key)
            .is_some_and(|place| place.sockets.strong_count() == 0);
        if gone {
            objects.remove(key);
        }
    }

    fn all(&self) -> Vec<Sockets> {
        let objects = self.objects();
        let alive = objects.values().filter_map(|place| place.sockets.upgrade());
        alive.map(Sockets::from_inner).collect()
    }

    fn objects(&self) -> MutexGuard<'_, HashMap<Key, Place>> {
        // No code of a user runs under this lock, so a poisoned one still holds whole data.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
