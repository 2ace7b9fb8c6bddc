//! Running what is due: one job after another, each in a transaction of its own.

use dokit_storage::{Batch, Store, Timestamp, Transaction, decode, encode};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Alarms, Failure, Result,
    caught::caught,
    deadline::Table,
    failure::Advice,
    record::{Cause, Grave, Record},
    repeat::Turn,
};

/// A job whose time has come, as its action gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Due<A> {
    /// The id.
    pub id: String,
    /// What to do.
    pub action: A,
    /// The time it was planned for, which has come; it may be long past.
    pub planned: Timestamp,
    /// Which try of this run it is, from 1.
    pub attempt: u32,
}

/// What a wake-up did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use = "the report says what failed and which of your own deadlines are due"]
pub struct Report {
    /// The jobs, in the order in which they ran.
    pub ran: Vec<Ran>,
    /// The names of the [`Deadline`](crate::Deadline)s that are due:
    /// [`take`](crate::Deadline::take) them now. One that nobody takes is reported again.
    pub deadlines: Vec<String>,
    /// Whether jobs are due that did not run, because this wake-up had run as many as it may.
    pub more: bool,
    /// What the engine's alarm is set to now.
    pub next: Option<Timestamp>,
}

/// What became of one job that was due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ran {
    /// Its id.
    pub id: String,
    /// The time it was planned for.
    pub planned: Timestamp,
    /// How it went.
    pub outcome: Outcome,
    /// When the job falls due again, by its rhythm or for another try; `None` where it does not.
    pub next: Option<Timestamp>,
}

/// How a job that was due went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its action ran, and what it wrote is committed.
    Done,
    /// It was too late for this run: see [`Missed::Skip`](crate::Missed::Skip).
    Skipped,
    /// Its action failed, nothing that it wrote remains, and it is tried again.
    Retrying {
        /// What it said.
        error: String,
        /// How often this run has failed so far.
        failed: u32,
    },
    /// It is [dead](Alarms::dead): its action failed for the last time, or this program has none.
    /// A recurring job whose action failed goes on with its next run.
    Dead {
        /// What went wrong.
        error: String,
    },
}

/// A job that is due, as read.
struct Job {
    key: String,
    id: String,
    at: Timestamp,
    json: String,
}

