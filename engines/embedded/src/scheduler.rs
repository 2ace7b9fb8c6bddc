//! Wakes objects for their alarms. The alarms are in the database; this task looks at what is due,
//! sends each to its object, and sleeps until the next.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use dokit_client::ObjectId;
use dokit_object::{Call, ObjectType};
use dokit_storage::Timestamp;
use tokio::sync::{Notify, watch};

use crate::{
    database::{Due, Object},
    host::Shared,
};

/// How many alarms run at once at most.
const AT_ONCE: usize = 256;

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
    /// Objects whose alarm runs, or has to wait because it could not be run. What is here is passed
    /// over when the database says that it is due.
    held: Mutex<HashMap<Object, Held>>,
}

#[derive(Clone, Copy, Debug)]
enum Held {
    Running,
    /// The alarm of `at` could not be run, nor that be recorded: the disk failed, or the queue was
    /// full.
    Waiting {
        at: Timestamp,
        failures: u32,
        until: Timestamp,
    },
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

    fn nothing_runs(&self) -> bool {
        self.held(|held| !held.values().any(|held| matches!(held, Held::Running)))
    }

    fn held<R>(&self, change: impl FnOnce(&mut HashMap<Object, Held>) -> R) -> R {
        let mut held = self
            .inner
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut held)
    }
}

/// Runs until the host is gone.
pub(crate) async fn run(host: Weak<Shared>, scheduler: Scheduler) {
    loop {
        let (clock, next) = {
            let Some(host) = host.upgrade() else { return };
            // From here on every alarm that is set wakes us again, so none is missed between the
            // look at the database and the sleep.
            scheduler
                .inner
                .sleeps_until
                .store(i64::MAX, Ordering::SeqCst);
            let asked = scheduler.inner.asked.load(Ordering::SeqCst);
            let clock = host.clock();
            let next = dispatch(&host, &scheduler, clock.now());
            if scheduler.nothing_runs() {
                scheduler.inner.settled.send_replace(asked);
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

/// Sends what is due to its objects and says when to look again.
fn dispatch(host: &Arc<Shared>, scheduler: &Scheduler, now: Timestamp) -> Timestamp {
    let look = || {
        let held = scheduler.held(|held| held.len());
        let due = host.database.due(now, AT_ONCE + held)?;
        Ok::<_, crate::error::DatabaseError>((due, host.database.next_alarm(now)?))
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
        let Some(object_type) = host.object_type(&due.namespace).copied() else {
            // Its type is not registered in this run; its alarm waits for a run in which it is.
            scheduler.held(|held| {
                held.insert(
                    due.object,
                    Held::Waiting {
                        at: due.at,
                        failures: 0,
                        until: Timestamp::LAST,
                    },
                )
            });
            tracing::warn!(
                namespace = due.namespace,
                "an alarm is due in a namespace that is not served"
            );
            continue;
        };
        let start = scheduler.held(|held| {
            match held.get(&due.object) {
                Some(Held::Running) => return None,
                Some(Held::Waiting { at, until, .. }) if *at == due.at && *until > now => {
                    next = next.min(*until);
                    return None;
                }
                _ => {}
            }
            let running = held.values().filter(|held| matches!(held, Held::Running));
            if running.count() >= AT_ONCE {
                // The end of one that runs wakes us.
                return None;
            }
            let failures = match held.insert(due.object, Held::Running) {
                Some(Held::Waiting { at, failures, .. }) if at == due.at => failures,
                _ => 0,
            };
            Some(failures)
        });
        if let Some(failures) = start {
            let run = fire(
                Arc::clone(host),
                scheduler.clone(),
                object_type,
                due,
                failures,
            );
            host.runtime.spawn(run);
        }
    }
    next
}

/// Runs one alarm and lets go of it, or holds it back where it could not be run.
async fn fire(
    host: Arc<Shared>,
    scheduler: Scheduler,
    object_type: ObjectType,
    due: Due,
    failures: u32,
) {
    let id = ObjectId::from_bytes(due.id);
    let answer = host
        .call(&object_type, id, Call::Alarm, Some(DEADLINE))
        .await;
    // A handler's failure is recorded with the next try as the object's alarm. Only where that
    // could not be done is the old alarm still there.
    let stays = answer.is_err() && host.database.alarm(due.object).ok() == Some(Some(due.at));
    scheduler.held(|held| {
        if stays {
            let wait = Duration::from_secs(1 << failures.min(10));
            held.insert(
                due.object,
                Held::Waiting {
                    at: due.at,
                    failures: failures.saturating_add(1),
                    until: host.clock().now().saturating_add(wait),
                },
            );
        } else {
            held.remove(&due.object);
        }
    });
    scheduler.inner.changed.notify_one();
}
