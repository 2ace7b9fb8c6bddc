//! The host's other door: for those who look after it.

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
};

use bytes::Bytes;
use dokit_client::ErrorReply;
use dokit_object::{Response, engine::error_response};
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use http_body_util::Full;
use tokio::{net::TcpListener, sync::Semaphore};

use crate::{
    connection::Arriving,
    engine::{Engine, Settings},
    error::StartError,
    serving::{self, Serving},
};

/// How many connections administrators may have: places of their own, so that they are answered when the
/// others are all taken.
const CONNECTIONS: usize = 64;

/// Opens the administration address.
pub(crate) fn bind(
    settings: &Settings,
    address: &str,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let (listener, address) = serving::bind(address)?;
    let may_listen = settings.admin_doors.may_listen_on(address);
    may_listen.map_err(|_| StartError::UnguardedAdmin { address })?;
    Ok((listener, address))
}

/// Answers administrators for as long as the engine runs, which this does not keep alive.
pub(crate) fn start(engine: &Arc<Engine>, listener: TcpListener, address: SocketAddr) {
    let own = engine.own();
    let on_loopback = address.ip().to_canonical().is_loopback();
    let answer = move |request: http::Request<Arriving>| {
        let own = Weak::clone(&own);
        async move {
            let (head, _) = request.into_parts();
            let response = match own.upgrade() {
                Some(engine) => self::answer(&engine, &head, on_loopback).await,
                None => error_response(&ErrorReply::shutting_down()),
            };
            response.map(Full::new)
        }
    };
    let serving = Serving {
        places: Arc::new(Semaphore::new(CONNECTIONS)),
        ..engine.serving().clone()
    };
    let task = engine.runtime().spawn(async move {
        let never = std::future::pending();
        serving.run(listener, answer, never).await;
    });
    engine.administered(address, task.abort_handle());
}

async fn answer(engine: &Engine, head: &Parts, on_loopback: bool) -> Response {
    if let Some(health) = health(engine, head) {
        return health;
    }
    match engine.admin_doors().admit(head, on_loopback).await {
        Ok(admitted) => {
            let mut response = administer(engine, head);
            admitted.sign(&mut response);
            response
        }
        Err(refused) => refused.into_response(),
    }
}

/// What an administrator asks for. It is one line for each thing.
fn administer(engine: &Engine, head: &Parts) -> Response {
    match (&head.method, head.uri.path()) {
        (&Method::GET, "/metrics") => {
            let mut response = text(StatusCode::OK, engine.metrics_text());
            let prometheus = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, prometheus);
            response
        }
        (method, path) => error_response(&ErrorReply::invalid_path(format!(
            "nothing is at {method} {path}; there are GET /metrics, /healthz and /readyz"
        ))),
    }
}

/// What those who watch the host's health ask for, if this is it. It tells them nothing else, so anyone
/// may ask. Objects have longer paths.
pub(crate) fn health(engine: &Engine, head: &Parts) -> Option<Response> {
    let unready = match head.uri.path() {
        // It answers.
        "/healthz" => None,
        "/readyz" => engine.unready(),
        _ => return None,
    };
    if !matches!(head.method, Method::GET | Method::HEAD) {
        return None;
    }
    Some(match unready {
        None => text(StatusCode::OK, "ok\n"),
        Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    })
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
