//! The lines of an export: one JSON value each, with one key that says what it is.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// The format that this release writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Line<'a> {
    /// The first line.
    Object(Header<'a>),
    /// A key, and its value as it is stored.
    Entry {
        key: Cow<'a, str>,
        value: Box<RawValue>,
    },
    /// A value that is not JSON, as its text.
    Text {
        key: Cow<'a, str>,
        value: Cow<'a, str>,
    },
    /// The alarm, in milliseconds since 1970.
    Alarm(i64),
    /// The last line: an export without it was cut short.
    End {
        /// How many lines there are before it.
        lines: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header<'a> {
    pub(crate) format: u32,
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) id: Cow<'a, str>,
    pub(crate) name: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    /// A stored value, of which only white space outside of strings may change.
    pub(crate) fn entry(key: &'a str, value: String) -> Self {
        let key = Cow::Borrowed(key);
        // In JSON, line ends are white space: those of a string are written `\n`.
        let one_line = if value.contains(['\n', '\r']) {
            value.replace(['\n', '\r'], " ")
        } else {
            value.clone()
        };
        match RawValue::from_string(one_line) {
            Ok(value) => Self::Entry { key, value },
            Err(_) => Self::Text {
                key,
                value: value.into(),
            },
        }
    }

    pub(crate) fn to_json(&self) -> Box<RawValue> {
        to_raw_value(self).expect("texts and numbers have a json form")
    }
}
