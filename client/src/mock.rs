use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use crate::{CallReply, CallRequest, ErrorReply, RpcError, Transport, TransportError};

/// A transport with answers that were set before: for tests of what calls an object.
///
/// A method answers what was set with [`answer_once`](Self::answer_once) or one of its like first, in
/// that order, and after that what was set with [`answer`](Self::answer). A method for which nothing
/// is left answers `method_not_found`. Clones are the same mock.
///
/// ```rust
/// use std::convert::Infallible;
/// use dokit_client::{MockTransport, rpc};
///
/// #[rpc]
/// trait Stock {
///     async fn take(&mut self, count: u64) -> Result<u64, Infallible>;
/// }
///
/// let mock = MockTransport::new();
/// mock.answer("take", 7);
/// # futures_executor::block_on(async {
/// assert_eq!(StockClient::new(mock.clone()).take(3).await.unwrap(), 7);
/// # });
/// assert_eq!(mock.calls("take"), 1);
/// assert_eq!(mock.requests()[0].arguments, "[3]");
/// ```
#[derive(Clone, Debug, Default)]
pub struct MockTransport {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    always: HashMap<String, CallReply>,
    once: HashMap<String, VecDeque<CallReply>>,
    requests: Vec<CallRequest>,
}

impl MockTransport {
    /// A mock with no answers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the result of a method, by its name on the wire, for every call.
    ///
    /// # Panics
    ///
    /// If the result has no JSON form.
    #[track_caller]
    pub fn answer(&self, method: &str, result: impl Serialize) {
        let reply = json(&result);
        self.lock().always.insert(method.to_owned(), reply);
    }

    /// Sets the result of one call.
    ///
    /// # Panics
    ///
    /// If the result has no JSON form.
    #[track_caller]
    pub fn answer_once(&self, method: &str, result: impl Serialize) {
        self.reply_once(method, json(&result));
    }

    /// Sets an error of the method's own as the answer to one call.
    pub fn fail_once(&self, method: &str, error: &impl RpcError) {
        self.refuse_once(method, &error.to_reply());
    }

    /// Sets an error of the host as the answer to one call: [`ErrorReply::overloaded`], say.
    pub fn refuse_once(&self, method: &str, error: &ErrorReply) {
        self.reply_once(method, CallReply::error(error));
    }

    /// Sets the answer to one call as it comes over the wire, however odd.
    pub fn reply_once(&self, method: &str, reply: CallReply) {
        let mut state = self.lock();
        state
            .once
            .entry(method.to_owned())
            .or_default()
            .push_back(reply);
    }

    /// How many calls of a method have come.
    #[must_use]
    pub fn calls(&self, method: &str) -> usize {
        let state = self.lock();
        let calls = state.requests.iter();
        calls.filter(|request| request.method == method).count()
    }

    /// All calls that have come, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<CallRequest> {
        self.lock().requests.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for MockTransport {
    async fn send(&self, call: &CallRequest) -> Result<CallReply, TransportError> {
        let mut state = self.lock();
        state.requests.push(call.clone());
        let method = &*call.method;
        let once = state.once.get_mut(method).and_then(VecDeque::pop_front);
        let reply = once.or_else(|| state.always.get(method).cloned());
        Ok(reply.unwrap_or_else(|| {
            let once = state.once.iter().filter(|(_, left)| !left.is_empty());
            let known = state.always.keys().chain(once.map(|(method, _)| method));
            let known: BTreeSet<_> = known.map(String::as_str).collect();
            let known: Vec<_> = known.into_iter().collect();
            let mut error = ErrorReply::method_not_found(method, &known);
            error.message = format!(
                "the mock has no answer for {method:?}; it has some for: [{}]",
                known.join(", ")
            );
            CallReply::error(&error)
        }))
    }
}

#[track_caller]
fn json(result: &impl Serialize) -> CallReply {
    match serde_json::to_vec(result) {
        Ok(body) => CallReply::json(200, body),
        Err(error) => panic!("the mock's answer has no json form: {error}"),
    }
}
