//! Rounds of `kill -9` at random moments, and a look after each whether everything is there that was
//! answered, and nothing by halves.
//!
//! ```text
//! cargo run --release -p dokit-embedded --example crash -- \
//!     [--rounds 200] [--power-cuts 0] [--seed 7] [--data folder]
//! ```
//!
//! A killed process is not a machine without power: what the process had handed to the system is kept. What
//! a loss of power does is worked out in as many rounds as `--power-cuts` says, which come first; they need
//! `strace`.

mod campaign;
mod check;
mod clockwork;
mod effects;
mod ledger;
mod load;
mod power;
mod process;
mod random;
mod scratch;
mod server;

use std::{env, error::Error, path::PathBuf, process::Command, time::Duration};

use campaign::{Moment, Plan};
use random::Random;
use server::Orders;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (mut rounds, mut seed, mut data) = (200, Random::any_seed(), None);
    let mut power_cuts = 0;
    let mut arguments = env::args().skip(1);
    while let Some(option) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("{option} has no value"))?;
        match &*option {
            "--rounds" => rounds = value.parse()?,
            "--power-cuts" => power_cuts = value.parse()?,
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
    // There has to be something first.
    let first = [Moment::Never].iter().cycle().take(power_cuts.min(1));
    let power_cuts = [Moment::PowerCut].iter().cycle().take(power_cuts);
    let moments: Vec<Moment> = first.chain(power_cuts).copied().collect();
    let plan = Plan {
        rounds: rounds.max(u32::try_from(moments.len())?),
        seed,
        data: data.unwrap_or_else(|| folder.path().join("data")),
        least_answers: 0,
        longest_load: Duration::from_millis(500),
        moments,
        tamper: None,
    };
    println!("{} rounds, seed {seed}, in {:?}", plan.rounds, plan.data);
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
