use std::{cell::Cell, fmt, rc::Rc};

use dokit_storage::{AlarmChange, Batch, Error, KeyRange, Result, Store, Timestamp};
use worker::{
    js_sys::{Array, Date, JSON, Map, Object, Promise, Reflect},
    wasm_bindgen::{JsCast, JsValue, prelude::Closure},
    worker_sys::{DurableObjectStorage, DurableObjectTransaction},
};

use crate::{
    clock::millis,
    platform::{PlatformError, settled},
};

/// How many keys one call of the platform takes.
const KEYS: usize = 128;

/// The most entries that a list can be limited to: the platform reads 31 bits.
const LONGEST_LIST: u32 = i32::MAX.unsigned_abs();

/// The storage of one Durable Object: the toolkit crates' [`Store`] over the platform's. Clones are the
/// same storage.
///
/// Values are JSON text, as JavaScript strings. A value that a JavaScript program stored is read as its
/// JSON: a number, an array, an object, `null`; of a string one that is no JSON text itself.
#[derive(Clone)]
pub struct ObjectStore {
    platform: Rc<DurableObjectStorage>,
    ringing: Rc<Cell<Option<Timestamp>>>,
}

impl ObjectStore {
    /// The storage of a Durable Object that is written by the `worker` crate alone: give it what the
    /// object is constructed with, and get that back. (The crate lends nobody its inside.)
    ///
    /// Once a write has returned, the next reads see it, and the platform holds what leaves the object
    /// until the write is on disk. Each commit is one transaction of the platform's.
    ///
    /// ```ignore
    /// fn new(state: State, _env: Env) -> Self {
    ///     let (store, _state) = ObjectStore::of(state);
    ///     Self { storage: TypedStorage::new(store) }
    /// }
    /// ```
    #[must_use]
    pub fn of(state: worker::State) -> (Self, worker::State) {
        let raw = state._inner();
        // A getter that cannot throw; without a storage the first use of it fails.
        let storage = raw.storage().unwrap_or_else(JsCast::unchecked_into);
        (Self::new(storage), raw.into())
    }

    pub(crate) fn new(platform: DurableObjectStorage) -> Self {
        Self {
            platform: Rc::new(platform),
            ringing: Rc::default(),
        }
    }

    /// Says that the platform has begun to deliver the alarm set for `at`. The platform does not show
    /// that alarm any more, though it is still there if the process dies; to us it stays set until a
    /// commit says what becomes of it.
    pub(crate) fn ring(&self, at: Timestamp) {
        self.ringing.set(Some(at));
    }

    /// Ends the delivery, and tells whether the alarm is still set: no commit has said what becomes of
    /// it.
    pub(crate) fn end_ringing(&self) -> bool {
        self.ringing.take().is_some()
    }

    async fn read_list(&self, range: &KeyRange) -> Result<Vec<(String, String)>, JsValue> {
        let options = Object::new();
        let set = |name: &str, value: JsValue| Reflect::set(&options, &name.into(), &value);
        set("start", range.start.as_str().into())?;
        if let Some(end) = &range.end {
            set("end", end.as_str().into())?;
        }
        if let Some(limit) = range.limit {
            let limit = u32::try_from(limit).map_or(LONGEST_LIST, |limit| limit.min(LONGEST_LIST));
            set("limit", limit.into())?;
        }
        set("reverse", range.reverse.into())?;
        let found: Map = settled(self.platform.list_with_options(options))
            .await?
            .unchecked_into();
        let mut entries = Vec::new();
        for entry in found.entries() {
            let entry: Array = entry?.unchecked_into();
            let key = entry.get(0).as_string().unwrap_or_default();
            entries.push((key, json_text(&entry.get(1))?));
        }
        Ok(entries)
    }

