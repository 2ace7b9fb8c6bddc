use dokit_object::durable_object;

#[durable_object]
struct Counter;

fn main() {}
