//! Values come back as they went in, or not at all: exactness, refusals, and errors that say where.

#![expect(clippy::unwrap_used, reason = "a call that fails is a test that fails")]
#![expect(clippy::option_option, reason = "a nested option is what is tested")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    error::Error as _,
};

use dokit_storage::{Batch, Error, Key, Memory, Schema, Store, TypedStorage, decode, encode};
use futures_executor::block_on;
use proptest::prelude::*;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

struct Untold;
impl Schema for Untold {}

/// Writes and reads through a store, as a user would.
fn round_trip<V: Serialize + DeserializeOwned>(value: &V) -> Option<V> {
    let key: Key<Untold, V> = Key::new("value");
    let mut storage = TypedStorage::<Untold, _>::new(Memory::new());
    block_on(storage.put(key.clone(), value)).unwrap();
    block_on(storage.get(key)).unwrap()
}

fn assert_exact<V: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &V) {
    assert_eq!(round_trip(value).as_ref(), Some(value));
}

#[test]
fn numbers_are_exact_to_the_last_digit() {
    for number in [0, (1 << 53) + 1, u64::MAX] {
        assert_exact(&number);
    }
    for number in [i64::MIN, -(1 << 53) - 1, i64::MAX] {
        assert_exact(&number);
    }
    assert_exact(&u128::MAX);
    assert_exact(&i128::MIN);
    for number in [f64::MIN, f64::MIN_POSITIVE, 5e-324, 0.1, f64::MAX] {
        assert_exact(&number);
    }
    assert_exact(&f32::MAX);
    assert!(round_trip(&-0.0_f64).unwrap().is_sign_negative());
}

#[test]
fn nothing_is_a_value_and_not_a_missing_one() {
    assert_exact(&());
    assert_exact(&None::<u64>);
    assert_exact(&Vec::<u8>::new());
    assert_exact(&String::new());
    assert_exact(&serde_json::Value::Null);
    assert_exact(&None::<Option<u8>>);
    assert_exact(&Some(Some(1)));
}

#[test]
fn maps_keep_their_keys_of_whatever_type() {
    assert_exact(&BTreeMap::from([
        (u64::MAX, "a".to_owned()),
        (0, "b".to_owned()),
    ]));
    assert_exact(&HashMap::from([
        ("x".to_owned(), None::<u8>),
        (String::new(), Some(2)),
    ]));
    assert_exact(&BTreeMap::from([(
        -1_i8,
        BTreeSet::from(['a', '\u{1F600}']),
    )]));
    assert_exact(&BTreeMap::from([(true, ())]));
}

#[test]
fn what_json_would_give_back_as_another_value_is_refused() {
    #[derive(Serialize)]
    struct Deep {
        list: Vec<HashMap<String, f64>>,
    }
    #[derive(Serialize)]
    enum Shape {
        Round(f32),
        Flat { height: f64 },
        Pair(u8, Option<()>),
    }
    let nan = Deep {
        list: vec![HashMap::from([("x".to_owned(), f64::NAN)])],
    };
    let reason = |result: dokit_storage::Result<String>| match result {
        Err(error @ Error::Encode { .. }) => error.source().map(ToString::to_string),
        other => panic!("it is encoded: {other:?}"),
    };
    assert_eq!(
        reason(encode("deep", &nan)).as_deref(),
        Some("NaN has no json form")
    );
    for result in [
        encode("x", &f64::INFINITY),
        encode("x", &f32::NEG_INFINITY),
        encode("x", &Shape::Round(f32::INFINITY)),
        encode(
            "x",
            &Shape::Flat {
                height: f64::NEG_INFINITY,
            },
        ),
        encode("x", &(1, [f64::INFINITY])),
    ] {
        let reason = reason(result);
        assert_eq!(
            reason.as_deref(),
            Some("an infinite number has no json form")
        );
    }
    for result in [
        encode("x", &Some(None::<u8>)),
        encode("x", &Some(())),
        encode("x", &vec![Some(None::<u8>)]),
        encode("x", &Shape::Pair(1, Some(()))),
        encode("x", &Some(serde_json::Value::Null)),
    ] {
        assert_eq!(
            reason(result).as_deref(),
            Some("`Some` of a value that is `null` in json would be read as `None`")
        );
    }
    let error = encode("deep", &nan).unwrap_err();
    assert_eq!(
        error.to_string(),
        "encode the value of \"deep\" (values::what_json_would_give_back_as_another_value_is_refused::Deep) as json"
    );
    let keyed = BTreeMap::from([((1, 2), 3)]);
    assert_eq!(
        reason(encode("x", &keyed)).as_deref(),
        Some("key must be a string")
    );
}

