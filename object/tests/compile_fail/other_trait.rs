use dokit_object::durable_object;

struct Counter;

#[durable_object]
impl Default for Counter {
    fn default() -> Self {
        Self
    }
}

fn main() {}
