//! A private schema of which nothing is used gives no warning, however strict its user is.
#![deny(warnings, missing_docs, unreachable_pub, unused, nonstandard_style)]

use dokit_storage::{Family, Schema};

#[derive(Schema)]
#[schema(rename_all = "kebab-case", crate = dokit_storage)]
struct Private {
    count: u64,
    r#type: Option<String>,
    _1: u8,
    #[schema(check = Private::even)]
    even: u32,
    #[schema(prefix = "pref:")]
    prefs: Family<Vec<(u8, String)>>,
}

impl Private {
    fn even(value: &u32) -> Result<(), String> {
        if value.is_multiple_of(2) { Ok(()) } else { Err("odd".to_owned()) }
    }
}

/// A module of its own.
mod inner {
    use dokit_storage::Schema;

    #[derive(Schema)]
    pub(crate) struct Inner {
        /// Not used either.
        pub(crate) total: u64,
        hidden: Secret,
    }

    struct Secret;

    #[derive(Schema)]
    struct Empty {}
}

fn main() {
    assert_eq!(inner::Inner::TOTAL.name(), "total");
}
