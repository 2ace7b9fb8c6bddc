//! Who is let in. All of it is decided on a request's head: nothing of its body has been read, and
//! nothing looked up of what the host serves.

mod origins;

use std::{fmt, net::SocketAddr, sync::Arc};

use dokit_client::ErrorReply;
use dokit_object::{BoxFuture, Error, Response, engine::error_response};
use http::{HeaderMap, Method, header, request::Parts, uri::Authority};
use sha2::{Digest, Sha256};

use origins::{is_origin, preflight};

use crate::error::StartError;

pub(crate) use origins::Admitted;

type Check = dyn Fn(http::Request<()>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync;

/// The rules of one kind of server.
#[derive(Clone, Default)]
pub(crate) struct Doors {
    /// The digests of the tokens of which a request has to carry one.
    tokens: Vec<[u8; 32]>,
    check: Option<Arc<Check>>,
    /// The origins, beside the host's own, whose web pages may call.
    origins: Vec<String>,
    /// Whether those pages may send cookies.
    credentials: bool,
    /// The names that the host goes by, beside those of the loopback.
    hosts: Vec<String>,
    anyone: bool,
}

/// A request that was not let in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// A browser has asked whether a page may send one; this is its answer.
    Asked(Response),
    /// The browser of a page that would be let in is to show it the error.
    Error(ErrorReply, Admitted),
}

impl From<ErrorReply> for Refused {
    fn from(error: ErrorReply) -> Self {
        Self::Error(error, Admitted::default())
    }
}

impl Refused {
    pub(crate) fn error(&self) -> Option<&ErrorReply> {
        match self {
            Self::Asked(_) => None,
            Self::Error(error, _) => Some(error),
        }
    }

    pub(crate) fn into_response(self) -> Response {
        match self {
            Self::Asked(response) => response,
            Self::Error(error, admitted) => {
                let mut response = error_response(&error);
                admitted.sign(&mut response);
                response
            }
        }
    }
}

impl Doors {
    pub(crate) fn token(&mut self, token: &str) {
        self.tokens.push(digest(token));
    }

    pub(crate) fn check(&mut self, check: Arc<Check>) {
        self.check = Some(check);
    }

    pub(crate) fn origin(&mut self, origin: &str) {
        self.origins.push(origin.to_ascii_lowercase());
    }

    pub(crate) fn credentials(&mut self) {
        self.credentials = true;
    }

    pub(crate) fn host(&mut self, host: &str) {
        self.hosts.push(host.to_ascii_lowercase());
    }

    /// The first origin that no browser would send.
    pub(crate) fn invalid_origin(&self) -> Option<&str> {
        let bad = self.origins.iter().find(|origin| !is_origin(origin));
        bad.map(String::as_str)
    }

    /// Lets other machines in though nobody is asked who they are.
    pub(crate) fn anyone(&mut self) {
        self.anyone = true;
    }

    /// Refuses an address that other machines can reach where nobody is asked who they are.
    pub(crate) fn may_listen_on(&self, address: SocketAddr) -> Result<(), StartError> {
        let is_asked = self.anyone || !self.tokens.is_empty() || self.check.is_some();
        if is_asked || address.ip().to_canonical().is_loopback() {
            return Ok(());
        }
        Err(StartError::Unguarded { address })
    }

    /// Lets a request in, or says what it gets instead.
    pub(crate) async fn admit(&self, head: &Parts, on_loopback: bool) -> Result<Admitted, Refused> {
        // A page whose own name was made to lead here knows no token.
        if on_loopback && self.tokens.is_empty() {
            self.check_host(head)?;
        }
        let admitted = self.check_origin(head)?;
        if let Some(origin) = &admitted.origin
            && head.method == Method::OPTIONS
            && let Some(method) = head.headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            // The browser asks on its own behalf, and sends no token.
            let mut answer = preflight(method, &head.headers);
            admitted.allow(origin, answer.headers_mut());
            return Err(Refused::Asked(answer));
        }
        if !self.tokens.is_empty() && !self.carries_token(&head.headers) {
            return Err(Refused::Error(ErrorReply::unauthorized(), admitted));
        }
        match &self.check {
            None => Ok(admitted),
            Some(check) => match check(owned(head)).await {
                Ok(()) => Ok(admitted),
                Err(error) => Err(Refused::Error(error.into_reply(), admitted)),
            },
        }
    }

    fn carries_token(&self, headers: &HeaderMap) -> bool {
        let Some(token) = bearer(headers) else {
            return false;
        };
        let given = digest(token);
        // Every token, and every byte of it, whatever is found: the time tells nothing.
        let mut found = false;
        for token in &self.tokens {
            let different = token
                .iter()
                .zip(&given)
                .fold(0, |so_far, (a, b)| so_far | (a ^ b));
            found |= std::hint::black_box(different) == 0;
        }
        found
    }

    /// Refuses a host that is not the loopback's, nor one that the host was told to go by.
    fn check_host(&self, head: &Parts) -> Result<(), ErrorReply> {
        let of_target = head.uri.authority().map(Authority::as_str);
        let named = head.headers.get_all(header::HOST);
        let named = named.iter().map(|host| host.to_str().unwrap_or("?"));
        for host in of_target.into_iter().chain(named) {
            let name = without_port(host).to_ascii_lowercase();
            let known = |known: &String| *known == name || known.eq_ignore_ascii_case(host);
            if !is_loopback(&name) && !self.hosts.iter().any(known) {
                return Err(ErrorReply::host_not_allowed(format!(
                    "the request is for the host {host:?}; on loopback only that is let in, unless the \
                     host is told of another (allow_host)"
                )));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors")
            .field("tokens", &self.tokens.len())
            .field("check", &self.check.is_some())
            .field("origins", &self.origins)
            .field("credentials", &self.credentials)
            .field("hosts", &self.hosts)
            .field("anyone", &self.anyone)
            .finish()
    }
}

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token of `authorization: Bearer {token}`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a name, in lower case and without a port, always leads to the machine itself.
fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let address = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    name == "localhost"
        || name.ends_with(".localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

fn owned(head: &Parts) -> http::Request<()> {
    let mut request = http::Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    *request.headers_mut() = head.headers.clone();
    request
}

#[cfg(test)]
mod tests;
