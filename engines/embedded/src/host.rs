use std::{fmt, net::SocketAddr, sync::Arc};

use dokit_object::{DurableObject, Namespace, Request, Response, engine::error_response};

use crate::{Builder, database::Database, engine::Engine};

/// Durable objects in this process.
///
/// Clones are handles to the same host. Dropping them all stops it like a crash: what was answered
/// is on disk, what still runs is lost. [`shutdown`](Self::shutdown) lets it finish.
#[derive(Clone)]
pub struct Host {
    engine: Arc<Engine>,
}

impl Host {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Runs what takes long with the database, where it keeps no call waiting.
    pub(crate) async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> R + Send + 'static,
    ) -> R {
        let engine = Arc::clone(&self.engine);
        let runtime = engine.runtime().clone();
        let done = runtime.spawn_blocking(move || work(engine.database()));
        match done.await {
            Ok(result) => result,
            // It can only have panicked: blocking work is never aborted.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// What a host is made of, all at its defaults.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// The objects of a type, to call them from this process.
    ///
    /// A type that is not registered is answered `namespace_not_found`, call by call.
    #[must_use]
    pub fn namespace<T: DurableObject>(&self) -> Namespace {
        Namespace::new(T::NAMESPACE, self.engine.router())
    }

    /// Answers a request as the gateway does: its path names the object. Nobody asks for a token here.
    pub async fn handle(&self, request: Request) -> Response {
        let entered = self.engine.load().enter();
        let entered = entered.and_then(|mut place| {
            place.bring(request.body().len())?;
            Ok(place)
        });
        match entered {
            Ok(place) => self.engine.request(request, place).await,
            Err(refused) => {
                self.engine.refused(&refused);
                error_response(&refused)
            }
        }
    }

    /// What the host counts, in the text format of Prometheus: the same as `/metrics` at the
    /// administration address.
    #[must_use]
    pub fn metrics(&self) -> String {
        self.engine.metrics_text()
    }

    /// The [administration address](crate::Builder::admin), where one was asked for, with the port that
    /// was found for port 0.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.engine.admin_address()
    }

    /// Returns once every alarm that is due by the host's clock has been tried, and none runs; at once
    /// after a shutdown. With a clock that a test moves, this is how the test waits for alarms.
    pub async fn alarms_settled(&self) {
        self.engine.alarms_settled().await;
    }

    /// Has every object that is in memory leave it, once the calls that it was sent before are done;
    /// the next call wakes it. Returns when all have been told. Nobody else can tell.
    pub async fn sleep(&self) {
        self.engine.sleep().await;
    }

    /// Takes no more calls, lets those that run or wait finish, for as long as [`Builder::drain`] says, and closes
    /// the data: when it has returned, another host can open it. Calls that come meanwhile are
    /// answered `shutting_down`.
    pub async fn shutdown(&self) {
        self.engine.shutdown(self.engine.serving().drain).await;
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.engine.fmt(f)
    }
}
