//! What is read of an object's storage in the moment in which the program ends.

use std::rc::Rc;

use dokit_storage::{Batch, Error, KeyRange, Result, Store, Timestamp};
use worker::{
    js_sys::{Array, Function, Reflect},
    wasm_bindgen::{JsCast, JsValue},
    worker_sys::DurableObjectStorage,
};

use crate::{json_text::json_text, platform::PlatformError};

/// An object's storage by the platform's synchronous calls: nothing can be waited for.
pub(crate) struct AtOnce {
    pub(crate) platform: Rc<DurableObjectStorage>,
    /// The alarm that is being delivered.
    pub(crate) ringing: Option<Timestamp>,
}

impl Store for AtOnce {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        let read = || -> std::result::Result<_, JsValue> {
            let keys = Reflect::get((*self.platform).unchecked_ref(), &"kv".into())?;
            let get: Function = Reflect::get(&keys, &"get".into())?.unchecked_into();
            let value = Reflect::apply(&get, &keys, &Array::of1(&key.into()))?;
            (!value.is_undefined())
                .then(|| json_text(key, &value))
                .transpose()
        };
        read().map_err(|thrown| Error::engine("read", PlatformError::from(thrown)))
    }

    async fn list(&self, _: &KeyRange) -> Result<Vec<(String, String)>> {
        Err(Error::Refused {
            operation: "list",
            reason: "the program is about to end",
        })
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        Ok(self.ringing)
    }

    async fn commit(&mut self, _: Batch) -> Result<()> {
        Err(Error::Refused {
            operation: "commit",
            reason: "the program is about to end",
        })
    }
}
