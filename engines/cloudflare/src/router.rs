use std::fmt;

use dokit_client::{CallReply, CallRequest, ErrorReply, IdError, ObjectId, TransportError};
use dokit_object::{BoxFuture, Chain, Router, error_response, to_call_reply};
use worker::{
    Env,
    js_sys::{Promise, Reflect},
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
    worker_sys::{DurableObjectId, DurableObjectNamespace},
};

use crate::{
    binding_name, bound, message,
    platform::{PlatformError, unanswered},
};

/// The way to objects by the Worker's bindings.
#[derive(Clone)]
pub(crate) struct Bindings {
    env: Env,
}

impl Bindings {
    pub(crate) fn new(env: Env) -> Self {
        Self { env }
    }

    /// The platform's namespace that is bound to one of ours.
    fn namespace(&self, namespace: &str) -> Result<DurableObjectNamespace, JsValue> {
        let name = binding_name(namespace);
        let bound = Reflect::get(&self.env, &name.as_str().into())?;
        if bound.is_undefined() {
            let missing = format!("the worker has no binding {name}");
            return Err(worker::js_sys::Error::new(&missing).into());
        }
        Ok(bound.unchecked_into())
    }

    /// Sends a request to an object, and gives the promise of its answer.
    pub(crate) fn start(
        &self,
        namespace: &str,
        id: &ObjectId,
        request: &web_sys::Request,
    ) -> Result<Promise, JsValue> {
        bound::start(&self.namespace(namespace)?, id, request)
    }

    /// Sends a request to an object.
    async fn send(
        &self,
        namespace: &str,
        id: &ObjectId,
        request: &web_sys::Request,
    ) -> Result<web_sys::Response, JsValue> {
        bound::send(&self.namespace(namespace)?, id, request).await
    }
}

impl Router for Bindings {
    fn call(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        request: &CallRequest,
    ) -> BoxFuture<'static, Result<CallReply, TransportError>> {
        let (own, id) = (self.clone(), id.clone());
        let chain = Chain::current();
        let reentrant = chain.contains(&id);
        let request = message::write_call(request, &chain);
        Box::pin(async move {
            if reentrant {
                return Ok(to_call_reply(error_response(&ErrorReply::reentrant_call())));
            }
            let request = request.map_err(|thrown| {
                TransportError::unsendable("write the call")
                    .with_source(PlatformError::from(thrown))
            })?;
            match own.send(namespace, &id, &request).await {
                Ok(answer) => message::read_reply(&answer).await.map_err(|error| {
                    TransportError::lost("the answer broke off").with_source(error)
                }),
                Err(thrown) => Ok(to_call_reply(error_response(&unanswered(thrown)))),
            }
        })
    }

    fn unique_id(&self, namespace: &'static str) -> ObjectId {
        let id = self
            .namespace(namespace)
            .and_then(|bound| bound.new_unique_id());
        // Without its binding the namespace has no objects, which the first call of one says.
        id.and_then(|id| read_id(&id))
            .unwrap_or(ObjectId::from_bytes([0; 32]))
    }

    fn id_from_name(&self, namespace: &'static str, name: &str) -> ObjectId {
        let id = self
            .namespace(namespace)
            .and_then(|bound| bound.id_from_name(name));
        let id = id.and_then(|id| read_id(&id));
        id.unwrap_or_else(|_| ObjectId::from_name(namespace, name))
    }

    fn id_from_string(&self, namespace: &'static str, text: &str) -> Result<ObjectId, IdError> {
        let id: ObjectId = text.parse()?;
        let known = self
            .namespace(namespace)
            .and_then(|bound| bound.id_from_string(text));
        known.map(|_| id).map_err(|_| IdError::OtherNamespace {
            id: text.to_owned(),
            namespace: namespace.to_owned(),
        })
    }
}

impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bindings").finish_non_exhaustive()
    }
}

/// An id of the platform's, with its name.
pub(crate) fn read_id(raw: &DurableObjectId) -> Result<ObjectId, JsValue> {
    let id = raw.to_string()?.parse::<ObjectId>();
    let id = id.map_err(|error| worker::js_sys::Error::new(&error.to_string()))?;
    Ok(match raw.name() {
        Some(name) => id.with_name(&name),
        None => id,
    })
}
