//! Calls that are stored with the writes of the call that makes them, and delivered after it.
//!
//! Each is a record of the object's own. What they wait for shares the engine's one alarm with the
//! user's: while there is a [`Head`], the engine's alarm is set to the earlier of the two. In a call's
//! batch the alarm is the user's; [`seal`] makes the engine's of it where the batch leaves the object.
//!
//! A delivery does not hold the object: the alarm gives out what is due and sets itself to a moment by
//! which that must be done, the engine carries it ([`Delivery::run`]), and what became of it comes back
//! as a call of its own. A crash anywhere between leaves the alarm; an engine that knows that nothing has
//! outlived its last run need not wait for that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use dokit_client::{CallReply, CallRequest, ErrorReply, ObjectId, TransportError};
use dokit_storage::{AlarmChange, Batch, ListOptions, Result, Store, Timestamp, decode, encode};
use serde::{Deserialize, Serialize};

use crate::{
    Response,
    engine::{Call, Surroundings},
};

/// What all keys of this module begin with.
pub(crate) const PREFIX: &str = "__outbox";

/// Where the [`Head`] stands. It is there once the object has handed a call over.
const HEAD: &str = "__outbox";
const WAITING: &str = "__outbox:";
const DEAD: &str = "__outbox_dead:";

/// How many calls of one object wait at most, and how many could not be delivered and are kept when no more
/// are taken: rather than drop one, or keep them without end.
pub(crate) const MOST: usize = 1000;

/// How often a call is tried in all. With the backoff that is over within the day for which the
/// receiver remembers a call's key.
const TRIES: u32 = 16;

/// The longest wait between two tries, before the jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How many objects are called at once.
const TARGETS: usize = 64;

/// How many calls of the same object are carried at once, one after the other.
const RUN: usize = 32;

/// For how long a delivery begins new calls.
const RUN_TIME: Duration = Duration::from_secs(20);

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How far the outbox is, and the user's alarm.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    /// What the user has set the alarm to; the engine's may be earlier.
    alarm: Option<Timestamp>,
    /// When there is something to do for the outbox.
    next: Option<Timestamp>,
    /// The number of the last call that was handed over.
    last: u64,
    /// How many wait.
    waiting: usize,
    /// How many are dead, of those that died since this is counted.
    #[serde(default, skip_serializing_if = "is_zero")]
    dead: usize,
    /// The [run](Surroundings::run) of the engine that gave out what is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it over so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A call that waits, or is dead.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    namespace: String,
    id: ObjectId,
    name: Option<String>,
    method: String,
    /// The text of a JSON array.
    arguments: String,
    /// By which the receiver knows it again.
    key: String,
    tries: u32,
    /// Not to be tried before.
    next: Timestamp,
    /// Whether it was given out, and what became of it is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    on_its_way: bool,
    error: Option<String>,
}

/// A call that was handed to [`Context::after_commit`](crate::Context::after_commit) and could not be
/// delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Undelivered {
    /// Its number, by which it is revived or forgotten.
    pub number: u64,
    /// The namespace of the object it was for.
    pub namespace: String,
    /// The id of that object, with its name where it was called by that.
    pub id: ObjectId,
    /// The method's name on the wire.
    pub method: String,
    /// The arguments: the text of a JSON array.
    pub arguments: String,
    /// How often it was tried.
    pub tries: u32,
    /// What the last try answered.
    pub error: String,
}

/// Where a call goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub(crate) namespace: &'static str,
    pub(crate) id: &'a ObjectId,
}

/// The writes that hand a call over. None where too many wait, or are dead.
pub(crate) async fn hand_over(
    store: &impl Store,
    now: Timestamp,
    target: Target<'_>,
    request: CallRequest,
    key: impl FnOnce(u64) -> String,
) -> Result<Option<Batch>> {
    let head = head(store).await?.unwrap_or_default();
    let has_room = head.waiting < MOST && head.dead < MOST;
    let Some(number) = head.last.checked_add(1).filter(|_| has_room) else {
        return Ok(None);
    };
    let record = Record {
        namespace: target.namespace.to_owned(),
        id: target.id.clone(),
        name: target.id.name().map(str::to_owned),
        method: request.method.into_owned(),
        arguments: request.arguments,
        key: request.idempotency_key.unwrap_or_else(|| key(number)),
        tries: 0,
        next: now,
        on_its_way: false,
        error: None,
    };
    let mut batch = Batch::new();
    head.add(&mut batch, number, &record)?;
    Ok(Some(batch))
}

impl Head {
    /// Adds a call at the end.
    fn add(mut self, batch: &mut Batch, number: u64, record: &Record) -> Result<()> {
        self.last = number;
        self.waiting = self.waiting.saturating_add(1);
        self.next = earlier(self.next, Some(record.next));
        put(batch, WAITING, number, record)?;
        self.put(batch)
    }

