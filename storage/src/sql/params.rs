use crate::{
    Timestamp,
    sql::{SqlError, SqlValue},
};

/// The parameters of a statement, in the order of its `?`.
///
/// `()` is none, a tuple has up to twelve of different types, and arrays, slices and `Vec`s have any
/// number of one type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of parameters",
    note = "give a tuple, `(name, age)` or `(name,)`, an array, or `()` for none; each value is a number, a bool, a string, bytes, an `Option` of these, or an `SqlValue`"
)]
pub trait Params {
    /// The values.
    ///
    /// # Errors
    ///
    /// [`SqlError::Parameter`] with the position of one that has no value in SQL.
    fn to_values(&self) -> Result<Vec<SqlValue>, SqlError>;
}

/// A Rust value as a parameter.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no value in SQL",
    note = "a parameter is a number, a bool, a string, bytes, a `Timestamp`, an `Option` of these, or an `SqlValue`"
)]
pub trait ToSql {
    /// The value.
    ///
    /// # Errors
    ///
    /// In words, where it has none: an integer over `i64::MAX`, a float that is not a number.
    fn to_sql(&self) -> Result<SqlValue, String>;
}

macro_rules! integers {
    ($($type:ty)*) => {$(
        impl ToSql for $type {
            fn to_sql(&self) -> Result<SqlValue, String> {
                let number = i64::try_from(*self);
                number
                    .map(SqlValue::Integer)
                    .map_err(|_| format!("{self} does not fit the 64 bits with sign of an integer"))
            }
        }
    )*};
}
integers! { i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize }

impl ToSql for f64 {
    fn to_sql(&self) -> Result<SqlValue, String> {
        if self.is_nan() {
            // SQLite would store NULL.
            return Err("not a number has no value in sql".to_owned());
        }
        Ok(SqlValue::Real(*self))
    }
}

impl ToSql for f32 {
    fn to_sql(&self) -> Result<SqlValue, String> {
        f64::from(*self).to_sql()
    }
}

impl ToSql for bool {
    fn to_sql(&self) -> Result<SqlValue, String> {
        Ok(SqlValue::Integer(i64::from(*self)))
    }
}

impl ToSql for str {
    fn to_sql(&self) -> Result<SqlValue, String> {
        Ok(SqlValue::Text(self.to_owned()))
    }
}

impl ToSql for String {
    fn to_sql(&self) -> Result<SqlValue, String> {
        self.as_str().to_sql()
    }
}

impl ToSql for [u8] {
    fn to_sql(&self) -> Result<SqlValue, String> {
        Ok(SqlValue::Blob(self.to_vec()))
    }
}

impl ToSql for Vec<u8> {
    fn to_sql(&self) -> Result<SqlValue, String> {
        self.as_slice().to_sql()
    }
}

impl<const N: usize> ToSql for [u8; N] {
    fn to_sql(&self) -> Result<SqlValue, String> {
        self.as_slice().to_sql()
    }
}

/// Milliseconds since 1970, as an integer.
impl ToSql for Timestamp {
    fn to_sql(&self) -> Result<SqlValue, String> {
        Ok(SqlValue::Integer(self.as_millis()))
    }
}

impl ToSql for SqlValue {
    fn to_sql(&self) -> Result<SqlValue, String> {
        match self {
            Self::Real(number) => number.to_sql(),
            other => Ok(other.clone()),
        }
    }
}

impl<T: ToSql> ToSql for Option<T> {
    fn to_sql(&self) -> Result<SqlValue, String> {
        self.as_ref().map_or(Ok(SqlValue::Null), ToSql::to_sql)
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn to_sql(&self) -> Result<SqlValue, String> {
        (**self).to_sql()
    }
}

fn at(index: usize, value: &(impl ToSql + ?Sized)) -> Result<SqlValue, SqlError> {
    value.to_sql().map_err(|reason| SqlError::Parameter {
        position: index + 1,
        reason,
    })
}

impl Params for () {
    fn to_values(&self) -> Result<Vec<SqlValue>, SqlError> {
        Ok(Vec::new())
    }
}

impl<T: ToSql> Params for [T] {
    fn to_values(&self) -> Result<Vec<SqlValue>, SqlError> {
        let values = self.iter().enumerate();
        values.map(|(index, value)| at(index, value)).collect()
    }
}

impl<T: ToSql, const N: usize> Params for [T; N] {
    fn to_values(&self) -> Result<Vec<SqlValue>, SqlError> {
        self.as_slice().to_values()
    }
}

impl<T: ToSql> Params for Vec<T> {
    fn to_values(&self) -> Result<Vec<SqlValue>, SqlError> {
        self.as_slice().to_values()
    }
}

impl<P: Params + ?Sized> Params for &P {
    fn to_values(&self) -> Result<Vec<SqlValue>, SqlError> {
        (**self).to_values()
    }
}

macro_rules! tuples {
    ($(($($type:ident $index:tt),+))*) => {$(
        impl<$($type: ToSql),+> Params for ($($type,)+) {
            fn to_values(&self) -> Result<Vec<SqlValue>, SqlError> {
                Ok(vec![$(at($index, &self.$index)?),+])
            }
        }
    )*};
}
tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7, I 8, J 9, K 10, L 11)
}
