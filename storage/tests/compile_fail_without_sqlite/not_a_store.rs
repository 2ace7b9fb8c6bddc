use dokit_storage::{Schema, TypedStorage};

struct Plain;

#[derive(Schema)]
struct Counter {
    count: u64,
}

fn main() {
    let _ = TypedStorage::<Counter, _>::new(Plain);
}
