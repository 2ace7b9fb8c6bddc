use dokit_storage::Schema;

#[derive(Schema)]
struct Counter {
    #[schema(validate)]
    count: u64,
}

fn main() {}
