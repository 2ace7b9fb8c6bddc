//! What the platform throws.

use dokit_client::ErrorReply;
use worker::{
    js_sys::{self, Array, Function, Promise, Reflect},
    wasm_bindgen::{JsCast, JsValue},
    wasm_bindgen_futures::JsFuture,
};

/// An exception of the platform's, as text.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PlatformError(String);

impl From<JsValue> for PlatformError {
    fn from(thrown: JsValue) -> Self {
        Self(match thrown.dyn_ref::<js_sys::Error>() {
            Some(error) => format!("{}: {}", error.name(), error.message()),
            None => format!("{thrown:?}"),
        })
    }
}

/// A promise that is settled from here.
#[derive(Clone)]
pub(crate) struct Latch {
    promise: Promise,
    resolve: Function,
    reject: Function,
}

impl Latch {
    pub(crate) fn new() -> Self {
        let mut functions = None;
        let promise = Promise::new(&mut |resolve, reject| functions = Some((resolve, reject)));
        // JavaScript calls that at once.
        let (resolve, reject) = functions.unwrap_or_default();
        Self {
            promise,
            resolve,
            reject,
        }
    }

    pub(crate) fn promise(&self) -> Promise {
        self.promise.clone()
    }

    /// The function that resolves it, for the platform to call.
    pub(crate) fn on_resolve(&self) -> &Function {
        &self.resolve
    }

    pub(crate) fn resolve(&self, with: &JsValue) {
        // It cannot throw.
        let _ = Reflect::apply(&self.resolve, &JsValue::UNDEFINED, &Array::of1(with));
    }

    pub(crate) fn reject(&self, with: &JsValue) {
        let _ = Reflect::apply(&self.reject, &JsValue::UNDEFINED, &Array::of1(with));
    }
}

/// Awaits what a call of the platform gave, if it gave anything.
pub(crate) async fn settled(called: Result<Promise, JsValue>) -> Result<JsValue, JsValue> {
    JsFuture::from(called?).await
}

/// Whether the platform refused a call since its object has too much to do.
pub(crate) fn is_overloaded(thrown: &JsValue) -> bool {
    Reflect::get(thrown, &"overloaded".into()).is_ok_and(|value| value.is_truthy())
}

/// What a caller is told when an object did not answer, but the platform in its place.
/// <https://developers.cloudflare.com/durable-objects/best-practices/error-handling/>
pub(crate) fn unanswered(thrown: JsValue) -> ErrorReply {
    let mut reply = if is_overloaded(&thrown) {
        ErrorReply::overloaded()
    } else {
        ErrorReply::object_reset()
    };
    reply.log = Some(PlatformError::from(thrown).to_string());
    reply
}
