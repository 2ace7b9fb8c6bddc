//! Values to and from JSON text, with errors that say where.

use std::any::type_name;

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, lossless};

/// The JSON text of a value that is meant for `key`.
///
/// # Errors
///
/// [`Error::Encode`] when the value has no JSON form, such as a map whose keys are structs, a number
/// that is not finite, or `Some(None)`, which JSON would give back as `None`.
pub fn encode<V: Serialize + ?Sized>(key: &str, value: &V) -> Result<String> {
    let refused = |source| Error::Encode {
        key: key.to_owned(),
        expected: type_name::<V>(),
        source,
    };
    lossless::check(value).map_err(|loss| refused(loss.into()))?;
    serde_json::to_string(value).map_err(|error| refused(error.into()))
}

/// The value that stands under `key` as `json`.
///
/// # Errors
///
/// [`Error::Decode`] with the key, the type and the place, when the text is not JSON or not of the
/// type.
pub fn decode<V: DeserializeOwned>(key: &str, json: &str) -> Result<V> {
    let mut text = serde_json::Deserializer::from_str(json);
    let decoded = serde_path_to_error::deserialize(&mut text)
        .map_err(|error| (place(error.path()), error.into_inner()))
        .and_then(|value| match text.end() {
            Ok(()) => Ok(value),
            Err(error) => Err((".".to_owned(), error)),
        });
    decoded.map_err(|(path, source)| Error::Decode {
        key: key.to_owned(),
        expected: type_name::<V>(),
        path,
        line: source.line(),
        column: source.column(),
        source: source.into(),
    })
}

/// Where something is in a value. A field without a name would be no text at all.
fn place(path: &serde_path_to_error::Path) -> String {
    match path.to_string() {
        nameless if nameless.is_empty() => "\"\"".to_owned(),
        path => path,
    }
}
