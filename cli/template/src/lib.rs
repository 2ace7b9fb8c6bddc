//! A durable object: a counter with a name.

use dokit::{
    Alarm, Context, DurableObject, Error, Result, alarms::parse_duration, durable_object,
    object::State, rpc,
};

/// What a counter can be asked. A method that takes `&mut self` runs alone, and all that it writes is kept
/// together, or nothing of it when it fails.
#[rpc]
pub trait CounterApi {
    /// Adds, and answers the new count.
    async fn increment(&mut self, amount: u64) -> Result<u64>;
    /// Answers the count.
    async fn get_count(&self) -> Result<u64>;
    /// Starts again at zero when a time such as `1h 30m` has passed.
    async fn reset_in(&mut self, time: String) -> Result<()>;
}

/// There is one counter of each name.
pub struct Counter {
    ctx: Context,
    /// Loaded when the object wakes, and stored by each call that changes it.
    count: State<u64>,
}

#[durable_object(state = count)]
impl DurableObject for Counter {
    type Api = CounterApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let count = ctx.state(u64::default).load().await?;
        Ok(Self { ctx, count })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        *self.count = 0;
        Ok(())
    }
}

impl CounterApi for Counter {
    async fn increment(&mut self, amount: u64) -> Result<u64> {
        let Some(count) = self.count.checked_add(amount) else {
            let message = format!("{} and {amount} are more than can be counted", *self.count);
            return Err(Error::new(400, "too_many", message));
        };
        *self.count = count;
        Ok(count)
    }

    async fn get_count(&self) -> Result<u64> {
        Ok(*self.count)
    }

    async fn reset_in(&mut self, time: String) -> Result<()> {
        let at = self.ctx.now().saturating_add(parse_duration(&time)?);
        self.ctx.storage().set_alarm(at).await?;
        Ok(())
    }
}
