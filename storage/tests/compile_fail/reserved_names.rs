use dokit_storage::{Family, Schema};

#[derive(Schema)]
struct Reserved {
    #[schema(rename = "__count")]
    count: u64,
    #[schema(rename = "")]
    empty: u64,
    __own: u64,
    #[schema(prefix = "__pref:")]
    prefs: Family<u64>,
    #[schema(prefix = "_")]
    underscore: Family<u64>,
    #[schema(prefix = "")]
    everything: Family<u64>,
}

fn main() {}
