use std::fmt;

use dokit_client::{CallReply, CallRequest, ErrorReply, IdError, ObjectId, TransportError, code};
use dokit_object::{
    BoxFuture,
    engine::{Chain, Router, error_response, to_call_reply},
};
use worker::{
    Env,
    js_sys::{Function, Promise, Reflect},
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
    worker_sys::{DurableObjectId, DurableObjectNamespace},
};

use crate::{
    binding_name, bound, message,
    platform::{PlatformError, settled, unanswered},
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
    fn namespace(&self, namespace: &str) -> Result<DurableObjectNamespace, ErrorReply> {
        let name = binding_name(namespace);
        // Of what is no object there is nothing to get.
        let bound = Reflect::get(&self.env, &name.as_str().into()).unwrap_or_default();
        let finds = Reflect::get(&bound, &"idFromName".into()).unwrap_or_default();
        if finds.is_instance_of::<Function>() {
            return Ok(bound.unchecked_into());
        }
        Err(unbound(namespace, &name))
    }

    /// Sends a request to an object, and gives the promise of its answer.
    pub(crate) fn start(
        &self,
        namespace: &str,
        id: &ObjectId,
        request: &web_sys::Request,
    ) -> Result<Promise, ErrorReply> {
        let bound = self.namespace(namespace)?;
        message::write_name(request, id).map_err(unanswered)?;
        bound::start(&bound, id, request).map_err(unanswered)
    }

    /// Sends a request to an object.
    async fn send(
        &self,
        namespace: &str,
        id: &ObjectId,
        request: &web_sys::Request,
    ) -> Result<web_sys::Response, ErrorReply> {
        let answer = settled(Ok(self.start(namespace, id, request)?)).await;
        answer.map(JsCast::unchecked_into).map_err(unanswered)
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
        let request = message::write_call(request).and_then(|call| {
            message::write_chain(&call, &chain)?;
            Ok(call)
        });
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
                Err(error) => Ok(to_call_reply(error_response(&error))),
            }
        })
    }

    fn unique_id(&self, namespace: &'static str) -> ObjectId {
        // Without its binding the namespace has no objects, which the first call of one says.
        let bound = self.namespace(namespace).ok();
        let id = bound.and_then(|bound| bound.new_unique_id().and_then(|id| read_id(&id)).ok());
        id.unwrap_or(ObjectId::from_bytes([0; 32]))
    }

    fn id_from_name(&self, namespace: &'static str, name: &str) -> ObjectId {
        let bound = self.namespace(namespace).ok();
        let id = bound.and_then(|bound| bound.id_from_name(name).and_then(|id| read_id(&id)).ok());
        id.unwrap_or_else(|| ObjectId::from_name(namespace, name))
    }

    fn id_from_string(&self, namespace: &'static str, text: &str) -> Result<ObjectId, IdError> {
        let id: ObjectId = text.parse()?;
        match self.namespace(namespace) {
            Ok(bound) if bound.id_from_string(text).is_err() => Err(IdError::OtherNamespace {
                id: text.to_owned(),
                namespace: namespace.to_owned(),
            }),
            _ => Ok(id),
        }
    }
}

impl fmt::Debug for Bindings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bindings").finish_non_exhaustive()
    }
}

/// What a caller is told of a namespace whose objects the Worker's configuration does not lead to.
fn unbound(namespace: &str, binding: &str) -> ErrorReply {
    let message = format!(
        "namespace {namespace:?} is not bound: `durable_objects.bindings` of the worker's configuration \
         has no {binding} that leads to its class; `config -- write` adds what is missing"
    );
    let mut error = ErrorReply::new(404, code::NAMESPACE_NOT_FOUND, message);
    error.log = Some(error.message.clone());
    error
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
