use std::{collections::BTreeMap, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use dokit_client::{ObjectId, rpc};
use dokit_object::{
    Context, DurableObject, Message, Request, Response, Result, WebSocket, durable_object,
    testing::{TestHost, block_on},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use serde_json::Value;

#[rpc]
trait DeskApi {
    async fn add(&mut self, by: u32) -> Result<u64>;
    async fn echo(&self, text: String, map: Option<BTreeMap<String, i8>>) -> Result<String>;
    async fn name(&self) -> Result<Option<String>>;
}

/// An object that makes no mistake of its own: an answer of 500 is somebody else's.
struct Desk {
    ctx: Context,
    sum: u64,
}

#[durable_object]
impl DurableObject for Desk {
    type Api = DeskApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx, sum: 0 })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        if request.uri().path().starts_with("/live") {
            let socket = self.ctx.accept_websocket(&request, &["tag"])?;
            return Ok(socket.into_response());
        }
        let told = format!("{} {}", request.method(), request.uri());
        Ok(Response::new(told.into()))
    }

    async fn websocket_message(&mut self, _: &WebSocket, _: Message) -> Result<()> {
        Ok(())
    }
}

impl DeskApi for Desk {
    async fn add(&mut self, by: u32) -> Result<u64> {
        self.sum += u64::from(by);
        Ok(self.sum)
    }

    async fn echo(&self, text: String, _: Option<BTreeMap<String, i8>>) -> Result<String> {
        Ok(text)
    }

    async fn name(&self) -> Result<Option<String>> {
        Ok(self.ctx.name().map(str::to_owned))
    }
}

/// A request: a line with the method and the path, lines with headers, an empty line, the body.
pub fn requests(bytes: &[u8]) {
    let Some(request) = read(bytes) else {
        return;
    };
    let host = TestHost::new().object::<Desk>();
    let path = request.uri().path().to_owned();
    let headers = request.headers().clone();
    let response = block_on(host.handle(request));
    let status = response.status();
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{path:?}");
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let key = headers.get("sec-websocket-key").unwrap().as_bytes();
        let key = STANDARD.decode(key).unwrap();
        assert_eq!(key.len(), 16, "a key that is none was accepted");
        assert_eq!(headers.get("sec-websocket-version").unwrap(), "13");
    } else if status.as_u16() >= 400 {
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        for part in ["error", "code"] {
            assert!(
                body[part].as_str().is_some_and(|text| !text.is_empty()),
                "{body}"
            );
        }
        assert_ne!(body["code"], "internal");
    } else {
        assert_eq!(status, 200, "{path:?}");
        addressed(&host, &path);
    }
}

/// What was answered was an object, and the path says which.
fn addressed(host: &TestHost, path: &str) {
    let mut parts = path.strip_prefix('/').unwrap_or(path).splitn(3, '/');
    let (namespace, object) = (parts.next().unwrap(), parts.next().unwrap());
    let name = DeskApiClient::new(match namespace {
        "desk" => {
            let name = percent_decode_str(object).decode_utf8().unwrap();
            assert!((1..=1024).contains(&name.len()));
            let stub = host.namespace::<Desk>().get_by_name(&name);
            assert_eq!(stub.id(), &ObjectId::from_name("desk", &name));
            stub
        }
        "desk@id" => {
            let id = ObjectId::parse("desk", object).unwrap();
            host.namespace::<Desk>().get(&id)
        }
        other => panic!("{other:?} is not served"),
    });
    let known = block_on(name.name()).unwrap();
    if namespace == "desk" {
        let name = percent_decode_str(object).decode_utf8().unwrap();
        assert_eq!(known.as_deref(), Some(&*name));
    }
}

/// Only what is HTTP comes so far.
fn read(bytes: &[u8]) -> Option<Request> {
    static EMPTY: LazyLock<Vec<u8>> = LazyLock::new(Vec::new);
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, EMPTY.as_slice()),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let space = first.iter().position(|byte| *byte == b' ')?;
    let mut request = Request::new(bytes::Bytes::copy_from_slice(body));
    *request.method_mut() = Method::from_bytes(&first[..space]).ok()?;
    *request.uri_mut() = Uri::try_from(&first[space + 1..]).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = line[colon + 1..].trim_ascii();
        request
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}
