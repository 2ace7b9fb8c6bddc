//! The namespaces that a Worker's configuration binds, as `dokit-client` calls their objects.

use std::{fmt, sync::Arc};

use dokit_client::{
    CallReply, CallRequest, ErrorReply, IdError, Namespace, ObjectId, Timer, Transport,
    TransportError,
};
use worker::{
    ObjectNamespace,
    js_sys::Promise,
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
    worker_sys::DurableObjectNamespace,
};

use crate::{
    clock::PlatformClock,
    message,
    platform::{PlatformError, is_overloaded, settled},
    router::read_id,
};

/// The objects of a binding, to be called from a Worker or from any Durable Object.
///
/// They may be of any language and written with any library, as long as they speak the wire of
/// `dokit-client`, which is that of the TypeScript package `@workkit/do`.
///
/// Deadlines and the pauses between attempts are watched by the platform's clock, and each attempt has a
/// stub of its own. An object that throws counts as one whose answer was lost: the method may have run.
///
/// ```ignore
/// let scores = BoundNamespace::new(env.durable_object("SCORES")?);
/// let total = ScoresApiClient::new(scores.get_by_name("ada")).add(5).await?;
/// ```
#[derive(Clone)]
pub struct BoundNamespace {
    raw: DurableObjectNamespace,
}

impl BoundNamespace {
    /// The objects that this binding leads to.
    #[must_use]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is given away: the `worker` crate lends nobody its inside"
    )]
    pub fn new(namespace: ObjectNamespace) -> Self {
        let raw: &JsValue = namespace.as_ref();
        Self {
            raw: raw.clone().unchecked_into(),
        }
    }
}

impl Namespace for BoundNamespace {
    type Stub = BoundStub;

    fn id_from_name(&self, name: &str) -> ObjectId {
        let id = self.raw.id_from_name(name).and_then(|id| read_id(&id));
        // The platform makes an id of every text.
        id.unwrap_or(ObjectId::from_bytes([0; 32]))
    }

    fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError> {
        let id: ObjectId = text.parse()?;
        let known = self.raw.id_from_string(text);
        known.map(|_| id).map_err(|_| IdError::OtherNamespace {
            id: text.to_owned(),
            // The platform tells nobody what a binding leads to.
            namespace: "the binding's".to_owned(),
        })
    }

    fn unique_id(&self) -> ObjectId {
        let id = self.raw.new_unique_id().and_then(|id| read_id(&id));
        id.unwrap_or(ObjectId::from_bytes([0; 32]))
    }

    fn get(&self, id: &ObjectId) -> BoundStub {
        BoundStub {
            raw: self.raw.clone(),
            id: id.clone(),
        }
    }
}

impl fmt::Debug for BoundNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundNamespace").finish_non_exhaustive()
    }
}

/// The way to one object of a [`BoundNamespace`].
#[derive(Clone)]
pub struct BoundStub {
    raw: DurableObjectNamespace,
    id: ObjectId,
}

impl Transport for BoundStub {
    async fn send(&self, call: &CallRequest) -> Result<CallReply, TransportError> {
        let request = message::write_call(call).map_err(|thrown| {
            TransportError::unsendable("write the call").with_source(PlatformError::from(thrown))
        })?;
        match send(&self.raw, &self.id, &request).await {
            Ok(answer) => message::read_reply(&answer)
                .await
                .map_err(|error| TransportError::lost("the answer broke off").with_source(error)),
            Err(thrown) if is_overloaded(&thrown) => {
                Ok(CallReply::error(&ErrorReply::overloaded()))
            }
            Err(thrown) => Err(
                TransportError::lost("the object threw instead of an answer")
                    .with_source(PlatformError::from(thrown)),
            ),
        }
    }

    fn timer(&self) -> Option<Arc<dyn Timer>> {
        Some(Arc::new(PlatformClock))
    }
}

impl fmt::Debug for BoundStub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundStub")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Sends a request to an object, and waits for its answer.
async fn send(
    namespace: &DurableObjectNamespace,
    id: &ObjectId,
    request: &web_sys::Request,
) -> Result<web_sys::Response, JsValue> {
    let answer = settled(start(namespace, id, request)).await?;
    Ok(answer.unchecked_into())
}

/// Sends a request to an object, by a stub of its own: a stub that has failed once stays broken.
pub(crate) fn start(
    namespace: &DurableObjectNamespace,
    id: &ObjectId,
    request: &web_sys::Request,
) -> Result<Promise, JsValue> {
    // By its name where it has one: from the digits the object would not learn it.
    let id = match id.name() {
        Some(name) => namespace.id_from_name(name)?,
        None => namespace.id_from_string(&id.to_string())?,
    };
    namespace.get(&id)?.fetch_with_request(request)
}