    fn put(&self, batch: &mut Batch) -> Result<()> {
        batch.put(HEAD, encode(HEAD, self)?);
        Ok(())
    }

    /// Whether what is on its way was given out by a run that is over.
    fn is_of_another(&self, run: Option<u64>) -> bool {
        run.is_some() && self.run.is_some() && self.run != run
    }
}

/// The calls that were given up.
pub(crate) async fn undelivered(store: &impl Store) -> Result<Vec<Undelivered>> {
    let dead = list(store, DEAD).await?;
    let dead = dead.into_iter().map(|(number, record)| Undelivered {
        number,
        id: record.target(),
        namespace: record.namespace,
        method: record.method,
        arguments: record.arguments,
        tries: record.tries,
        error: record.error.unwrap_or_default(),
    });
    Ok(dead.collect())
}

/// The writes that take a call from the dead: to forget it, or, with `revive`, to try it again, after
/// all that wait. None where there is no such.
pub(crate) async fn bury(
    store: &impl Store,
    now: Timestamp,
    number: u64,
    revive: bool,
) -> Result<Option<Batch>> {
    let name = name(DEAD, number);
    let Some(json) = store.get(&name).await? else {
        return Ok(None);
    };
    let mut head = head(store).await?.unwrap_or_default();
    head.dead = head.dead.saturating_sub(1);
    let mut batch = Batch::new();
    batch.delete(&*name);
    if !revive {
        head.put(&mut batch)?;
        return Ok(Some(batch));
    }
    let Some(number) = head.last.checked_add(1) else {
        return Ok(None);
    };
    let record = Record {
        tries: 0,
        next: now,
        ..decode(&name, &json)?
    };
    head.add(&mut batch, number, &record)?;
    Ok(Some(batch))
}

/// Calls of one object on their way to another, in order.
///
/// An engine finds them in the answer to [`Call::Alarm`], by [`take`](Self::take), once what that call
/// wrote is durable. It [runs](Self::run) each beside whatever else the object does, and then calls the
/// object with what it gives.
#[derive(Clone, Debug)]
#[must_use = "a delivery has to be run"]
pub struct Delivery {
    namespace: String,
    id: ObjectId,
    calls: Vec<Sent>,
}

#[derive(Clone, Debug)]
struct Sent {
    number: u64,
    method: String,
    arguments: String,
    key: String,
}

/// What became of a [`Delivery`], for the object that it comes from.
#[derive(Debug)]
pub struct Delivered {
    done: Vec<(u64, String)>,
    failed: Option<(u64, String, Failed)>,
}

impl Delivered {
    /// How many calls were made.
    #[must_use]
    pub fn made(&self) -> usize {
        self.done.len()
    }

    /// What the call that failed was answered, where one did: a line for the log. The object tries it again,
    /// or keeps it as [`Undelivered`].
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        let failed = self.failed.as_ref();
        failed.map(|(_, _, failed)| &*failed.error)
    }
}

/// A try that failed.
#[derive(Debug)]
struct Failed {
    error: String,
    /// Whether another would fail too.
    last: bool,
}

#[derive(Clone)]
struct Deliveries(Vec<Delivery>);

impl Delivery {
    /// By when a delivery has told what became of it, or is taken for lost and made again. An engine whose
    /// deliveries end with it tells its [`run`](Surroundings::run), and when it starts sends [`Call::Alarm`]
    /// to each object whose alarm is due within this time: then they are made again at once.
    pub const LEASE: Duration = Duration::from_secs(60);

    /// The key that stands in an object's storage once it has handed a call over. One without it has no
    /// deliveries.
    pub const KEY: &str = HEAD;

    /// Takes the deliveries that go with the answer to an alarm.
    pub fn take(answer: &mut Response) -> Vec<Self> {
        let found = answer.extensions_mut().remove::<Deliveries>();
        found.map_or_else(Vec::new, |Deliveries(found)| found)
    }

    pub(crate) fn attach(answer: &mut Response, deliveries: Vec<Self>) {
        answer.extensions_mut().insert(Deliveries(deliveries));
    }

    /// Makes the calls, until one fails, and gives what the object they come from is to be called with.
    pub async fn run(self, surroundings: &Surroundings) -> Call {
        let until = surroundings.clock.now().saturating_add(RUN_TIME);
        let namespace = interned(&self.namespace);
        let mut done = Vec::new();
        let mut failed = None;
        for call in self.calls {
            let mut request = CallRequest::new(call.method, call.arguments);
            request.deadline = Some(DEADLINE);
            request.idempotency_key = Some(call.key.clone());
            let sent = surroundings.router.call(namespace, &self.id, &request);
            match judge(sent.await) {
                Ok(()) => done.push((call.number, call.key)),
                Err(error) => {
                    failed = Some((call.number, call.key, error));
                    break;
                }
            }
            if surroundings.clock.now() >= until {
                break;
            }
        }
        Call::Delivered(Delivered { done, failed })
    }
}

