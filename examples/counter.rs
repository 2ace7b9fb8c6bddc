//! The smallest durable object there is: a number with a name.
//!
//! ```sh
//! cargo run --example counter                                     # counts, in this process
//! cargo run --example counter -- serve --addr 127.0.0.1:8787      # listens, and then:
//! curl -d '[5]' http://127.0.0.1:8787/counter/global/increment    # 5
//! curl -d '[]'  http://127.0.0.1:8787/counter/global/get_count    # 5
//! curl -d '[]'  http://127.0.0.1:8787/counter/global/reset        # null
//! ```

use dokit::{
    Context, DurableObject, Result, durable_object,
    object::Storage,
    rpc,
    storage::{Schema, TypedStorage},
};

/// What a counter can be asked.
#[rpc]
pub trait CounterApi {
    /// Adds, and answers the new count.
    async fn increment(&mut self, amount: i64) -> Result<i64>;
    /// Answers the count.
    async fn get_count(&self) -> Result<i64>;
    /// Starts again at zero.
    async fn reset(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct CounterSchema {
    count: i64,
}

pub(crate) struct Counter {
    storage: TypedStorage<CounterSchema, Storage>,
}

#[durable_object]
impl DurableObject for Counter {
    type Api = CounterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }
}

impl CounterApi for Counter {
    async fn increment(&mut self, amount: i64) -> Result<i64> {
        let count = self.get_count().await?;
        let Some(count) = count.checked_add(amount) else {
            let message = format!("{count} + {amount} does not fit in 64 bits");
            return Err(dokit::Error::new(400, "overflow", message));
        };
        self.storage.put(CounterSchema::COUNT, &count).await?;
        Ok(count)
    }

    async fn get_count(&self) -> Result<i64> {
        Ok(self.storage.get(CounterSchema::COUNT).await?.unwrap_or(0))
    }

    async fn reset(&mut self) -> Result<()> {
        self.storage.delete(CounterSchema::COUNT).await?;
        Ok(())
    }
}

/// The counter in a process of its own. (`examples/workers` exports the same to Cloudflare.)
#[cfg(not(target_arch = "wasm32"))]
mod process {
    use std::{error::Error, path::PathBuf, process::ExitCode};

    use clap::{Parser, Subcommand};
    use dokit::{Host, client::singleton};

    use super::{Counter, CounterApiClient};

    /// A durable counter.
    #[derive(Parser)]
    struct Arguments {
        #[command(subcommand)]
        command: Option<Command>,
        /// Where the counters are kept.
        #[arg(long, global = true, default_value = "data/counter")]
        data: PathBuf,
    }

    #[derive(Subcommand)]
    enum Command {
        /// Listens for HTTP.
        Serve {
            /// The address to listen on.
            #[arg(long, default_value = "127.0.0.1:8787")]
            addr: String,
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
        let host = Host::builder().data(data).object::<Counter>().start()?;
        if let Some(Command::Serve { addr }) = command {
            let listener = host.listen(addr).await?;
            println!("listening on http://{}", listener.address());
            listener.run().await;
        } else {
            let counter = CounterApiClient::new(singleton(&host.namespace::<Counter>(), "global"));
            let before = counter.get_count().await?;
            let after = counter.increment(1).await?;
            println!(
                "the counter stood at {before}; now it is {after}. Run me again: it counts on."
            );
        }
        host.shutdown().await;
        Ok(())
    }
}

#[cfg(not(target_arch = "wasm32"))]
fn main() -> std::process::ExitCode {
    process::main()
}
