//! The platform's storage of one object, as a store.

use std::{cell::Cell, fmt, rc::Rc};

use dokit_storage::{
    AlarmChange, Batch, Error, KeyRange, Result, Store, Timestamp,
    sql::{Sql, SqlEngine},
};
use worker::{
    js_sys::{Array, Date, Function, Map, Object, Promise, Reflect},
    wasm_bindgen::{JsCast, JsValue, prelude::Closure},
    worker_sys::{DurableObjectStorage, DurableObjectTransaction},
};

use crate::{
    at_once::AtOnce,
    calls::Calls,
    clock::millis,
    json_text::json_text,
    platform::{PlatformError, settled},
    sql::Rows,
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
    /// What an object with SQL has beside its keys.
    rows: Option<Rows>,
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
            rows: None,
        }
    }

    /// The same with the object's SQL database.
    pub(crate) fn with_sql(mut self) -> Result<Self, JsValue> {
        let calls = Rc::new(Calls::new(Rc::clone(&self.platform)));
        self.rows = Some(Rows::new(Rc::clone(&self.platform), calls)?);
        Ok(self)
    }

    /// Begins an exclusive call: what it writes to the database is committed with its keys.
    pub(crate) async fn begin(&self) -> Result<Running> {
        let store = self.clone();
        if let Some(rows) = &self.rows {
            let begun = rows.calls().begin().await;
            begun.map_err(|thrown| failed("begin", thrown))?;
        }
        Ok(Running { store })
    }

    /// Which transaction of the platform's is open, of an object with SQL.
    pub(crate) fn transaction(&self) -> Option<u64> {
        self.rows.as_ref()?.calls().transaction()
    }

    /// Whether the running call has written rows, of an object with SQL.
    pub(crate) fn has_written(&self) -> bool {
        let calls = self.rows.as_ref().map(Rows::calls);
        calls.is_some_and(|calls| calls.is_running() && calls.has_written())
    }

    /// Says that the platform has begun to deliver the alarm set for `at`. The platform does not show
    /// that alarm any more, though it is still there if the process dies; to us it stays set until a
    /// commit says what becomes of it.
    pub(crate) fn ring(&self, at: Timestamp) {
        self.ringing.set(Some(at));
    }

    /// Whether the alarm that is being delivered is still set: no commit has said what becomes of it.
    pub(crate) fn is_ringing(&self) -> bool {
        self.ringing.get().is_some()
    }

    /// Ends the delivery.
    pub(crate) fn end_ringing(&self) {
        self.ringing.set(None);
    }

    /// What can be read at once: for the moment in which the program ends.
    pub(crate) fn at_once(&self) -> AtOnce {
        AtOnce {
            platform: Rc::clone(&self.platform),
            ringing: self.ringing.get(),
        }
    }

    /// Has the platform write a batch as soon as what the running call has written is undone: for when
    /// the program ends. The promise is that of the writes.
    pub(crate) fn leave(&self, batch: &Batch) -> Promise {
        let calls = self.rows.as_ref().map(Rows::calls);
        let undone = calls.and_then(|calls| {
            calls.give_up();
            calls.ending()
        });
        let undone = undone.unwrap_or_else(|| Promise::resolve(&JsValue::UNDEFINED));
        let left = plan(batch, &[]).and_then(|writes| {
            let written: Result<Array, JsValue> = writes
                .iter()
                .map(|write| write.start_after(&undone, &self.platform))
                .collect();
            Ok(Promise::all(&written?.into()))
        });
        left.unwrap_or_else(|thrown| Promise::reject(&thrown))
    }

    async fn read_list(&self, range: &KeyRange) -> Result<Vec<(String, JsValue)>, JsValue> {
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
            entries.push((key, entry.get(1)));
        }
        Ok(entries)
    }

    /// Makes durable, with `batch`, what the running call has written to the database, if it has one.
    async fn write(&self, batch: &Batch) -> Result<()> {
        let calls = self.rows.as_ref().filter(|rows| rows.calls().is_running());
        let Some(rows) = calls else {
            let written = self.write_alone(batch).await;
            return written.map_err(|thrown| failed("commit", thrown));
        };
        let checked = rows.check_deferred();
        checked.map_err(|error| Error::engine("commit", error))?;
        let written = async {
            let writes = self.plan(batch).await?;
            settled(start(&writes, &self.platform)).await?;
            rows.calls().keep().await
        };
        written.await.map_err(|thrown| failed("commit", thrown))
    }

    /// Commits all of a batch, or none of it.
    async fn write_alone(&self, batch: &Batch) -> Result<(), JsValue> {
        let writes = self.plan(batch).await?;
        // A single call is atomic by itself, and cheaper so.
        if let [only] = &*writes {
            settled(only.start(&self.platform)).await?;
            return Ok(());
        }
        let platform = Rc::clone(&self.platform);
        let closure: Closure<dyn FnMut(DurableObjectTransaction) -> Promise> =
            Closure::once(move |_| {
                // Started within the transaction they belong to it; what fails undoes them all.
                start(&writes, &platform).unwrap_or_else(|thrown| Promise::reject(&thrown))
            });
        settled(self.platform.transaction(&closure)).await?;
        Ok(())
    }

    /// The calls of the platform that a batch takes.
    async fn plan(&self, batch: &Batch) -> Result<Vec<Write>, JsValue> {
        let mut doomed = Vec::new();
        if batch.deletes_all() {
            // The platform's own delete-all cannot be part of a transaction.
            let all = self.read_list(&KeyRange::default()).await?;
            doomed = all.into_iter().map(|(key, _)| key).collect();
        }
        plan(batch, &doomed)
    }
}

