//! A row as a serde type.

use std::{fmt, vec};

use serde::{
    Deserializer,
    de::{
        self, DeserializeOwned, IntoDeserializer, MapAccess, SeqAccess, Visitor,
        value::{SeqDeserializer, StrDeserializer},
    },
};

use crate::sql::{SqlError, SqlValue};

/// The longest reason that is kept: it may quote a value.
const REASON: usize = 300;

/// What does not fit, and in which column.
#[derive(Debug)]
pub(super) struct Problem {
    column: Option<String>,
    reason: String,
}

impl Problem {
    fn new(reason: impl Into<String>) -> Self {
        Self {
            column: None,
            reason: reason.into(),
        }
    }

    fn within(mut self, column: &str) -> Self {
        self.column.get_or_insert_with(|| column.to_owned());
        self
    }

    /// The error that says where it was.
    pub(super) fn at(self, row: usize, expected: &'static str) -> SqlError {
        let mut reason = self.reason;
        if let Some((cut, _)) = reason.char_indices().nth(REASON) {
            reason.truncate(cut);
            reason.push_str("..");
        }
        match self.column {
            Some(column) => SqlError::Column {
                row,
                column,
                expected,
                reason,
            },
            None => SqlError::Row {
                row,
                expected,
                reason,
            },
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

pub(super) fn decode<T: DeserializeOwned>(
    columns: &[String],
    row: Vec<SqlValue>,
) -> Result<T, Problem> {
    T::deserialize(Row { columns, row })
}

struct Row<'a> {
    columns: &'a [String],
    row: Vec<SqlValue>,
}

impl<'a> Row<'a> {
    /// The value of the only column.
    fn only(self) -> Result<Column<'a>, Problem> {
        let count = self.columns.len();
        match (self.columns, self.row.into_iter().next()) {
            ([column], Some(value)) => Ok(Column { column, value }),
            _ => Err(Problem::new(format!(
                "one column is expected, the row has {count}"
            ))),
        }
    }

    fn named(self) -> Result<Named<'a>, Problem> {
        for (at, column) in self.columns.iter().enumerate() {
            if self.columns[..at].contains(column) {
                return Err(Problem::new(format!(
                    "two columns are named {column:?}: give one another name by `AS`"
                )));
            }
        }
        Ok(Named {
            columns: self.columns.iter(),
            row: self.row.into_iter(),
            value: None,
        })
    }

    fn ordered<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let count = self.columns.len();
        let mut values = Ordered {
            columns: self.columns.iter(),
            row: self.row.into_iter(),
        };
        let value = visitor.visit_seq(&mut values)?;
        match values.row.len() {
            0 => Ok(value),
            left => Err(Problem::new(format!(
                "{} columns are expected, the row has {count}",
                count - left
            ))),
        }
    }
}

macro_rules! from_the_only_column {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            self.only()?.$method(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Row<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_map(self.named()?)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_map(self.named()?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_map(self.named()?)
    }

    /// A list from the only column is a blob; lists of values are what `Cursor::raw` gives.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.only()?.deserialize_seq(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.ordered(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.ordered(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    /// `None` is one column that is NULL.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.row.as_slice() {
            [SqlValue::Null] => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.only()?.deserialize_unit(visitor)
    }

    from_the_only_column! {
        deserialize_bool
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_identifier
    }
}

struct Named<'a> {
    columns: std::slice::Iter<'a, String>,
    row: vec::IntoIter<SqlValue>,
    value: Option<Column<'a>>,
}

impl<'de> MapAccess<'de> for Named<'_> {
    type Error = Problem;

    fn next_key_seed<K: de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        let (Some(column), Some(value)) = (self.columns.next(), self.row.next()) else {
            return Ok(None);
        };
        self.value = Some(Column { column, value });
        let name: StrDeserializer<'_, Problem> = column.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<S::Value, Problem> {
        let value = self.value.take();
        value
            .ok_or_else(|| Problem::new("a value was asked for before its column"))?
            .decode(seed)
    }
}

