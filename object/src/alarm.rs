use std::time::Duration;

use dokit_storage::{Batch, Result, Store, Timestamp, decode, encode};
use serde::{Deserialize, Serialize};

use crate::outbox;

/// The alarm that an object is woken for.
///
/// While [`DurableObject::alarm`](crate::DurableObject::alarm) runs, the object has no alarm; one
/// that it sets is the next. Its writes are committed together with the removal of the alarm, so
/// they happen exactly once, while the handler itself may run again after a failure or a crash.
///
/// A handler that fails is tried again after 2, 4, 8, 16, 32 and 64 seconds, each with up to a
/// quarter more. When that was the last try, the alarm is kept as failed:
/// [`Context::failed_alarm`](crate::Context::failed_alarm) reads it, and setting an alarm anew
/// replaces it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alarm {
    /// The time that it was set for.
    pub scheduled: Timestamp,
    /// How often it has failed before: 0 on the first try.
    pub retry_count: u32,
}

/// An alarm whose tries are used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct FailedAlarm {
    /// The time that it was set for.
    pub scheduled: Timestamp,
    /// How often it was tried.
    pub tries: u32,
    /// What the last try answered.
    pub error: String,
}

/// How often a failing alarm is tried in all.
const TRIES: u32 = 7;

/// Where a failing alarm is kept. Deleted when it succeeds, or when another takes its place.
pub(crate) const RECORD: &str = "__alarm_failure";

/// What is stored of an alarm that has failed at least once, or was postponed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    #[serde(flatten)]
    failure: FailedAlarm,
    /// When it is tried again, which is what the store's alarm is set to; none when given up.
    next: Option<Timestamp>,
}

/// The alarm `set`, where it is due at `now`, with what the store remembers of its failures. None where the
/// wake-up was early, or a repeated one.
pub(crate) async fn due(
    store: &impl Store,
    set: Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<Alarm>> {
    let Some(at) = set.filter(|at| *at <= now) else {
        return Ok(None);
    };
    let fresh = Alarm {
        scheduled: at,
        retry_count: 0,
    };
    // A record of another time belongs to an alarm that has been replaced.
    let record = read(store).await?.filter(|record| record.next == Some(at));
    Ok(Some(record.map_or(fresh, |record| Alarm {
        scheduled: record.failure.scheduled,
        retry_count: record.failure.tries,
    })))
}

/// Forgets the failures of an alarm that succeeded, and of any before it.
pub(crate) fn succeeded(writes: &mut Batch) {
    writes.delete(RECORD);
}

/// The writes of an alarm whose handler an engine gave up because it took too long: it has failed as
/// if it had returned `error`. None where no alarm is due at `now`.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn fail_alarm(store: &impl Store, now: Timestamp, error: &str) -> Result<Option<Batch>> {
    let set = outbox::user_alarm(store).await?;
    let Some(alarm) = due(store, set, now).await? else {
        return Ok(None);
    };
    let mut writes = failed(alarm, now, error)?;
    outbox::seal(store, &mut writes).await?;
    Ok(Some(writes))
}

/// Whether these are the writes of an alarm that has failed for the last time, and is kept as failed.
#[must_use]
pub fn gives_up_alarm(writes: &Batch) -> bool {
    let record = writes.written(RECORD).flatten();
    let record = record.and_then(|json| decode::<Record>(RECORD, json).ok());
    record.is_some_and(|record| record.next.is_none())
}

/// The writes by which what rang and could not be run rings again `at` a later time. The alarm stays what it
/// was, and this does not count as a try of it.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn postpone_alarm(store: &impl Store, now: Timestamp, at: Timestamp) -> Result<Batch> {
    let mut writes = Batch::new();
    let set = outbox::user_alarm(store).await?;
    if let Some(alarm) = due(store, set, now).await? {
        let record = record(alarm, alarm.retry_count, "", Some(at));
        writes.put(RECORD, encode(RECORD, &record)?);
        writes.set_alarm(at);
        outbox::seal(store, &mut writes).await?;
    }
    // What else is due waits too.
    writes.set_alarm(at);
    Ok(writes)
}

/// The writes that take the place of the handler's own when it failed: the next try, or the record
/// of the alarm as failed.
pub(crate) fn failed(alarm: Alarm, now: Timestamp, error: &str) -> Result<Batch> {
    let tries = alarm.retry_count.saturating_add(1);
    let next = (tries < TRIES).then(|| now.saturating_add(backoff(alarm)));
    let mut batch = Batch::new();
    match next {
        Some(at) => batch.set_alarm(at),
        None => batch.delete_alarm(),
    }
    let record = record(alarm, tries, error, next);
    batch.put(RECORD, encode(RECORD, &record)?);
    Ok(batch)
}

fn record(alarm: Alarm, tries: u32, error: &str, next: Option<Timestamp>) -> Record {
    Record {
        failure: FailedAlarm {
            scheduled: alarm.scheduled,
            tries,
            error: error.chars().take(1000).collect(),
        },
        next,
    }
}

/// The alarm that was given up, if one was and no other has been set since.
pub(crate) async fn given_up(store: &impl Store) -> Result<Option<FailedAlarm>> {
    let record = read(store).await?.filter(|record| record.next.is_none());
    Ok(match record {
        Some(record) if store.alarm().await?.is_none() => Some(record.failure),
        _ => None,
    })
}

async fn read(store: &impl Store) -> Result<Option<Record>> {
    let json = store.get(RECORD).await?;
    json.map(|json| decode(RECORD, &json)).transpose()
}

/// 2 s doubled with each failure, and up to a quarter more, spread by the time the alarm was set
/// for so that many that fail together do not come back together.
fn backoff(alarm: Alarm) -> Duration {
    let base = 2000_u64 << alarm.retry_count.min(TRIES);
    let spread = alarm.scheduled.as_millis().unsigned_abs() ^ u64::from(alarm.retry_count);
    let jitter = spread.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    Duration::from_millis(base + jitter % (base / 4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_with_each_failure_and_has_up_to_a_quarter_more() {
        for retry_count in 0..TRIES {
            let alarm = Alarm {
                scheduled: Timestamp::from_millis(1_795_231_096_429),
                retry_count,
            };
            let base = Duration::from_secs(2 << retry_count);
            let wait = backoff(alarm);
            assert!(
                wait >= base && wait < base * 5 / 4,
                "{retry_count}: {wait:?}"
            );
        }
    }
}
