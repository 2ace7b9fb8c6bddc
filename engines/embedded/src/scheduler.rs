//! Wakes objects for their alarms. The alarms are in the database; this task looks at what is due,
//! sends each to its object, and sleeps until the next.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use dokit_client::{ErrorReply, ObjectId};
use dokit_object::engine::{Call, Chain, Delivery, ObjectType};
use dokit_storage::Timestamp;
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use crate::{
    database::{Due, Object, Page},
    engine::{Engine, PendingAnswer},
    held::{AT_ONCE, Held, Start},
};

/// How long an alarm may run.
const DEADLINE: Duration = Duration::from_secs(15 * 60);

/// How the writer tells the scheduler of alarms that were set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scheduler {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What the scheduler sleeps until, in milliseconds; the writer need not wake it for later ones.
    sleeps_until: AtomicI64,
    changed: Notify,
    /// How often somebody has asked whether all is settled, and up to which of these it was.
    asked: AtomicU64,
    settled: watch::Sender<u64>,
    /// How many deliveries are on their way.
    deliveries: AtomicU64,
    held: Mutex<Held>,
}

impl Scheduler {
    /// An alarm was set and is durable.
    pub(crate) fn set(&self, at: Timestamp) {
        if at.as_millis() < self.inner.sleeps_until.load(Ordering::SeqCst) {
            self.inner.changed.notify_one();
        }
    }

    /// Resolves once everything that is due has been tried.
    pub(crate) async fn settled(&self) {
        let inner = &self.inner;
        let asked = inner.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let mut settled = inner.settled.subscribe();
        inner.changed.notify_one();
        // The sender is ours, so the wait cannot fail.
        let _ = settled.wait_for(|settled| *settled >= asked).await;
    }

    /// Nothing is settled by waiting any more.
    pub(crate) fn stop(&self) {
        self.inner.settled.send_replace(u64::MAX);
    }

    fn nothing_runs(&self) -> bool {
        self.inner.deliveries.load(Ordering::SeqCst) == 0 && self.held(|held| held.nothing_runs())
    }

    fn held<R>(&self, change: impl FnOnce(&mut Held) -> R) -> R {
        let mut held = self
            .inner
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut held)
    }
}

/// Runs until the host is gone.
pub(crate) async fn run(engine: Weak<Engine>, scheduler: Scheduler) {
    loop {
        let (clock, next) = {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            // From here on every alarm that is set wakes us again, so none is missed between the
            // look at the database and the sleep.
            scheduler
                .inner
                .sleeps_until
                .store(i64::MAX, Ordering::SeqCst);
            let asked = scheduler.inner.asked.load(Ordering::SeqCst);
            let clock = engine.clock();
            let next = dispatch(&engine, &scheduler, clock.now());
            if scheduler.nothing_runs() {
                let settled = &scheduler.inner.settled;
                settled.send_modify(|settled| *settled = asked.max(*settled));
            }
            (clock, next)
        };
        scheduler
            .inner
            .sleeps_until
            .store(next.as_millis(), Ordering::SeqCst);
        tokio::select! {
            () = clock.sleep_until(next) => {}
            () = scheduler.inner.changed.notified() => {}
        }
    }
}

/// Has what was on its way for objects when the process before this one ended made again. Their alarms say
/// that there is time for it, but nothing has outlived that process; those that are due already are
/// [`run`]'s.
pub(crate) async fn recover(engine: Weak<Engine>, scheduler: Scheduler, counted: OnItsWay) {
    let mut page = {
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let now = engine.clock().now();
        Page::between(now, now.saturating_add(Delivery::LEASE))
    };
    loop {
        let asked: Vec<_> = {
            let Some(engine) = engine.upgrade() else {
                return;
            };
            let found = match engine.database().next_page(&mut page, AT_ONCE) {
                Ok(found) => found,
                Err(error) => {
                    // Each is made again when its time is over.
                    tracing::error!("look for what was on its way: {error}");
                    return;
                }
            };
            if found.is_empty() {
                break;
            }
            let asked = found.iter().filter_map(|due| ask(&engine, &scheduler, due));
            asked.collect()
        };
        join_all(asked).await;
    }
    drop(counted);
}

/// Asks an object for what it has to send, where it may have something.
fn ask(
    engine: &Engine,
    scheduler: &Scheduler,
    due: &Due,
) -> Option<impl Future<Output = ()> + use<>> {
    let object_type = engine.object_type(&due.namespace)?;
    // Of an object with SQL that is in its own database, which only it opens.
    let outbox = |due: &Due| engine.database().get(due.object, Delivery::KEY);
    if !object_type.sql() && matches!(outbox(due), Ok(None)) {
        return None;
    }
    let id = ObjectId::from_bytes(due.id);
    let (chain, place) = (Chain::default(), engine.load().enter_always());
    let answer = engine.submit(object_type, &id, Call::Alarm, DEADLINE, chain, place);
    let (engine, scheduler) = (engine.own(), scheduler.clone());
    Some(async move {
        let Ok(answer) = answer else { return };
        let Ok(mut answer) = answer.await else { return };
        let Some(engine) = engine.upgrade() else {
            return;
        };
        let deliveries = Delivery::take(&mut answer).into_iter();
        let sent: Vec<_> = deliveries
            .map(|delivery| deliver(&engine, &scheduler, object_type, &id, delivery))
            .collect();
        drop(engine);
        // The objects that are asked next wait for these, so that there are not too many at once.
        join_all(sent).await;
    })
}

