//! Rounds of `kill -9` at random moments, and a look after each whether everything is there that was
//! answered, and nothing by halves.
//!
//! ```text
//! cargo run --release -p dokit-embedded --example crash -- [--rounds 200] [--seed 7] [--data folder]
//! ```
//!
//! It kills a process, not the machine: what the process had handed to the system is kept. What a loss
//! of power would do is another question.

mod campaign;
mod check;
mod clockwork;
mod effects;
mod ledger;
mod load;
mod process;
mod random;
mod scratch;
mod server;

use std::{env, error::Error, path::PathBuf, process::Command, time::Duration};

use campaign::Plan;
use random::Random;
use server::Orders;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut rounds, mut seed, mut data) = (200, Random::any_seed(), None);
    let mut arguments = env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{option} has no value"))?;
        match &*option {
            "--rounds" => rounds = value.parse()?,
            "--seed" => seed = value.parse()?,
            "--data" => data = Some(PathBuf::from(value)),
            "--serve" => {
                let orders = Orders::from_text(&value).ok_or("the orders are not complete")?;
                return server::serve(&orders).await;
            }
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    let folder = tempfile::tempdir()?;
    let plan = Plan {
        rounds,
        seed,
        data: data.unwrap_or_else(|| folder.path().join("data")),
        least_answers: 0,
        longest_load: Duration::from_millis(500),
        moments: Vec::new(),
        tamper: None,
    };
    println!("{rounds} rounds, seed {seed}, in {:?}", plan.data);
    let this = env::current_exe()?;
    let program = |orders: &str| {
        let mut command = Command::new(&this);
        command.args(["--serve", orders]);
        command
    };
    match campaign::run(&plan, &program).await {
        Ok(summary) => {
            println!("{summary}");
            Ok(())
        }
        Err(error) => {
            let kept = folder.keep();
            Err(format!("seed {seed}: {error}; what there is of it is kept in {kept:?}").into())
        }
    }
}
