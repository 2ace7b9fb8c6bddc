use dokit_storage::{Memory, TypedStorage};

struct Plain;

fn main() {
    let _ = TypedStorage::<Plain, _>::new(Memory::new());
}
