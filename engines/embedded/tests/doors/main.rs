//! The way in over HTTP: who is let in, how much at once, how slowly, and how it ends.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]
#![expect(
    clippy::disallowed_methods,
    reason = "servers and clients run beside each other"
)]

mod framing;
mod guarded;
mod limits;
mod peer;
mod sight;
mod slow;
mod stopping;

use std::{collections::BTreeMap, path::Path, sync::Mutex};

use dokit_client::rpc;
use dokit_embedded::{Builder, Host};
use dokit_object::{
    Context, DurableObject, Error, Request, Response, Result, Storage, durable_object,
};
use dokit_storage::{Schema, TypedStorage};
use tokio::sync::Semaphore;

#[rpc]
trait DoorApi {
    async fn length(&self, text: String) -> Result<usize>;
    /// Answers once it is let go.
    async fn wait(&self) -> Result<()>;
    /// The same, and writes.
    async fn wait_and_write(&mut self) -> Result<()>;
    async fn write(&mut self) -> Result<()>;
    async fn fail(&mut self) -> Result<()>;
}

/// Holds the calls of [`DoorApi::wait`] of one object. Tests may run in one process, so each has an
/// object of its own name.
struct Gate {
    begun: Semaphore,
    go: Semaphore,
}

impl Gate {
    fn of(name: &str) -> &'static Self {
        static GATES: Mutex<BTreeMap<String, &'static Gate>> = Mutex::new(BTreeMap::new());
        let mut gates = GATES.lock().unwrap();
        gates.entry(name.to_owned()).or_insert_with(|| {
            Box::leak(Box::new(Self {
                begun: Semaphore::new(0),
                go: Semaphore::new(0),
            }))
        })
    }

    /// Returns once a call has begun.
    async fn has_begun(&self) {
        self.begun.acquire().await.unwrap().forget();
    }

    fn open(&self) {
        self.go.add_permits(1);
    }
}

#[derive(Schema)]
struct Stored {
    count: u32,
}

struct Door {
    name: String,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Door {
    type Api = DoorApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let name = ctx.name().unwrap_or_default().to_owned();
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { name, storage })
    }

    /// As many bytes as the query says, and else the path, with those headers that the request has for it.
    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let bytes = request.uri().query().and_then(|text| text.parse().ok());
        let body = bytes.map_or_else(|| request.uri().path().into(), |bytes| vec![b'x'; bytes]);
        let mut response = Response::new(body.into());
        for (name, value) in request.headers() {
            if let Some(name) = name.as_str().strip_prefix("x-answer-") {
                let name = http::HeaderName::try_from(name).unwrap();
                response.headers_mut().append(name, value.clone());
            }
        }
        Ok(response)
    }
}

impl DoorApi for Door {
    async fn length(&self, text: String) -> Result<usize> {
        Ok(text.len())
    }

    async fn wait(&self) -> Result<()> {
        let gate = Gate::of(&self.name);
        gate.begun.add_permits(1);
        gate.go.acquire().await.unwrap().forget();
        Ok(())
    }

    async fn wait_and_write(&mut self) -> Result<()> {
        self.wait().await?;
        self.write().await
    }

    async fn write(&mut self) -> Result<()> {
        Ok(self.storage.put(Stored::COUNT, &1).await?)
    }

    async fn fail(&mut self) -> Result<()> {
        Err(Error::new(409, "sold \"out\"", "no more"))
    }
}

fn builder(data: &Path) -> Builder {
    Host::builder().data(data).object::<Door>()
}
