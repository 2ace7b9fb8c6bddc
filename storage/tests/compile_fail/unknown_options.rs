use dokit_storage::Schema;

#[derive(Schema)]
#[schema(rename = "camelCase")]
struct OnTheStruct {
    count: u64,
}

#[derive(Schema)]
#[schema(rename_all = "Camel")]
struct UnknownCase {
    count: u64,
}

#[derive(Schema)]
#[schema(version = 0)]
struct NoVersion {
    count: u64,
}

#[derive(Schema)]
struct OnTheField {
    #[schema(name = "count")]
    count: u64,
    #[schema(rename)]
    total: u64,
}

fn main() {}
