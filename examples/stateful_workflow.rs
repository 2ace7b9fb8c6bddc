//! A workflow whose steps are told to run one by one: create, status, execute, pause, resume, cancel.
//!
//! The work of a step is not done in the workflow, which would be deaf meanwhile, but by a worker that reports
//! what came of it: an object of its own for each try (`StepRunner`), or, for a step `"by":"outside"`, whoever
//! has called `execute` and so got the token to report with.
//!
//! ```sh
//! cargo run --example stateful_workflow
//! curl -d '[[{"name":"reserve"},{"name":"approve","by":"outside"}],{"cents":500}]' http://127.0.0.1:8787/stateful-workflow/order-7/create
//! curl -d '[]' http://127.0.0.1:8787/stateful-workflow/order-7/execute
//! curl -d '[]' http://127.0.0.1:8787/stateful-workflow/order-7/status
//! curl -d '[]' http://127.0.0.1:8787/stateful-workflow/order-7/pause    # null
//! curl -d '[]' http://127.0.0.1:8787/stateful-workflow/order-7/execute    # 409, it is paused
//! curl -d '[]' http://127.0.0.1:8787/stateful-workflow/order-7/resume    # null
//! curl -d '["no-token",{"type":"completed","result":"ok"}]' http://127.0.0.1:8787/stateful-workflow/order-7/report    # false
//! curl -d '[]' http://127.0.0.1:8787/stateful-workflow/order-7/cancel    # null
//! curl -d '[]' http://127.0.0.1:8787/stateful-workflow/order-7/status    # 404, there is none any more
//! ```

use dokit::{
    Alarm, Context, DurableObject, Error, Result, RpcError,
    alarms::{self, Deadline},
    durable_object,
    fsm::{InvalidTransition, SendError, machine},
    object::Storage,
    rpc,
    storage::{self, Family, ListOptions, Schema, Timestamp, TypedStorage},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// By when a worker has reported, or is taken for lost.
const LEASE: Deadline = Deadline::new("lease");
const LEASE_TIME: &str = "15m";

/// How many steps a workflow has at most.
const MOST_STEPS: usize = 100;

/// Where a workflow stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No step has begun.
    Pending,
    /// The next step runs, or can be executed.
    Running,
    /// No step begins. One that had begun goes on.
    Paused,
    /// All steps are done.
    Completed,
    /// A step has failed. It can be executed again.
    Failed,
}

/// What changes that.
#[derive(Debug)]
enum Event {
    Execute,
    Pause,
    Resume,
    Complete,
    Fail,
}

machine! {
    /// The life of a workflow.
    FLOW: Status, Event {
        Pending => { Execute => Running }
        Running => { Execute => internal, Pause => Paused, Complete => Completed, Fail => Failed }
        Paused  => { Resume => Running }
        Failed  => { Execute => Running }
    }
}

/// Who does a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Worker {
    /// A `StepRunner` of this program.
    #[default]
    Runner,
    /// Somebody else, who reports it.
    Outside,
}

/// A step of a workflow that is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewStep {
    /// What is to be done.
    pub name: String,
    /// Who does it.
    #[serde(default)]
    pub by: Worker,
}

/// A step, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What is to be done, and who does it.
    #[serde(flatten)]
    pub what: NewStep,
    /// How far it is.
    pub status: StepStatus,
    /// How often it was begun.
    pub attempts: u32,
    /// What its worker reported, once it is completed.
    pub result: Option<Value>,
    /// Why the last try failed.
    pub error: Option<String>,
    /// When it was completed, in milliseconds since 1970.
    pub completed_at: Option<Timestamp>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It has not begun.
    Pending,
    /// Its worker has it.
    Running,
    /// It is done.
    Completed,
    /// Its last try has failed.
    Failed,
}

/// A workflow as its callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workflow {
    /// Where it stands.
    pub status: Status,
    /// The step that runs or comes next, from 0.
    pub current_step: usize,
    /// All steps.
    pub steps: Vec<Step>,
    /// What was given to it.
    pub data: Value,
    /// When it was made, in milliseconds since 1970.
    pub created_at: Timestamp,
}