fn judge(answer: Result<CallReply, TransportError>) -> Result<(), Failed> {
    match answer {
        Ok(reply) if (200..300).contains(&reply.status) => Ok(()),
        Ok(reply) => {
            let error = ErrorReply::from_body(reply.status, &reply.body);
            Err(Failed {
                // The receiver says that this call is wrong, unless it only says: not now.
                last: (400..500).contains(&reply.status)
                    && !matches!(reply.status, 408 | 425 | 429),
                error: format!("{} ({}): {}", error.code, error.status, error.message),
            })
        }
        Err(error) => Err(Failed {
            last: !error.is_retryable(),
            error: error.to_string(),
        }),
    }
}

/// Whether something is on its way that a `run` of the engine before this one gave out.
pub(crate) async fn has_lost(store: &impl Store, run: Option<u64>) -> Result<bool> {
    Ok(head(store)
        .await?
        .is_some_and(|head| head.is_of_another(run)))
}

/// What is due at `now` or was [lost](has_lost), and the writes by which it is on its way. None where there
/// is no outbox.
///
/// Where nothing is due the alarm was woken for nothing: the writes then set it right, so that it does not
/// ring again at once.
pub(crate) async fn give_out(
    store: &impl Store,
    now: Timestamp,
    run: Option<u64>,
) -> Result<Option<(Batch, Vec<Delivery>)>> {
    let Some(mut head) = head(store).await? else {
        return Ok(None);
    };
    let mut batch = Batch::new();
    let lost = head.is_of_another(run);
    if !lost && head.next.is_none_or(|next| next > now) {
        head.put(&mut batch)?;
        return Ok(Some((batch, Vec::new())));
    }
    let mut waiting = list(store, WAITING).await?;
    if lost {
        for (number, record) in &mut waiting {
            if std::mem::take(&mut record.on_its_way) {
                record.next = now;
                put(&mut batch, WAITING, *number, record)?;
            }
        }
    }
    head.run = run;
    let mut deliveries = Vec::new();
    let mut queues = queues(waiting);
    for queue in queues.values_mut() {
        let (number, first) = &mut queue[0];
        if first.next > now || deliveries.len() == TARGETS {
            continue;
        }
        first.next = now.saturating_add(Delivery::LEASE);
        first.on_its_way = true;
        put(&mut batch, WAITING, *number, first)?;
        let calls = queue.iter().take(RUN).map(|(number, record)| Sent {
            number: *number,
            method: record.method.clone(),
            arguments: record.arguments.clone(),
            key: record.key.clone(),
        });
        let record = &queue[0].1;
        deliveries.push(Delivery {
            namespace: record.namespace.clone(),
            id: record.target(),
            calls: calls.collect(),
        });
    }
    head.next = next(&queues);
    head.put(&mut batch)?;
    Ok(Some((batch, deliveries)))
}

/// The writes for what became of a delivery.
pub(crate) async fn settle(
    store: &impl Store,
    now: Timestamp,
    delivered: Delivered,
) -> Result<Batch> {
    let mut batch = Batch::new();
    let Some(mut head) = head(store).await? else {
        return Ok(batch);
    };
    let mut waiting = list(store, WAITING).await?;
    for (number, key) in delivered.done {
        if take(&mut waiting, number, &key).is_some() {
            batch.delete(name(WAITING, number));
        }
    }
    if let Some((number, key, failed)) = delivered.failed
        && let Some(mut record) = take(&mut waiting, number, &key)
    {
        record.on_its_way = false;
        record.tries = record.tries.saturating_add(1);
        record.error = Some(failed.error.chars().take(1000).collect());
        if failed.last || record.tries >= TRIES {
            put(&mut batch, DEAD, number, &record)?;
            batch.delete(name(WAITING, number));
            head.dead = head.dead.saturating_add(1);
        } else {
            record.next = now.saturating_add(backoff(number, &record));
            put(&mut batch, WAITING, number, &record)?;
            waiting.insert(number, record);
        }
    }
    head.waiting = waiting.len();
    head.next = next(&queues(waiting));
    head.put(&mut batch)?;
    Ok(batch)
}

/// A call that a delivery was made for. Not one that has its number since everything was deleted and the
/// numbers begun anew.
fn take(waiting: &mut BTreeMap<u64, Record>, number: u64, key: &str) -> Option<Record> {
    let found = waiting.get(&number)?;
    (found.key == key).then(|| waiting.remove(&number))?
}

