//! An order that survives `kill -9`: a state machine, typed storage and an alarm in one object.
//!
//! ```sh
//! cargo run --example order_processing            # plays the whole story, the kill included
//!
//! cargo run --example order_processing -- serve --addr 127.0.0.1:8787 --auto-cancel 1m
//! order=http://127.0.0.1:8787/order/order-123
//! curl -d '["order-123"]'                                   $order/initialize
//! curl -d '[{"type":"pay"}]'                                $order/transition    # "paid"
//! curl -d '[{"type":"ship","trackingNumber":"TRACK-456"}]'  $order/transition    # "shipped"
//! curl -d '[{"type":"cancel"}]'                             $order/transition    # 409, with the valid events
//! curl -d '[]'                                              $order/get_order
//! ```

#![cfg_attr(
    not(any(test, target_arch = "wasm32")),
    expect(missing_docs, reason = "an example is read, not imported")
)]

use std::time::Duration;

use dokit::{
    Alarm, Context, DurableObject, Result, RpcError,
    alarms::{self, Alarms, parse_duration},
    durable_object,
    fsm::{HistoryEntry, InvalidTransition, SendError, machine},
    object::Storage,
    rpc,
    storage::{self, Schema, Timestamp, TypedStorage},
};
use serde::{Deserialize, Serialize};

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    Pending,
    Paid,
    Shipped,
    Delivered,
    Cancelled,
}

/// What can happen to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
pub enum OrderEvent {
    Pay,
    Ship { tracking_number: String },
    Deliver,
    Cancel,
}

machine! {
    /// The life of an order. A typo, a duplicate or a state that nothing leads to does not compile.
    pub ORDER: OrderState, OrderEvent {
        Pending => { Pay => Paid, Cancel => Cancelled }
        Paid    => { Ship => Shipped, Cancel => Cancelled }
        Shipped => { Deliver => Delivered }
    }
}

/// What is stored beside the machine, and under which keys.
#[derive(Schema)]
#[schema(rename_all = "camelCase")]
struct OrderSchema {
    order_id: String,
    tracking_number: String,
    created_at: Timestamp,
}

/// What an order sets alarms for.
#[derive(Serialize, Deserialize)]
enum Action {
    AutoCancel,
}

/// An order as its callers see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OrderView {
    pub order_id: String,
    pub state: OrderState,
    pub tracking_number: Option<String>,
    /// Milliseconds since 1970.
    pub created_at: Timestamp,
    pub history: Vec<HistoryEntry>,
}

/// Why an order refuses. Callers get it back as this very type.
#[derive(Debug, thiserror::Error, RpcError)]
pub enum OrderError {
    #[error(transparent)]
    #[rpc(status = 409)]
    InvalidTransition(InvalidTransition),
    #[error("this is order {existing:?}, not {asked:?}")]
    #[rpc(status = 409)]
    OtherOrder { existing: String, asked: String },
    #[error("the order has not been initialized")]
    #[rpc(status = 404)]
    NotInitialized,
    #[error(transparent)]
    #[rpc(internal)]
    Machine(SendError),
    #[error(transparent)]
    #[rpc(transparent)]
    Dokit(#[from] dokit::Error),
}

impl From<storage::Error> for OrderError {
    fn from(error: storage::Error) -> Self {
        Self::Dokit(error.into())
    }
}

impl From<alarms::Error> for OrderError {
    fn from(error: alarms::Error) -> Self {
        Self::Dokit(error.into())
    }
}

impl From<SendError> for OrderError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Invalid(invalid) => Self::InvalidTransition(invalid),
            other => Self::Machine(other),
        }
    }
}

/// What an order can be asked: the client and the object's dispatcher are made from this.
#[rpc]
pub trait OrderApi {
    /// Makes the order. Once it is made, asking again changes nothing.
    async fn initialize(&mut self, order_id: String) -> Result<OrderView, OrderError>;
    /// Sends an event and answers the new state.
    async fn transition(&mut self, event: OrderEvent) -> Result<OrderState, OrderError>;
    /// The order as it stands.
    async fn get_order(&self) -> Result<OrderView, OrderError>;
}

/// The order. It keeps nothing in memory that is not in storage.
pub(crate) struct Order {
    ctx: Context,
    storage: TypedStorage<OrderSchema, Storage>,
    alarms: Alarms<Action>,
    auto_cancel: Duration,
}

