//! What a web page may do, whose browser says where it comes from.

use bytes::Bytes;
use dokit_client::ErrorReply;
use dokit_object::Response;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts, uri::Authority,
};

use super::Doors;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// A request that was let in, and what its answer has to say to the browser that sent it.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    pub(super) origin: Option<HeaderValue>,
    /// Whether the page may send cookies.
    credentials: bool,
    /// Whether the answer depends on the origin.
    varies: bool,
}

impl Doors {
    /// Refuses what a web page of another origin sends.
    pub(super) fn check_origin(&self, head: &Parts) -> Result<Admitted, ErrorReply> {
        let varies = !self.origins.is_empty();
        let mut origins = head.headers.get_all(header::ORIGIN).iter();
        let site = head.headers.get(SEC_FETCH_SITE);
        let Some(origin) = origins.next() else {
            // Browsers of today say of every request where it comes from.
            let foreign = site.is_some_and(|site| site != "same-origin" && site != "none");
            if foreign && !is_link(head) {
                return Err(ErrorReply::origin_not_allowed(
                    "the request comes from a web page of another site",
                ));
            }
            return Ok(Admitted {
                varies,
                ..Admitted::default()
            });
        };
        let text = origin.to_str().unwrap_or("?").to_ascii_lowercase();
        let alone = origins.next().is_none();
        if alone && self.origins.contains(&text) {
            return Ok(Admitted {
                origin: Some(origin.clone()),
                credentials: self.credentials,
                varies,
            });
        }
        let cross_site = site.is_some_and(|site| site == "cross-site");
        if alone && !cross_site && is_own(&text, head) {
            return Ok(Admitted {
                varies,
                ..Admitted::default()
            });
        }
        Err(ErrorReply::origin_not_allowed(format!(
            "the request comes from a web page of {text:?}, which is not let in"
        )))
    }
}

impl Admitted {
    /// Tells the browser that the page may read the answer.
    pub(crate) fn sign(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = &self.origin {
            self.allow(origin, headers);
            let exposed = HeaderValue::from_static("retry-after");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }

    /// Tells the browser what the pages of an origin may do.
    pub(super) fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            let allowed = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
        }
    }
}

/// What a browser is answered that asks whether a page may send a request.
pub(super) fn preflight(method: &HeaderValue, headers: &HeaderMap) -> Response {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let allowed = response.headers_mut();
    allowed.insert(header::ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        allowed.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    let seconds = HeaderValue::from_static("600");
    allowed.insert(header::ACCESS_CONTROL_MAX_AGE, seconds);
    let varies = "origin, access-control-request-method, access-control-request-headers";
    allowed.insert(header::VARY, HeaderValue::from_static(varies));
    response
}

/// Whether somebody follows a link to a page of the host's. That is how the web works: the page that
/// has the link sees nothing of it.
fn is_link(head: &Parts) -> bool {
    let says = |name: &HeaderName, what: &str| head.headers.get(name).is_some_and(|it| it == what);
    matches!(head.method, Method::GET | Method::HEAD)
        && says(&SEC_FETCH_MODE, "navigate")
        && says(&SEC_FETCH_DEST, "document")
}

/// Whether an origin is that of the host which the request names. Which of the two schemes it was
/// cannot be told behind a proxy.
fn is_own(origin: &str, head: &Parts) -> bool {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let (Some((scheme, of_origin)), Ok(host)) = (origin.split_once("://"), host.to_str()) else {
        return false;
    };
    let default = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => return false,
    };
    let host = host.to_ascii_lowercase();
    let bare = |host: &str| host.strip_suffix(default).unwrap_or(host).to_owned();
    !of_origin.is_empty() && bare(of_origin) == bare(&host)
}

/// Whether this is what a browser sends as an origin: a scheme, a host and perhaps a port.
pub(super) fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let authority = rest.parse::<Authority>();
    !scheme.is_empty()
        && scheme.bytes().all(plain)
        && authority.is_ok_and(|authority| {
            !authority.host().is_empty() && !rest.contains('@') && !rest.contains('*')
        })
}
