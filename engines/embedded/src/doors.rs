//! Who is let in. All of it is decided on a request's head: nothing of its body has been read, and
//! nothing looked up of what the host serves.

use std::{fmt, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use dokit_client::ErrorReply;
use dokit_object::{BoxFuture, Error, Response, engine::error_response};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts, uri::Authority,
};
use sha2::{Digest, Sha256};

use crate::error::StartError;

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

/// A request that was let in, and what its answer has to say to the browser that sent it.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    origin: Option<HeaderValue>,
    /// Whether the page may send cookies.
    credentials: bool,
    /// Whether the answer depends on the origin.
    varies: bool,
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

    /// Refuses what a web page of another origin sends.
    fn check_origin(&self, head: &Parts) -> Result<Admitted, ErrorReply> {
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
    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if self.credentials {
            let allowed = HeaderValue::from_static("true");
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
        }
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

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// The token of `authorization: Bearer {token}`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// What a browser is answered that asks whether a page may send a request.
fn preflight(method: &HeaderValue, headers: &HeaderMap) -> Response {
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
fn is_origin(text: &str) -> bool {
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
mod tests {
    use std::future::ready;

    use super::*;

    fn head(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::builder().method(method).uri("/a/b/c");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    async fn refusal(doors: &Doors, head: &Parts) -> Option<Response> {
        let admitted = doors.admit(head, true).await;
        admitted.err().map(Refused::into_response)
    }

    /// The status and the code that a request gets; 200 where it is let in.
    async fn told(doors: &Doors, head: &Parts) -> (u16, String) {
        match refusal(doors, head).await {
            None => (200, String::new()),
            Some(response) => {
                let status = response.status().as_u16();
                let reply = ErrorReply::from_body(status, response.body());
                (status, reply.code.into_owned())
            }
        }
    }

    #[tokio::test]
    async fn on_loopback_only_names_that_lead_there_are_let_in() {
        let doors = Doors::default();
        for host in [
            "localhost",
            "LocalHost:8787",
            "app.localhost:1",
            "localhost.",
            "127.0.0.1:8787",
            "127.8.9.1",
            "[::1]:8787",
            "[::1]",
            "[::ffff:127.0.0.1]",
        ] {
            let head = head("POST", &[("host", host)]);
            assert_eq!(told(&doors, &head).await.0, 200, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8787",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "10.0.0.1",
            "[::2]",
            "",
            "\u{fc}",
        ] {
            let head = head("POST", &[("host", host)]);
            let refused = (403, "host_not_allowed".to_owned());
            assert_eq!(told(&doors, &head).await, refused, "{host}");
        }
        let two = head("POST", &[("host", "localhost"), ("host", "evil.example")]);
        assert_eq!(told(&doors, &two).await.0, 403);
        let mut of_target = head("POST", &[("host", "localhost")]);
        of_target.uri = "http://evil.example/a".parse().unwrap();
        assert_eq!(told(&doors, &of_target).await.0, 403);
        // A program that names none is no browser.
        assert_eq!(told(&doors, &head("POST", &[])).await.0, 200);
    }

    #[tokio::test]
    async fn a_host_that_was_named_is_let_in_and_with_a_token_or_elsewhere_any() {
        let evil = head("POST", &[("host", "app.example:8787")]);
        let mut named = Doors::default();
        named.host("App.Example");
        assert_eq!(told(&named, &evil).await.0, 200);
        assert!(Doors::default().admit(&evil, false).await.is_ok());
        let mut guarded = Doors::default();
        guarded.token("s3cret");
        let head = head(
            "POST",
            &[("host", "a.example"), ("authorization", "Bearer s3cret")],
        );
        assert_eq!(told(&guarded, &head).await.0, 200);
    }

    #[tokio::test]
    async fn a_page_of_another_origin_is_refused_whatever_it_sends() {
        let mut doors = Doors::default();
        doors.origin("https://app.example");
        doors.host("shop.example");
        for (method, headers, status) in [
            // No browser, an own page, an allowed one.
            ("POST", vec![], 200),
            ("POST", vec![("origin", "http://localhost:8787")], 200),
            ("POST", vec![("origin", "https://APP.example")], 200),
            (
                "POST",
                vec![
                    ("origin", "https://app.example"),
                    ("sec-fetch-site", "cross-site"),
                ],
                200,
            ),
            ("GET", vec![("sec-fetch-site", "same-origin")], 200),
            ("GET", vec![("sec-fetch-site", "none")], 200),
            // Others.
            ("POST", vec![("origin", "https://evil.example")], 403),
            ("POST", vec![("origin", "null")], 403),
            ("POST", vec![("origin", "")], 403),
            ("POST", vec![("origin", "http://localhost:3000")], 403),
            ("POST", vec![("origin", "http://localhost")], 403),
            ("POST", vec![("origin", "ftp://localhost:8787")], 403),
            (
                "POST",
                vec![("origin", "https://app.example.evil.example")],
                403,
            ),
            (
                "POST",
                vec![
                    ("origin", "https://app.example"),
                    ("origin", "https://evil.example"),
                ],
                403,
            ),
            (
                "POST",
                vec![
                    ("origin", "http://localhost:8787"),
                    ("sec-fetch-site", "cross-site"),
                ],
                403,
            ),
            (
                "GET",
                vec![("origin", "https://evil.example"), ("upgrade", "websocket")],
                403,
            ),
            (
                "GET",
                vec![
                    ("sec-fetch-site", "cross-site"),
                    ("sec-fetch-mode", "no-cors"),
                ],
                403,
            ),
            ("GET", vec![("sec-fetch-site", "same-site")], 403),
            ("POST", vec![("sec-fetch-site", "cross-site")], 403),
            (
                "OPTIONS",
                vec![
                    ("origin", "https://evil.example"),
                    ("access-control-request-method", "POST"),
                ],
                403,
            ),
        ] {
            let mut all = vec![("host", "localhost:8787")];
            all.extend(headers);
            let (answer, code) = told(&doors, &head(method, &all)).await;
            assert_eq!(answer, status, "{method} {all:?}");
            assert_eq!(code == "origin_not_allowed", status == 403, "{all:?}");
        }
        let port = [
            ("host", "shop.example"),
            ("origin", "https://shop.example:443"),
        ];
        assert_eq!(told(&doors, &head("POST", &port)).await.0, 200);
    }

    #[tokio::test]
    async fn a_link_to_a_page_may_be_followed_and_not_embedded() {
        let doors = Doors::default();
        let link = |method: &str, dest: &str| {
            let headers = [
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", dest),
            ];
            head(method, &headers)
        };
        assert_eq!(told(&doors, &link("GET", "document")).await.0, 200);
        assert_eq!(told(&doors, &link("GET", "iframe")).await.0, 403);
        assert_eq!(told(&doors, &link("POST", "document")).await.0, 403);
    }

    #[tokio::test]
    async fn a_preflight_is_answered_without_a_token_and_the_answer_is_for_that_origin() {
        let mut doors = Doors::default();
        doors.origin("https://app.example");
        doors.token("s3cret");
        let asks = head(
            "OPTIONS",
            &[
                ("origin", "https://app.example"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization"),
            ],
        );
        let answer = refusal(&doors, &asks).await.unwrap();
        assert_eq!(answer.status(), 204);
        for (name, value) in [
            ("access-control-allow-origin", "https://app.example"),
            ("access-control-allow-methods", "POST"),
            ("access-control-allow-headers", "authorization"),
            ("access-control-max-age", "600"),
        ] {
            assert_eq!(answer.headers()[name], value);
        }
        // A refusal is for the page to read, too.
        let call = head("POST", &[("origin", "https://app.example")]);
        let refused = refusal(&doors, &call).await.unwrap();
        assert_eq!(refused.status(), 401);
        let headers = refused.headers();
        assert_eq!(
            headers["access-control-allow-origin"],
            "https://app.example"
        );
        assert_eq!(headers["vary"], "origin");
        let own = head("POST", &[("authorization", "Bearer s3cret")]);
        let mut response = Response::default();
        doors.admit(&own, true).await.unwrap().sign(&mut response);
        assert_eq!(response.headers()["vary"], "origin");
        assert!(
            !response
                .headers()
                .contains_key("access-control-allow-origin")
        );
    }

    #[tokio::test]
    async fn a_page_may_send_cookies_only_where_the_host_says_so() {
        let asks = [
            ("origin", "https://app.example"),
            ("access-control-request-method", "POST"),
        ];
        let calls = head("POST", &asks[..1]);
        for allowed in [false, true] {
            let mut doors = Doors::default();
            doors.origin("https://app.example");
            if allowed {
                doors.credentials();
            }
            let preflight = refusal(&doors, &head("OPTIONS", &asks)).await.unwrap();
            let mut answer = Response::default();
            doors.admit(&calls, true).await.unwrap().sign(&mut answer);
            doors.token("s3cret");
            let refused = refusal(&doors, &calls).await.unwrap();
            for response in [preflight, answer, refused] {
                let headers = response.headers();
                let told = headers.get("access-control-allow-credentials");
                assert_eq!(told.is_some_and(|told| told == "true"), allowed);
                assert_eq!(
                    headers["access-control-allow-origin"],
                    "https://app.example"
                );
            }
        }
        let mut doors = Doors::default();
        doors.credentials();
        let foreign = refusal(&doors, &head("OPTIONS", &asks)).await.unwrap();
        assert_eq!(foreign.status(), 403);
        assert!(
            foreign
                .headers()
                .get("access-control-allow-credentials")
                .is_none()
        );
    }

    #[tokio::test]
    async fn one_of_the_tokens_has_to_be_there_whole() {
        let mut doors = Doors::default();
        doors.token("first token");
        doors.token("second");
        for value in ["Bearer first token", "bearer second", "BEARER  second "] {
            let head = head("POST", &[("authorization", value)]);
            assert_eq!(told(&doors, &head).await.0, 200, "{value}");
        }
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer secon",
            "Bearer second2",
            "Basic second",
            "second",
        ] {
            let head = head("POST", &[("authorization", value)]);
            let refused = (401, "unauthorized".to_owned());
            assert_eq!(told(&doors, &head).await, refused, "{value}");
        }
        let refused = refusal(&doors, &head("POST", &[])).await.unwrap();
        assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    }

    #[tokio::test]
    async fn a_check_sees_the_head_and_comes_after_the_token() {
        let mut doors = Doors::default();
        doors.token("s3cret");
        doors.check(Arc::new(|head| {
            let good = head.headers().contains_key("x-staff") && head.uri().path() == "/a/b/c";
            let answer = match good {
                true => Ok(()),
                false => Err(Error::new(403, "forbidden", "staff only")),
            };
            Box::pin(ready(answer))
        }));
        let token = ("authorization", "Bearer s3cret");
        for (headers, status) in [
            (vec![token, ("x-staff", "1")], 200),
            (vec![token], 403),
            (vec![("x-staff", "1")], 401),
        ] {
            let told = told(&doors, &head("POST", &headers)).await;
            assert_eq!(told.0, status, "{headers:?}");
        }
    }

    #[test]
    fn an_origin_is_a_scheme_a_host_and_perhaps_a_port() {
        for good in [
            "https://app.example",
            "http://localhost:3000",
            "tauri://localhost",
            "http://[::1]:1",
        ] {
            assert!(is_origin(good), "{good}");
        }
        for bad in [
            "*",
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://a@b",
            "https://*.example",
            "null",
        ] {
            assert!(!is_origin(bad), "{bad}");
        }
    }
}
