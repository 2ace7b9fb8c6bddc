use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{Batch, Error, KeyRange, Limits, Result, Store, Timestamp, sql::Sql};

/// A store that fails where a test says, over another one.
///
/// Clones share the plan and the counters, so a test keeps one and gives the other away. Calls are
/// counted from 1, and `nth` counts from the moment it is planned: `fail_commit(1)` fails the next
/// commit. Every failure is an [`Error::Engine`], as a disk's would be. Several can be planned at
/// once; [`heal`](Self::heal) takes all of them back.
///
/// ```
/// use dokit_storage::{Batch, Faults, Memory, Store};
///
/// # futures_executor::block_on(async {
/// let disk = Memory::new();
/// let mut store = Faults::new(disk.clone());
/// let mut batch = Batch::new();
/// batch.put("key", "1");
/// store.lose_commit_answer(1);
/// assert!(store.commit(batch).await.is_err());
/// // "Reopened", the write is there all the same: only its answer was lost.
/// assert_eq!(disk.get("key").await?.as_deref(), Some("1"));
/// assert_eq!(store.commits(), 1);
/// # Ok::<(), dokit_storage::Error>(())
/// # }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Faults<T> {
    store: T,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    commits: Calls,
    reads: Calls,
}

/// The calls of one kind so far, and which of the next ones fail.
#[derive(Debug, Default)]
struct Calls {
    made: u64,
    planned: BTreeMap<u64, Fault>,
    dead_from: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing happens.
    Before,
    /// It happens, and the caller is told that it failed.
    After,
}

impl Calls {
    fn plan(&mut self, nth: u64, fault: Fault) {
        self.planned.insert(self.made.saturating_add(nth), fault);
    }

    fn plan_from(&mut self, nth: u64) {
        let from = self.made.saturating_add(nth);
        self.dead_from = Some(self.dead_from.map_or(from, |before| before.min(from)));
    }

    fn next(&mut self) -> Option<Fault> {
        self.made += 1;
        let planned = self.planned.remove(&self.made);
        match self.dead_from {
            Some(from) if self.made >= from => Some(Fault::Before),
            _ => planned,
        }
    }

    fn heal(&mut self) {
        self.planned.clear();
        self.dead_from = None;
    }
}

impl<T> Faults<T> {
    /// The same store; nothing fails yet.
    pub fn new(store: T) -> Self {
        Self {
            store,
            plan: Arc::default(),
        }
    }

    /// The `nth` commit from now fails, and nothing of it takes effect.
    pub fn fail_commit(&self, nth: u64) {
        self.plan().commits.plan(nth, Fault::Before);
    }

    /// The `nth` commit from now takes effect, but answers with an error: a crash between the disk
    /// and the answer.
    pub fn lose_commit_answer(&self, nth: u64) {
        self.plan().commits.plan(nth, Fault::After);
    }

    /// The `nth` commit from now and all after it fail, and nothing of them takes effect: a dead
    /// disk.
    pub fn fail_commits_from(&self, nth: u64) {
        self.plan().commits.plan_from(nth);
    }

    /// The `nth` read from now fails. A read is a `get`, a `list` or a look at the alarm.
    pub fn fail_read(&self, nth: u64) {
        self.plan().reads.plan(nth, Fault::Before);
    }

    /// The `nth` read from now and all after it fail.
    pub fn fail_reads_from(&self, nth: u64) {
        self.plan().reads.plan_from(nth);
    }

    /// From now on nothing fails. The counters go on.
    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.commits.heal();
        plan.reads.heal();
    }

    /// How many commits were tried so far, failed ones included.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.plan().commits.made
    }

    /// How many reads were tried so far, failed ones included.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.plan().reads.made
    }

    /// The store under it, which does not fail.
    pub fn store(&self) -> &T {
        &self.store
    }

    /// The store under it.
    pub fn into_store(self) -> T {
        self.store
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        // No code of a user runs under this lock, so a poisoned one still holds a whole plan.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, operation: &'static str) -> Result<()> {
        match self.plan().reads.next() {
            None => Ok(()),
            Some(_) => Err(Error::engine(operation, "injected fault")),
        }
    }
}

impl<T: Store> Store for Faults<T> {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.read("read")?;
        self.store.get(key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.read("list")?;
        self.store.list(range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.read("read the alarm")?;
        self.store.alarm().await
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        if batch.is_empty() && self.store.sql().is_none() {
            // It writes nothing, no rows either, so it is none of the commits that are counted.
            return self.store.commit(batch).await;
        }
        let fault = self.plan().commits.next();
        match fault {
            None => self.store.commit(batch).await,
            Some(Fault::Before) => Err(Error::engine("commit", "injected fault")),
            Some(Fault::After) => {
                self.store.commit(batch).await?;
                Err(Error::engine(
                    "commit",
                    "injected fault: the answer is lost",
                ))
            }
        }
    }

    fn limits(&self) -> Limits {
        self.store.limits()
    }

    fn sql(&self) -> Option<Sql> {
        self.store.sql()
    }
}

#[cfg(test)]
mod tests {
    use futures_executor::block_on;

    use super::*;
    use crate::Memory;

    fn put(key: &str) -> Batch {
        let mut batch = Batch::new();
        batch.put(key, "1");
        batch
    }

    #[test]
    fn a_commit_fails_before_it_takes_effect_and_the_next_one_works() {
        let disk = Memory::new();
        let mut store = Faults::new(disk.clone());
        store.fail_commit(2);
        block_on(store.commit(put("a"))).unwrap();
        let error = block_on(store.commit(put("b"))).unwrap_err();
        assert_eq!(error.to_string(), "commit in the store");
        assert!(error.is_retryable());
        block_on(store.commit(put("c"))).unwrap();
        let keys = block_on(disk.list(&KeyRange::default())).unwrap();
        assert_eq!(keys.len(), 2);
        assert!(block_on(disk.get("b")).unwrap().is_none());
        assert_eq!(store.commits(), 3);
    }

    #[test]
    fn a_dead_disk_stays_dead_until_it_is_healed_through_another_handle() {
        let mut store = Faults::new(Memory::new());
        let handle = store.clone();
        handle.fail_commits_from(1);
        handle.fail_read(2);
        handle.fail_reads_from(3);
        for _ in 0..3 {
            assert!(block_on(store.commit(put("a"))).is_err());
        }
        assert!(block_on(store.get("a")).unwrap().is_none());
        assert!(block_on(store.list(&KeyRange::default())).is_err());
        assert!(block_on(store.alarm()).is_err());
        handle.heal();
        block_on(store.commit(put("a"))).unwrap();
        assert_eq!(
            block_on(handle.get("a")).unwrap().as_deref(),
            Some("1"),
            "clones share the store under them where it does"
        );
        assert_eq!((handle.commits(), handle.reads()), (4, 4));
    }
}
