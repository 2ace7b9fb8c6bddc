use dokit_client::{InProcess, RpcError, rpc};
use futures_executor::block_on;

#[derive(Debug, PartialEq, thiserror::Error, RpcError)]
pub enum CounterError {
    #[error("would be more than {limit}")]
    #[rpc(status = 409)]
    TooMany { limit: i64 },
}

#[rpc]
pub trait CounterApi {
    /// Adds.
    async fn increment(&mut self, amount: i64) -> Result<i64, CounterError>;
    async fn get_count(&self) -> Result<i64, CounterError>;
}

#[derive(Default)]
struct Counter {
    count: i64,
}

impl CounterApi for Counter {
    async fn increment(&mut self, amount: i64) -> Result<i64, CounterError> {
        if self.count + amount > 10 {
            return Err(CounterError::TooMany { limit: 10 });
        }
        self.count += amount;
        Ok(self.count)
    }
    async fn get_count(&self) -> Result<i64, CounterError> {
        Ok(self.count)
    }
}

#[test]
fn it_works() {
    let counter = CounterApiClient::new(InProcess::new(CounterApiServer, Counter::default()));
    block_on(async {
        assert_eq!(counter.increment(5).await.unwrap(), 5);
        assert_eq!(counter.get_count().await.unwrap(), 5);
        assert_eq!(
            counter.increment(50).await.unwrap_err().into_object(),
            Some(CounterError::TooMany { limit: 10 })
        );
    });
}
