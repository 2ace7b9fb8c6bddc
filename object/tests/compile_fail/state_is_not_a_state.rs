use dokit_object::{Context, DurableObject, Result, durable_object};

struct Cart {
    items: Vec<String>,
}

#[durable_object(state = items)]
impl DurableObject for Cart {
    async fn new(_: Context) -> Result<Self> {
        Ok(Self { items: Vec::new() })
    }
}

fn main() {}