/// A step that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begun {
    /// Which, from 0.
    pub step: usize,
    /// What is to be done.
    pub name: String,
    /// What the worker reports with. It is of this try alone.
    pub token: String,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Completed {
        /// What it gave.
        result: Value,
    },
    /// It is not.
    Failed {
        /// Why.
        error: String,
    },
}

/// Why a workflow refuses.
#[derive(Debug, thiserror::Error, RpcError)]
pub enum WorkflowError {
    /// It has not been created, or was cancelled.
    #[error("there is no workflow")]
    #[rpc(status = 404)]
    NoWorkflow,
    /// It has been created already.
    #[error("the workflow exists")]
    #[rpc(status = 409)]
    Exists,
    /// A workflow has some steps, and not too many.
    #[error("the workflow has {steps} steps; expected 1 to {most}")]
    #[rpc(status = 400)]
    BadSteps {
        /// How many were given.
        steps: usize,
        /// How many there can be.
        most: usize,
    },
    /// The step that is to be executed runs already.
    #[error("step {step} runs already")]
    #[rpc(status = 409)]
    StepRuns {
        /// Which, from 0.
        step: usize,
    },
    /// It cannot be done as the workflow stands.
    #[error(transparent)]
    #[rpc(status = 409)]
    InvalidTransition(InvalidTransition),
    /// The record of the status is not what it should be.
    #[error(transparent)]
    #[rpc(internal)]
    Machine(SendError),
    /// Whatever else fails.
    #[error(transparent)]
    #[rpc(transparent)]
    Other(#[from] Error),
}

impl From<storage::Error> for WorkflowError {
    fn from(error: storage::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<alarms::Error> for WorkflowError {
    fn from(error: alarms::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<SendError> for WorkflowError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Invalid(invalid) => Self::InvalidTransition(invalid),
            other => Self::Machine(other),
        }
    }
}

/// What can be asked of a workflow.
#[rpc]
pub trait StatefulWorkflowApi {
    /// Makes the workflow, with what its steps are given.
    async fn create(&mut self, steps: Vec<NewStep>, data: Value) -> Result<(), WorkflowError>;
    /// How far it is.
    async fn status(&self) -> Result<Workflow, WorkflowError>;
    /// Begins the next step, or the one that has failed once more.
    async fn execute(&mut self) -> Result<Begun, WorkflowError>;
    /// Begins no step until it is resumed.
    async fn pause(&mut self) -> Result<(), WorkflowError>;
    /// Goes on.
    async fn resume(&mut self) -> Result<(), WorkflowError>;
    /// Forgets the workflow. What a worker still does of it counts no more.
    async fn cancel(&mut self) -> Result<(), WorkflowError>;
    /// Takes down what came of a step, and answers whether that was still awaited: not twice, not from a
    /// worker that was taken for lost, not of a workflow that was cancelled.
    async fn report(&mut self, token: String, outcome: Outcome) -> Result<bool, WorkflowError>;
}

/// What is stored of a workflow, beside its status and its steps.
#[derive(Serialize, Deserialize)]
struct Record {
    steps: usize,
    current: usize,
    /// Of the worker that has the current step.
    token: Option<String>,
    created_at: Timestamp,
}

#[derive(Schema)]
struct WorkflowSchema {
    record: Record,
    data: Value,
    #[schema(prefix = "step:")]
    steps: Family<Step>,
}

pub(crate) struct StatefulWorkflow {
    ctx: Context,
    storage: TypedStorage<WorkflowSchema, Storage>,
}

#[durable_object]
impl DurableObject for StatefulWorkflow {
    type Api = StatefulWorkflowApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        let now = self.ctx.now();
        let lost = LEASE.take(self.storage.store_mut(), now).await?;
        let record = self.storage.get(WorkflowSchema::RECORD).await?;
        if let (
            Some(_),
            Some(Record {
                token: Some(token), ..
            }),
        ) = (lost, record)
        {
            let error = format!("its worker has not reported within {LEASE_TIME}");
            let settled = self.report(token, Outcome::Failed { error }).await;
            settled.map_err(Error::internal)?;
        }
        Ok(())
    }
}

impl StatefulWorkflow {
    async fn record(&self) -> Result<Record, WorkflowError> {
        let record = self.storage.get(WorkflowSchema::RECORD).await?;
        record.ok_or(WorkflowError::NoWorkflow)
    }