    /// Commits all of a batch, or none of it.
    async fn write(&self, batch: &Batch) -> Result<(), JsValue> {
        let mut doomed = Vec::new();
        if batch.deletes_all() {
            // The platform's own delete-all cannot be part of a transaction.
            let all = self.read_list(&KeyRange::default()).await?;
            doomed = all.into_iter().map(|(key, _)| key).collect();
        }
        let writes = plan(batch, &doomed)?;
        // A single call is atomic by itself, and cheaper so.
        if let [only] = &*writes {
            settled(only.start(&self.platform)).await?;
            return Ok(());
        }
        let platform = Rc::clone(&self.platform);
        let start: Closure<dyn FnMut(DurableObjectTransaction) -> Promise> =
            Closure::once(move |_| {
                // Started within the transaction they belong to it; what fails undoes them all.
                let started: Result<Array, JsValue> =
                    writes.iter().map(|write| write.start(&platform)).collect();
                match started {
                    Ok(started) => Promise::all(&started),
                    Err(thrown) => Promise::reject(&thrown),
                }
            });
        settled(self.platform.transaction(&start)).await?;
        Ok(())
    }
}

/// One call of the platform that writes.
enum Write {
    Delete(Vec<JsValue>),
    Put(Object),
    SetAlarm(Timestamp),
    DeleteAlarm,
}

impl Write {
    fn start(&self, platform: &DurableObjectStorage) -> Result<Promise, JsValue> {
        match self {
            Self::Delete(keys) => platform.delete_multiple(keys.clone()),
            Self::Put(entries) => platform.put_multiple(entries.into()),
            Self::SetAlarm(at) => {
                platform.set_alarm(Date::new(&millis_of(*at).into()), Object::new())
            }
            Self::DeleteAlarm => platform.delete_alarm(Object::new()),
        }
    }
}

/// The calls that a batch takes, and before them the deletion of `doomed`.
fn plan(batch: &Batch, doomed: &[String]) -> Result<Vec<Write>, JsValue> {
    let mut writes = Vec::new();
    let deleted = batch.writes().filter(|(_, value)| value.is_none());
    let deleted = deleted.map(|(key, _)| key);
    let deleted = doomed.iter().map(String::as_str).chain(deleted);
    let deleted: Vec<JsValue> = deleted.map(JsValue::from_str).collect();
    for keys in deleted.chunks(KEYS) {
        writes.push(Write::Delete(keys.to_vec()));
    }
    let put = batch
        .writes()
        .filter_map(|(key, value)| Some((key, value?)));
    let put: Vec<(&str, &str)> = put.collect();
    for entries in put.chunks(KEYS) {
        // Without a prototype: "__proto__" is a key like any other.
        let object = Object::<JsValue>::create(JsValue::NULL.unchecked_ref());
        for (key, value) in entries {
            Reflect::set(&object, &(*key).into(), &(*value).into())?;
        }
        writes.push(Write::Put(object.unchecked_into()));
    }
    match batch.alarm() {
        AlarmChange::Keep => {}
        AlarmChange::Set(at) => writes.push(Write::SetAlarm(at)),
        AlarmChange::Delete => writes.push(Write::DeleteAlarm),
    }
    Ok(writes)
}

impl Store for ObjectStore {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        let read = async {
            let value = settled(self.platform.get(key)).await?;
            (!value.is_undefined())
                .then(|| json_text(&value))
                .transpose()
        };
        read.await.map_err(|thrown| failed("read", thrown))
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        // The platform refuses both, where nothing was to be found.
        if range.is_empty() || range.limit == Some(0) {
            return Ok(Vec::new());
        }
        let read = self.read_list(range).await;
        read.map_err(|thrown| failed("list", thrown))
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        let read = settled(self.platform.get_alarm(Object::new())).await;
        let read = read.map_err(|thrown| failed("read the alarm", thrown))?;
        Ok(read.as_f64().map(millis).or(self.ringing.get()))
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            // The platform holds what leaves the object until its writes are durable.
            return Ok(());
        }
        self.limits().check(&batch)?;
        let written = self.write(&batch).await;
        written.map_err(|thrown| failed("commit", thrown))?;
        if batch.alarm() != AlarmChange::Keep {
            self.ringing.set(None);
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStore").finish_non_exhaustive()
    }
}

/// The JSON text of a stored value. One that is no JSON text was written by somebody else's program.
fn json_text(value: &JsValue) -> Result<String, JsValue> {
    match value.as_string() {
        Some(text) if JSON::parse(&text).is_ok() => Ok(text),
        _ => JSON::stringify(value).map(String::from),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "the time of an alarm is checked to be within 43 bits"
)]
fn millis_of(at: Timestamp) -> f64 {
    at.as_millis() as f64
}

fn failed(operation: &'static str, thrown: JsValue) -> Error {
    Error::engine(operation, PlatformError::from(thrown))
}
