use std::{
    collections::HashMap,
    fmt,
    future::poll_fn,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use crate::{
    CallReply, CallRequest, Dispatch, ErrorReply, Failure, MaybeSend, MaybeSync, Method, Transport,
    TransportError, find_method,
};

/// The transport to an object in the same process: any value that implements the API, with no
/// engine, network or runtime.
///
/// Calls go through the JSON of the wire and run one at a time. The answers to calls
/// with an idempotency key are kept as long as the transport. There is no storage and no
/// rollback; an object that calls itself through it waits for ever. It is for tests, and for programs
/// that want the shape of an object before they need an engine.
///
/// ```rust
/// use std::convert::Infallible;
/// use dokit_client::{InProcess, rpc};
///
/// #[rpc]
/// trait Greeter {
///     async fn greet(&self, name: String) -> Result<String, Infallible>;
/// }
///
/// struct English;
/// impl Greeter for English {
///     async fn greet(&self, name: String) -> Result<String, Infallible> {
///         Ok(format!("hello, {name}"))
///     }
/// }
///
/// # futures_executor::block_on(async {
/// let greeter = GreeterClient::new(InProcess::new(GreeterServer, English));
/// assert_eq!(greeter.greet("Ada".into()).await.unwrap(), "hello, Ada");
/// # });
/// ```
pub struct InProcess<D, T> {
    shared: Arc<Shared<T>>,
    dispatch: PhantomData<fn() -> D>,
}

struct Shared<T> {
    turn: Mutex<Turn<T>>,
    answered: Mutex<HashMap<String, Answered>>,
}

/// The object, while no call has it, and who waits for it.
struct Turn<T> {
    object: Option<T>,
    waiting: Vec<Waker>,
}

/// The answer to a call with an idempotency key.
struct Answered {
    method: &'static str,
    arguments: String,
    json: String,
}

impl<D: Dispatch<T>, T> InProcess<D, T> {
    /// A way to `object`. Its clones lead to the same object.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "the dispatcher is a unit struct, named to say which one"
    )]
    pub fn new(dispatcher: D, object: T) -> Self {
        let _ = dispatcher;
        Self {
            shared: Arc::new(Shared {
                turn: Mutex::new(Turn {
                    object: Some(object),
                    waiting: Vec::new(),
                }),
                answered: Mutex::default(),
            }),
            dispatch: PhantomData,
        }
    }

    async fn run(&self, request: &CallRequest) -> Result<String, ErrorReply> {
        let method = find_method(D::METHODS, &request.method)?;
        let mut lease = self.shared.lease().await;
        if let Some(json) = self.shared.recall(method, request)? {
            return Ok(json);
        }
        let Some(object) = lease.object.as_mut() else {
            // A lease is made with an object and loses it when it is dropped.
            return Err(ErrorReply::object_reset());
        };
        let arguments = request.arguments.as_bytes();
        let json = D::call_exclusive(object, method, arguments)
            .await
            .map_err(Failure::into_reply)?;
        self.shared.remember(method, request, &json);
        Ok(json)
    }
}

impl<D, T> Transport for InProcess<D, T>
where
    D: Dispatch<T>,
    T: MaybeSend + MaybeSync,
{
    async fn send(&self, request: &CallRequest) -> Result<CallReply, TransportError> {
        Ok(match self.run(request).await {
            Ok(json) => CallReply::json(200, json),
            Err(error) => CallReply::error(&error),
        })
    }
}

impl<T> Shared<T> {
    /// Waits for the object.
    async fn lease(&self) -> Lease<'_, T> {
        poll_fn(|context| {
            let mut turn = locked(&self.turn);
            match turn.object.take() {
                Some(object) => Poll::Ready(Lease {
                    shared: self,
                    object: Some(object),
                }),
                None => {
                    turn.waiting.push(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The answer that a call with this key had.
    fn recall(&self, method: &Method, request: &CallRequest) -> Result<Option<String>, ErrorReply> {
        let Some(key) = &request.idempotency_key else {
            return Ok(None);
        };
        match locked(&self.answered).get(key) {
            None => Ok(None),
            Some(same) if same.method == method.name() && same.arguments == request.arguments => {
                Ok(Some(same.json.clone()))
            }
            Some(_) => Err(ErrorReply::idempotency_conflict(key)),
        }
    }

    fn remember(&self, method: &Method, request: &CallRequest, json: &str) {
        if let Some(key) = &request.idempotency_key {
            let answered = Answered {
                method: method.name(),
                arguments: request.arguments.clone(),
                json: json.to_owned(),
            };
            locked(&self.answered).insert(key.clone(), answered);
        }
    }
}

/// The object, in the hands of one call. It goes back also when the call panics or is given up.
struct Lease<'a, T> {
    shared: &'a Shared<T>,
    object: Option<T>,
}

impl<T> Drop for Lease<'_, T> {
    fn drop(&mut self) {
        let mut turn = locked(&self.shared.turn);
        turn.object = self.object.take();
        // All are woken, since the first may have been given up.
        let waiting = std::mem::take(&mut turn.waiting);
        drop(turn);
        waiting.into_iter().for_each(Waker::wake);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<D, T> Clone for InProcess<D, T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            dispatch: PhantomData,
        }
    }
}

impl<D, T> fmt::Debug for InProcess<D, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}