impl<A: Serialize + DeserializeOwned> Alarms<A> {
    /// Runs what is due at `now`, and leaves the engine's alarm at what comes next.
    ///
    /// Jobs run one after another in the order of their time, those of one time in the order of
    /// their ids. Each has a [`Transaction`] of its own on the store: what its action wrote there,
    /// the removal of the job (or the next run of a recurring one) and the engine's alarm are one
    /// commit. The job is removed before its action runs, so an action may schedule under its own
    /// id, or cancel the series it is part of. Jobs that an action adds run too, where they are
    /// due.
    ///
    /// An action that fails leaves nothing but a note of its failure and the time of the next try,
    /// and does not stop the jobs after it; so does one that panics. (Where a panic ends the program, as
    /// on wasm, jobs before it are committed, and it counts as no try.)
    ///
    /// `run` is cloned for each job, so it may borrow what it reads. One that changes what it
    /// captures is not `Clone`: see [`run_next`](Self::run_next).
    ///
    /// # Errors
    ///
    /// Only those of the storage. What was committed before stays, and the rest stays due, so call
    /// again. A commit that the store refuses for what an action wrote, such as a value that is too
    /// large, is that action's failure and no error here.
    pub async fn run_due<T, F>(&self, store: &mut T, now: Timestamp, run: F) -> Result<Report>
    where
        T: Store,
        F: AsyncFnOnce(&mut Transaction<'_, T>, Due<A>) -> Result<(), Failure> + Clone,
    {
        // An `AsyncFnMut` would do without `Clone`, but the compiler takes a future of one that
        // borrows anything for not `Send` (https://github.com/rust-lang/rust/issues/110338).
        let mut report = Report::default();
        loop {
            if report.ran.len() == self.most {
                report.more = self.first_due(store, now).await?.is_some();
                break;
            }
            match self.run_next(store, now, run.clone()).await? {
                Some(ran) => report.ran.push(ran),
                None => break,
            }
        }
        report.deadlines = Table::read(store).await?.own_due(now);
        report.next = store.alarm().await?;
        Ok(report)
    }

    /// Runs the first job that is due at `now`, as [`run_due`](Self::run_due) does, and leaves the
    /// engine's alarm at what comes next. `None` where nothing is due.
    ///
    /// This is the step that `run_due` repeats, for an action that changes what it captures, or an
    /// engine that does something between jobs. Whoever repeats it counts: jobs that always
    /// schedule themselves for `now` are due without end.
    ///
    /// # Errors
    ///
    /// As [`run_due`](Self::run_due).
    ///
    /// ```
    /// # use dokit_alarms::Alarms;
    /// # use dokit_storage::{Memory, Timestamp};
    /// # futures_executor::block_on(async {
    /// # const JOBS: Alarms<String> = Alarms::new();
    /// # let mut store = Memory::new();
    /// # let now = Timestamp::from_millis(1_000);
    /// # JOBS.schedule(&mut store, now, now, &"tidy".to_owned()).await?;
    /// let mut done = Vec::new();
    /// while let Some(ran) = JOBS
    ///     .run_next(&mut store, now, async |_, due| Ok(done.push(due.action)))
    ///     .await?
    /// {
    ///     assert_eq!(ran.next, None);
    /// }
    /// assert_eq!(done, ["tidy"]);
    /// # Ok::<(), dokit_alarms::Error>(())
    /// # }).unwrap();
    /// ```
    pub async fn run_next<T, F>(&self, store: &mut T, now: Timestamp, run: F) -> Result<Option<Ran>>
    where
        T: Store,
        F: AsyncFnOnce(&mut Transaction<'_, T>, Due<A>) -> Result<(), Failure>,
    {
        let Some(job) = self.first_due(store, now).await? else {
            // Also after a wake-up that was early or for nothing, the alarm must stand.
            let mut txn = Transaction::begin(store);
            self.settle(&mut txn, now).await?;
            txn.commit().await?;
            return Ok(None);
        };
        let mut txn = Transaction::begin(&mut *store);
        let (due, next) = match self.claim(&mut txn, now, &job).await? {
            Claim::Run { due, next } => (due, next),
            Claim::Settled(ran) => {
                self.settle(&mut txn, now).await?;
                txn.commit().await?;
                return Ok(Some(ran));
            }
        };
        let planned = due.planned;
        let failure = match caught(run(&mut txn, due)).await {
            Ok(()) => {
                self.settle(&mut txn, now).await?;
                match txn.commit().await {
                    Ok(()) => {
                        return Ok(Some(Ran {
                            id: job.id,
                            planned,
                            outcome: Outcome::Done,
                            next,
                        }));
                    }
                    Err(error) if error.is_retryable() => return Err(error.into()),
                    Err(error) => Failure::from(error),
                }
            }
            Err(failure) => {
                txn.rollback();
                failure
            }
        };
        let mut txn = Transaction::begin(store);
        let ran = self.fail(&mut txn, now, &job, planned, &failure).await?;
        self.settle(&mut txn, now).await?;
        txn.commit().await?;
        Ok(Some(ran))
    }

    /// Takes a job out of the transaction, and puts the next run of a recurring one there.
    async fn claim<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Timestamp,
        job: &Job,
    ) -> Result<Claim<A>> {
        let record = match decode::<Record>(&job.key, &job.json) {
            Ok(record) => record,
            Err(error) => {
                let error = Failure::from(error);
                let record = Record::unreadable(&job.json, job.at);
                return self.bury(txn, now, job, record, error.text()).await;
            }
        };
        let action = match record.action::<A>() {
            Ok(action) => action,
            Err(error) => return self.bury(txn, now, job, record, &error).await,
        };
        let turn = match &record.repeat {
            None => Ok(Turn::Run {
                planned: record.planned,
                next: None,
            }),
            Some(repeat) => repeat.turn(record.missed, record.planned, now, record.failed > 0),
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(error) => return self.bury(txn, now, job, record, &error).await,
        };
        self.clear(txn, job).await?;
        let (Turn::Run { next, .. } | Turn::Skip { next }) = &turn;
        let next = *next;
        let attempt = record.failed.saturating_add(1);
        if let Some(next) = next {
            self.insert_next(txn, job, record.clone(), next).await?;
        }
        Ok(match turn {
            Turn::Run { planned, next } => Claim::Run {
                due: Due {
                    id: job.id.clone(),
                    action,
                    planned,
                    attempt,
                },
                next,
            },
            Turn::Skip { next } => Claim::Settled(Ran {
                id: job.id.clone(),
                planned: record.planned,
                outcome: Outcome::Skipped,
                next,
            }),
        })
    }

    /// Notes a failure: the next try, or the end.
    async fn fail<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Timestamp,
        job: &Job,
        planned: Timestamp,
        failure: &Failure,
    ) -> Result<Ran> {
        let mut record: Record = decode(&job.key, &job.json)?;
        if record.planned <= now {
            // Where it was brought forward, the planned run is still to come and keeps its time.
            record.planned = planned;
        }
        let next = match &record.repeat {
            Some(repeat) => match repeat.turn(record.missed, record.planned, now, true) {
                Ok(Turn::Run { next, .. } | Turn::Skip { next }) => next,
                // The claim has worked it out already.
                Err(_) => None,
            },
            None => None,
        };
        record.failed = record.failed.saturating_add(1);
        record.error = Some(failure.text().to_owned());
        let ended = failure.advice == Advice::GiveUp || record.failed >= self.retries.tries;
        self.clear(txn, job).await?;
        let error = failure.text().to_owned();
        if !ended {
            let seed = format!("{} {}", job.id, record.created.as_millis());
            let at = match failure.advice {
                Advice::RetryAfter(delay) => now.saturating_add(delay).min(Timestamp::LAST),
                _ => self.retries.next(now, record.failed, &seed),
            };
            let failed = record.failed;
            self.insert(txn, &job.id, at, &record).await?;
            return Ok(Ran {
                id: job.id.clone(),
                planned,
                outcome: Outcome::Retrying { error, failed },
                next: Some(at),
            });
        }
        if let Some(next) = next {
            self.insert_next(txn, job, record.clone(), next).await?;
        }
        record.planned = planned;
        self.put_grave(txn, now, &job.id, record, Cause::Failed)
            .await?;
        Ok(Ran {
            id: job.id.clone(),
            planned,
            outcome: Outcome::Dead { error },
            next,
        })
    }

