use dokit_storage::{Family, Schema};

#[derive(Schema)]
struct KeyInFamily {
    #[schema(prefix = "pref")]
    prefs: Family<u64>,
    preference: u64,
}

#[derive(Schema)]
struct FamilyAfterKey {
    #[schema(rename = "pref:default")]
    default: u64,
    #[schema(prefix = "pref:")]
    prefs: Family<u64>,
}

#[derive(Schema)]
struct FamilyInFamily {
    #[schema(prefix = "pref:")]
    prefs: Family<u64>,
    #[schema(prefix = "pref:user:")]
    users: Family<u64>,
}

fn main() {}