#[test]
fn a_refused_value_leaves_what_was_there() {
    let key: Key<Untold, f64> = Key::new("ratio");
    let mut storage = TypedStorage::<Untold, _>::new(Memory::new());
    block_on(storage.put(key.clone(), &0.5)).unwrap();
    assert!(block_on(storage.put(key.clone(), &f64::NAN)).is_err());
    let entries = [(key.clone(), &1.0), (Key::new("other"), &f64::NAN)];
    assert!(block_on(storage.put_many(entries)).is_err());
    assert_eq!(block_on(storage.get(key)).unwrap(), Some(0.5));
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    sku: String,
    count: u8,
}

#[test]
fn a_decode_error_names_the_key_the_type_and_the_place() {
    for (json, path, line, column, source) in [
        (
            "{\"id\":1,\n \"lines\":[{\"sku\":\"a\",\"count\":1},\n  {\"sku\":\"b\",\"count\":300}]}",
            "lines[1].count",
            3,
            24,
            "invalid value: integer `300`, expected u8 at line 3 column 24",
        ),
        (
            "{\"id\":-1,\"lines\":[]}",
            "id",
            1,
            8,
            "invalid value: integer `-1`, expected u64 at line 1 column 8",
        ),
        (
            "{\"id\":1}",
            ".",
            1,
            8,
            "missing field `lines` at line 1 column 8",
        ),
        (
            "null",
            ".",
            1,
            4,
            "invalid type: null, expected struct Order at line 1 column 4",
        ),
        (
            "{\"id\":1,\"lines\":[{\"sku\":7}]}",
            "lines[0].sku",
            1,
            25,
            "invalid type: integer `7`, expected a string at line 1 column 25",
        ),
        (
            "",
            ".",
            1,
            0,
            "EOF while parsing a value at line 1 column 0",
        ),
        (
            "{\"id\":1,\"lines\":[]} x",
            ".",
            1,
            21,
            "trailing characters at line 1 column 21",
        ),
        (
            "{\"id\":1,\"\":x",
            "\"\"",
            1,
            12,
            "expected value at line 1 column 12",
        ),
    ] {
        let error = decode::<Order>("order", json).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "decode the value of \"order\" as values::Order, at {path} (line {line}, column {column})"
            )
        );
        assert_eq!(error.source().unwrap().to_string(), source);
        assert!(!error.is_retryable());
        let Error::Decode {
            key,
            expected,
            path: place,
            line: row,
            column: at,
            ..
        } = error
        else {
            panic!("another error");
        };
        assert_eq!(
            (key.as_str(), expected, place.as_str(), row, at),
            ("order", "values::Order", path, line, column)
        );
    }
}