#[durable_object]
impl DurableObject for Order {
    type Api = OrderApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let auto_cancel = ctx.variable("AUTO_CANCEL").unwrap_or("1d");
        Ok(Self {
            storage: TypedStorage::new(ctx.storage()),
            alarms: Alarms::new(),
            auto_cancel: parse_duration(auto_cancel).map_err(dokit::Error::internal)?,
            ctx,
        })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        let now = self.ctx.now();
        let storage = self.storage.store_mut();
        let run = self.alarms.run_due(storage, now, async |txn, due| {
            match due.action {
                Action::AutoCancel => {
                    let order = ORDER.persisted();
                    if order.state(txn).await? == OrderState::Pending {
                        order.send(txn, now, &OrderEvent::Cancel).await?;
                    }
                }
            }
            Ok(())
        });
        // An action that fails is tried again, and kept as dead in the end: the report tells of it.
        let _report = run.await?;
        Ok(())
    }
}

impl OrderApi for Order {
    async fn initialize(&mut self, order_id: String) -> Result<OrderView, OrderError> {
        if let Some(existing) = self.storage.get(OrderSchema::ORDER_ID).await? {
            if existing != order_id {
                let asked = order_id;
                return Err(OrderError::OtherOrder { existing, asked });
            }
            return self.get_order().await;
        }
        let now = self.ctx.now();
        self.storage.put(OrderSchema::ORDER_ID, &order_id).await?;
        self.storage.put(OrderSchema::CREATED_AT, &now).await?;
        let storage = self.storage.store_mut();
        self.alarms
            .schedule_as(
                storage,
                now,
                "auto-cancel",
                self.auto_cancel,
                &Action::AutoCancel,
            )
            .await?;
        self.get_order().await
    }

    async fn transition(&mut self, event: OrderEvent) -> Result<OrderState, OrderError> {
        if self.storage.get(OrderSchema::ORDER_ID).await?.is_none() {
            return Err(OrderError::NotInitialized);
        }
        let now = self.ctx.now();
        let storage = self.storage.store_mut();
        let state = ORDER.persisted().send(storage, now, &event).await?;
        if let OrderEvent::Ship { tracking_number } = &event {
            self.storage
                .put(OrderSchema::TRACKING_NUMBER, tracking_number)
                .await?;
        }
        if state != OrderState::Pending {
            self.alarms
                .cancel(self.storage.store_mut(), "auto-cancel")
                .await?;
        }
        Ok(state)
    }

    async fn get_order(&self) -> Result<OrderView, OrderError> {
        let Some(order_id) = self.storage.get(OrderSchema::ORDER_ID).await? else {
            return Err(OrderError::NotInitialized);
        };
        let store = self.storage.store();
        let order = ORDER.persisted();
        Ok(OrderView {
            order_id,
            state: order.state(store).await.map_err(SendError::from)?,
            tracking_number: self.storage.get(OrderSchema::TRACKING_NUMBER).await?,
            created_at: self
                .storage
                .get(OrderSchema::CREATED_AT)
                .await?
                .unwrap_or_default(),
            history: order.history(store).await.map_err(SendError::from)?,
        })
    }
}

/// Orders in a process of their own. (`examples/workers` exports the same to Cloudflare.)
#[cfg(not(target_arch = "wasm32"))]
mod process {
    use std::{
        error::Error,
        io::{BufRead, BufReader},
        path::{Path, PathBuf},
        process::{Child, Command, ExitCode, Stdio},
        time::Duration,
    };

    use clap::{Parser, Subcommand};
    use dokit::{
        Host,
        alarms::parse_duration,
        client::{CallError, HttpNamespace, Namespace},
    };

    use super::{ORDER, Order, OrderApiClient, OrderError, OrderEvent, OrderView};

