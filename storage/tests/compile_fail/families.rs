use dokit_storage::{Family, Schema};

#[derive(Schema)]
struct Families {
    no_prefix: Family<u64>,
    #[schema(prefix = "count:")]
    not_a_family: u64,
    #[schema(prefix = "named:", rename = "named")]
    named: Family<u64>,
    #[schema(prefix = "two:")]
    two: Family<u64, Families>,
    #[schema(prefix = "bare:")]
    bare: Family,
}

fn main() {}
