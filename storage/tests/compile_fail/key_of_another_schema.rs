use dokit_storage::{Memory, Schema, TypedStorage};

#[derive(Schema)]
struct Counter {
    count: u64,
}

#[derive(Schema)]
struct Order {
    total: u64,
}

fn main() {
    let storage = TypedStorage::<Counter, _>::new(Memory::new());
    let _ = storage.get(Counter::COUNT);
    let _ = storage.get(Order::TOTAL);
}
