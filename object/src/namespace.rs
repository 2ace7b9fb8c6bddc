use std::{fmt::Debug, sync::Arc};

use dokit_client::{
    CallReply, CallRequest, ErrorReply, IdError, Namespace as ClientNamespace, ObjectId, Transport,
    TransportError,
};
use dokit_storage::{MaybeSend, MaybeSync};

use crate::{BoxFuture, address::check_name, call::to_call_reply, error_response};

/// An engine's way to its objects, whoever calls: a handler of another object, the host's own
/// program, or the gateway.
pub trait Router: Debug + MaybeSend + MaybeSync + 'static {
    /// Calls a method of an object. The reply is what the gateway would have answered.
    fn call(
        &self,
        namespace: &'static str,
        id: &ObjectId,
        request: &CallRequest,
    ) -> BoxFuture<'static, Result<CallReply, TransportError>>;

    /// 16 random bytes for a new id.
    fn random(&self) -> [u8; 16];
}

/// The objects of one type, by name or by id, within the same engine.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: &'static str,
    router: Arc<dyn Router>,
}

impl Namespace {
    /// The namespace of this name behind an engine's router.
    pub fn new(name: &'static str, router: Arc<dyn Router>) -> Self {
        Self { name, router }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }
}

impl ClientNamespace for Namespace {
    type Stub = Stub;

    fn id_from_name(&self, name: &str) -> ObjectId {
        ObjectId::from_name(self.name, name)
    }

    fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError> {
        ObjectId::parse(self.name, text)
    }

    fn unique_id(&self) -> ObjectId {
        ObjectId::unique(self.name, self.router.random())
    }

    fn get(&self, id: &ObjectId) -> Stub {
        Stub {
            namespace: self.clone(),
            id: id.clone(),
            refused: None,
        }
    }

    fn get_by_name(&self, name: &str) -> Stub {
        Stub {
            refused: check_name(name).err(),
            ..self.get(&self.id_from_name(name))
        }
    }
}

/// One object of the same engine, to be called. It holds nothing open: each call finds the object
/// anew, and wakes it where it sleeps.
#[derive(Clone, Debug)]
pub struct Stub {
    namespace: Namespace,
    id: ObjectId,
    /// What every call answers, where the name is one that no gateway would take.
    refused: Option<ErrorReply>,
}

impl Stub {
    /// The id of the object.
    #[must_use]
    pub fn id(&self) -> &ObjectId {
        &self.id
    }
}

impl Transport for Stub {
    async fn send(&self, request: &CallRequest) -> Result<CallReply, TransportError> {
        if let Some(refused) = &self.refused {
            return Ok(to_call_reply(error_response(refused)));
        }
        let router = &self.namespace.router;
        router.call(self.namespace.name, &self.id, request).await
    }
}
