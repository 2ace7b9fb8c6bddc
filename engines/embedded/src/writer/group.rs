//! The commits that are written together: sorted by object, and in one transaction.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use dokit_client::ObjectId;
use dokit_storage::{AlarmChange, Batch, Timestamp};
use rusqlite::{ErrorCode, TransactionBehavior};

use crate::{
    database::{Object, WriteConnection, apply},
    error::DatabaseError,
    store::Lane,
};

/// One object's batch on its way to the disk.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) namespace: &'static str,
    pub(super) id: ObjectId,
    pub(super) batch: Arc<Batch>,
    /// Its bytes, taken off what is on its way when it is done.
    pub(super) bytes: usize,
    pub(super) on_its_way: Arc<AtomicUsize>,
    /// Whom to tell; none once somebody else sees to that.
    pub(super) lane: Option<Arc<Lane>>,
}

impl Drop for Commit {
    fn drop(&mut self) {
        self.on_its_way.fetch_sub(self.bytes, Ordering::Relaxed);
        // The writer has ended, and this was still in its queue.
        if let Some(lane) = self.lane.take() {
            lane.flight.fail(&closed());
        }
    }
}

/// The commits of one object in a group, in their order: they are written as one.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) lane: Arc<Lane>,
    pub(super) commits: Vec<Commit>,
}

impl Drop for Part {
    fn drop(&mut self) {
        // The writer has panicked; or it has said so already, and this changes nothing.
        if !self.commits.is_empty() {
            self.lane.flight.fail(&closed());
        }
    }
}

impl Part {
    /// What the commits do together.
    pub(super) fn batch(&self) -> Cow<'_, Batch> {
        let (first, later) = self.commits.split_first().expect("a part has commits");
        let mut batch = Cow::Borrowed(&*first.batch);
        for commit in later {
            batch.to_mut().merge((*commit.batch).clone());
        }
        batch
    }

    /// The last commit, which knows the object's name if one does.
    fn last(&self) -> &Commit {
        self.commits.last().expect("a part has commits")
    }

    pub(super) fn bytes(&self) -> usize {
        self.commits.iter().map(|one| one.bytes).sum()
    }

    pub(super) fn landed(mut self, row: Object, alarm_set: &dyn Fn(Timestamp)) {
        let named = self.last().id.name().is_some();
        let commits = std::mem::take(&mut self.commits);
        for commit in &commits {
            if let AlarmChange::Set(at) = commit.batch.alarm() {
                alarm_set(at);
            }
        }
        self.lane.landed(commits.len(), row, named);
    }

    pub(super) fn fail(&self, error: &rusqlite::Error) {
        let Commit { namespace, id, .. } = self.last();
        // Once here, however many calls it fails.
        tracing::error!(namespace, %id, name = id.name(), "commit: {error}");
        self.lane.flight.fail(&DatabaseError::sqlite(error));
    }
}

/// Sorts a group by object. What was sent after a batch that failed is left out: it builds on what is
/// no more, and its calls have been answered.
pub(super) fn by_object(group: Vec<Commit>) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut places = HashMap::new();
    for mut commit in group {
        let Some(lane) = commit.lane.take() else {
            continue;
        };
        let place = *places.entry(Arc::as_ptr(&lane)).or_insert(parts.len());
        if place == parts.len() {
            parts.push(Part {
                lane,
                commits: Vec::new(),
            });
        }
        parts[place].commits.push(commit);
    }
    parts.retain(|part| !part.lane.flight.has_failed());
    parts
}

/// Whether an error can be due to what one batch wants to write, and not to the disk or to another
/// process, which every batch would meet.
pub(super) fn is_of_one_batch(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        Some(code) => matches!(
            code,
            ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch
        ),
        None => true,
    }
}

/// Writes all parts in one transaction. After an error none of them is written, as far as SQLite can
/// tell.
pub(super) fn write(
    connection: &mut WriteConnection,
    parts: &[Part],
) -> rusqlite::Result<Vec<Object>> {
    if parts.is_empty() {
        return Ok(Vec::new());
    }
    let WriteConnection { connection, log } = connection;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut objects = Vec::with_capacity(parts.len());
    for part in parts {
        let Commit { namespace, id, .. } = part.last();
        let row = part.lane.row_to_write();
        objects.push(apply(&transaction, namespace, id, row, &part.batch())?);
    }
    log.lengthen();
    transaction.commit()?;
    Ok(objects)
}

/// What a commit is answered that nobody writes any more.
pub(super) fn closed() -> DatabaseError {
    DatabaseError::new("the store is closed")
}
