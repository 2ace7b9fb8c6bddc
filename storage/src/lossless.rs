//! Refuses values that JSON text would give back as others, before they are written.
//!
//! `serde_json` writes a number that is not finite as `null`, and `Some(None)` too. Read again, the
//! one is an error and the other is `None`: both are found too late.

use std::fmt;

use serde::{
    Serialize, Serializer,
    ser::{
        SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
        SerializeTupleStruct, SerializeTupleVariant,
    },
};

/// `Ok` when `value` comes back from JSON as it is.
pub(crate) fn check<V: Serialize + ?Sized>(value: &V) -> Result<(), Loss> {
    value.serialize(Check).map(|_| ())
}

/// What would be lost.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    NotFinite(&'static str),
    NullInSome,
    /// What the value's own `Serialize` says.
    Custom(String),
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite(number) => write!(f, "{number} has no json form"),
            Self::NullInSome => {
                f.write_str("`Some` of a value that is `null` in json would be read as `None`")
            }
            Self::Custom(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for Loss {}

impl serde::ser::Error for Loss {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// Whether a value is `null` in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Null,
    Other,
}

/// Walks a value without writing it.
struct Check;

macro_rules! others {
    ($($method:ident($type:ty)),* $(,)?) => {$(
        fn $method(self, _: $type) -> Result<Form, Loss> {
            Ok(Form::Other)
        }
    )*};
}

impl Serializer for Check {
    type Ok = Form;
    type Error = Loss;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    others! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64),
        serialize_i128(i128), serialize_u8(u8), serialize_u16(u16), serialize_u32(u32),
        serialize_u64(u64), serialize_u128(u128),
    }

    fn serialize_f32(self, number: f32) -> Result<Form, Loss> {
        self.serialize_f64(number.into())
    }

    fn serialize_f64(self, number: f64) -> Result<Form, Loss> {
        if number.is_finite() {
            return Ok(Form::Other);
        }
        Err(Loss::NotFinite(if number.is_nan() {
            "NaN"
        } else {
            "an infinite number"
        }))
    }

    fn serialize_none(self) -> Result<Form, Loss> {
        Ok(Form::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Form, Loss> {
        match value.serialize(self)? {
            Form::Null => Err(Loss::NullInSome),
            Form::Other => Ok(Form::Other),
        }
    }

    fn serialize_unit(self) -> Result<Form, Loss> {
        Ok(Form::Null)
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Form, Loss> {
        Ok(Form::Null)
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<Form, Loss> {
        Ok(Form::Other)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Form, Loss> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<Form, Loss> {
        value.serialize(self)?;
        Ok(Form::Other)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Loss> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Loss> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Loss> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Loss> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Loss> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Loss> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Loss> {
        Ok(self)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<Form, Loss> {
        Ok(Form::Other)
    }
}

macro_rules! parts {
    ($($kind:ident::$method:ident($($name:ty)?)),* $(,)?) => {$(
        impl $kind for Check {
            type Ok = Form;
            type Error = Loss;

            fn $method<T: Serialize + ?Sized>(
                &mut self,
                $(_: $name,)?
                value: &T,
            ) -> Result<(), Loss> {
                check(value)
            }

            fn end(self) -> Result<Form, Loss> {
                Ok(Form::Other)
            }
        }
    )*};
}

parts! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str),
}

impl SerializeMap for Check {
    type Ok = Form;
    type Error = Loss;

    // Keys have no lossy form: `serde_json` refuses what is not text or a finite number.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Result<(), Loss> {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Loss> {
        check(value)
    }

    fn end(self) -> Result<Form, Loss> {
        Ok(Form::Other)
    }
}
