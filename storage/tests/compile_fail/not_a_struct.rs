use dokit_storage::Schema;

#[derive(Schema)]
enum Shape {
    Circle,
}

#[derive(Schema)]
struct Pair(u64, u64);

#[derive(Schema)]
struct Unit;

#[derive(Schema)]
struct Generic<T> {
    value: T,
}

#[derive(Schema)]
struct Borrowed<'a> {
    value: &'a str,
}

fn main() {}
