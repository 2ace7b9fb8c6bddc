//! The lines of an export: one JSON value each, with one key that says what it is.

use std::borrow::Cow;

use dokit_storage::sql::SqlValue;
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
    /// A statement that makes a table, an index, a view or a trigger.
    Sql(Cow<'a, str>),
    /// Rows of this table follow.
    Rows { table: String, columns: Vec<String> },
    /// A row.
    Row(Vec<Cell>),
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

/// A value of a row. An integer and a real are both numbers, the real with a point or an exponent.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob {
        /// In hexadecimal digits.
        blob: String,
    },
    /// One that JSON has no number for.
    Infinite {
        /// `inf` or `-inf`.
        real: String,
    },
}

impl From<SqlValue> for Cell {
    fn from(value: SqlValue) -> Self {
        match value {
            SqlValue::Null => Self::Null,
            SqlValue::Integer(number) => Self::Integer(number),
            SqlValue::Real(number) if number.is_finite() => Self::Real(number),
            SqlValue::Real(number) => Self::Infinite {
                real: number.to_string(),
            },
            SqlValue::Text(text) => Self::Text(text),
            SqlValue::Blob(bytes) => Self::Blob {
                blob: bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
            },
        }
    }
}

impl TryFrom<Cell> for SqlValue {
    type Error = String;

    fn try_from(cell: Cell) -> Result<Self, String> {
        Ok(match cell {
            Cell::Null => Self::Null,
            Cell::Integer(number) => Self::Integer(number),
            Cell::Real(number) => Self::Real(number),
            Cell::Text(text) => Self::Text(text),
            Cell::Blob { blob } => Self::Blob(bytes(&blob)?),
            Cell::Infinite { real } => match real.as_str() {
                "inf" => Self::Real(f64::INFINITY),
                "-inf" => Self::Real(f64::NEG_INFINITY),
                _ => return Err(format!("{real:?} is no real")),
            },
        })
    }
}

fn bytes(hex: &str) -> Result<Vec<u8>, String> {
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    let pairs = hex.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| match pair {
        [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
        _ => None,
    });
    let bytes: Option<Vec<u8>> = bytes.collect();
    bytes.ok_or_else(|| "a blob is pairs of hexadecimal digits".to_owned())
}

impl<'a> Line<'a> {
    /// A stored value, of which only white space outside of strings may change.
    pub(crate) fn entry(key: &'a str, value: String) -> Self {
        let key = Cow::Borrowed(key);
        // In JSON, line ends are white space: those of a string are written `\n`.
        let one_line = if value.contains(['\n', '\r']) {
            Cow::Owned(value.replace(['\n', '\r'], " "))
        } else {
            Cow::Borrowed(&*value)
        };
        match serde_json::from_str(&one_line) {
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
