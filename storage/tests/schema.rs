//! `#[derive(Schema)]`: what a struct turns into.

use dokit_storage::{Error, Family, ListOptions, Memory, Schema, Timestamp, TypedStorage};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Metadata {
    owner: String,
    tags: Vec<String>,
}

#[derive(Schema)]
#[schema(rename_all = "camelCase", version = 2)]
struct CounterSchema {
    /// How often it was counted.
    count: u64,
    last_updated: Timestamp,
    metadata: Metadata,
    #[schema(rename = "typ")]
    r#type: Option<String>,
    #[schema(check = percent)]
    share: u8,
    #[schema(prefix = "pref:")]
    prefs: Family<String>,
    #[schema(prefix = "share:", check = percent)]
    shares: Family<u8>,
}

fn percent(value: &u8) -> Result<(), String> {
    if *value <= 100 {
        return Ok(());
    }
    Err(format!("{value} is over 100 %"))
}

#[test]
fn each_field_is_a_key_named_as_the_schema_says() {
    assert_eq!(CounterSchema::COUNT.name(), "count");
    assert_eq!(CounterSchema::LAST_UPDATED.name(), "lastUpdated");
    assert_eq!(CounterSchema::METADATA.name(), "metadata");
    assert_eq!(CounterSchema::TYPE.name(), "typ");
    assert_eq!(CounterSchema::PREFS.prefix(), "pref:");
    assert_eq!(CounterSchema::PREFS.key("theme").name(), "pref:theme");
    assert_eq!(CounterSchema::PREFS.key(7).name(), "pref:7");
    assert_eq!(CounterSchema::VERSION, 2);
}

#[test]
fn values_come_back_as_they_went_in() {
    let mut storage = TypedStorage::<CounterSchema, _>::new(Memory::new());
    let metadata = Metadata {
        owner: "ann".to_owned(),
        tags: vec!["new".to_owned()],
    };
    block_on(async {
        storage.put(CounterSchema::COUNT, &u64::MAX).await?;
        storage.put(CounterSchema::METADATA, &metadata).await?;
        assert_eq!(storage.get(CounterSchema::COUNT).await?, Some(u64::MAX));
        assert_eq!(storage.get(CounterSchema::METADATA).await?, Some(metadata));
        assert_eq!(storage.get(CounterSchema::LAST_UPDATED).await?, None);
        assert!(storage.delete(CounterSchema::METADATA).await?);
        assert!(!storage.delete(CounterSchema::METADATA).await?);
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn a_family_lists_its_members_and_no_other_keys() {
    let mut storage = TypedStorage::<CounterSchema, _>::new(Memory::new());
    block_on(async {
        storage.put(CounterSchema::COUNT, &1).await?;
        for (name, value) in [("theme", "dark"), ("font", "mono"), ("size", "12")] {
            storage
                .put(CounterSchema::PREFS.key(name), &value.to_owned())
                .await?;
        }
        let all = storage
            .list_family(CounterSchema::PREFS, ListOptions::new())
            .await?;
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["font", "size", "theme"]);
        let last = ListOptions::new().start_after("font").reverse().limit(1);
        assert_eq!(
            storage.list_family(CounterSchema::PREFS, last).await?,
            [("theme".to_owned(), "dark".to_owned())]
        );
        Ok::<(), Error>(())
    })
    .unwrap();
}

#[test]
fn a_check_refuses_a_value_on_the_way_in_and_on_the_way_out() {
    let mut storage = TypedStorage::<CounterSchema, _>::new(Memory::new());
    block_on(async {
        let refused = storage.put(CounterSchema::SHARE, &101).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "invalid value of \"share\": 101 is over 100 %"
        );
        let refused = storage.put(CounterSchema::SHARES.key("a"), &200).await;
        assert!(matches!(refused, Err(Error::InvalidValue { key, .. }) if key == "share:a"));

        let mut older = dokit_storage::Batch::new();
        older.put("share", "250");
        dokit_storage::Store::commit(storage.store_mut(), older).await?;
        let read = storage.get(CounterSchema::SHARE).await.unwrap_err();
        assert_eq!(
            read.to_string(),
            "invalid value of \"share\": 250 is over 100 %"
        );
        Ok::<(), Error>(())
    })
    .unwrap();
}
