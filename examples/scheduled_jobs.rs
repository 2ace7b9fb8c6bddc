//! Jobs for later: an account whose payments run by alarm, once or again and again. One that fails is
//! tried again, keeps no other from running, and is kept when its tries are used up.
//!
//! ```sh
//! cargo run --example scheduled_jobs
//! curl -d '["1s",{"type":"deposit","cents":500}]' http://127.0.0.1:8787/scheduled-jobs/ann/schedule
//! curl -d '["rent","30d",{"type":"pay","cents":300,"to":"bob"}]' http://127.0.0.1:8787/scheduled-jobs/ann/every
//! curl -d '["soon",{"type":"deposit","cents":1}]' http://127.0.0.1:8787/scheduled-jobs/ann/schedule    # 400, no such duration
//! curl -d '[]' http://127.0.0.1:8787/scheduled-jobs/ann/list_jobs
//! curl -d '["rent"]' http://127.0.0.1:8787/scheduled-jobs/ann/cancel    # true
//! curl -d '[]' http://127.0.0.1:8787/scheduled-jobs/ann/get_account
//! curl -d '[]' http://127.0.0.1:8787/scheduled-jobs/ann/failed_jobs    # []
//! ```

use dokit::{
    Alarm, Context, DurableObject, Result,
    alarms::{Alarms, Dead, Due, Failure, Repeat, Retries, Scheduled, format_duration},
    durable_object,
    object::Storage,
    rpc,
    storage::{Family, ListOptions, Schema, Store, Timestamp, TypedStorage},
};
use serde::{Deserialize, Serialize};

/// A failed job is tried five times in all, from 2 seconds to 16 apart, and a little more.
const JOBS: Alarms<Task> = Alarms::new().retries(Retries::new().tries(5));

/// How many entries of what was done are kept.
const KEPT: u64 = 100;

/// What a job does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Task {
    /// Money comes in.
    Deposit {
        /// How much.
        cents: u64,
    },
    /// Money goes out, if there is enough.
    Pay {
        /// How much.
        cents: u64,
        /// For whom.
        to: String,
    },
}

/// A job that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// When it runs, or is tried again, in milliseconds since 1970.
    pub at: Timestamp,
    /// The time between two runs of one that recurs.
    pub every: Option<String>,
    /// What it is for.
    pub task: Task,
    /// How often this run has failed so far.
    pub failed: u32,
    /// Why, the last time.
    pub error: Option<String>,
}

/// A job that has been given up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedJob {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub task: Task,
    /// How often it was tried.
    pub tries: u32,
    /// Why it failed, the last time.
    pub error: String,
}

/// The account: what is in it, and what was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// How much there is.
    pub cents: u64,
    /// The last 100 jobs that were done, oldest first.
    pub done: Vec<Done>,
}

/// A job that was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Done {
    /// Its id.
    pub id: String,
    /// What it was for.
    pub task: Task,
    /// When it was to run.
    pub planned: Timestamp,
    /// When it ran.
    pub at: Timestamp,
    /// Which try it was, from 1.
    pub attempt: u32,
}

/// What can be asked.
#[rpc]
pub trait ScheduledJobsApi {
    /// Runs a task once, after a time such as `"30s"` or `"1h 30m"`, and answers the job's id.
    async fn schedule(&mut self, after: String, task: Task) -> Result<String>;
    /// Runs a task again and again, and answers when it runs first. A job of this id is replaced; one of
    /// this id and interval keeps its rhythm.
    async fn every(&mut self, id: String, interval: String, task: Task) -> Result<Timestamp>;
    /// Takes a job back, and answers whether there was one.
    async fn cancel(&mut self, id: String) -> Result<bool>;
    /// The jobs that wait, the next one first.
    async fn list_jobs(&self) -> Result<Vec<Job>>;
    /// The jobs that were given up.
    async fn failed_jobs(&self) -> Result<Vec<FailedJob>>;
    /// Tries one of those again, at once and with all its tries, and answers whether there was one.
    async fn retry(&mut self, id: String) -> Result<bool>;
    /// The account as it stands.
    async fn get_account(&self) -> Result<Account>;
}

#[derive(Schema)]
struct AccountSchema {
    cents: u64,
    /// The number of the last entry.
    last: u64,
    #[schema(prefix = "done:")]
    done: Family<Done>,
}

