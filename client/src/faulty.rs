//! A transport on which calls and answers get lost, for tests.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{CallReply, CallRequest, ErrorReply, Timer, Transport, TransportError};

/// What goes wrong with one call.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// Nothing.
    None,
    /// The call does not leave, and the caller knows it: the connection was refused.
    Refused,
    /// The call is lost on its way: it does not run, but the caller cannot know that.
    LostBefore,
    /// The call runs and its answer is lost.
    LostAfter,
    /// The call is answered with this error and does not run: overloaded, say.
    Answered(ErrorReply),
    /// The call does not run and nothing ever answers, until the caller's deadline.
    Hangs,
    /// The call runs, and its answer would come after the caller's deadline.
    AnswersTooLate,
}

/// Any transport, with a plan of what goes wrong on it.
///
/// The first call meets the first fault of the plan, and so on; after the last, nothing goes wrong.
///
/// ```rust
/// use std::convert::Infallible;
/// use dokit_client::{Fault, Faulty, MockTransport, TestTimer, rpc};
///
/// #[rpc]
/// trait Stock {
///     async fn count(&self) -> Result<u64, Infallible>;
/// }
///
/// let mock = MockTransport::new();
/// mock.answer("count", 7);
/// let faulty = Faulty::new(mock.clone(), [Fault::LostBefore, Fault::LostAfter]);
/// let stock = StockClient::new(faulty).with_timer(TestTimer::new());
/// # futures_executor::block_on(async {
/// assert_eq!(stock.count().await.unwrap(), 7);
/// # });
/// assert_eq!(mock.calls("count"), 2);
/// ```
#[derive(Clone, Debug)]
pub struct Faulty<T> {
    transport: T,
    plan: Arc<Mutex<VecDeque<Fault>>>,
}

impl<T> Faulty<T> {
    /// A transport with its faults, in order. Clones share one plan.
    pub fn new(transport: T, plan: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            transport,
            plan: Arc::new(Mutex::new(plan.into_iter().collect())),
        }
    }

    /// How many faults of the plan have not been met yet.
    #[must_use]
    pub fn left(&self) -> usize {
        let plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.len()
    }

    fn next(&self) -> Fault {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        plan.pop_front().unwrap_or(Fault::None)
    }
}

impl<T: Transport> Transport for Faulty<T> {
    async fn send(&self, call: &CallRequest) -> Result<CallReply, TransportError> {
        match self.next() {
            Fault::None => self.transport.send(call).await,
            Fault::Refused => Err(TransportError::unsent("connection refused, by plan")),
            Fault::LostBefore => Err(TransportError::lost("connection lost, by plan")),
            Fault::LostAfter => {
                self.transport.send(call).await?;
                Err(TransportError::lost("connection lost, by plan"))
            }
            Fault::Answered(error) => Ok(CallReply::error(&error)),
            Fault::Hangs => pending().await,
            Fault::AnswersTooLate => {
                self.transport.send(call).await?;
                pending().await
            }
        }
    }

    fn timer(&self) -> Option<Arc<dyn Timer>> {
        self.transport.timer()
    }
}