/// Starts all of them, and gives what waits for all.
fn start(writes: &[Write], platform: &DurableObjectStorage) -> Result<Promise, JsValue> {
    let started: Result<Array, JsValue> =
        writes.iter().map(|write| write.start(platform)).collect();
    Ok(Promise::all(&started?.into()))
}

/// An exclusive call that runs. Where it is dropped, what it wrote to the database is undone.
pub(crate) struct Running {
    store: ObjectStore,
}

impl Running {
    /// Ends the call and makes durable what it wrote, with `batch`.
    pub(crate) async fn keep(self, batch: Batch) -> Result<()> {
        let mut store = self.store.clone();
        store.commit_call(batch).await
    }

    /// Undoes what the call has written since its last early commit, and begins it anew: for what is
    /// written in its place.
    pub(crate) async fn anew(self) -> Result<Self> {
        let store = self.store.clone();
        self.undo().await;
        store.begin().await
    }

    /// Undoes what the call has written since its last early commit.
    pub(crate) async fn undo(self) {
        if let Some(rows) = &self.store.rows {
            rows.calls().undo().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(rows) = &self.store.rows {
            rows.calls().give_up();
        }
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
    /// The name of the platform's method, and what it is called with.
    fn call(&self) -> (&'static str, Array) {
        let set_alarm = |at: Timestamp| Date::new(&millis_of(at).into()).into();
        match self {
            Self::Delete(keys) => {
                let keys: Array = keys.iter().collect();
                ("delete", Array::of1(&keys))
            }
            Self::Put(entries) => ("put", Array::of1(entries)),
            Self::SetAlarm(at) => ("setAlarm", Array::of1(&set_alarm(*at))),
            Self::DeleteAlarm => ("deleteAlarm", Array::new()),
        }
    }

    fn start(&self, platform: &DurableObjectStorage) -> Result<Promise, JsValue> {
        let (method, arguments) = self.call();
        let storage: &JsValue = platform.unchecked_ref();
        let method: Function = Reflect::get(storage, &method.into())?.unchecked_into();
        Ok(Reflect::apply(&method, storage, &arguments)?.unchecked_into())
    }

    /// Has JavaScript start it by itself, whatever becomes of `first`.
    fn start_after(
        &self,
        first: &Promise,
        platform: &DurableObjectStorage,
    ) -> Result<JsValue, JsValue> {
        let (method, arguments) = self.call();
        let storage: &JsValue = platform.unchecked_ref();
        let method = Reflect::get(storage, &method.into())?;
        let bind: Function = Reflect::get(&method, &"bind".into())?.unchecked_into();
        arguments.unshift(storage);
        let start = Reflect::apply(&bind, &method, &arguments)?;
        let then: Function = Reflect::get(first, &"then".into())?.unchecked_into();
        Reflect::apply(&then, first, &Array::of2(&start, &start))
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
                .then(|| json_text(key, &value))
                .transpose()
        };
        read.await.map_err(|thrown| failed("read", thrown))
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        // The platform refuses both, where nothing was to be found.
        if range.is_empty() || range.limit == Some(0) {
            return Ok(Vec::new());
        }
        let read = async {
            let entries = self.read_list(range).await?.into_iter();
            let texts = entries.map(|(key, value)| {
                let text = json_text(&key, &value)?;
                Ok((key, text))
            });
            texts.collect::<Result<Vec<_>, JsValue>>()
        };
        read.await.map_err(|thrown| failed("list", thrown))
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        let read = settled(self.platform.get_alarm(Object::new())).await;
        let read = read.map_err(|thrown| failed("read the alarm", thrown))?;
        Ok(read.as_f64().map(millis).or(self.ringing.get()))
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        let calls = self.rows.as_ref().map(Rows::calls).cloned();
        let Some(calls) = calls.filter(|calls| calls.is_running()) else {
            return self.commit_call(batch).await;
        };
        if batch.is_empty() && !calls.has_written() {
            return Ok(());
        }
        self.commit_call(batch).await?;
        // It was an early commit: the call goes on.
        let begun = calls.begin().await;
        begun.map_err(|thrown| failed("begin", thrown))
    }

    fn sql(&self) -> Option<Sql> {
        self.rows.clone().map(Sql::new)
    }
}

impl ObjectStore {
    async fn commit_call(&mut self, batch: Batch) -> Result<()> {
        let running = self
            .rows
            .as_ref()
            .is_some_and(|rows| rows.calls().is_running());
        if batch.is_empty() && !running {
            // The platform holds what leaves the object until its writes are durable.
            return Ok(());
        }
        self.limits().check(&batch)?;
        if let Some(rows) = &self.rows
            && running
            && batch.is_empty()
            && !rows.calls().has_written()
        {
            // Nothing to commit.
            rows.calls().undo().await;
            return Ok(());
        }
        self.write(&batch).await?;
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