#[test]
fn a_value_that_does_not_decode_is_never_read_as_missing() {
    let mut disk = Memory::new();
    let mut batch = Batch::new();
    for (key, json) in [
        ("a", "null"),
        ("b", "\"1\""),
        ("c", "1.5"),
        ("d", "18446744073709551616"),
    ] {
        batch.put(key, json);
    }
    block_on(disk.commit(batch)).unwrap();
    let storage = TypedStorage::<Untold, _>::new(disk);
    for name in ["a", "b", "c", "d"] {
        let key: Key<Untold, u64> = Key::new(name);
        let read = block_on(storage.get(key.clone()));
        assert!(matches!(read, Err(Error::Decode { key, .. }) if key == name));
        assert!(block_on(storage.get_many(&[Key::new("missing"), key])).is_err());
    }
    let entries = block_on(storage.list(dokit_storage::ListOptions::new())).unwrap();
    assert!(entries[0].decode::<u64>().is_err());
    assert_eq!(entries[1].decode::<String>().unwrap(), "1");
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Event {
    Opened,
    Named(String),
    Moved(i64, i64),
    Paid { amount: u128, note: Option<String> },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sample {
    unsigned: u64,
    signed: i64,
    wide: i128,
    float: f64,
    short: f32,
    letter: char,
    text: String,
    maybe: Option<Option<u8>>,
    list: Vec<Option<i8>>,
    map: BTreeMap<String, Event>,
    by_number: BTreeMap<u64, (bool, ())>,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Opened),
        any::<String>().prop_map(Event::Named),
        any::<(i64, i64)>().prop_map(|(x, y)| Event::Moved(x, y)),
        any::<(u128, Option<String>)>().prop_map(|(amount, note)| Event::Paid { amount, note }),
    ]
}

fn sample() -> impl Strategy<Value = Sample> {
    (
        any::<(u64, i64, i128, f64, f32, char, String)>(),
        any::<(Option<Option<u8>>, Vec<Option<i8>>)>(),
        prop::collection::btree_map(any::<String>(), event(), 0..4),
        any::<BTreeMap<u64, (bool, ())>>(),
    )
        .prop_map(|(plain, nested, map, by_number)| Sample {
            unsigned: plain.0,
            signed: plain.1,
            wide: plain.2,
            float: plain.3,
            short: plain.4,
            letter: plain.5,
            text: plain.6,
            maybe: nested.0,
            list: nested.1,
            map,
            by_number,
        })
}

proptest! {
    #[test]
    fn any_value_comes_back_as_it_went_in_or_is_refused(sample in sample()) {
        let lossy = sample.maybe == Some(None)
            || !sample.float.is_finite()
            || !sample.short.is_finite();
        match encode("sample", &sample) {
            Err(error) => prop_assert!(lossy, "{error}: {:?}", error.source()),
            Ok(json) => {
                prop_assert!(!lossy, "{json}");
                prop_assert_eq!(decode::<Sample>("sample", &json).unwrap(), sample);
            }
        }
    }

    #[test]
    fn any_finite_float_is_exact(bits in any::<u64>()) {
        let number = f64::from_bits(bits);
        prop_assume!(number.is_finite());
        let json = encode("number", &number).unwrap();
        prop_assert_eq!(decode::<f64>("number", &json).unwrap().to_bits(), bits);
    }

    #[test]
    fn decoding_any_text_never_panics(text in any::<String>()) {
        let _ = decode::<Sample>("sample", &text);
        let _ = decode::<serde_json::Value>("value", &text);
    }

    #[test]
    fn decoding_cut_or_changed_json_never_panics(
        sample in sample(),
        at in any::<prop::sample::Index>(),
        with in any::<Option<char>>(),
    ) {
        let json = serde_json::to_string(&sample).unwrap();
        let at = at.index(json.chars().count());
        let changed: String = match with {
            Some(other) => {
                let letters = json.chars().enumerate();
                letters.map(|(index, letter)| if index == at { other } else { letter }).collect()
            }
            None => json.chars().take(at).collect(),
        };
        if let Err(error) = decode::<Sample>("sample", &changed) {
            let is_decode = matches!(error, Error::Decode { .. });
            prop_assert!(is_decode);
        }
    }
}

#[test]
fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
    let json = "[".repeat(100_000);
    assert!(decode::<serde_json::Value>("deep", &json).is_err());
}
