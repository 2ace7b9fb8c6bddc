use std::fmt;

use dokit_client::{CallRequest, Dispatch, ErrorReply, Method, find_method};
use dokit_storage::Batch;

use crate::{
    BoxFuture, Context, DurableObject,
    engine::{Activation, Call, Handlers, RpcCall},
};

/// A type of object as an engine registers it: its namespace, what it can do, and how it is woken.
#[derive(Clone, Copy)]
pub struct ObjectType {
    namespace: &'static str,
    methods: &'static [Method],
    handlers: Handlers,
    sql: bool,
    wake: fn(Context) -> Waking,
}

type Waking = BoxFuture<'static, Result<(Activation, Batch), ErrorReply>>;

impl ObjectType {
    /// The description of `T`.
    ///
    /// # Errors
    ///
    /// [`InvalidNamespace`] when its namespace could not stand in an address.
    pub fn of<T: DurableObject>() -> Result<Self, InvalidNamespace> {
        if !is_namespace(T::NAMESPACE) {
            return Err(InvalidNamespace(T::NAMESPACE));
        }
        Ok(Self {
            namespace: T::NAMESPACE,
            methods: <T::Api as Dispatch<T>>::METHODS,
            handlers: T::HANDLERS,
            sql: T::SQL,
            wake: |ctx| Box::pin(Activation::wake::<T>(ctx)),
        })
    }

    /// The namespace of its objects.
    #[must_use]
    pub fn namespace(&self) -> &'static str {
        self.namespace
    }

    /// The methods it can be called by.
    #[must_use]
    pub fn methods(&self) -> &'static [Method] {
        self.methods
    }

    /// What a call from inside the engine asks of an object: as [`route`](crate::engine::route) for a request.
    ///
    /// # Errors
    ///
    /// `method_not_found` (404) with the known methods.
    pub fn call(&self, request: CallRequest) -> Result<Call, ErrorReply> {
        Ok(Call::Rpc(RpcCall {
            method: find_method(self.methods, &request.method)?,
            arguments: request.arguments.into(),
            idempotency_key: request.idempotency_key,
        }))
    }

    /// The handlers it has.
    #[must_use]
    pub fn handlers(&self) -> Handlers {
        self.handlers
    }

    /// Whether its objects have a SQL database of their own.
    #[must_use]
    pub fn sql(&self) -> bool {
        self.sql
    }

    /// Wakes an object. The batch is what it wrote while it woke, to be committed before its first
    /// call.
    ///
    /// # Errors
    ///
    /// What `new` answered, for the call that woke it; the next call tries again.
    pub async fn wake(&self, ctx: Context) -> Result<(Activation, Batch), ErrorReply> {
        (self.wake)(ctx).await
    }
}

impl fmt::Debug for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectType")
            .field("namespace", &self.namespace)
            .field("handlers", &self.handlers)
            .field("sql", &self.sql)
            .finish_non_exhaustive()
    }
}

/// A namespace that could not stand in an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid namespace {0:?}: lower-case letters, digits and hyphens, beginning with a letter, at most 64"
)]
pub struct InvalidNamespace(&'static str);

fn is_namespace(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.len() <= 64
        && name
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_lowercase())
        && name.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use super::is_namespace;

    #[test]
    fn a_namespace_is_lower_case_letters_digits_and_hyphens() {
        for good in ["order", "chat-room", "a1"] {
            assert!(is_namespace(good), "{good}");
        }
        for bad in ["", "Order", "1a", "a_b", "a/b", "-a", &"a".repeat(65)] {
            assert!(!is_namespace(bad), "{bad}");
        }
    }
}