    async fn step(&self, number: usize) -> Result<Step, WorkflowError> {
        let step = self
            .storage
            .get(WorkflowSchema::STEPS.key(in_order(number)))
            .await?;
        step.ok_or(WorkflowError::NoWorkflow)
    }

    async fn put_step(&mut self, number: usize, step: &Step) -> Result<(), WorkflowError> {
        let key = WorkflowSchema::STEPS.key(in_order(number));
        Ok(self.storage.put(key, step).await?)
    }

    async fn send(&mut self, event: Event) -> Result<Status, WorkflowError> {
        let now = self.ctx.now();
        let flow = FLOW.persisted();
        Ok(flow.send(self.storage.store_mut(), now, &event).await?)
    }

    async fn flow_status(&self) -> Result<Status, WorkflowError> {
        let status = FLOW.persisted().state(self.storage.store()).await;
        Ok(status.map_err(SendError::from)?)
    }
}

impl StatefulWorkflowApi for StatefulWorkflow {
    async fn create(&mut self, steps: Vec<NewStep>, data: Value) -> Result<(), WorkflowError> {
        if self.storage.get(WorkflowSchema::RECORD).await?.is_some() {
            return Err(WorkflowError::Exists);
        }
        if steps.is_empty() || steps.len() > MOST_STEPS {
            let (steps, most) = (steps.len(), MOST_STEPS);
            return Err(WorkflowError::BadSteps { steps, most });
        }
        let record = Record {
            steps: steps.len(),
            current: 0,
            token: None,
            created_at: self.ctx.now(),
        };
        self.storage.put(WorkflowSchema::RECORD, &record).await?;
        self.storage.put(WorkflowSchema::DATA, &data).await?;
        for (number, what) in steps.into_iter().enumerate() {
            let step = Step {
                what,
                status: StepStatus::Pending,
                attempts: 0,
                result: None,
                error: None,
                completed_at: None,
            };
            self.put_step(number, &step).await?;
        }
        Ok(())
    }

    async fn status(&self) -> Result<Workflow, WorkflowError> {
        let record = self.record().await?;
        let steps = self
            .storage
            .list_family(WorkflowSchema::STEPS, ListOptions::new());
        Ok(Workflow {
            status: self.flow_status().await?,
            current_step: record.current,
            steps: steps.await?.into_iter().map(|(_, step)| step).collect(),
            data: self
                .storage
                .get(WorkflowSchema::DATA)
                .await?
                .unwrap_or_default(),
            created_at: record.created_at,
        })
    }

    async fn execute(&mut self) -> Result<Begun, WorkflowError> {
        let mut record = self.record().await?;
        let number = record.current;
        self.send(Event::Execute).await?;
        if record.token.is_some() {
            return Err(WorkflowError::StepRuns { step: number });
        }
        let runners = self.ctx.namespace::<StepRunner>();
        let runner = runners.unique_id();
        let token = runner.to_string();
        record.token = Some(token.clone());
        self.storage.put(WorkflowSchema::RECORD, &record).await?;

        let mut step = self.step(number).await?;
        step.status = StepStatus::Running;
        step.attempts += 1;
        self.put_step(number, &step).await?;
        let now = self.ctx.now();
        LEASE.set(self.storage.store_mut(), now, LEASE_TIME).await?;

        let name = step.what.name;
        if step.what.by == Worker::Runner {
            let job = StepJob {
                workflow: self.ctx.id().to_string(),
                step: name.clone(),
                data: self
                    .storage
                    .get(WorkflowSchema::DATA)
                    .await?
                    .unwrap_or_default(),
            };
            // The runner hears of it when all of this is on disk, and then it surely does.
            let run = async |runner| StepRunnerApiClient::new(runner).run(job).await;
            self.ctx.after_commit(&runners.get(&runner), run).await?;
        }
        Ok(Begun {
            step: number,
            name,
            token,
        })
    }

