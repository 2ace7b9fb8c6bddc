//! What the code that the macros write needs, and nobody else: it may change in any release.

use std::collections::HashMap;

use serde::{
    Serialize, Serializer,
    de::DeserializeOwned,
    ser::{Error as _, SerializeMap},
};
use serde_json::value::{RawValue, to_raw_value};

pub use crate::arguments::{Arguments, ArgumentsOut};
use crate::{CallError, Caller, ErrorReply, Failure, Method, RpcError, Transport};

/// What a method returns, also where its type is an alias of `Result`.
pub trait Returned {
    type Value;
    type Error;
}

impl<V, E> Returned for Result<V, E> {
    type Value = V;
    type Error = E;
}

/// What can cross the wire in either direction.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot cross the wire",
    label = "not both `Serialize` and `DeserializeOwned`",
    note = "derive both: `#[derive(serde::Serialize, serde::Deserialize)]`"
)]
pub trait Wire: Serialize + DeserializeOwned {}

// So that the compiler tells of this trait, which says what to do, and not of serde's.
#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Wire for T {}

/// A value of which it is asked at this place, and at no other, whether it can cross the wire.
pub fn wire<V: Wire>(value: &V) -> impl Serialize + use<'_, V> {
    value
}

/// The answer to a call as JSON text.
pub fn answer<V: Wire, E: RpcError>(result: Result<V, E>) -> Result<String, Failure> {
    let value = result.map_err(|error| Failure::Method(error.to_reply()))?;
    serde_json::to_string(&value).map_err(|error| Failure::Method(ErrorReply::internal(&error)))
}

/// Calls a method with arguments that are written.
pub async fn call<T: Transport, V: Wire, E: RpcError>(
    caller: &Caller<T>,
    written: ArgumentsOut,
) -> Result<V, CallError<E>> {
    let method = written.method();
    caller.call(method, written.finish()).await
}

/// A method that cannot be called this way.
pub fn unknown(methods: &'static [Method], method: &Method) -> Failure {
    Failure::unknown(methods, method)
}

/// The named fields of an error, on their way out.
#[derive(Debug, Default)]
pub struct FieldsOut(Vec<(&'static str, serde_json::Result<Box<RawValue>>)>);

impl FieldsOut {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.0.push((name, to_raw_value(&value)));
        self
    }
}

impl Serialize for FieldsOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            let value = value.as_ref().map_err(S::Error::custom)?;
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// The named fields of an error, on their way in.
#[derive(Debug)]
pub struct FieldsIn(HashMap<String, Box<RawValue>>);

impl FieldsIn {
    pub fn of(reply: &ErrorReply) -> Option<Self> {
        reply.details().map(Self)
    }

    pub fn get<V: Wire>(&self, name: &str) -> Option<V> {
        let json = self.0.get(name).map_or("null", |value| value.get());
        serde_json::from_str(json).ok()
    }
}

/// The one unnamed field of an error, on its way in. An empty one was not written.
pub fn field<V: Wire>(reply: &ErrorReply) -> Option<V> {
    serde_json::from_str(reply.details_json().unwrap_or("null")).ok()
}

/// What a dispatched call gives.
pub type Dispatched = Result<String, Failure>;
