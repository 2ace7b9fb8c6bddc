//! `#[schema(validate)]`: values are checked by garde on the way in and on the way out.
#![cfg(feature = "garde")]

use dokit_storage::{Batch, Family, ListOptions, Memory, Schema, Store, TypedStorage};
use futures_executor::block_on;
use garde::Validate;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Validate)]
struct User {
    #[garde(length(min = 1, max = 20))]
    name: String,
    #[garde(range(min = 18))]
    age: u8,
}

fn not_root(user: &User) -> Result<(), String> {
    if user.name == "root" {
        return Err("the name is taken".to_owned());
    }
    Ok(())
}

#[derive(Schema)]
struct Users {
    #[schema(validate)]
    owner: User,
    #[schema(prefix = "user:", validate, check = not_root)]
    users: Family<User>,
}

fn user(name: &str, age: u8) -> User {
    User {
        name: name.to_owned(),
        age,
    }
}

#[test]
fn a_value_that_is_not_valid_is_not_written() {
    let mut storage = TypedStorage::<Users, _>::new(Memory::new());
    let refused = block_on(storage.put(Users::OWNER, &user("", 17))).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid value of \"owner\": age: lower than 18; name: length is lower than 1"
    );
    assert_eq!(block_on(storage.get(Users::OWNER)).unwrap(), None);
    block_on(storage.put(Users::OWNER, &user("ann", 18))).unwrap();
    assert_eq!(
        block_on(storage.get(Users::OWNER)).unwrap(),
        Some(user("ann", 18))
    );
}

#[test]
fn a_value_that_is_not_valid_is_not_read() {
    let mut disk = Memory::new();
    let mut batch = Batch::new();
    batch.put("owner", r#"{"name":"ann","age":3}"#);
    batch.put("user:bob", r#"{"name":"","age":30}"#);
    block_on(disk.commit(batch)).unwrap();
    let storage = TypedStorage::<Users, _>::new(disk);
    let refused = block_on(storage.get(Users::OWNER)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid value of \"owner\": age: lower than 18"
    );
    let refused = block_on(storage.list_family(Users::USERS, ListOptions::new())).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid value of \"user:bob\": name: length is lower than 1"
    );
}

#[test]
fn a_check_and_the_validation_both_hold() {
    let mut storage = TypedStorage::<Users, _>::new(Memory::new());
    for (user, reason) in [
        (user("root", 40), "the name is taken"),
        (user("ann", 2), "age: lower than 18"),
    ] {
        let refused = block_on(storage.put(Users::USERS.key("a"), &user)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("invalid value of \"user:a\": {reason}")
        );
    }
    block_on(storage.put(Users::USERS.key("a"), &user("ann", 40))).unwrap();
}
