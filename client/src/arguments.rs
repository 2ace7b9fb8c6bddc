//! The arguments of a call, read and written: a JSON array, one value after the other.

use std::vec;

use serde_json::value::RawValue;

use crate::{
    __private::{FieldsOut, Wire},
    CallError, ErrorReply, Failure, Method,
};

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
            // JSON, but no array; or no JSON, and then the place helps.
            let reason = if error.is_data() {
                without_place(&error)
            } else {
                error.to_string()
            };
            let name = method.name();
            refused(
                method,
                format!("arguments of {name:?} are not a json array: {reason}"),
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
    pub fn next<V: Wire>(&mut self, expected: &'static str) -> Result<V, Failure> {
        let at = self.at;
        self.at += 1;
        let name = self.method.arguments().get(at).copied().unwrap_or_default();
        let refuse = |reason: String| {
            Failure::Refused(
                ErrorReply::invalid_arguments(format!(
                    "argument {at} ({name:?}) of {:?}{reason}",
                    self.method.name()
                ))
                .with_details(
                    FieldsOut::new()
                        .with("method", self.method.name())
                        .with("argument", at)
                        .with("name", name)
                        .with("expected", expected),
                ),
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

/// Reads one value. The place in its text is told only where it has parts.
fn read_value<V: Wire>(json: &str) -> Result<V, String> {
    serde_json::from_str(json).map_err(|error| {
        if json.starts_with(['{', '[']) {
            error.to_string()
        } else {
            without_place(&error)
        }
    })
}

fn without_place(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    said.strip_suffix(&place).unwrap_or(&said).to_owned()
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
    Failure::Refused(
        ErrorReply::invalid_arguments(message).with_details(
            FieldsOut::new()
                .with("method", method.name())
                .with("arguments", method.arguments()),
        ),
    )
}

/// The arguments of one call, on their way to the wire.
#[derive(Debug)]
pub struct ArgumentsOut {
    method: &'static Method,
    given: usize,
    json: Vec<u8>,
    /// How long `json` was after the last argument that is not left out.
    needed: usize,
}

impl ArgumentsOut {
    /// None yet.
    pub fn new(method: &'static Method) -> Self {
        Self {
            method,
            given: 0,
            json: vec![b'['],
            needed: 1,
        }
    }

    /// Adds the next argument.
    pub fn push<V: Wire, E>(&mut self, value: &V) -> Result<(), CallError<E>> {
        if self.given > 0 {
            self.json.push(b',');
        }
        let argument = self.method.arguments().get(self.given).copied();
        let start = self.json.len();
        serde_json::to_writer(&mut self.json, value).map_err(|source| CallError::Encode {
            method: self.method.name(),
            argument: argument.unwrap_or_default(),
            source: source.into(),
        })?;
        if self.given < self.method.required() || self.json[start..] != *b"null" {
            self.needed = self.json.len();
        }
        self.given += 1;
        Ok(())
    }

    pub(crate) fn method(&self) -> &'static Method {
        self.method
    }

    /// The whole array. `None`s at the end, which a caller may leave out, are left out: a server of
    /// before the method had those arguments takes the call as well.
    pub(crate) fn finish(mut self) -> String {
        self.json.truncate(self.needed);
        self.json.push(b']');
        // JSON is UTF-8: serde_json writes nothing else.
        String::from_utf8(self.json).unwrap_or_default()
    }
}
