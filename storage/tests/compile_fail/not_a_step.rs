use dokit_storage::{Migrations, Step};

async fn by_reference(_: &mut Step<'_>) -> Result<(), String> {
    Ok(())
}

fn main() {
    let _ = Migrations::new().step(1, by_reference);
}
