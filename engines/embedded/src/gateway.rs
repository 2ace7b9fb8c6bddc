//! The way of an HTTP request to its object.

use std::{error::Error, io};

use axum::extract::State;
use bytes::{Bytes, BytesMut};
use dokit_client::ErrorReply;
use dokit_object::{Request, Response, engine::error_response};
use http::{Method, header, request::Parts};
use http_body_util::{BodyExt, Full};
use hyper::body::Body;

use crate::{
    Host, admin,
    load::Place,
    sockets::{self, Upgrade},
};

/// Answers everybody's requests, if they are let in.
#[derive(Clone, Debug)]
pub(crate) struct Gateway {
    host: Host,
    /// Whether it listens on loopback alone.
    on_loopback: bool,
}

impl Host {
    /// The gateway as a service, to nest it in a router of one's own. Its doors are the same: the
    /// tokens, the check and the origins of the [`Builder`](crate::Builder). How many connections there
    /// may be, how long they may take, and by which names the server goes, is for the server around it
    /// to say.
    pub fn router(&self) -> axum::Router {
        // Whoever has a server of their own knows by which names it goes.
        let gateway = Gateway::new(self.clone(), false);
        axum::Router::new().fallback(answer).with_state(gateway)
    }
}

async fn answer(
    State(gateway): State<Gateway>,
    request: axum::extract::Request,
) -> http::Response<axum::body::Body> {
    gateway.answer(request).await.map(axum::body::Body::new)
}

impl Gateway {
    pub(crate) fn new(host: Host, on_loopback: bool) -> Self {
        Self { host, on_loopback }
    }

    pub(crate) async fn answer<B>(self, request: http::Request<B>) -> http::Response<Full<Bytes>>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Error + 'static,
    {
        let (mut head, body) = request.into_parts();
        let engine = self.host.engine();
        if let Some(health) = admin::health(engine, &head) {
            return health.map(Full::new);
        }
        let upgrade = Upgrade::take(&mut head);
        let response = match engine.doors().admit(&head, self.on_loopback).await {
            Ok(admitted) => {
                let to_head = head.method == Method::HEAD;
                let mut response = self.call(head, body).await;
                forget_length(&mut response, to_head);
                let mut response = sockets::switch(self.host.engine(), upgrade, response);
                admitted.sign(&mut response);
                response
            }
            Err(refused) => {
                if let Some(error) = refused.error() {
                    engine.refused(error);
                }
                refused.into_response()
            }
        };
        response.map(Full::new)
    }

    async fn call<B>(&self, head: Parts, body: B) -> Response
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Error + 'static,
    {
        let engine = self.host.engine();
        let read = async {
            let mut place = engine.load().enter()?;
            let body = read_body(body, engine.body_limit(), &mut place).await?;
            Ok((body, place))
        };
        match read.await {
            Ok((body, place)) => engine.request(Request::from_parts(head, body), place).await,
            Err(refused) => {
                engine.refused(&refused);
                error_response(&refused)
            }
        }
    }
}

/// Reads a body, no more of it than there is room for.
async fn read_body<B>(mut body: B, limit: usize, place: &mut Place) -> Result<Bytes, ErrorReply>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Error + 'static,
{
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(ErrorReply::payload_too_large(limit));
    }
    let mut whole = Bytes::new();
    let mut parts = BytesMut::new();
    while !body.is_end_stream() {
        let Some(frame) = body.frame().await else {
            break;
        };
        let Ok(data) = frame.map_err(|error| broken_off(&error))?.into_data() else {
            continue;
        };
        place.bring(data.len())?;
        if whole.len() + parts.len() + data.len() > limit {
            return Err(ErrorReply::payload_too_large(limit));
        }
        // Most bodies come in one piece, which is not copied.
        if whole.is_empty() && parts.is_empty() {
            whole = data;
        } else {
            parts.extend_from_slice(&std::mem::take(&mut whole));
            parts.extend_from_slice(&data);
        }
    }
    Ok(if parts.is_empty() {
        whole
    } else {
        parts.freeze()
    })
}

/// An answer is as long as its body, whatever its object says: by a wrong length the other end would take the
/// next answer for a part of this one.
fn forget_length(response: &mut Response, to_head: bool) {
    // Without a body, an answer to HEAD may say how long one to GET would be.
    let may_say = to_head && response.body().is_empty();
    let headers = response.headers_mut();
    headers.remove(header::TRANSFER_ENCODING);
    if !may_say {
        headers.remove(header::CONTENT_LENGTH);
    }
}

fn broken_off(error: &(dyn Error + 'static)) -> ErrorReply {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return ErrorReply::request_timeout();
        }
        cause = error.source();
    }
    ErrorReply::new(400, "invalid_body", "the body broke off")
}
