use std::collections::BTreeMap;

use dokit_storage::{Error, Memory, Schema, Store, Timestamp, TypedStorage, decode, encode};
use futures_executor::block_on;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// One of each kind.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kinds {
    unsigned: u64,
    signed: i64,
    float: f64,
    text: String,
    #[serde(default)]
    choice: Option<Choice>,
    list: Vec<Kinds>,
    map: BTreeMap<i8, char>,
    at: Timestamp,
    unit: (),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Choice {
    Nothing,
    One(u8),
    Many { flag: bool },
}

#[derive(Schema)]
struct Stored {
    kinds: Kinds,
}

/// The text of a stored value.
pub fn values(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    again::<Kinds>(&text);
    again::<Vec<f64>>(&text);
    again::<BTreeMap<u64, Option<String>>>(&text);
    again::<Choice>(&text);
    let mut store = Memory::new();
    let mut batch = dokit_storage::Batch::new();
    batch.put("kinds", &*text);
    block_on(async {
        if store.commit(batch).await.is_ok() {
            let storage = TypedStorage::<Stored, _>::new(store);
            let read = storage.get(Stored::KINDS).await;
            assert_eq!(read.is_ok(), decode::<Kinds>("kinds", &text).is_ok());
            assert!(!matches!(read, Ok(None)), "{text:?} is read as missing");
        }
    });
}

/// What decodes comes back as it is once it has been written; what does not is told where.
fn again<V: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(text: &str) {
    match decode::<V>("the key", text) {
        Ok(value) => {
            let written = encode("the key", &value).unwrap();
            assert_eq!(decode::<V>("the key", &written).unwrap(), value, "{text:?}");
        }
        Err(Error::Decode {
            key, path, line, ..
        }) => {
            assert_eq!(key, "the key");
            assert!(
                !path.is_empty() && line <= text.matches('\n').count() + 1,
                "{text:?}"
            );
        }
        Err(other) => panic!("{text:?}: {other}"),
    }
}
