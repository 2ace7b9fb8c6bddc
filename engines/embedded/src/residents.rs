//! The objects in memory, and which of them leave it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    ptr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::coop::consume_budget,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    resident::{KEPT, Resident},
    weight::{Ceiling, Weight},
};

/// How long the others wait for one whose writes are still on their way to the disk.
const PATIENCE: Duration = Duration::from_millis(100);

/// All objects that are awake.
#[derive(Debug)]
pub(crate) struct Residents {
    places: Mutex<Places>,
    /// Those that were idle when somebody last looked, roughly from the longest idle to the shortest: each
    /// awake object is here once, at most, and is looked at again when its time may have come. Those with
    /// keys alone, and those that have a database open.
    idle: Mutex<[VecDeque<Idle>; 2]>,
    /// Wakes the sweeper.
    changed: Arc<Notify>,
    sleep_after: Duration,
    ceiling: Arc<Ceiling>,
    sql_limit: usize,
}

#[derive(Debug, Default)]
struct Places {
    objects: HashMap<Key, Arc<Resident>>,
    /// How many of them have a database open.
    with_sql: usize,
    closed: bool,
}

/// A namespace, and the bytes of an id.
type Key = (&'static str, [u8; 32]);

#[derive(Debug)]
struct Idle {
    resident: Arc<Resident>,
    /// Since when it is idle, or when it could not leave.
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
    /// Where more than `most` bytes are held, or more than `sql_limit` databases are open, those that are
    /// idle are put to sleep before their time.
    pub(crate) fn new(sleep_after: Duration, most: usize, sql_limit: usize) -> Self {
        let changed = Arc::new(Notify::new());
        Self {
            places: Mutex::default(),
            idle: Mutex::default(),
            changed: Arc::clone(&changed),
            sleep_after,
            ceiling: Arc::new(Ceiling::new(most, changed)),
            sql_limit,
        }
    }

    /// What all of them hold.
    pub(crate) fn ceiling(&self) -> &Arc<Ceiling> {
        &self.ceiling
    }

    /// The object's place, made where there is none; none at all once the host is closed.
    pub(crate) fn place(
        &self,
        key: Key,
        make: impl FnOnce(Weight) -> Resident,
    ) -> Option<Arc<Resident>> {
        let mut places = self.places();
        let places = &mut *places;
        if places.closed {
            return None;
        }
        let place = match places.objects.entry(key) {
            Entry::Occupied(place) => Arc::clone(place.get()),
            Entry::Vacant(free) => {
                let resident = Arc::new(make(self.ceiling.weigh(KEPT)));
                places.with_sql += usize::from(resident.has_sql());
                Arc::clone(free.insert(resident))
            }
        };
        if places.with_sql > self.sql_limit {
            self.changed.notify_one();
        }
        Some(place)
    }

    /// Takes an object out of memory, unless a message waits for it.
    pub(crate) fn forget(&self, resident: &Resident) -> bool {
        let mut places = self.places();
        let left = resident.close_if_empty();
        if left {
            let places = &mut *places;
            let objects = &mut places.objects;
            let place = objects.entry((resident.namespace(), resident.key()));
            // Not that of another one of the object, where this has left before and was told so twice.
            if let Entry::Occupied(place) = place
                && ptr::eq(&raw const **place.get(), resident)
            {
                place.remove();
                places.with_sql -= usize::from(resident.has_sql());
            }
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
        if let Some(since) = resident.enlist() {
            self.list(Arc::clone(resident), since);
        }
    }

    fn list(&self, resident: Arc<Resident>, since: Instant) {
        let mut idle = self.idle_lists();
        let idle = &mut idle[usize::from(resident.has_sql())];
        idle.push_back(Idle { resident, since });
        if idle.len() == 1 {
            self.changed.notify_one();
        }
    }

    /// Puts objects to sleep for as long as the host runs: those that were idle long enough, and while
    /// too much is held, or too many databases are open, those that were idle longest.
    pub(crate) async fn sweep(self: Arc<Self>) {
        loop {
            match self.next(Instant::now()) {
                Next::Now(resident) => {
                    let _ = timeout(PATIENCE, resident.put_to_sleep()).await;
                    if resident.enlist().is_some() {
                        // It has not left, and is looked at again after the others.
                        self.list(resident, Instant::now());
                    }
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

    fn next(&self, now: Instant) -> Next {
        let too_many_sql = self.places().with_sql > self.sql_limit;
        let mut lists = self.idle_lists();
        let [keys, sql] = lists.each_mut().map(longest_idle);
        let (list, since) = match (keys, sql) {
            (_, Some(sql)) if too_many_sql => (1, sql),
            (Some(keys), Some(sql)) if sql < keys => (1, sql),
            (Some(keys), _) => (0, keys),
            (None, Some(sql)) => (1, sql),
            (None, None) => return Next::None,
        };
        let crowded = self.ceiling.is_exceeded() || (list == 1 && too_many_sql);
        let time = since + self.sleep_after;
        if !crowded && now < time {
            return Next::At(time);
        }
        let list = &mut lists[list];
        let Some(Idle { resident, .. }) = list.pop_front() else {
            return Next::None;
        };
        resident.delist();
        if list.len() < list.capacity() / 4 {
            let few = list.len() * 2;
            list.shrink_to(few);
        }
        Next::Now(resident)
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
        let objects = {
            let mut places = self.places();
            places.with_sql = 0;
            std::mem::take(&mut places.objects)
        };
        drop(objects);
        *self.idle_lists() = Default::default();
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        // No code of a user runs under these locks, so a poisoned one still holds whole data.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle_lists(&self) -> MutexGuard<'_, [VecDeque<Idle>; 2]> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the one that was idle longest to the front of a list, and says since when it has been.
fn longest_idle(list: &mut VecDeque<Idle>) -> Option<Instant> {
    while let Some(Idle { resident, since }) = list.pop_front() {
        match resident.still_idle() {
            None => {}
            // It was used since, and goes back to the end. So one in front of it may leave somewhat later
            // than it could.
            Some(later) if later > since => list.push_back(Idle {
                resident,
                since: later,
            }),
            Some(_) => {
                list.push_front(Idle { resident, since });
                return Some(since);
            }
        }
    }
    None
}
