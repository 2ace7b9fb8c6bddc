//! Reads the arguments of a call: a JSON array, one value after the other.

use std::vec;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{json, value::RawValue};

use crate::{ErrorReply, Failure, Method};

/// The arguments of one call, on their way to the method.
#[derive(Debug)]
pub struct Arguments<'a> {
    method: &'a Method,
    given: usize,
    values: vec::IntoIter<&'a RawValue>,
    at: usize,
}

impl<'a> Arguments<'a> {
    /// Takes the array apart and counts.
    pub fn read(method: &'a Method, body: &'a [u8]) -> Result<Self, Failure> {
        let values: Vec<&RawValue> = serde_json::from_slice(body).map_err(|error| {
            refused(
                method,
                format!(
                    "arguments of {:?} are not a json array: {error}",
                    method.name()
                ),
            )
        })?;
        let names = method.arguments();
        if values.len() > names.len() {
            return Err(refused(
                method,
                format!(
                    "too many arguments for {:?}: expected {}, got {}",
                    method.name(),
                    counted(method),
                    values.len()
                ),
            ));
        }
        Ok(Self {
            method,
            given: values.len(),
            values: values.into_iter(),
            at: 0,
        })
    }

    /// The next argument as a `V`, which the error calls `expected`. One that was left out at the end
    /// is what `null` is.
    pub fn next<V: DeserializeOwned>(&mut self, expected: &'static str) -> Result<V, Failure> {
        let at = self.at;
        self.at += 1;
        let name = self.method.arguments().get(at).copied().unwrap_or_default();
        let refuse = |reason: String| {
            Failure::Refused(
                ErrorReply::invalid_arguments(format!(
                    "argument {at} ({name:?}) of {:?}{reason}",
                    self.method.name()
                ))
                .with_details(json!({
                    "method": self.method.name(),
                    "argument": at,
                    "name": name,
                    "expected": expected,
                })),
            )
        };
        let json = match self.values.next() {
            Some(value) => value.get(),
            None if at < self.method.required() => {
                return Err(refuse(format!(
                    " is missing: expected {expected}; {} of {} given",
                    self.given,
                    counted(self.method)
                )));
            }
            None => "null",
        };
        read_value(json).map_err(|error| refuse(format!(": {error}")))
    }
}

/// Reads one value. The place in the text is told only where there is more than one.
fn read_value<'de, V: Deserialize<'de>>(json: &'de str) -> Result<V, String> {
    serde_json::from_str(json).map_err(|error| {
        let said = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        match said.strip_suffix(&place) {
            Some(reason) if !json.starts_with(['{', '[']) => reason.to_owned(),
            _ => said,
        }
    })
}

/// `2 (key, value)`, or `1 to 2 (key, value)`.
fn counted(method: &Method) -> String {
    let names = method.arguments();
    let count = if method.required() == names.len() {
        names.len().to_string()
    } else {
        format!("{} to {}", method.required(), names.len())
    };
    if names.is_empty() {
        count
    } else {
        format!("{count} ({})", names.join(", "))
    }
}

fn refused(method: &Method, message: String) -> Failure {
    Failure::Refused(ErrorReply::invalid_arguments(message).with_details(json!({
        "method": method.name(),
        "arguments": method.arguments(),
    })))
}