/// 2 s doubled with each failure up to an hour, and up to a quarter more, so that many that fail
/// together do not come back together.
fn backoff(number: u64, record: &Record) -> Duration {
    let base = Duration::from_secs(1 << record.tries.min(20)).min(LONGEST_WAIT);
    let seed = record.next.as_millis().unsigned_abs() ^ number ^ u64::from(record.tries);
    let spread = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
    let quarter = u64::try_from(base.as_millis() / 4).unwrap_or(u64::MAX);
    base + Duration::from_millis(spread % quarter.max(1))
}

/// The user's alarm, by a store whose alarm is the engine's.
pub(crate) async fn user_alarm(store: &impl Store) -> Result<Option<Timestamp>> {
    match head(store).await? {
        Some(head) => Ok(head.alarm),
        None => store.alarm().await,
    }
}

/// Whether the object has ever handed a call over, and not deleted everything since.
pub(crate) async fn is_there(store: &impl Store) -> Result<bool> {
    Ok(head(store).await?.is_some())
}

/// Whether a batch need not be [sealed](seal) where the store has no outbox.
pub(crate) fn is_plain(batch: &Batch) -> bool {
    batch.written(HEAD).flatten().is_none()
}

/// Makes the engine's alarm of a batch's, which is the user's. `below` is what it will be written to.
pub(crate) async fn seal(below: &impl Store, batch: &mut Batch) -> Result<()> {
    let there = batch.written(HEAD);
    if batch.alarm() == AlarmChange::Keep && there.is_none() {
        return Ok(());
    }
    let mut head: Head = match there {
        Some(Some(json)) => decode(HEAD, json)?,
        // Everything is deleted, and the outbox with it: the engine's alarm is the user's.
        Some(None) => return Ok(()),
        None => match self::head(below).await? {
            Some(head) => head,
            None => return Ok(()),
        },
    };
    head.alarm = match batch.alarm() {
        AlarmChange::Keep => user_alarm(below).await?,
        AlarmChange::Set(at) => Some(at),
        AlarmChange::Delete => None,
    };
    match earlier(head.alarm, head.next) {
        Some(at) => batch.set_alarm(at),
        None => batch.delete_alarm(),
    }
    head.put(batch)
}

impl Record {
    fn target(&self) -> ObjectId {
        match &self.name {
            Some(name) => self.id.clone().with_name(name),
            None => self.id.clone(),
        }
    }
}

/// The calls that wait, in order, by whom they are for.
type Queues = BTreeMap<(String, [u8; 32]), Vec<(u64, Record)>>;

fn queues(waiting: BTreeMap<u64, Record>) -> Queues {
    let mut queues = Queues::new();
    for (number, record) in waiting {
        let target = (record.namespace.clone(), *record.id.as_bytes());
        queues.entry(target).or_default().push((number, record));
    }
    queues
}

/// When there is something to do: only the first call of a queue counts, the others wait for it.
fn next(queues: &Queues) -> Option<Timestamp> {
    queues.values().map(|queue| queue[0].1.next).min()
}

fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    [one, other].into_iter().flatten().min()
}

async fn head(store: &impl Store) -> Result<Option<Head>> {
    let json = store.get(HEAD).await?;
    json.map(|json| decode(HEAD, &json)).transpose()
}

async fn list(store: &impl Store, prefix: &str) -> Result<BTreeMap<u64, Record>> {
    let range = ListOptions::new().prefix(prefix).to_range()?;
    let entries = store.list(&range).await?;
    let records = entries.iter().map(|(key, json)| {
        let number = decode(key, key[prefix.len()..].trim_start_matches('0'))?;
        Ok((number, decode(key, json)?))
    });
    records.collect()
}

fn put(batch: &mut Batch, prefix: &str, number: u64, record: &Record) -> Result<()> {
    let key = name(prefix, number);
    let json = encode(&key, record)?;
    batch.put(key, json);
    Ok(())
}

fn name(prefix: &str, number: u64) -> String {
    format!("{prefix}{number:020}")
}

/// A namespace's name as engines want it. There are as many as there are types of objects.
fn interned(name: &str) -> &'static str {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    match names.get(name) {
        Some(known) => known,
        None => {
            let name: &'static str = Box::leak(name.into());
            names.insert(name);
            name
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_was_stored_before_the_dead_were_counted_is_read_and_written_as_it_was() {
        let stored = r#"{"alarm":null,"next":7,"last":3,"waiting":1}"#;
        let head: Head = decode(HEAD, stored).expect("it is a head");
        assert_eq!((head.last, head.waiting, head.dead), (3, 1, 0));
        assert_eq!(encode(HEAD, &head).expect("it has a JSON form"), stored);
    }
}
