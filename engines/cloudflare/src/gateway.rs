//! The door for HTTP: what the Worker answers itself, and what it sends on to an object.

use dokit_client::ErrorReply;
use dokit_object::{Address, InvalidNamespace, ObjectType, error_response};
use worker::{
    Env, console_error, js_sys::Promise, wasm_bindgen::JsValue,
    wasm_bindgen_futures::future_to_promise, web_sys,
};

use crate::{message, platform::unanswered, router::Bindings};

/// The largest body of a request, in bytes: that of the embedded engine.
const BODY_BYTES: usize = 1024 * 1024;

/// Answers a request of the Worker's, by the object that its path names.
pub fn gateway(
    types: impl IntoIterator<Item = Result<ObjectType, InvalidNamespace>>,
    request: web_sys::Request,
    env: Env,
) -> Promise {
    let types: Result<Vec<ObjectType>, InvalidNamespace> = types.into_iter().collect();
    future_to_promise(async move {
        let answer = match types {
            Ok(types) => forward(&types, &request, env).await,
            Err(invalid) => Err(ErrorReply::internal(&invalid)),
        };
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                if let Some(log) = &error.log {
                    console_error!("{log}");
                }
                message::write_response(&error_response(&error))?
            }
        };
        Ok(JsValue::from(response))
    })
}

async fn forward(
    types: &[ObjectType],
    raw: &web_sys::Request,
    env: Env,
) -> Result<web_sys::Response, ErrorReply> {
    let bindings = Bindings::new(env);
    let mut request = message::read_request(raw, BODY_BYTES).await?;
    request.headers_mut().remove(message::CHAIN);
    let address = Address::parse(request.uri().path(), types, &bindings)?;
    let forwarded = message::write_request(&request, &address.path).map_err(unanswered)?;
    let answer = bindings
        .send(address.namespace, &address.id, &forwarded)
        .await;
    answer.map_err(unanswered)
}
