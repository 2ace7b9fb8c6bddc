use dokit_storage::{Error, Memory, Schema, TypedStorage};

#[derive(Schema)]
struct Counter {
    count: u64,
}

async fn read(storage: &TypedStorage<Counter, Memory>) -> Result<Option<String>, Error> {
    storage.get(Counter::COUNT).await
}

fn main() {
    let _ = read(&TypedStorage::new(Memory::new()));
}
