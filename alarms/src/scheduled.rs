//! Jobs as they are read: those that wait, and those that are dead.

use std::{fmt, marker::PhantomData};

use dokit_storage::{Store, Timestamp, decode};
use serde::de::DeserializeOwned;

use crate::{
    Alarms, Repeat, Result,
    record::{Cause, Grave, Record},
};

/// A job that waits for its time.
pub struct Scheduled<A> {
    id: String,
    at: Timestamp,
    job: Record,
    action: PhantomData<fn() -> A>,
}

impl<A> Scheduled<A> {
    pub(crate) fn new(id: &str, at: Timestamp, job: Record) -> Self {
        Self {
            id: id.to_owned(),
            at,
            job,
            action: PhantomData,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// When it falls due: its planned time, or the time of its next try.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The time it was scheduled for.
    #[must_use]
    pub fn planned(&self) -> Timestamp {
        self.job.planned
    }

    /// When it was scheduled.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.job.created
    }

    /// How it recurs; `None` where it runs once.
    #[must_use]
    pub fn repeat(&self) -> Option<&Repeat> {
        self.job.repeat.as_ref()
    }

    /// How often this run has failed so far.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.job.failed
    }

    /// What the last try of this run said.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.job.error.as_deref()
    }

    /// The action as JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        self.job.action.get()
    }
}

impl<A: DeserializeOwned> Scheduled<A> {
    /// The action.
    ///
    /// # Errors
    ///
    /// A storage error of decoding, where this program has no such action.
    pub fn action(&self) -> Result<A> {
        Ok(decode(&self.id, self.json())?)
    }
}

impl<A> fmt::Debug for Scheduled<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduled")
            .field("id", &self.id)
            .field("at", &self.at)
            .field("job", &self.job)
            .finish()
    }
}

/// A job that has been given up: it is kept until it is revived or removed, and nothing runs it.
pub struct Dead<A> {
    id: String,
    grave: Grave,
    action: PhantomData<fn() -> A>,
}

impl<A> Dead<A> {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Why it was given up.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.grave.cause
    }

    /// What its last try said, or what is wrong with its action.
    #[must_use]
    pub fn error(&self) -> &str {
        self.grave.job.error.as_deref().unwrap_or_default()
    }

    /// How often it was tried.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.grave.job.failed
    }

    /// The time the run was planned for.
    #[must_use]
    pub fn planned(&self) -> Timestamp {
        self.grave.job.planned
    }

    /// When it was scheduled.
    #[must_use]
    pub fn created(&self) -> Timestamp {
        self.grave.job.created
    }

    /// When it was given up.
    #[must_use]
    pub fn died(&self) -> Timestamp {
        self.grave.died
    }

    /// How it recurs; `None` where it was to run once.
    #[must_use]
    pub fn repeat(&self) -> Option<&Repeat> {
        self.grave.job.repeat.as_ref()
    }

    /// The action as JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        self.grave.job.action.get()
    }
}

impl<A: DeserializeOwned> Dead<A> {
    /// The action.
    ///
    /// # Errors
    ///
    /// A storage error of decoding, where this program has no such action.
    pub fn action(&self) -> Result<A> {
        Ok(decode(&self.id, self.json())?)
    }
}

impl<A> fmt::Debug for Dead<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dead")
            .field("id", &self.id)
            .field("grave", &self.grave)
            .finish()
    }
}

impl<A> Alarms<A> {
    /// All dead jobs, in the order of their ids. Of a recurring job that went on it is the last run
    /// that was given up.
    pub async fn dead<T: Store>(&self, store: &T) -> Result<Vec<Dead<A>>> {
        let keys = self.keys();
        let entries = store.list(&keys.all_dead().to_range()?).await?;
        entries
            .into_iter()
            .map(|(key, json)| {
                Ok(Dead {
                    id: keys.dead_id(&key).to_owned(),
                    grave: decode(&key, &json)?,
                    action: PhantomData,
                })
            })
            .collect()
    }

    /// Forgets a dead job, and says whether there was one. One commit.
    pub async fn remove_dead<T: Store>(&self, store: &mut T, id: &str) -> Result<bool> {
        let key = self.keys().dead(id);
        let existed = store.get(&key).await?.is_some();
        if existed {
            let mut batch = dokit_storage::Batch::new();
            batch.delete(key);
            store.commit(batch).await?;
        }
        Ok(existed)
    }

    pub(crate) async fn grave<T: Store>(&self, store: &T, id: &str) -> Result<Option<Grave>> {
        let key = self.keys().dead(id);
        let json = store.get(&key).await?;
        Ok(json.map(|json| decode(&key, &json)).transpose()?)
    }
}
