use dokit_object::{Context, DurableObject, Result, State, durable_object};

struct Cart {
    items: State<Vec<String>>,
}

#[durable_object(state = item)]
impl DurableObject for Cart {
    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { items: ctx.state(Vec::new).load().await? })
    }
}

fn main() {}
