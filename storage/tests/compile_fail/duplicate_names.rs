use dokit_storage::{Family, Schema};

#[derive(Schema)]
struct Renamed {
    count: u64,
    #[schema(rename = "count")]
    total: u64,
}

#[derive(Schema)]
struct SameConstant {
    a_b: u64,
    #[schema(rename = "other")]
    a__b: u64,
}

#[derive(Schema)]
struct SamePrefix {
    #[schema(prefix = "x:")]
    one: Family<u64>,
    #[schema(prefix = "x:")]
    two: Family<u64>,
}

fn main() {}
