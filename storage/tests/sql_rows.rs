//! Parameters in, rows out: what comes back as which type, and what is refused with which words.

use std::collections::BTreeMap;

use dokit_storage::{
    Timestamp,
    sql::{Cursor, Params, SqlError, SqlLimits, SqlValue},
};
use serde::{Deserialize, de::DeserializeOwned};

use SqlValue::{Blob, Integer, Null, Real, Text};

fn text(text: &str) -> SqlValue {
    Text(text.to_owned())
}

fn rows(columns: &[&str], rows: &[&[SqlValue]]) -> Cursor {
    let mut cursor = Cursor::new(columns.iter().map(|name| (*name).to_owned()).collect());
    for row in rows {
        let pushed = cursor.push(row.to_vec(), &SqlLimits::default());
        pushed.expect("it is far below the limit");
    }
    cursor
}

fn one<T: DeserializeOwned>(value: SqlValue) -> Result<T, String> {
    let one = rows(&["v"], &[&[value]]).one();
    one.map_err(|error: SqlError| error.to_string())
}

fn refused<T: DeserializeOwned>(value: SqlValue) -> String {
    match one::<T>(value) {
        Ok(_) => panic!("it was decoded"),
        Err(text) => text,
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Open,
    Paid,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Order {
    id: u64,
    paid: bool,
    note: Option<String>,
    #[serde(rename = "state")]
    status: Status,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Id(u64);

#[test]
fn a_struct_is_read_by_the_names_of_the_columns_in_any_order() {
    let cursor = rows(
        &["state", "unknown", "note", "id", "paid"],
        &[
            &[text("open"), Real(1.5), Null, Integer(7), Integer(0)],
            &[text("paid"), Null, text("now"), Integer(8), Integer(1)],
        ],
    );
    let orders: Vec<Order> = cursor.to_vec().unwrap();
    let open = Order {
        id: 7,
        paid: false,
        note: None,
        status: Status::Open,
    };
    let paid = Order {
        id: 8,
        paid: true,
        note: Some("now".to_owned()),
        status: Status::Paid,
    };
    assert_eq!(orders, [open, paid]);
}

#[test]
fn a_tuple_is_read_by_position_also_with_columns_of_one_name() {
    let cursor = rows(&["id", "id"], &[&[Integer(1), text("a")]]);
    assert_eq!(cursor.one::<(i64, String)>().unwrap(), (1, "a".to_owned()));
}

#[test]
fn a_map_is_read_by_names() {
    let cursor = rows(&["a", "b"], &[&[Integer(1), Null]]);
    let map: BTreeMap<String, Option<i64>> = cursor.one().unwrap();
    let expected = [("a".to_owned(), Some(1)), ("b".to_owned(), None)];
    assert_eq!(map, BTreeMap::from(expected));
}

#[test]
fn scalars_come_back_exactly_from_the_only_column() {
    assert_eq!(one(Integer(i64::MAX)), Ok(i64::MAX));
    assert_eq!(one(Integer(i64::MIN)), Ok(i64::MIN));
    assert_eq!(
        one(Integer(9_007_199_254_740_993)),
        Ok(9_007_199_254_740_993_u64)
    );
    assert_eq!(one(Integer(-1)), Ok(-1_i128));
    assert_eq!(one(Integer(3)), Ok(3.0));
    assert_eq!(one(Real(0.1)), Ok(0.1));
    assert_eq!(one(Real(f64::NEG_INFINITY)), Ok(f64::NEG_INFINITY));
    assert_eq!(one(Integer(1)), Ok(true));
    assert_eq!(one(text("a\0b")), Ok("a\0b".to_owned()));
    assert_eq!(one(text("x")), Ok('x'));
    assert_eq!(one(Blob(vec![0, 255])), Ok(vec![0_u8, 255]));
    assert_eq!(one(Blob(vec![1, 2])), Ok([1_u8, 2].to_vec()));
    assert_eq!(one(Null), Ok(None::<String>));
    assert_eq!(one(Integer(1)), Ok(Some(1_u8)));
    assert_eq!(one(Null), Ok(()));
    assert_eq!(one(Integer(5)), Ok(Id(5)));
    assert_eq!(one(Integer(5)), Ok(Timestamp::from_millis(5)));
    assert_eq!(one(text("paid")), Ok(Status::Paid));
}

#[test]
fn what_does_not_fit_is_an_error_that_names_the_column_the_type_and_the_row() {
    for (found, expected) in [
        (
            refused::<u8>(Integer(300)),
            "decode row 1 as u8: column \"v\": invalid value: integer `300`, expected u8",
        ),
        (
            refused::<u64>(Integer(-1)),
            "decode row 1 as u64: column \"v\": invalid value: integer `-1`, expected u64",
        ),
        (
            refused::<i64>(Real(1.0)),
            "decode row 1 as i64: column \"v\": it is a real, not an integer",
        ),
        (
            refused::<i64>(text("1")),
            "decode row 1 as i64: column \"v\": it is text, not an integer",
        ),
        (
            refused::<i64>(Null),
            "decode row 1 as i64: column \"v\": it is null, not an integer",
        ),
        (
            refused::<f64>(Integer(9_007_199_254_740_993)),
            "decode row 1 as f64: column \"v\": it is an integer, not a float: it would be rounded",
        ),
        (
            refused::<bool>(Integer(2)),
            "decode row 1 as bool: column \"v\": it is 2; a bool is 0 or 1",
        ),
        (
            refused::<bool>(text("true")),
            "decode row 1 as bool: column \"v\": it is text, not a bool (0 or 1)",
        ),
        (
            refused::<Vec<u8>>(text("a")),
            "decode row 1 as alloc::vec::Vec<u8>: column \"v\": it is text, not a blob, and lists are blobs",
        ),
        (
            refused::<String>(Blob(vec![1])),
            "decode row 1 as alloc::string::String: column \"v\": it is a blob, not text",
        ),
    ] {
        assert_eq!(found, expected);
    }
}

#[test]
fn the_row_and_the_column_of_an_error_are_those_where_it_is() {
    let good = [Integer(1), Integer(1)];
    let bad = [Integer(2), text("no")];
    let cursor = rows(&["id", "paid"], &[&good, &good, &bad]);
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only its decoding is looked at")]
    struct Paid {
        id: i64,
        paid: bool,
    }
    match cursor.to_vec::<Paid>().unwrap_err() {
        SqlError::Column {
            row,
            column,
            expected,
            reason,
        } => {
            assert_eq!((row, column.as_str()), (3, "paid"));
            assert!(expected.ends_with("::Paid"), "{expected}");
            assert_eq!(reason, "it is text, not a bool (0 or 1)");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_missing_column_and_one_that_is_there_twice_are_errors() {
    let missing = rows(&["id", "paid", "note"], &[&[Integer(1), Integer(0), Null]]);
    let text = missing.one::<Order>().unwrap_err().to_string();
    assert!(text.ends_with("missing field `state`"), "{text}");

    let twice = rows(
        &["id", "paid", "id"],
        &[&[Integer(1), Integer(0), Integer(2)]],
    );
    let text = twice.one::<Order>().unwrap_err().to_string();
    assert!(
        text.ends_with("two columns are named \"id\": give one another name by `AS`"),
        "{text}"
    );
}

#[test]
fn the_number_of_columns_is_that_of_the_tuple_and_one_for_a_scalar() {
    let row = || rows(&["a", "b"], &[&[Integer(1), Integer(2)]]);
    for (found, expected) in [
        (
            row().one::<i64>().unwrap_err(),
            "decode row 1 as i64: one column is expected, the row has 2",
        ),
        (
            row().one::<(i64,)>().unwrap_err(),
            "decode row 1 as (i64,): 1 columns are expected, the row has 2",
        ),
        (
            row().one::<(i64, i64, i64)>().unwrap_err(),
            "decode row 1 as (i64, i64, i64): invalid length 2, expected a tuple of size 3",
        ),
    ] {
        assert_eq!(found.to_string(), expected);
    }
}

#[test]
fn a_long_value_is_not_quoted_whole_in_an_error() {
    let error = refused::<Status>(Text("x".repeat(100_000)));
    assert!(error.len() < 500, "{}", error.len());
}

#[test]
fn one_wants_exactly_one_row_and_says_how_many_there_are() {
    let none = rows(&["a"], &[]).one::<i64>().unwrap_err();
    assert_eq!(none.to_string(), "expected exactly one row, found 0");
    let two = rows(&["a"], &[&[Integer(1)], &[Integer(2)]]);
    let two = two.one::<i64>().unwrap_err();
    assert_eq!(two.to_string(), "expected exactly one row, found 2");
}

#[test]
fn rows_are_taken_one_by_one_and_a_bad_one_does_not_hide_the_next() {
    let mut cursor = rows(
        &["a"],
        &[&[Integer(1)], &[Null], &[Integer(3)], &[Integer(4)]],
    );
    assert_eq!(cursor.next::<i64>().unwrap().unwrap(), 1);
    let bad = cursor.next::<i64>().unwrap().unwrap_err().to_string();
    assert!(bad.starts_with("decode row 2 "), "{bad}");
    assert_eq!(cursor.next::<i64>().unwrap().unwrap(), 3);
    let rest: Vec<i64> = cursor.rows().map(Result::unwrap).collect();
    assert_eq!(rest, [4]);
}

#[test]
fn raw_rows_keep_columns_of_one_name() {
    let row = [Integer(1), Integer(2)];
    let cursor = rows(&["id", "id"], &[&row]);
    assert_eq!(cursor.column_names(), ["id", "id"]);
    assert_eq!(cursor.raw(), [row]);
}

#[test]
fn a_result_over_the_limit_is_refused() {
    let mut limits = SqlLimits::default();
    limits.result_bytes = 1000;
    let mut cursor = Cursor::new(vec!["a".to_owned()]);
    cursor.push(vec![Text("x".repeat(900))], &limits).unwrap();
    let error = cursor
        .push(vec![Text("x".repeat(100))], &limits)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the result is over 1000 bytes after 1 rows"
    );
}

#[test]
fn parameters_are_converted_by_what_they_are() {
    let values = (
        1_u8,
        -1_i64,
        true,
        0.5_f32,
        "a",
        String::from("b"),
        &[1_u8, 2],
        vec![3_u8],
        None::<i64>,
        Some("c"),
        Timestamp::from_millis(7),
        Null,
    )
        .to_values()
        .unwrap();
    let expected = [
        Integer(1),
        Integer(-1),
        Integer(1),
        Real(0.5),
        text("a"),
        text("b"),
        Blob(vec![1, 2]),
        Blob(vec![3]),
        Null,
        text("c"),
        Integer(7),
        Null,
    ];
    assert_eq!(values, expected);
    assert_eq!(().to_values().unwrap(), []);
    assert_eq!(["a", "b"].to_values().unwrap(), [text("a"), text("b")]);
    assert_eq!([1, 2][..].to_values().unwrap(), [Integer(1), Integer(2)]);
    assert_eq!(vec![Real(1.0)].to_values().unwrap(), [Real(1.0)]);
}

#[test]
fn a_number_that_sql_cannot_hold_is_refused_not_changed() {
    let error = (1, u64::MAX).to_values().unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter 2: 18446744073709551615 does not fit the 64 bits with sign of an integer"
    );
    let max = u64::try_from(i64::MAX).unwrap();
    assert_eq!([max].to_values().unwrap(), [Integer(i64::MAX)]);
    for nan in [Real(f64::NAN), SqlValue::default()] {
        let refused = [nan.clone()].to_values();
        assert_eq!(refused.is_err(), nan != Null, "{nan}");
    }
}
