//! Values over time, in buckets.

use std::{collections::BTreeMap, fmt, ops::Range};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Batch, Error, Granularity, KeyRange, Result, Store, Timestamp, codec};

/// How many buckets are read at a time.
const PAGE: usize = 128;

/// Values gathered in buckets of time, such as counts or sums.
///
/// It keeps nothing in memory: each operation takes the store. A value is merged into the bucket of
/// the finest granularity that its time falls in. Older buckets can be [rolled up](Self::roll_up)
/// into coarser ones and [pruned](Self::prune). Buckets stand under
/// `{name}:{granularity}:{start}`, with the start in milliseconds in 20 digits.
///
/// ```
/// use dokit_storage::{Granularity, Memory, TimeSeries, Timestamp};
///
/// const HITS: TimeSeries<u64> = TimeSeries::new("hits", Granularity::Minute, |sum, more| *sum += more);
///
/// # futures_executor::block_on(async {
/// let mut store = Memory::new();
/// for second in [10, 50, 70] {
///     HITS.record(&mut store, Timestamp::from_millis(second * 1000), 1).await?;
/// }
/// let hour = Timestamp::EPOCH..Timestamp::from_millis(3_600_000);
/// let minutes = HITS.query(&store, Granularity::Minute, hour).await?;
/// assert_eq!(minutes, [(Timestamp::EPOCH, 2), (Timestamp::from_millis(60_000), 1)]);
/// # Ok::<(), dokit_storage::Error>(())
/// # }).unwrap();
/// ```
pub struct TimeSeries<B> {
    name: &'static str,
    finest: Granularity,
    merge: fn(&mut B, B),
}

impl<B> TimeSeries<B> {
    /// The series of this name, recorded at this granularity. `merge` adds the second value to the
    /// first; it must not matter in which order and groups values are merged.
    #[must_use]
    pub const fn new(name: &'static str, finest: Granularity, merge: fn(&mut B, B)) -> Self {
        Self {
            name,
            finest,
            merge,
        }
    }

    fn key(&self, granularity: Granularity, start: Timestamp) -> String {
        let start = start.as_millis();
        format!("{}:{}:{start:020}", self.name, granularity.name())
    }

    /// The granularities that buckets may stand at, up to this one; the coarsest first, whose buckets
    /// are the oldest.
    fn stored_up_to(&self, coarsest: Granularity) -> Result<impl Iterator<Item = Granularity>> {
        if coarsest < self.finest {
            return Err(Error::InvalidList {
                reason: "the granularity is finer than the one that is recorded",
            });
        }
        let within = self.finest..=coarsest;
        let all = Granularity::ALL.into_iter().rev();
        Ok(all.filter(move |granularity| within.contains(granularity)))
    }

    /// The first buckets, at most [`PAGE`], of one granularity that begin in `starts`: key, start and
    /// JSON text.
    async fn page<T: Store>(
        &self,
        store: &T,
        granularity: Granularity,
        starts: Range<Timestamp>,
    ) -> Result<Vec<(String, Timestamp, String)>> {
        let range = KeyRange {
            start: self.key(granularity, starts.start.max(Timestamp::EPOCH)),
            end: Some(self.key(granularity, starts.end.max(Timestamp::EPOCH))),
            limit: Some(PAGE.min(store.limits().batch_keys).max(1)),
            reverse: false,
        };
        let digits = range.start.len() - 20;
        let entries = store.list(&range).await?;
        entries
            .into_iter()
            .map(|(key, json)| match key[digits..].parse() {
                Ok(millis) => Ok((key, Timestamp::from_millis(millis), json)),
                Err(_) => Err(Error::InvalidKey {
                    key,
                    reason: "it does not end in the start of a bucket".to_owned(),
                }),
            })
            .collect()
    }
}

impl<B: Serialize + DeserializeOwned> TimeSeries<B> {
    /// Merges a value into the bucket that `at` falls in, in one commit.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidKey`] for a time before 1970.
    pub async fn record<T: Store>(&self, store: &mut T, at: Timestamp, value: B) -> Result<()> {
        let key = self.key(self.finest, self.finest.start_of(at));
        if at < Timestamp::EPOCH {
            return Err(Error::InvalidKey {
                key,
                reason: "a time series begins in 1970".to_owned(),
            });
        }
        let mut buckets = BTreeMap::new();
        self.merge_into(store, &mut buckets, key, value).await?;
        store.commit(puts(&buckets)?).await
    }

