use std::{fmt::Debug, sync::Arc};

use dokit_client::{
    CallReply, CallRequest, ErrorReply, IdError, Namespace as ClientNamespace, ObjectId, Transport,
    TransportError,
};
use dokit_storage::{MaybeSend, MaybeSync};

use crate::{
    BoxFuture, address::check_name, call::to_call_reply, engine::error_response, outbox::Target,
};

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

    /// A new id, unlike any other.
    fn unique_id(&self, namespace: &'static str) -> ObjectId;

    /// The id of a name. An engine on a platform that makes the ids asks the platform instead.
    fn id_from_name(&self, namespace: &'static str, name: &str) -> ObjectId {
        ObjectId::from_name(namespace, name)
    }

    /// Reads an id from its 64 hex digits.
    ///
    /// # Errors
    ///
    /// [`IdError`] where it is malformed, or an id of another namespace.
    fn id_from_string(&self, namespace: &'static str, text: &str) -> Result<ObjectId, IdError> {
        ObjectId::parse(namespace, text)
    }
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

    /// The id of the object of this name: always the same.
    #[must_use]
    pub fn id_from_name(&self, name: &str) -> ObjectId {
        self.router.id_from_name(self.name, name)
    }

    /// Reads an id of this namespace from its 64 hex digits.
    ///
    /// # Errors
    ///
    /// [`IdError`]: the text is no id, or the id is of another namespace.
    pub fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError> {
        self.router.id_from_string(self.name, text)
    }

    /// The id of a new object without a name, which nobody can guess.
    #[must_use]
    pub fn unique_id(&self) -> ObjectId {
        self.router.unique_id(self.name)
    }

    /// The way to the object of this id.
    #[must_use]
    pub fn get(&self, id: &ObjectId) -> Stub {
        Stub {
            namespace: self.clone(),
            id: id.clone(),
            refused: None,
        }
    }

    /// The way to the object of this name. A name that no gateway would take is refused call by call.
    #[must_use]
    pub fn get_by_name(&self, name: &str) -> Stub {
        Stub {
            refused: check_name(name).err(),
            ..self.get(&self.id_from_name(name))
        }
    }
}

/// For code that works with objects over any transport.
impl ClientNamespace for Namespace {
    type Stub = Stub;

    fn id_from_name(&self, name: &str) -> ObjectId {
        self.id_from_name(name)
    }

    fn id_from_string(&self, text: &str) -> Result<ObjectId, IdError> {
        self.id_from_string(text)
    }

    fn unique_id(&self) -> ObjectId {
        self.unique_id()
    }

    fn get(&self, id: &ObjectId) -> Stub {
        self.get(id)
    }

    fn get_by_name(&self, name: &str) -> Stub {
        self.get_by_name(name)
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

    /// Where a call of it goes.
    pub(crate) fn target(&self) -> Result<Target<'_>, ErrorReply> {
        match &self.refused {
            Some(refused) => Err(refused.clone()),
            None => Ok(Target {
                namespace: self.namespace.name,
                id: &self.id,
            }),
        }
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
