//! The door for HTTP: what the Worker answers itself, and what it sends on to an object.

use std::{cell::RefCell, rc::Rc};

use dokit_client::ErrorReply;
use dokit_object::engine::{Address, InvalidNamespace, ObjectType, error_response};
use worker::{
    Env, console_error,
    js_sys::Promise,
    wasm_bindgen::{JsCast, JsValue},
    web_sys,
};

use crate::{
    last_words, message,
    platform::{settled, unanswered},
    router::Bindings,
};

/// The largest body of a request, in bytes: that of the embedded engine.
const BODY_BYTES: usize = 1024 * 1024;

/// Answers a request of the Worker's, by the object that its path names.
pub fn gateway(
    types: impl IntoIterator<Item = Result<ObjectType, InvalidNamespace>>,
    request: web_sys::Request,
    env: Env,
) -> Promise {
    let types: Result<Vec<ObjectType>, InvalidNamespace> = types.into_iter().collect();
    let sent = Rc::new(RefCell::new(None));
    let passed_on = Rc::clone(&sent);
    let run = async move {
        let answer = match types {
            Ok(types) => forward(&types, &request, env, &sent).await,
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
    };
    // An object's panic may end the gateway's program too: what the object is answered goes through.
    last_words::event(run, move |_| match passed_on.take() {
        Some(answer) => last_words::answer(&answer),
        None => message::write_error(&ErrorReply::object_reset()),
    })
}

async fn forward(
    types: &[ObjectType],
    raw: &web_sys::Request,
    env: Env,
    sent: &RefCell<Option<Promise>>,
) -> Result<web_sys::Response, ErrorReply> {
    let bindings = Bindings::new(env);
    let mut request = message::read_request(raw, BODY_BYTES).await?;
    for ours in [message::CHAIN, message::NAME] {
        request.headers_mut().remove(ours);
    }
    let address = Address::parse(request.uri().path(), types, &bindings)?;
    let forwarded = message::write_request(&request, &address.path).map_err(unanswered)?;
    let answer = bindings.start(address.namespace, &address.id, &forwarded)?;
    sent.replace(Some(answer.clone()));
    let answer = settled(Ok(answer)).await.map_err(unanswered)?;
    Ok(answer.unchecked_into())
}
