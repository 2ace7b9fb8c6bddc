//! The object that the script of requests is played to: it answers plain requests in every way there is.

use dokit_client::rpc;
use dokit_object::{Context, DurableObject, Error, Request, Response, Result, durable_object};
use http::{HeaderName, HeaderValue, StatusCode};

/// What the object can be asked by calls.
#[rpc]
pub trait EchoApi {
    /// Answers what it is told.
    async fn say(&self, text: String) -> Result<String, Error>;
    /// Counts its calls.
    async fn count(&mut self, by: Option<u64>) -> Result<u64, Error>;
    /// Never answers.
    async fn wait(&self) -> Result<(), Error>;
    /// Fails as it is told.
    async fn fail(&mut self, status: u16, code: String) -> Result<(), Error>;
    /// Fails with something that callers do not get to see.
    async fn fail_inside(&mut self) -> Result<(), Error>;
}

/// An object that answers what it was sent.
///
/// | path | answer |
/// |---|---|
/// | `/status/{status}` | that status, without a body |
/// | `/headers` | headers of every kind: two of one name, capitals, empty, not ASCII |
/// | `/bytes` | each byte once, as `application/octet-stream` |
/// | `/long/{length}` | so many bytes |
/// | `/fail/{status}` | an error of this status |
/// | any other | the verb, the address, the headers that begin with `x-` and the body |
#[derive(Debug)]
pub struct Echo {
    count: u64,
}

#[durable_object]
impl DurableObject for Echo {
    type Api = EchoApiServer;

    async fn new(_: Context) -> Result<Self> {
        Ok(Self { count: 0 })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let path = request.uri().path().to_owned();
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        match *parts {
            ["status", status] => {
                let mut response = Response::default();
                *response.status_mut() = number(status)?;
                Ok(response)
            }
            ["headers"] => Ok(headers()),
            ["bytes"] => {
                let bytes: Vec<u8> = (0..=255).collect();
                let mut response = Response::new(bytes.into());
                set(&mut response, "content-type", "application/octet-stream");
                Ok(response)
            }
            ["long", length] => Ok(Response::new("x".repeat(number(length)?).into())),
            ["fail", status] => Err(Error::new(number(status)?, "planned", "planned failure")),
            _ => Ok(echo(&request)),
        }
    }
}

impl EchoApi for Echo {
    async fn say(&self, text: String) -> Result<String, Error> {
        Ok(text)
    }

    async fn count(&mut self, by: Option<u64>) -> Result<u64, Error> {
        self.count += by.unwrap_or(1);
        Ok(self.count)
    }

    async fn wait(&self) -> Result<(), Error> {
        std::future::pending().await
    }

    async fn fail(&mut self, status: u16, code: String) -> Result<(), Error> {
        Err(Error::new(status, code, "planned failure").with_details(["one", "two"]))
    }

    async fn fail_inside(&mut self) -> Result<(), Error> {
        Err(Error::internal(std::io::Error::other("nobody's business")))
    }
}

fn number<T: std::str::FromStr>(text: &str) -> Result<T> {
    let wrong = |_| Error::new(400, "not_a_number", format!("{text:?} is no such number"));
    text.parse().map_err(wrong)
}

fn headers() -> Response {
    let mut response = Response::new("with headers".into());
    *response.status_mut() = StatusCode::CREATED;
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("set-cookie", "one=1; Path=/"),
        ("set-cookie", "two=2; Path=/"),
        ("x-twice", "a, b"),
        ("x-twice", "c"),
        ("x-empty", ""),
        ("cache-control", "no-store"),
        ("location", "/elsewhere"),
    ] {
        set(&mut response, name, value);
    }
    response
}

fn set(response: &mut Response, name: &'static str, value: &'static str) {
    let value = HeaderValue::from_static(value);
    response
        .headers_mut()
        .append(HeaderName::from_static(name), value);
}

fn echo(request: &Request) -> Response {
    let mut told = format!("{} {}\n", request.method(), request.uri());
    let mut headers: Vec<String> = request
        .headers()
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("x-") || name.as_str() == "content-type")
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    headers.sort_unstable();
    told += &headers.concat();
    told += &String::from_utf8_lossy(request.body());
    Response::new(told.into())
}
