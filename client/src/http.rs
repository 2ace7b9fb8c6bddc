//! The transport over HTTP. Nothing of reqwest is seen outside.

use std::{fmt, sync::Arc};

use reqwest::{Client, Response, Url};

use crate::{
    CallReply, CallRequest, IdError, Namespace, ObjectId, PAYLOAD_BYTES, Timer, Transport,
    TransportError, header,
};

/// The objects of one type on a host that is reached over HTTP.
///
/// A call is `POST {base}/{namespace}/{name}/{method}`, with the name percent-encoded, or `POST
/// {base}/{namespace}@id/{64 hex}/{method}`. All stubs share one pool of connections. Natively it
/// needs a tokio runtime. Redirects are not followed; proxies are not looked for.
///
/// ```rust
/// use dokit_client::{HttpNamespace, Namespace};
///
/// let orders = HttpNamespace::new("http://127.0.0.1:8787", "order")?.with_bearer_token("s3cret");
/// let order = orders.get_by_name("order-123");
/// assert_eq!(order.url(), "http://127.0.0.1:8787/order/order-123/");
/// # Ok::<(), dokit_client::InvalidAddress>(())
/// ```
#[derive(Clone)]
pub struct HttpNamespace {
    client: Client,
    base: Arc<str>,
    namespace: Arc<str>,
    token: Option<Arc<str>>,
}

impl HttpNamespace {
    /// The objects of `namespace` on the host at `base`, which may have a path before the namespace.
    /// An `https` base needs the feature `rustls`.
    ///
    /// # Errors
    ///
    /// [`InvalidAddress`] when `base` is not an `http` or `https` URL without a query, or the
    /// namespace is not letters, digits, `-` and `_`.
    pub fn new(base: &str, namespace: &str) -> Result<Self, InvalidAddress> {
        let base_url = Url::parse(base).map_err(|error| InvalidAddress::Base {
            base: base.to_owned(),
            reason: error.to_string(),
        })?;
        let refused = |reason: &str| InvalidAddress::Base {
            base: base.to_owned(),
            reason: reason.to_owned(),
        };
        if !matches!(base_url.scheme(), "http" | "https") {
            return Err(refused("the scheme is neither http nor https"));
        }
        if base_url.scheme() == "https" && !HTTPS {
            return Err(refused("an https address needs the feature `rustls`"));
        }
        if base_url.query().is_some() || base_url.fragment().is_some() {
            return Err(refused("it has a query or a fragment"));
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if namespace.is_empty() || !namespace.bytes().all(plain) {
            return Err(InvalidAddress::Namespace {
                namespace: namespace.to_owned(),
            });
        }
        Ok(Self {
            client: client().map_err(|error| refused(&error.to_string()))?,
            base: base_url.as_str().trim_end_matches('/').into(),
            namespace: namespace.into(),
            token: None,
        })
    }

    /// The same with a bearer token, sent with each call.
    #[must_use]
    pub fn with_bearer_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into().into());
        self
    }
}

impl Namespace for HttpNamespace {
    type Stub = HttpStub;

    fn id_from_name(&self, name: &str) -> ObjectId {
        ObjectId::from_name(&self.namespace, name)
    }

    fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError> {
        ObjectId::parse(&self.namespace, text)
    }

    /// # Panics
    ///
    /// If the system has no randomness to give.
    fn unique_id(&self) -> ObjectId {
        let mut random = [0; 16];
        if let Err(error) = getrandom::fill(&mut random) {
            panic!("no randomness for the id of an object: {error}");
        }
        ObjectId::unique(&self.namespace, random)
    }

    fn get(&self, id: &ObjectId) -> HttpStub {
        let (base, namespace) = (&self.base, &self.namespace);
        // A URL has no other way to write an empty part, or one of dots, than one that means another
        // place: such objects go by their id.
        let by_name = id.name().filter(|name| !matches!(*name, "" | "." | ".."));
        let url = match by_name {
            Some(name) => format!("{base}/{namespace}/{}/", percent_encoded(name)),
            None => format!("{base}/{namespace}@id/{id}/"),
        };
        HttpStub {
            client: self.client.clone(),
            url: url.into(),
            token: self.token.clone(),
        }
    }
}

impl fmt::Debug for HttpNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpNamespace")
            .field("base", &without_password(&self.base))
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

