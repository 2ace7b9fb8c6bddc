//! Values as a JavaScript program stores them, and what JSON text they are.

use worker::{
    js_sys::{self, ArrayBuffer, Error, Function, JSON, Map, RegExp, Set},
    wasm_bindgen::{JsCast, JsValue, prelude::Closure},
};

/// The JSON text of a stored value. One that is no JSON text was written by somebody else's program, and is
/// read as its JSON; where it has none, nothing of it is dropped in silence.
pub(crate) fn json_text(key: &str, value: &JsValue) -> Result<String, JsValue> {
    if let Some(text) = value.as_string()
        && JSON::parse(&text).is_ok()
    {
        return Ok(text);
    }
    let name = key.to_owned();
    let check: Closure<dyn FnMut(JsValue, JsValue) -> Result<JsValue, JsValue>> =
        Closure::new(move |_, part: JsValue| match without_json(&part) {
            None => Ok(part),
            Some(kind) => {
                let refused =
                    format!("the value of {name:?} has {kind} in it, which has no json form");
                Err(js_sys::TypeError::new(&refused).into())
            }
        });
    let check: &Function = check.as_ref().unchecked_ref();
    let text = JSON::stringify_with_replacer(value, check)?;
    Ok(String::from(text))
}

/// What `JSON.stringify` would make something else of: `{}` of a map, `null` of what is no number.
fn without_json(part: &JsValue) -> Option<&'static str> {
    Some(if part.is_bigint() {
        "a BigInt"
    } else if part.as_f64().is_some_and(|number| !number.is_finite()) {
        "a number that is not finite"
    } else if part.is_instance_of::<Map>() {
        "a Map"
    } else if part.is_instance_of::<Set>() {
        "a Set"
    } else if part.is_instance_of::<ArrayBuffer>() || ArrayBuffer::is_view(part) {
        "bytes"
    } else if part.is_instance_of::<RegExp>() {
        "a RegExp"
    } else if part.is_instance_of::<Error>() {
        "an Error"
    } else {
        return None;
    })
}
