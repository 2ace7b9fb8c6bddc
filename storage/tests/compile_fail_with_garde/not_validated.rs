use dokit_storage::Schema;

struct Plain;

#[derive(Schema)]
struct Owner {
    #[schema(validate)]
    owner: Plain,
}

fn main() {}
