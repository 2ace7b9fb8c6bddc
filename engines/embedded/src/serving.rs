//! A server: an address that is listened on, its connections, and how they end.

use std::{
    fmt,
    future::Future,
    io,
    net::{SocketAddr, ToSocketAddrs},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{
    connection::{self, Arriving, Patience, Stage, Timed},
    error::StartError,
    metrics::Metrics,
};

/// How long no connection is taken after the system had none to give: it is out of file descriptors,
/// say.
const PAUSE: Duration = Duration::from_secs(1);

/// How many connections the system keeps for us that we have not accepted yet.
const BACKLOG: u32 = 1024;

/// What a server goes by.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) patience: Patience,
    /// A place for each connection that there may be. The next one waits for one to end.
    pub(crate) places: Arc<Semaphore>,
    /// How long requests that run may take to end.
    pub(crate) drain: Duration,
    pub(crate) metrics: Arc<Metrics>,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every request was answered.
    Drained,
    /// Some took too long.
    Late,
    /// The process was told a second time to stop.
    Told,
}

impl Serving {
    /// Answers requests until `stop` resolves, and then those that run. Dropped, it closes all its
    /// connections.
    pub(crate) async fn run<A, R>(
        &self,
        listener: TcpListener,
        answer: A,
        stop: impl Future<Output = ()>,
    ) -> Ended
    where
        A: Fn(http::Request<Arriving>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = http::Response<Full<Bytes>>> + Send + 'static,
    {
        let (stage, connection_stage) = watch::channel(Stage::Serving);
        let accept = async {
            loop {
                let Some((stream, place)) = self.accept(&listener).await else {
                    continue;
                };
                // Small answers are not to wait for larger ones.
                let _ = stream.set_nodelay(true);
                let stream = Timed::new(stream, self.patience, place, Arc::clone(&self.metrics));
                let serve = connection::serve(stream, answer.clone(), connection_stage.clone());
                #[expect(clippy::disallowed_methods, reason = "it ends with its stage")]
                tokio::spawn(serve);
            }
        };
        tokio::select! {
            biased;
            () = stop => {}
            () = accept => {}
        }
        // Before the door is seen to be closed.
        let again = Signals::new();
        drop((listener, connection_stage));
        stage.send_replace(Stage::Draining);
        let ended = tokio::select! {
            biased;
            () = stage.closed() => Ended::Drained,
            () = pause(self.drain) => Ended::Late,
            () = again.told_to_stop() => Ended::Told,
        };
        if ended != Ended::Drained {
            tracing::warn!("requests that still ran were given up");
            stage.send_replace(Stage::Over);
            stage.closed().await;
        }
        ended
    }

    async fn accept(&self, listener: &TcpListener) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        // It is never closed.
        let counted = &self.metrics.connections;
        if self.places.available_permits() == 0 {
            counted.full.fetch_add(1, Ordering::Relaxed);
        }
        let place = Arc::clone(&self.places).acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => {
                counted.accepted.fetch_add(1, Ordering::Relaxed);
                Some((stream, place))
            }
            Err(error) => {
                use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
                // These are of one connection that has gone already.
                let of_one = [ConnectionAborted, ConnectionRefused, ConnectionReset];
                if !of_one.contains(&error.kind()) {
                    tracing::error!("accept a connection: {error}");
                    pause(PAUSE).await;
                }
                None
            }
        }
    }
}

async fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a limit on real clients")]
    tokio::time::sleep(duration).await;
}

/// Opens an address for requests; gives it with the port that was found for port 0.
pub(crate) fn bind(
    address: impl ToSocketAddrs + fmt::Display,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Listen {
        address: address.to_string(),
        source,
    };
    let mut error = io::Error::new(io::ErrorKind::InvalidInput, "it is no address");
    for one in address.to_socket_addrs().map_err(failed)? {
        match open(one) {
            Ok(listener) => {
                let address = listener.local_addr().map_err(failed)?;
                return Ok((listener, address));
            }
            Err(refused) => error = refused,
        }
    }
    Err(failed(error))
}

/// As tokio's own `TcpListener::bind` does it, which is for no reason async.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    #[cfg(not(windows))]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Resolves when the process is told to stop: SIGTERM, or ctrl-c. It hears what comes after it was first
/// polled.
pub async fn told_to_stop() {
    Signals::new().told_to_stop().await;
}

/// What the process is told from outside, from the moment that this is made.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Signals([Option<tokio::signal::unix::Signal>; 2]);

#[cfg(unix)]
impl Signals {
    pub(crate) fn new() -> Self {
        use tokio::signal::unix::{SignalKind, signal};
        // One that cannot be heard ends the process by itself.
        Self([SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok()))
    }

    pub(crate) async fn told_to_stop(self) {
        let [terminate, interrupt] = self.0.map(heard);
        tokio::select! {
            () = terminate => {}
            () = interrupt => {}
        }
    }
}

#[cfg(unix)]
async fn heard(signal: Option<tokio::signal::unix::Signal>) {
    match signal {
        Some(mut signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// What the process is told from outside.
#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Signals;

#[cfg(not(unix))]
impl Signals {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) async fn told_to_stop(self) {
        // Where the signal cannot be heard, it ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
