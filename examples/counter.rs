//! The smallest durable object there is: a number with a name, by calls and by plain HTTP.
//!
//! ```sh
//! cargo run --example counter                                      # listens, and then:
//! curl -d '[5]' http://127.0.0.1:8787/counter/global/increment     # 5
//! curl -d '[2]' http://127.0.0.1:8787/counter/global/decrement     # 3
//! curl -d '[9]' http://127.0.0.1:8787/counter/global/decrement     # 0
//! curl -d '[]' http://127.0.0.1:8787/counter/global/get_count      # 0
//! curl -d '{"amount":4}' http://127.0.0.1:8787/counter/global      # {"count":4}
//! curl http://127.0.0.1:8787/counter/global                        # {"count":4}
//! curl -d '[]' http://127.0.0.1:8787/counter/global/reset          # null
//! ```

use dokit::{
    Context, DurableObject, Request, Response, Result, durable_object,
    object::{Storage, json_response, read_json},
    rpc,
    storage::{Schema, TypedStorage},
};
use serde::{Deserialize, Serialize};

/// What a counter can be asked.
#[rpc]
pub trait CounterApi {
    /// Adds, and answers the new count.
    async fn increment(&mut self, amount: i64) -> Result<i64>;
    /// Takes away, and answers the new count. It stops at zero; what is below already stays.
    async fn decrement(&mut self, amount: u64) -> Result<i64>;
    /// Answers the count.
    async fn get_count(&self) -> Result<i64>;
    /// Starts again at zero.
    async fn reset(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct CounterSchema {
    count: i64,
}

/// The body of a POST.
#[derive(Deserialize)]
struct Add {
    amount: i64,
}

/// The answer over plain HTTP.
#[derive(Serialize)]
struct Count {
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

    /// The same without the calls: GET answers the count, POST adds the amount in its body.
    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let count = match (request.method().as_str(), request.uri().path()) {
            ("GET", "/") => self.get_count().await?,
            ("POST", "/") => self.increment(read_json::<Add>(&request)?.amount).await?,
            (verb, path) => {
                let message = format!("{verb} {path} is nothing that a counter answers");
                return Err(dokit::Error::new(404, "not_found", message));
            }
        };
        json_response(200, &Count { count })
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

    async fn decrement(&mut self, amount: u64) -> Result<i64> {
        let before = self.get_count().await?;
        let count = before.saturating_sub_unsigned(amount).max(before.min(0));
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

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<Counter>();
    serve::main("counter", host, include_str!("counter.rs"))
}