    async fn pause(&mut self) -> Result<(), WorkflowError> {
        self.record().await?;
        self.send(Event::Pause).await?;
        Ok(())
    }

    async fn resume(&mut self) -> Result<(), WorkflowError> {
        let record = self.record().await?;
        self.send(Event::Resume).await?;
        // The last step may have ended meanwhile.
        if record.current == record.steps {
            self.send(Event::Complete).await?;
        }
        Ok(())
    }

    async fn cancel(&mut self) -> Result<(), WorkflowError> {
        self.record().await?;
        // With its alarm, and with a call to a runner that has not been made.
        Ok(self.storage.delete_all().await?)
    }

    async fn report(&mut self, token: String, outcome: Outcome) -> Result<bool, WorkflowError> {
        let Some(mut record) = self.storage.get(WorkflowSchema::RECORD).await? else {
            return Ok(false);
        };
        if record.token.as_ref() != Some(&token) {
            return Ok(false);
        }
        let number = record.current;
        let mut step = self.step(number).await?;
        record.token = None;
        // A workflow that was paused meanwhile stays so, however its step has ended.
        let runs = self.flow_status().await? == Status::Running;
        match outcome {
            Outcome::Completed { result } => {
                step.status = StepStatus::Completed;
                step.result = Some(result);
                step.error = None;
                step.completed_at = Some(self.ctx.now());
                record.current += 1;
                if runs && record.current == record.steps {
                    self.send(Event::Complete).await?;
                }
            }
            Outcome::Failed { error } => {
                step.status = StepStatus::Failed;
                step.error = Some(error);
                if runs {
                    self.send(Event::Fail).await?;
                }
            }
        }
        self.put_step(number, &step).await?;
        self.storage.put(WorkflowSchema::RECORD, &record).await?;
        LEASE.clear(self.storage.store_mut()).await?;
        Ok(true)
    }
}

/// Numbers as texts that sort as the numbers do.
fn in_order(number: usize) -> String {
    format!("{number:04}")
}

/// A step for a runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepJob {
    /// The id of the workflow.
    pub workflow: String,
    /// What is to be done.
    pub step: String,
    /// What was given to the workflow.
    pub data: Value,
}

/// What can be asked of a runner.
#[rpc]
pub trait StepRunnerApi {
    /// Does the work, and reports it.
    async fn run(&mut self, job: StepJob) -> Result<()>;
}

/// Does one try of one step. Its id is the token of that try.
pub(crate) struct StepRunner {
    ctx: Context,
}

#[durable_object]
impl DurableObject for StepRunner {
    type Api = StepRunnerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }
}

impl StepRunnerApi for StepRunner {
    async fn run(&mut self, job: StepJob) -> Result<()> {
        let outcome = match work(&job.step, &job.data).await {
            Ok(result) => Outcome::Completed { result },
            Err(error) => Outcome::Failed { error },
        };
        let workflows = self.ctx.namespace::<StatefulWorkflow>();
        let workflow = workflows.id_from_string(&job.workflow);
        let workflow = workflows.get(&workflow.map_err(Error::internal)?);
        let token = self.ctx.id().to_string();
        let report = async |workflow| {
            let workflow = StatefulWorkflowApiClient::new(workflow);
            workflow.report(token, outcome).await
        };
        self.ctx.after_commit(&workflow, report).await
    }
}

/// The work itself: put yours here. It may wait for other services. When the process dies meanwhile it is done
/// again, so what it asks of others should be done once by them, by the name of the workflow and the step.
async fn work(step: &str, data: &Value) -> Result<Value, String> {
    let cents = data["cents"].as_u64().unwrap_or(0);
    match step {
        "charge" if cents > 1_000 => Err(format!("the card does not pay {cents} cents")),
        "charge" => Ok(json!({ "charged": cents })),
        "reserve" | "ship" => Ok(json!({ "executed": step })),
        _ => Err(format!("nobody knows how to {step:?}")),
    }
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder()
        .object::<StatefulWorkflow>()
        .object::<StepRunner>();
    serve::main(
        "stateful_workflow",
        host,
        include_str!("stateful_workflow.rs"),
    )
}