    /// Orders that survive `kill -9`. Without a command: plays the story of one.
    #[derive(Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: Option<Play>,
        /// Where the orders are kept.
        #[arg(long, global = true, default_value = "data/order_processing")]
        data: PathBuf,
    }

    #[derive(Subcommand)]
    enum Play {
        /// Listens for HTTP.
        Serve {
            /// The address to listen on.
            #[arg(long, default_value = "127.0.0.1:8787")]
            addr: String,
            /// When an order that is still pending is cancelled.
            #[arg(long, default_value = "1d", allow_hyphen_values = true)]
            auto_cancel: String,
        },
    }

    #[tokio::main]
    pub(crate) async fn main() -> ExitCode {
        // What callers do not get to see, such as the cause of an internal error.
        tracing_subscriber::fmt()
            .with_writer(std::io::stderr)
            .init();
        let Err(error) = run().await else {
            return ExitCode::SUCCESS;
        };
        let causes = std::iter::successors(error.source(), |cause| Error::source(*cause));
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        eprintln!("{error}{causes}");
        ExitCode::FAILURE
    }

    async fn run() -> Result<(), Box<dyn Error>> {
        let Arguments { command, data } = Arguments::parse();
        match command {
            Some(Play::Serve { addr, auto_cancel }) => serve(&data, &addr, &auto_cancel).await,
            None => story(&data).await,
        }
    }

    async fn serve(data: &Path, addr: &str, auto_cancel: &str) -> Result<(), Box<dyn Error>> {
        parse_duration(auto_cancel)?;
        let host = Host::builder()
            .data(data)
            .object::<Order>()
            .variable("AUTO_CANCEL", auto_cancel)
            .start()?;
        let listener = host.listen(addr).await?;
        println!("listening on http://{}", listener.address());
        listener.run().await;
        Ok(())
    }

    /// The host of the story: this program, as a process of its own that can be killed.
    struct Server {
        process: Child,
        orders: HttpNamespace,
    }

    impl Server {
        fn start(data: &Path) -> Result<Self, Box<dyn Error>> {
            let mut process = Command::new(std::env::current_exe()?)
                .args([
                    "serve",
                    "--addr",
                    "127.0.0.1:0",
                    "--auto-cancel",
                    "2s",
                    "--data",
                ])
                .arg(data)
                .stdout(Stdio::piped())
                .spawn()?;
            let mut told = String::new();
            if let Some(output) = process.stdout.take() {
                BufReader::new(output).read_line(&mut told)?;
            }
            let address = told.trim().strip_prefix("listening on ");
            let address = address.ok_or("the server did not start")?;
            let orders = HttpNamespace::new(address, "order")?;
            Ok(Self { process, orders })
        }

        fn order(&self, name: &str) -> OrderApiClient<<HttpNamespace as Namespace>::Stub> {
            OrderApiClient::new(self.orders.get_by_name(name))
        }

        /// `kill -9`: the process gets no chance to save anything.
        fn kill(mut self) -> Result<(), Box<dyn Error>> {
            self.process.kill()?;
            self.process.wait()?;
            Ok(())
        }
    }

    impl Drop for Server {
        fn drop(&mut self) {
            // Also when the story breaks off. One that was killed already is none the worse.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    async fn story(data: &Path) -> Result<(), Box<dyn Error>> {
        let run = std::process::id();
        let (paid, forgotten) = (format!("order-{run}"), format!("order-{run}-forgotten"));

        println!("1. Two orders are made; a pending order is cancelled after 2 seconds.");
        let server = Server::start(data)?;
        server.order(&paid).initialize(paid.clone()).await?;
        server
            .order(&forgotten)
            .initialize(forgotten.clone())
            .await?;

        let state = server.order(&paid).transition(OrderEvent::Pay).await?;
        println!("2. One is paid: it is now {state:?}.");

        server.kill()?;
        println!("3. kill -9. Nothing runs any more, and the 2 seconds pass.");
        #[expect(clippy::disallowed_methods, reason = "the story takes its time")]
        tokio::time::sleep(Duration::from_secs(2)).await;

        let server = Server::start(data)?;
        let state = server.order(&paid).get_order().await?.state;
        println!("4. Started again: the paid order is {state:?}.");

        let tracking_number = "TRACK-456".to_owned();
        let ship = OrderEvent::Ship { tracking_number };
        server.order(&paid).transition(ship).await?;
        let refused = server.order(&paid).transition(OrderEvent::Cancel).await;
        let Err(CallError::Object(OrderError::InvalidTransition(invalid))) = refused else {
            return Err("a shipped order was cancelled".into());
        };
        println!("5. It is shipped, and cannot be cancelled any more: {invalid}");
        server.order(&paid).transition(OrderEvent::Deliver).await?;

        println!("6. The story of both, as it is on disk:");
        for name in [&paid, &forgotten] {
            let order = wait_until_settled(&server, name).await?;
            let tracking = order.tracking_number.map(|number| format!(" ({number})"));
            println!("   {}{}:", order.order_id, tracking.unwrap_or_default());
            for step in order.history {
                let event = step.event.unwrap_or_default();
                println!("      {}  {} -> {} by {event}", step.at, step.from, step.to);
            }
        }
        server.kill()
    }

    /// The overdue alarm fires as soon as the host runs again; give it that moment.
    async fn wait_until_settled(server: &Server, name: &str) -> Result<OrderView, Box<dyn Error>> {
        loop {
            let order = server.order(name).get_order().await?;
            if ORDER.is_terminal(&order.state) {
                return Ok(order);
            }
            #[expect(clippy::disallowed_methods, reason = "a person waits for it")]
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    process::main()
}
