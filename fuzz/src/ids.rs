use dokit_client::{IdError, ObjectId};

/// The text of an id.
pub fn ids(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match text.parse::<ObjectId>() {
        Ok(id) => {
            assert_eq!(id.to_string(), text.to_ascii_lowercase());
            assert_eq!(id.to_string().parse(), Ok(id.clone()));
            assert_eq!(id.name(), None);
            let json = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<ObjectId>(&json).unwrap(), id);
            match ObjectId::parse("desk", &text) {
                Ok(_) => assert!(id.belongs_to("desk")),
                Err(error) => assert!(matches!(error, IdError::OtherNamespace { .. }), "{error}"),
            }
        }
        Err(error) => {
            let hex = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(!hex, "{text:?}: {error}");
        }
    }
    // As a name it is the id of that name, everywhere and always.
    let id = ObjectId::from_name("desk", &text);
    assert!(id.belongs_to("desk") && !id.belongs_to("chair"));
    assert_eq!(ObjectId::parse("desk", &id.to_string()), Ok(id.clone()));
    assert_eq!(id.name(), (text.len() <= 1024).then_some(&*text));
}
