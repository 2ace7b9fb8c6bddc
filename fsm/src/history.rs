//! The last steps of a machine, as they are stored.

use dokit_storage::{Batch, KeyRange, ListOptions, Result, Store, Timestamp, decode, encode};
use serde::{Deserialize, Serialize};

use crate::record::following;

/// One step that a persisted machine took.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The name of the state it left.
    pub from: String,
    /// The name of the event; `None` of a reset.
    pub event: Option<String>,
    /// The name of the state it entered.
    pub to: String,
    /// When.
    pub at: Timestamp,
}

/// The most old entries that one step deletes, so that a bound lowered from a large one does not make
/// one large commit.
const PRUNED_AT_ONCE: u64 = 64;

/// The entries of one machine: a key each, numbered from 1 without gaps, so that a step writes one
/// small value however long the history is.
pub(crate) struct History<'a> {
    pub(crate) key: &'a str,
    pub(crate) bound: usize,
}

/// Which entries are stored: those after `pruned`, up to `last`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) pruned: u64,
    pub(crate) last: u64,
}

impl History<'_> {
    /// Adds an entry to a batch, and deletes those that it pushes out.
    pub(crate) fn push(
        &self,
        mut kept: Kept,
        entry: &HistoryEntry,
        batch: &mut Batch,
    ) -> Result<Kept> {
        kept.last = following(self.key, kept.last)?;
        let key = self.key_of(kept.last);
        let json = encode(&key, entry)?;
        batch.put(key, json);
        let bound = u64::try_from(self.bound).unwrap_or(u64::MAX);
        let end = kept.last.saturating_sub(bound);
        for _ in 0..PRUNED_AT_ONCE {
            if kept.pruned >= end {
                break;
            }
            kept.pruned += 1;
            batch.delete(self.key_of(kept.pruned));
        }
        Ok(kept)
    }

    /// Reads the newest entries within the bound, the oldest of them first.
    pub(crate) async fn read(&self, store: &impl Store) -> Result<Vec<HistoryEntry>> {
        if self.bound == 0 {
            return Ok(Vec::new());
        }
        let mut entries = store.list(&self.newest()?).await?;
        entries.reverse();
        let entries = entries.iter();
        entries.map(|(key, json)| decode(key, json)).collect()
    }

    fn newest(&self) -> Result<KeyRange> {
        let options = ListOptions::new().prefix(self.prefix());
        options.reverse().limit(self.bound).to_range()
    }

    fn key_of(&self, number: u64) -> String {
        format!("{}{number:020}", self.prefix())
    }

    fn prefix(&self) -> String {
        format!("{}:history:", self.key)
    }
}
