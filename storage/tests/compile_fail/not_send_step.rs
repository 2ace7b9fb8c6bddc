use std::rc::Rc;

use dokit_storage::{Migrations, Result, Step};

async fn holds_an_rc(mut step: Step<'_>) -> Result<()> {
    let count = Rc::new(1);
    step.put("count", &*count).await?;
    drop(count);
    Ok(())
}

fn main() {
    let _ = Migrations::new().step(1, holds_an_rc);
}
