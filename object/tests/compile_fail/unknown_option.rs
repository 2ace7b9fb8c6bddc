use dokit_object::{Context, DurableObject, Result, durable_object};

struct Counter;

#[durable_object(name = "counter")]
impl DurableObject for Counter {
    async fn new(_: Context) -> Result<Self> {
        Ok(Self)
    }
}

fn main() {}
