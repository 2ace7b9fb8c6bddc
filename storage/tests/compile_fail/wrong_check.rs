use dokit_storage::Schema;

fn percent(value: &u8) -> Result<(), String> {
    Err(format!("{value} is over 100 %"))
}

#[derive(Schema)]
struct Shares {
    #[schema(check = percent)]
    share: u16,
}

fn main() {}