    /// The buckets of `granularity` that begin in `range`, in order of time, empty ones left out.
    /// Finer buckets count for the one that they fall in, so rolling up changes no answer at the
    /// granularity rolled up into, or at a coarser one.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidList`] for a granularity finer than the recorded one; [`Error::Decode`].
    pub async fn query<T: Store>(
        &self,
        store: &T,
        granularity: Granularity,
        range: Range<Timestamp>,
    ) -> Result<Vec<(Timestamp, B)>> {
        let end = granularity.first_from(range.end);
        let mut buckets = BTreeMap::new();
        for stored in self.stored_up_to(granularity)? {
            let mut start = granularity.first_from(range.start);
            loop {
                let page = self.page(store, stored, start..end).await?;
                let Some((_, last, _)) = page.last() else {
                    break;
                };
                start = Timestamp::from_millis(last.as_millis().saturating_add(1));
                for (key, at, json) in page {
                    let value = codec::decode(&key, &json)?;
                    match buckets.get_mut(&granularity.start_of(at)) {
                        Some(bucket) => (self.merge)(bucket, value),
                        None => drop(buckets.insert(granularity.start_of(at), value)),
                    }
                }
            }
        }
        Ok(buckets.into_iter().collect())
    }

    /// Moves the finer buckets of whole buckets of `into` that end at or before `before` into those,
    /// and says how many it moved. Once moved they can no longer be queried at their own granularity.
    ///
    /// Each commit moves some of them, within the store's limits, so after an error some are moved
    /// and the others are not; calling it again moves the rest.
    ///
    /// # Errors
    ///
    /// As [`query`](Self::query).
    pub async fn roll_up<T: Store>(
        &self,
        store: &mut T,
        into: Granularity,
        before: Timestamp,
    ) -> Result<usize> {
        let end = into.start_of(before);
        let mut moved = 0;
        for finer in self.stored_up_to(into)?.filter(|stored| *stored < into) {
            loop {
                let mut page = self.page(store, finer, Timestamp::EPOCH..end).await?;
                // Each moved bucket is a delete, and at most one write.
                page.truncate((store.limits().batch_keys / 2).max(1));
                if page.is_empty() {
                    break;
                }
                let mut buckets = BTreeMap::new();
                for (key, at, json) in &page {
                    let value = codec::decode(key, json)?;
                    let coarse = self.key(into, into.start_of(*at));
                    self.merge_into(store, &mut buckets, coarse, value).await?;
                }
                let mut batch = puts(&buckets)?;
                for (key, _, _) in &page {
                    batch.delete(key);
                }
                store.commit(batch).await?;
                moved += page.len();
            }
        }
        Ok(moved)
    }

    /// Deletes the stored buckets of one granularity that end at or before `before`, in commits within
    /// the store's limits, and says how many.
    pub async fn prune<T: Store>(
        &self,
        store: &mut T,
        granularity: Granularity,
        before: Timestamp,
    ) -> Result<usize> {
        let end = granularity.start_of(before);
        let mut pruned = 0;
        loop {
            let page = self.page(store, granularity, Timestamp::EPOCH..end).await?;
            if page.is_empty() {
                return Ok(pruned);
            }
            let mut batch = Batch::new();
            for (key, _, _) in &page {
                batch.delete(key);
            }
            store.commit(batch).await?;
            pruned += page.len();
        }
    }

    /// Merges `value` into the bucket under `key`, read from the store the first time.
    async fn merge_into<T: Store>(
        &self,
        store: &T,
        buckets: &mut BTreeMap<String, B>,
        key: String,
        value: B,
    ) -> Result<()> {
        if !buckets.contains_key(&key)
            && let Some(json) = store.get(&key).await?
        {
            buckets.insert(key.clone(), codec::decode(&key, &json)?);
        }
        match buckets.get_mut(&key) {
            Some(bucket) => (self.merge)(bucket, value),
            None => drop(buckets.insert(key, value)),
        }
        Ok(())
    }
}

fn puts<B: Serialize>(buckets: &BTreeMap<String, B>) -> Result<Batch> {
    let mut batch = Batch::new();
    for (key, bucket) in buckets {
        batch.put(key, codec::encode(key, bucket)?);
    }
    Ok(batch)
}

impl<B> Clone for TimeSeries<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for TimeSeries<B> {}

impl<B> fmt::Debug for TimeSeries<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeSeries")
            .field("name", &self.name)
            .field("finest", &self.finest)
            .finish_non_exhaustive()
    }
}
