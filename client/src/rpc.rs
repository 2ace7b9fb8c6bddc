/// Makes of one trait both ends of an API.
///
/// ```rust
/// use std::convert::Infallible;
/// use dokit_client::{InProcess, rpc};
///
/// #[rpc(rename_all = "camelCase")]
/// pub trait CounterApi {
///     /// Adds `amount`, or 1, and answers the count.
///     async fn increment(&mut self, amount: Option<i64>) -> Result<i64, Infallible>;
///
///     /// The count.
///     async fn get_count(&self) -> Result<i64, Infallible>;
/// }
///
/// struct Counter(i64);
///
/// impl CounterApi for Counter {
///     async fn increment(&mut self, amount: Option<i64>) -> Result<i64, Infallible> {
///         self.0 += amount.unwrap_or(1);
///         Ok(self.0)
///     }
///
///     async fn get_count(&self) -> Result<i64, Infallible> {
///         Ok(self.0)
///     }
/// }
///
/// # futures_executor::block_on(async {
/// let counter = CounterApiClient::new(InProcess::new(CounterApiServer, Counter(0)));
/// assert_eq!(counter.increment(Some(5)).await.unwrap(), 5);
/// assert_eq!(counter.get_count().await.unwrap(), 5);
/// assert_eq!(CounterApiServer::METHODS[1].name(), "getCount");
/// # });
/// ```
///
/// # What it makes
///
/// - **The trait**, whose methods an object writes as plain `async fn`s. Natively their futures have
///   to be `Send`, and so has the object, which also has to be `Sync`.
/// - **`CounterApiClient<T>`** for a [`Transport`](crate::Transport) `T`: the same methods, all by
///   `&self`, with [`CallError<E>`](crate::CallError) for an error `E`. `with_deadline`,
///   `with_idempotency_key`, `with_retry`, `with_traceparent` and `with_timer` give a copy of the client
///   with that option of its [`Caller`](crate::Caller), as in
///   `counter.with_idempotency_key("a1").increment(Some(5)).await`.
/// - **`CounterApiServer`**, which implements [`Dispatch<T>`](crate::Dispatch) for every
///   `T: CounterApi`, and has the table `METHODS`.
///
/// # Options
///
/// Above the trait: `rename_all = "camelCase"` (or any case of serde's) for the methods' names on the
/// wire, which are those in the trait otherwise; `crate = path`, where this crate is known by another
/// path. Above a method: `#[rpc(rename = "name")]` for its name on the wire, and `#[rpc(idempotent)]`
/// for one that takes `&mut self` and may still be called twice with the effect of once, so that it may
/// be [tried again](crate::Retry).
///
/// # What a method may be
///
/// An `async fn` of `&self` or `&mut self`, with owned arguments that are `Serialize` and `DeserializeOwned`, which returns `Result<V, E>` with a `V` that is both too and an `E` that is
/// an [`RpcError`](trait@crate::RpcError); an alias such as `type Result<V> = ..` will do. `Option`s
/// at the end may be left out by a caller, and the client leaves out those that are `None`: so a method may
/// gain one while servers and clients of before are still running. It has no generics and no reserved name: `fetch`, `connect`,
/// `alarm`, `dup`, `constructor`, `websocket_message`, `websocket_close`, `websocket_error`, what
/// JavaScript asks of any value (`then`, `toJSON`, `toString`, `valueOf`), and `new` and the options of
/// the client, in any spelling. All of this is checked by the compiler.
///
/// A float that is infinite or not a number is `null` in JSON, so it does not arrive.
pub use dokit_macros::rpc;
