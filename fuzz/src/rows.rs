use std::collections::BTreeMap;

use dokit_storage::sql::{Cursor, Params, SqlError, SqlLimits, SqlValue};
use serde::{Deserialize, de::DeserializeOwned};

use crate::feed::Feed;

#[derive(Debug, PartialEq, Deserialize)]
struct Wanted {
    a: i64,
    b: Option<f64>,
    #[serde(default)]
    c: String,
    d: Option<Vec<u8>>,
}

#[derive(Debug, PartialEq, Deserialize)]
enum Kind {
    A,
    B,
}

/// Rows of any columns and values, read as rows of several types; and the values as parameters.
pub fn rows(bytes: &[u8]) {
    let mut feed = Feed::new(bytes);
    let columns: Vec<String> = (0..feed.byte() % 6)
        .map(|_| match feed.byte() {
            byte @ b'a'..=b'e' => char::from(byte).to_string(),
            _ => feed.text(),
        })
        .collect();
    let mut cursor = Cursor::new(columns.clone());
    let limits = SqlLimits::default();
    let mut raw = Vec::new();
    while !feed.is_empty() && raw.len() < 8 {
        let row: Vec<SqlValue> = columns.iter().map(|_| value(&mut feed)).collect();
        parameters(&row);
        cursor.push(row.clone(), &limits).unwrap();
        raw.push(row);
    }
    read::<Wanted>(&cursor);
    read::<BTreeMap<String, Option<i64>>>(&cursor);
    read::<BTreeMap<String, serde_json::Value>>(&cursor);
    read::<(i64, String)>(&cursor);
    read::<(bool, f32, Option<char>)>(&cursor);
    read::<Vec<u8>>(&cursor);
    read::<Option<u8>>(&cursor);
    read::<Kind>(&cursor);
    read::<()>(&cursor);
    // Compared as text: a float may be no number.
    assert_eq!(format!("{:?}", cursor.raw()), format!("{raw:?}"));
}

fn value(feed: &mut Feed<'_>) -> SqlValue {
    match feed.byte() % 6 {
        0 => SqlValue::Null,
        1 => SqlValue::Integer(i64::from_le_bytes(feed.bytes())),
        2 => SqlValue::Integer(feed.byte().into()),
        3 => SqlValue::Real(f64::from_le_bytes(feed.bytes())),
        4 => SqlValue::Text(feed.text()),
        _ => SqlValue::Blob(feed.some().to_vec()),
    }
}

fn parameters(row: &[SqlValue]) {
    let no_number = row
        .iter()
        .position(|value| matches!(value, SqlValue::Real(real) if real.is_nan()));
    match (row.to_values(), no_number) {
        (Ok(values), None) => assert_eq!(values, row),
        (Err(SqlError::Parameter { position, .. }), Some(at)) => assert_eq!(position, at + 1),
        (values, at) => panic!("{values:?} where the first that is no number is {at:?}"),
    }
}

fn read<T: DeserializeOwned>(cursor: &Cursor) {
    let columns = cursor.column_names().to_vec();
    let mut rest = cursor.clone();
    let mut number = 0;
    let mut first_error = None;
    while let Some(row) = rest.next::<T>() {
        number += 1;
        match row {
            Ok(_) => {}
            Err(SqlError::Column { row, column, .. }) => {
                assert!(
                    columns.contains(&column),
                    "{column:?} is none of {columns:?}"
                );
                assert_eq!(row, number);
                first_error.get_or_insert(number);
            }
            Err(SqlError::Row { row, .. }) => {
                assert_eq!(row, number);
                first_error.get_or_insert(number);
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(cursor.clone().to_vec::<T>().is_ok(), first_error.is_none());
    if number != 1 {
        let one = cursor.clone().one::<T>();
        assert!(matches!(one, Err(SqlError::RowCount { found }) if found == number));
    }
}
