use dokit_storage::{Memory, Schema, TypedStorage};

struct Plain;

#[derive(Schema)]
struct Counter {
    count: u64,
}

fn main() {
    let _ = TypedStorage::<Plain, _>::new(Memory::new());
    let _ = TypedStorage::<Counter, _>::new(Plain);
}