/// One object on a host that is reached over HTTP. It holds nothing open: each attempt takes a
/// connection from the pool or opens one.
#[derive(Clone)]
pub struct HttpStub {
    client: Client,
    url: Arc<str>,
    token: Option<Arc<str>>,
}

impl HttpStub {
    /// The object's address, to which the method's name is added.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Transport for HttpStub {
    async fn send(&self, call: &CallRequest) -> Result<CallReply, TransportError> {
        let url = format!("{}{}", self.url, percent_encoded(&call.method));
        let mut request = self.client.post(url).body(call.arguments.clone());
        for (name, value) in call.headers() {
            request = request.header(name, &*value);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.map_err(sending)?;
        let status = response.status().as_u16();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type =
            content_type.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
        let retry_after = response.headers().get(header::RETRY_AFTER).cloned();
        let retry_after = retry_after.as_ref().and_then(|value| value.to_str().ok());
        let body = read(response).await?;
        Ok(CallReply::new(status, content_type, body).with_retry_after(retry_after))
    }

    fn timer(&self) -> Option<Arc<dyn Timer>> {
        timer()
    }
}

impl fmt::Debug for HttpStub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpStub")
            .field("url", &without_password(&self.url))
            .finish_non_exhaustive()
    }
}

/// Whether `https` is built in. In a browser it always is.
const HTTPS: bool = cfg!(any(feature = "rustls", target_arch = "wasm32"));

/// An address that no call can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAddress {
    /// The address of the host.
    #[error("invalid base url {base:?}: {reason}")]
    Base {
        /// What was given.
        base: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The namespace.
    #[error("invalid namespace {namespace:?}: letters, digits, '-' and '_', and not empty")]
    Namespace {
        /// What was given.
        namespace: String,
    },
}

#[cfg(not(target_arch = "wasm32"))]
fn client() -> Result<Client, reqwest::Error> {
    // A redirected POST would run somewhere else, or become a GET.
    Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(std::time::Duration::from_secs(10))
        .build()
}

#[cfg(target_arch = "wasm32")]
fn client() -> Result<Client, reqwest::Error> {
    Client::builder().build()
}

#[cfg(not(target_arch = "wasm32"))]
#[expect(
    clippy::unnecessary_wraps,
    reason = "there is none on wasm, where this has a twin"
)]
fn timer() -> Option<Arc<dyn Timer>> {
    Some(Arc::new(crate::TokioTimer))
}

#[cfg(target_arch = "wasm32")]
fn timer() -> Option<Arc<dyn Timer>> {
    None
}

/// Reads a body up to the limit.
#[cfg(not(target_arch = "wasm32"))]
async fn read(mut response: Response) -> Result<Vec<u8>, TransportError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(receiving)? {
        if body.len() + chunk.len() > PAYLOAD_BYTES {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Reads a body up to the limit. The browser has read it whole by then.
#[cfg(target_arch = "wasm32")]
async fn read(response: Response) -> Result<Vec<u8>, TransportError> {
    let body = response.bytes().await.map_err(receiving)?;
    if body.len() > PAYLOAD_BYTES {
        return Err(too_large());
    }
    Ok(body.into())
}

fn too_large() -> TransportError {
    TransportError::lost(format!(
        "the answer is over the limit of {PAYLOAD_BYTES} bytes"
    ))
}

fn sending(error: reqwest::Error) -> TransportError {
    #[cfg(not(target_arch = "wasm32"))]
    let unsent = error.is_connect();
    #[cfg(target_arch = "wasm32")]
    let unsent = false;
    let kind = if error.is_builder() {
        TransportError::unsendable("build the request")
    } else if unsent {
        TransportError::unsent("connect to the host")
    } else if error.is_timeout() {
        TransportError::timed_out("wait for the answer")
    } else {
        TransportError::lost("send the request")
    };
    kind.with_source(error)
}

fn receiving(error: reqwest::Error) -> TransportError {
    TransportError::lost("read the answer").with_source(error)
}

/// A URL as it may be printed: without a user and password before the host.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let path = rest.find('/').unwrap_or(rest.len());
    match rest[..path].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

/// Keeps what RFC 3986 calls unreserved and writes all else as `%` and two hex digits.
fn percent_encoded(part: &str) -> String {
    let mut encoded = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
