use dokit_object::{Context, DurableObject, Result, durable_object};

struct Cache<T>(T);

#[durable_object]
impl DurableObject for Cache<u8> {
    async fn new(_: Context) -> Result<Self> {
        Ok(Self(0))
    }
}

fn main() {}
