//! The objects in memory, and which of them leave it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::coop::consume_budget,
    time::{Instant, sleep_until},
};

use crate::resident::Resident;

/// All objects that are awake.
#[derive(Debug)]
pub(crate) struct Residents {
    places: Mutex<Places>,
    /// Those that were idle when somebody last looked, roughly from the longest idle to the shortest: each
    /// awake object is here once, at most, and is looked at again when its time may have come.
    idle: Mutex<VecDeque<Idle>>,
    /// Wakes the sweeper.
    changed: Notify,
    sleep_after: Duration,
    limit: usize,
}

#[derive(Debug, Default)]
struct Places {
    objects: HashMap<Key, Arc<Resident>>,
    closed: bool,
}

/// A namespace, and the bytes of an id.
type Key = (&'static str, [u8; 32]);

#[derive(Debug)]
struct Idle {
    resident: Arc<Resident>,
    since: Instant,
}

/// Which object is to be put to sleep.
enum Next {
    Now(Arc<Resident>),
    At(Instant),
    /// None, until one is idle.
    None,
}

impl Residents {
    /// `limit` is how many objects are awake when those that are idle are put to sleep before their time.
    pub(crate) fn new(sleep_after: Duration, limit: usize) -> Self {
        Self {
            places: Mutex::default(),
            idle: Mutex::default(),
            changed: Notify::new(),
            sleep_after,
            limit,
        }
    }

    /// The object's place, made where there is none; none at all once the host is closed.
    pub(crate) fn place(&self, key: Key, make: impl FnOnce() -> Resident) -> Option<Arc<Resident>> {
        let mut places = self.places();
        if places.closed {
            return None;
        }
        let place = places.objects.entry(key);
        let place = Arc::clone(place.or_insert_with(|| Arc::new(make())));
        if places.objects.len() > self.limit {
            drop(places);
            self.changed.notify_one();
        }
        Some(place)
    }

    /// Takes an object out of memory, unless a message waits for it.
    pub(crate) fn forget(&self, resident: &Resident) -> bool {
        let mut places = self.places();
        let left = resident.close_if_empty();
        if left {
            let objects = &mut places.objects;
            objects.remove(&(resident.namespace(), resident.key()));
            // Those that sleep cost nothing.
            if objects.len() < objects.capacity() / 4 {
                let few = objects.len() * 2;
                objects.shrink_to(few);
            }
        }
        left
    }

    /// An object may have nothing more to do.
    pub(crate) fn idle(&self, resident: &Arc<Resident>) {
        let Some(since) = resident.enlist() else {
            return;
        };
        let resident = Arc::clone(resident);
        let mut idle = self.idle_list();
        idle.push_back(Idle { resident, since });
        if idle.len() == 1 {
            self.changed.notify_one();
        }
    }

    /// Puts objects to sleep for as long as the host runs: those that were idle long enough, and while
    /// too many are awake, those that were idle longest.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            match self.longest_idle(Instant::now()) {
                Next::Now(resident) => {
                    resident.put_to_sleep().await;
                    // Where it has not left, it is to be looked at again.
                    self.idle(&resident);
                    consume_budget().await;
                }
                Next::At(time) => {
                    tokio::select! {
                        () = sleep_until(time) => {}
                        () = self.changed.notified() => {}
                    }
                }
                Next::None => self.changed.notified().await,
            }
        }
    }

    fn longest_idle(&self, now: Instant) -> Next {
        let crowded = self.len() > self.limit;
        let mut idle = self.idle_list();
        while let Some(Idle { resident, since }) = idle.pop_front() {
            match resident.still_idle() {
                None => {}
                // It was used since, and goes back to the end. So one in front of it may leave somewhat
                // later than it could.
                Some(later) if later > since => idle.push_back(Idle {
                    resident,
                    since: later,
                }),
                Some(since) if crowded || since + self.sleep_after <= now => {
                    resident.delist();
                    if idle.len() < idle.capacity() / 4 {
                        let few = idle.len() * 2;
                        idle.shrink_to(few);
                    }
                    return Next::Now(resident);
                }
                Some(since) => {
                    let time = since + self.sleep_after;
                    idle.push_front(Idle { resident, since });
                    return Next::At(time);
                }
            }
        }
        Next::None
    }

    /// How many objects are awake.
    pub(crate) fn len(&self) -> usize {
        self.places().objects.len()
    }

    /// All that are awake.
    pub(crate) fn all(&self) -> Vec<Arc<Resident>> {
        self.places().objects.values().cloned().collect()
    }

    /// Takes no more calls, and gives all that are awake. They stay known, for whoever closes again.
    pub(crate) fn close(&self) -> Vec<Arc<Resident>> {
        self.places().closed = true;
        let all = self.all();
        all.iter().for_each(|resident| resident.close());
        all
    }

    /// Lets go of all, which have to be asleep or given up.
    pub(crate) fn clear(&self) {
        let objects = std::mem::take(&mut self.places().objects);
        drop(objects);
        self.idle_list().clear();
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // No code of a user runs under these locks, so a poisoned one still holds whole data.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_list(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
