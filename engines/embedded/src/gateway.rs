//! The door for HTTP.

use std::{
    error::Error,
    fmt,
    future::Future,
    net::{SocketAddr, ToSocketAddrs},
};

use axum::{
    body::{Body, to_bytes},
    extract::State,
};
use dokit_client::ErrorReply;
use dokit_object::{Request, error_response};
use http_body_util::LengthLimitError;
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Host,
    engine::DRAIN,
    error::StartError,
    sockets::{self, Upgrade},
};

/// A host's open door: an address that is listened on.
#[derive(Debug)]
pub struct Listener {
    host: Host,
    listener: TcpListener,
    address: SocketAddr,
}

impl Host {
    /// Listens on an address, such as `127.0.0.1:8787`, or port 0 for any that is free. Requests are
    /// answered once [`Listener::serve`] runs.
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`].
    pub async fn listen(
        &self,
        address: impl ToSocketAddrs + fmt::Display,
    ) -> Result<Listener, StartError> {
        self.listener(bind(address).await?)
    }

    pub(crate) fn listener(&self, listener: TcpListener) -> Result<Listener, StartError> {
        let address = listener.local_addr();
        let address = address.map_err(|source| StartError::Serve { source })?;
        Ok(Listener {
            host: self.clone(),
            listener,
            address,
        })
    }

    /// The gateway as a service, to nest it in a router of one's own.
    pub fn router(&self) -> axum::Router {
        axum::Router::new()
            .fallback(answer)
            .with_state(self.clone())
    }
}

impl Listener {
    /// The address, with the port that was found for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` resolves, and then those that run, for ten seconds at most.
    ///
    /// # Errors
    ///
    /// [`StartError::Serve`].
    pub async fn serve(
        self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), StartError> {
        let (stopped, mut stopping) = watch::channel(false);
        let told = async move {
            stop.await;
            stopped.send_replace(true);
        };
        let serving = axum::serve(self.listener, self.host.router()).with_graceful_shutdown(told);
        let drained = async move {
            // A client that keeps its request half sent does not keep us.
            if stopping.wait_for(|stopping| *stopping).await.is_ok() {
                #[expect(clippy::disallowed_methods, reason = "a limit on real clients")]
                tokio::time::sleep(DRAIN).await;
            } else {
                std::future::pending().await
            }
        };
        tokio::select! {
            served = serving => served.map_err(|source| StartError::Serve { source }),
            () = drained => Ok(()),
        }
    }
}

/// Opens an address for requests.
pub(crate) async fn bind(
    address: impl ToSocketAddrs + fmt::Display,
) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen {
        address: address.to_string(),
        source,
    };
    let addresses: Vec<SocketAddr> = address.to_socket_addrs().map_err(failed)?.collect();
    TcpListener::bind(&*addresses).await.map_err(failed)
}

async fn answer(State(host): State<Host>, request: axum::extract::Request) -> http::Response<Body> {
    let (mut head, body) = request.into_parts();
    let upgrade = Upgrade::take(&mut head);
    let limit = host.engine().body_limit();
    let response = match to_bytes(body, limit).await {
        Ok(body) => host.handle(Request::from_parts(head, body)).await,
        Err(error) => error_response(&unreadable_body(&error, limit)),
    };
    sockets::switch(host.engine(), upgrade, response).map(Body::from)
}

fn unreadable_body(error: &axum::Error, limit: usize) -> ErrorReply {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return ErrorReply::payload_too_large(limit);
        }
        cause = error.source();
    }
    ErrorReply::new(400, "invalid_body", "the body broke off")
}

/// Resolves when the process is told to stop: SIGTERM, or ctrl-c.
pub async fn told_to_stop() {
    let interrupt = async {
        // Where the signal cannot be heard, it ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}