struct Ordered<'a> {
    columns: std::slice::Iter<'a, String>,
    row: vec::IntoIter<SqlValue>,
}

impl<'de> SeqAccess<'de> for Ordered<'_> {
    type Error = Problem;

    fn next_element_seed<S: de::DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        match (self.columns.next(), self.row.next()) {
            (Some(column), Some(value)) => Column { column, value }.decode(seed).map(Some),
            _ => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.row.len())
    }
}

/// One value of a row.
struct Column<'a> {
    column: &'a str,
    value: SqlValue,
}

impl Column<'_> {
    fn decode<'de, S: de::DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Problem> {
        let column = self.column;
        seed.deserialize(self)
            .map_err(|problem| problem.within(column))
    }

    /// What serde says of a value that was handed to it, with the column.
    fn named<T>(column: &str, visited: Result<T, Problem>) -> Result<T, Problem> {
        visited.map_err(|problem| problem.within(column))
    }

    fn other(&self, expected: &str) -> Problem {
        let found = self.value.kind();
        Problem::new(format!("it is {found}, not {expected}")).within(self.column)
    }

    fn integer<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            SqlValue::Integer(number) => Self::named(self.column, visitor.visit_i64(number)),
            _ => Err(self.other("an integer")),
        }
    }

    fn real<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            SqlValue::Real(number) => visitor.visit_f64(number),
            SqlValue::Integer(number) => match exact(number) {
                Some(number) => visitor.visit_f64(number),
                None => Err(self.other("a float: it would be rounded")),
            },
            _ => Err(self.other("a float")),
        }
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            SqlValue::Text(text) => Self::named(self.column, visitor.visit_string(text)),
            _ => Err(self.other("text")),
        }
    }
}

/// The float that is this integer, if there is one.
#[expect(clippy::cast_precision_loss, reason = "integers up to 2^53 have none")]
fn exact(number: i64) -> Option<f64> {
    (number.unsigned_abs() <= 1 << 53).then_some(number as f64)
}

macro_rules! integers {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
            self.integer(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Column<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let column = self.column;
        let visited = match self.value {
            SqlValue::Null => visitor.visit_unit(),
            SqlValue::Integer(number) => visitor.visit_i64(number),
            SqlValue::Real(number) => visitor.visit_f64(number),
            SqlValue::Text(text) => visitor.visit_string(text),
            SqlValue::Blob(bytes) => visitor.visit_byte_buf(bytes),
        };
        Self::named(column, visited)
    }

    integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            SqlValue::Integer(0) => visitor.visit_bool(false),
            SqlValue::Integer(1) => visitor.visit_bool(true),
            SqlValue::Integer(other) => {
                let reason = format!("it is {other}; a bool is 0 or 1");
                Err(Problem::new(reason).within(self.column))
            }
            _ => Err(self.other("a bool (0 or 1)")),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.real(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.real(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.text(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.text(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.text(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            SqlValue::Blob(bytes) => Self::named(self.column, visitor.visit_byte_buf(bytes)),
            _ => Err(self.other("a blob")),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.value {
            SqlValue::Blob(bytes) => {
                let list = SeqDeserializer::new(bytes.iter().copied());
                Self::named(self.column, visitor.visit_seq(list))
            }
            _ => Err(self.other("a blob, and lists are blobs")),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            SqlValue::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            SqlValue::Null => visitor.visit_unit(),
            _ => Err(self.other("null")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.value {
            SqlValue::Text(text) => {
                let variant: StrDeserializer<'_, Problem> = text.as_str().into_deserializer();
                Self::named(self.column, visitor.visit_enum(variant))
            }
            _ => Err(self.other("text that names a variant")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Problem> {
        Err(self.other("a map: a value is a scalar, so read JSON as text and parse it"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Problem> {
        Err(self.other("a struct: a value is a scalar, so read JSON as text and parse it"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _len: usize,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.deserialize_seq(visitor)
    }
}
