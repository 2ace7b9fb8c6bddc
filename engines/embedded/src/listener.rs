//! A host's open door: an address at which its gateway answers.

use std::{
    fmt,
    future::Future,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use tokio::{net::TcpListener, time::Instant};

use crate::{
    Host,
    error::StartError,
    gateway::Gateway,
    serving::{Ended, Signals, bind, told_to_stop},
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
    /// [`StartError::Listen`], and [`StartError::Unguarded`] where the address is not loopback and
    /// nobody is asked who they are.
    pub async fn listen(
        &self,
        address: impl ToSocketAddrs + fmt::Display,
    ) -> Result<Listener, StartError> {
        let (listener, address) = bind(address)?;
        self.listener(listener, address)
    }

    pub(crate) fn listener(
        &self,
        listener: TcpListener,
        address: SocketAddr,
    ) -> Result<Listener, StartError> {
        self.engine().doors().may_listen_on(address)?;
        Ok(Listener {
            host: self.clone(),
            listener,
            address,
        })
    }
}

impl Listener {
    /// The address, with the port that was found for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until `stop` resolves, and then those that run, for as long as
    /// [`Builder::drain`](crate::Builder::drain) says; SIGTERM or ctrl-c ends that wait at once. The
    /// host goes on.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        self.answer(stop).await;
    }

    /// Answers requests until the process is told to stop (SIGTERM or ctrl-c), then finishes what runs,
    /// for as long as [`Builder::drain`](crate::Builder::drain) says, and shuts the host down. Told a
    /// second time, it gives up what runs.
    pub async fn run(self) {
        let host = self.host.clone();
        let drain = host.engine().serving().drain;
        let mut until = Instant::now();
        let ended = {
            let told = async {
                told_to_stop().await;
                until = Instant::now() + drain;
            };
            self.answer(told).await
        };
        let left = match ended {
            Ended::Drained => until.saturating_duration_since(Instant::now()),
            Ended::Late | Ended::Told => Duration::ZERO,
        };
        let again = Signals::new();
        tokio::select! {
            biased;
            () = host.engine().shutdown(left) => {}
            () = again.told_to_stop() => host.engine().shutdown(Duration::ZERO).await,
        }
    }

    async fn answer(self, stop: impl Future<Output = ()>) -> Ended {
        let gateway = Gateway::new(
            self.host.clone(),
            self.address.ip().to_canonical().is_loopback(),
        );
        let answer = move |request| gateway.clone().answer(request);
        let engine = self.host.engine();
        let stop = async {
            stop.await;
            engine.begins_to_stop();
        };
        engine.serving().run(self.listener, answer, stop).await
    }
}