pub(crate) struct ScheduledJobs {
    ctx: Context,
    storage: TypedStorage<AccountSchema, Storage>,
}

#[durable_object]
impl DurableObject for ScheduledJobs {
    type Api = ScheduledJobsApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        let now = self.ctx.now();
        let storage = self.storage.store_mut();
        let run = JOBS.run_due(storage, now, async |txn, due| process(txn, now, due).await);
        // The report tells what failed, and so does `list_jobs`.
        let _report = run.await?;
        Ok(())
    }
}

/// Does what a job is for. `store` is the job's own transaction: what is written to it is committed
/// together with the job's removal, once, and none of it where this fails.
async fn process(store: &mut impl Store, now: Timestamp, due: Due<Task>) -> Result<(), Failure> {
    let mut account = TypedStorage::<AccountSchema, _>::new(store);
    let cents = account.get(AccountSchema::CENTS).await?.unwrap_or(0);
    let left = match &due.action {
        Task::Deposit { cents: more } => cents.checked_add(*more),
        Task::Pay { cents: less, .. } => cents.checked_sub(*less),
    };
    let left = left.ok_or_else(|| format!("there are {cents} cents"))?;
    account.put(AccountSchema::CENTS, &left).await?;

    let number = account.get(AccountSchema::LAST).await?.unwrap_or(0) + 1;
    let done = Done {
        id: due.id,
        task: due.action,
        planned: due.planned,
        at: now,
        attempt: due.attempt,
    };
    account.put(AccountSchema::LAST, &number).await?;
    let key = |number: u64| AccountSchema::DONE.key(format!("{number:020}"));
    account.put(key(number), &done).await?;
    if let Some(old) = number.checked_sub(KEPT) {
        account.delete(key(old)).await?;
    }
    Ok(())
}

impl ScheduledJobsApi for ScheduledJobs {
    async fn schedule(&mut self, after: String, task: Task) -> Result<String> {
        let now = self.ctx.now();
        let storage = self.storage.store_mut();
        Ok(JOBS.schedule(storage, now, &after, &task).await?)
    }

    async fn every(&mut self, id: String, interval: String, task: Task) -> Result<Timestamp> {
        let now = self.ctx.now();
        let storage = self.storage.store_mut();
        Ok(JOBS.every(storage, now, &id, &interval, &task).await?)
    }

    async fn cancel(&mut self, id: String) -> Result<bool> {
        Ok(JOBS.cancel(self.storage.store_mut(), &id).await?)
    }

    async fn list_jobs(&self) -> Result<Vec<Job>> {
        let jobs = JOBS.list(self.storage.store()).await?;
        let job = |job: Scheduled<Task>| {
            Ok(Job {
                id: job.id().to_owned(),
                at: job.at(),
                every: match job.repeat() {
                    Some(Repeat::Every(interval)) => Some(format_duration(*interval)),
                    _ => None,
                },
                task: job.action()?,
                failed: job.failed(),
                error: job.last_error().map(str::to_owned),
            })
        };
        jobs.into_iter().map(job).collect()
    }

    async fn failed_jobs(&self) -> Result<Vec<FailedJob>> {
        let dead = JOBS.dead(self.storage.store()).await?;
        let job = |job: Dead<Task>| {
            Ok(FailedJob {
                id: job.id().to_owned(),
                task: job.action()?,
                tries: job.tries(),
                error: job.error().to_owned(),
            })
        };
        dead.into_iter().map(job).collect()
    }

    async fn retry(&mut self, id: String) -> Result<bool> {
        let now = self.ctx.now();
        Ok(JOBS.revive(self.storage.store_mut(), now, &id).await?)
    }

    async fn get_account(&self) -> Result<Account> {
        let cents = self.storage.get(AccountSchema::CENTS).await?;
        let done = self
            .storage
            .list_family(AccountSchema::DONE, ListOptions::new());
        Ok(Account {
            cents: cents.unwrap_or(0),
            done: done.await?.into_iter().map(|(_, done)| done).collect(),
        })
    }
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<ScheduledJobs>();
    serve::main("scheduled_jobs", host, include_str!("scheduled_jobs.rs"))
}