    /// Buries a job that this program cannot run, with its whole series.
    async fn bury<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Timestamp,
        job: &Job,
        mut record: Record,
        error: &str,
    ) -> Result<Claim<A>> {
        let error = Failure::from(error).text().to_owned();
        self.clear(txn, job).await?;
        record.error = Some(error.clone());
        let planned = record.planned;
        self.put_grave(txn, now, &job.id, record, Cause::Unreadable)
            .await?;
        Ok(Claim::Settled(Ran {
            id: job.id.clone(),
            planned,
            outcome: Outcome::Dead { error },
            next: None,
        }))
    }
}

/// What to do with a job that is due.
enum Claim<A> {
    Run {
        due: Due<A>,
        next: Option<Timestamp>,
    },
    /// Nothing to run; what became of it is in the transaction.
    Settled(Ran),
}

impl<A> Alarms<A> {
    async fn first_due<T: Store>(&self, store: &T, now: Timestamp) -> Result<Option<Job>> {
        let keys = self.keys();
        let first = keys.due_until(now).limit(1).to_range()?;
        let first = store.list(&first).await?.into_iter().next();
        Ok(first.map(|(key, json)| {
            let (at, id) = keys.due_parts(&key);
            let id = id.to_owned();
            Job { key, id, at, json }
        }))
    }

    async fn clear<T: Store>(&self, txn: &mut Transaction<'_, T>, job: &Job) -> Result<()> {
        let mut batch = Batch::new();
        batch.delete(job.key.as_str());
        batch.delete(self.keys().id(&job.id));
        Ok(txn.commit(batch).await?)
    }

    async fn insert_next<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        job: &Job,
        record: Record,
        next: Timestamp,
    ) -> Result<()> {
        let record = Record {
            planned: next,
            failed: 0,
            error: None,
            ..record
        };
        self.insert(txn, &job.id, next, &record).await
    }

    async fn put_grave<T: Store>(
        &self,
        txn: &mut Transaction<'_, T>,
        now: Timestamp,
        id: &str,
        job: Record,
        cause: Cause,
    ) -> Result<()> {
        let key = self.keys().dead(id);
        let died = now;
        let json = encode(&key, &Grave { job, died, cause })?;
        let mut batch = Batch::new();
        batch.put(key, json);
        Ok(txn.commit(batch).await?)
    }

    /// The last step of each commit of a wake-up: notes it, and moves the engine's alarm to where
    /// the jobs are now.
    async fn settle<T: Store>(&self, txn: &mut Transaction<'_, T>, now: Timestamp) -> Result<()> {
        let slot = self.slot();
        let earliest = self.earliest(txn).await?;
        let mut table = Table::read_at(txn, now, self.least).await?;
        if !txn.batch().is_empty() || table.is_due(now, &slot) {
            table.wake(now, self.least, &slot);
        }
        table.set(&slot, earliest);
        table.write(txn).await
    }
}