/// Sends what is due to its objects and says when to look again.
fn dispatch(engine: &Engine, scheduler: &Scheduler, now: Timestamp) -> Timestamp {
    let look = || {
        let limit = scheduler.held(|held| held.look(now));
        let due = engine.database().due(now, limit)?;
        Ok::<_, crate::error::DatabaseError>((due, engine.database().next_alarm(now)?))
    };
    let (due, next) = match look() {
        Ok(found) => found,
        Err(error) => {
            tracing::error!("look for alarms that are due: {error}");
            return now.saturating_add(Duration::from_secs(1));
        }
    };
    let mut next = next.unwrap_or(Timestamp::LAST);
    for due in due {
        // The database gives only what is served.
        let Some(object_type) = engine.object_type(&due.namespace) else {
            continue;
        };
        let start = scheduler.held(|held| held.start(due.object, due.at, now));
        match start {
            Start::Now { failures } => {
                let late = now.as_millis().saturating_sub(due.at.as_millis());
                let late = Duration::from_millis(late.unsigned_abs());
                engine.metrics().alarm_fired(late);
                run_alarm(engine, scheduler, object_type, &due, failures);
            }
            Start::Not { before } => next = next.min(before),
            Start::Later => {}
        }
    }
    next
}

fn run_alarm(
    engine: &Engine,
    scheduler: &Scheduler,
    object_type: ObjectType,
    due: &Due,
    failures: u32,
) {
    let id = ObjectId::from_bytes(due.id);
    let (chain, place) = (Chain::default(), engine.load().enter_always());
    let answer = engine.submit(object_type, &id, Call::Alarm, DEADLINE, chain, place);
    let fired = Fired {
        object: due.object,
        at: due.at,
        failures,
        object_type,
        id,
    };
    let run = fire(engine.own(), scheduler.clone(), fired, answer);
    engine.runtime().spawn(run);
}

/// An alarm on its way to its object.
struct Fired {
    object: Object,
    at: Timestamp,
    /// How often it could not be run before.
    failures: u32,
    object_type: ObjectType,
    id: ObjectId,
}

/// Waits for one alarm and lets go of it, or holds it back where it is still due.
async fn fire(
    engine: Weak<Engine>,
    scheduler: Scheduler,
    fired: Fired,
    answer: Result<PendingAnswer, ErrorReply>,
) {
    let mut answer = match answer {
        Ok(answer) => answer.await,
        Err(refused) => Err(refused),
    };
    let Some(engine) = engine.upgrade() else {
        return;
    };
    let deliveries = answer.as_mut().map_or_else(|_| Vec::new(), Delivery::take);
    // Then it has come on, and what else is due is to be sent at once.
    let delivers = !deliveries.is_empty();
    for delivery in deliveries {
        deliver(&engine, &scheduler, fired.object_type, &fired.id, delivery);
    }
    if let Err(error) = &answer {
        let (code, message) = (&error.code, &error.message);
        let log = error.log.as_deref().unwrap_or_default();
        let (namespace, at) = (fired.object_type.namespace(), fired.at);
        tracing::error!(namespace, %at, %code, log, "an alarm failed: {message}");
    }
    // A handler's failure is recorded with the next try as the object's alarm, and one that succeeded
    // is gone. Only where that could not be done, or where the very same time was set again, is it still
    // there: then it waits, so that nothing spins.
    let Fired { object, at, .. } = fired;
    scheduler.held(|held| held.answered(object));
    let due = match engine.database().alarm(object) {
        Ok(alarm) => alarm == Some(at),
        Err(_) => true,
    };
    let now = engine.clock().now();
    let look = scheduler.held(|held| {
        if due && !delivers {
            held.hold_back(object, at, fired.failures, answer.is_ok(), now);
        }
        held.end(object) || due
    });
    if look {
        scheduler.inner.changed.notify_one();
    }
}

/// Carries calls of an object to another, and tells it what became of them. Where that cannot be told, its
/// alarm sends them again.
fn deliver(
    engine: &Engine,
    scheduler: &Scheduler,
    object_type: ObjectType,
    id: &ObjectId,
    delivery: Delivery,
) -> JoinHandle<()> {
    let surroundings = engine.surroundings();
    let (own, id) = (engine.own(), id.clone());
    let on_its_way = OnItsWay::new(scheduler.clone());
    engine.runtime().spawn(async move {
        let delivered = delivery.run(&surroundings).await;
        let told = own.upgrade().map(|engine| {
            if let Call::Delivered(delivered) = &delivered {
                engine.metrics().delivered(delivered);
                if let Some(error) = delivered.failed() {
                    let namespace = object_type.namespace();
                    tracing::warn!(namespace, %id, "a call handed to after_commit failed: {error}");
                }
            }
            let (chain, place) = (Chain::default(), engine.load().enter_always());
            engine.submit(object_type, &id, delivered, DEADLINE, chain, place)
        });
        let told = match told {
            Some(Ok(told)) => told.await,
            Some(Err(refused)) => Err(refused),
            None => return,
        };
        if let Err(error) = told {
            let (namespace, code) = (object_type.namespace(), &error.code);
            let log = error.log.as_deref().unwrap_or_default();
            tracing::error!(namespace, %code, log, "a delivery is made again: {}", error.message);
        }
        drop(on_its_way);
    })
}

/// Counts a delivery for as long as it is on its way.
pub(crate) struct OnItsWay(Scheduler);

impl OnItsWay {
    pub(crate) fn new(scheduler: Scheduler) -> Self {
        scheduler.inner.deliveries.fetch_add(1, Ordering::SeqCst);
        Self(scheduler)
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        self.0.inner.deliveries.fetch_sub(1, Ordering::SeqCst);
        self.0.inner.changed.notify_one();
    }
}
