use dokit_storage::{Memory, Schema, TypedStorage};

#[derive(Schema)]
struct Counter {
    count: u64,
}

fn main() {
    let storage = TypedStorage::<Counter, _>::new(Memory::new());
    let _ = storage.get(Counter::COUNTER);
}
