use dokit_client::rpc;
use dokit_object::{Context, DurableObject, Error, Result, durable_object};

#[rpc]
pub trait CounterApi {
    async fn increment(&mut self) -> Result<u64, Error>;
}

struct Counter;

#[durable_object]
impl DurableObject for Counter {
    type Api = CounterApiServer;

    async fn new(_: Context) -> Result<Self> {
        Ok(Self)
    }
}

fn main() {}
