//! Ids are those of the platform, and those of another namespace are refused.

use std::collections::HashSet;

use dokit_client::{IdError, ObjectId};
use proptest::prelude::*;

#[test]
fn an_id_is_the_same_as_on_the_platform() {
    // Computed with Python's hmac and hashlib, after workerd's actor-id-impl.c++.
    for (name, id) in [
        (
            "global",
            "968edaa29d4c058e1f7ae6ac1678c5629ec3f31504e801a3b4282324ea1e467c",
        ),
        (
            "a/b",
            "460eb0c108b86b6a80d4167663d0d7ff9bc9dc4714827fc09cf102fab6705611",
        ),
        (
            "\u{e9}",
            "3855b50c27fb07413d5361aab07dd7533e9ff1db96fc0d73ce16fd8ad9656d5e",
        ),
    ] {
        assert_eq!(ObjectId::from_name("rscounter", name).to_string(), id);
    }
}

#[test]
fn an_id_is_equal_to_itself_with_and_without_its_name() {
    let named = ObjectId::from_name("order", "order-123");
    let read = ObjectId::parse("order", &named.to_string()).unwrap();
    assert_eq!(named, read);
    assert_eq!(HashSet::from([named.clone(), read.clone()]).len(), 1);
    assert_eq!((named.name(), read.name()), (Some("order-123"), None));
    assert_eq!(ObjectId::from_bytes(*named.as_bytes()), named);
    let loud = named.to_string().to_uppercase();
    assert_eq!(ObjectId::parse("order", &loud).unwrap(), named);
    assert_eq!(
        format!("{named:?}"),
        format!("ObjectId({named}, \"order-123\")")
    );
}

#[test]
fn a_name_over_a_kibibyte_makes_an_id_that_does_not_know_it() {
    let name = "n".repeat(1024);
    assert_eq!(ObjectId::from_name("order", &name).name(), Some(&*name));
    let long = name + "n";
    let id = ObjectId::from_name("order", &long);
    assert_eq!(id.name(), None);
    assert!(id.belongs_to("order"));
}

#[test]
fn one_name_in_two_namespaces_is_two_objects() {
    let order = ObjectId::from_name("order", "a");
    assert_ne!(order, ObjectId::from_name("cart", "a"));
    let text = order.to_string();
    let error = ObjectId::parse("cart", &text).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("object id {text} is not valid for the namespace \"cart\"")
    );
}

#[test]
fn a_unique_id_belongs_to_its_namespace_and_has_no_name() {
    let id = ObjectId::unique("order", [7; 16]);
    assert_eq!(id.as_bytes()[..16], [7; 16]);
    assert_eq!(id.name(), None);
    assert!(id.belongs_to("order") && !id.belongs_to("cart"));
}

#[test]
fn what_is_not_64_hex_digits_is_no_id() {
    let good = ObjectId::from_name("order", "a").to_string();
    for bad in [
        "",
        "some-id-string",
        &good[1..],
        &format!("{good}0"),
        &format!("{}g", &good[1..]),
        &format!("+{}", &good[1..]),
        &format!("{}\u{e9}", &good[2..]),
    ] {
        let error = ObjectId::parse("order", bad).unwrap_err();
        assert!(matches!(error, IdError::Malformed { .. }), "{bad}");
    }
    assert_eq!(
        "some-id".parse::<ObjectId>().unwrap_err().to_string(),
        "invalid object id \"some-id\": it must be 64 hex digits"
    );
}

#[test]
fn an_id_is_an_argument_like_any_other() {
    let id = ObjectId::from_name("order", "a");
    let json = serde_json::to_string(&id).unwrap();
    assert_eq!(json, format!("\"{id}\""));
    assert_eq!(serde_json::from_str::<ObjectId>(&json).unwrap(), id);
    let error = serde_json::from_str::<ObjectId>("\"a\"").unwrap_err();
    assert!(error.to_string().contains("64 hex digits"), "{error}");
}

proptest! {
    #[test]
    fn every_id_is_read_back_as_it_was_written(bytes: [u8; 32]) {
        let id = ObjectId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse::<ObjectId>().unwrap(), id);
    }

    #[test]
    fn reading_any_text_as_an_id_does_not_panic(text in ".{0,80}") {
        let _ = text.parse::<ObjectId>();
    }
}
