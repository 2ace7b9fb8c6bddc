//! Tasks that are run in a child of this program, from the parent's side.

use std::{collections::BTreeMap, fs, path::Path, process::Stdio};

use crate::{
    Result,
    machine::{Conditions, Machine},
    measured::{Spread, disturbed},
    peer::own,
};

/// What a child found: numbers by name, which [`child`](crate::child) tells line by line.
pub(crate) type Found = BTreeMap<String, f64>;

/// Runs a task in a child on the store in `data`.
///
/// # Errors
///
/// When the child fails, or does not end as its task says.
pub(crate) fn ask(task: &str, data: &Path, numbers: &[u64]) -> Result<Found> {
    let mut command = own(task)?;
    command.arg(data);
    command.args(numbers.iter().map(u64::to_string));
    let output = command.stderr(Stdio::inherit()).output()?;
    // One task is to die, when it has done its work.
    if output.status.success() == (task == "crash") {
        return Err(format!("{task} with {numbers:?} ended with {}", output.status).into());
    }
    read(&String::from_utf8(output.stdout)?)
}

/// A task on a store that is made for it and removed after it.
pub(crate) fn ask_fresh(task: &str, data: &Path, numbers: &[u64]) -> Result<Found> {
    let store = data.join("fresh");
    let found = ask(task, &store, numbers)?;
    fs::remove_dir_all(store)?;
    Ok(found)
}

fn read(told: &str) -> Result<Found> {
    let line = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    let lines = told.lines().map(|told| {
        let found = line(told);
        found.ok_or_else(|| format!("a child tells {told:?}, which is no name and number").into())
    });
    lines.collect()
}

/// One task, round by round.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    runs: Vec<(Found, Conditions)>,
}

impl Rounds {
    /// Does the work as often, the machine's probes before each.
    pub(crate) fn run(
        rounds: usize,
        machine: &mut Machine,
        work: impl Fn() -> Result<Found>,
    ) -> Result<Self> {
        let runs = (0..rounds).map(|_| machine.during(None, &work));
        let runs = runs.collect::<Result<_>>()?;
        Ok(Self { runs })
    }

    /// A number that the children told; not a number where they did not.
    pub(crate) fn get(&self, name: &str) -> Spread {
        let runs = self.runs.iter();
        runs.map(|(found, _)| found.get(name).copied().unwrap_or(f64::NAN))
            .collect()
    }

    pub(crate) fn syncs(&self) -> Spread {
        let runs = self.runs.iter();
        runs.map(|(_, around)| around.syncs_per_second).collect()
    }

    pub(crate) fn disturbed(&self) -> String {
        disturbed(self.runs.iter().map(|(_, around)| around))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_tells_is_names_and_numbers() {
        let found = read("calls 12.5\np99 7\n").unwrap();
        assert_eq!(found["calls"], 12.5);
        assert_eq!(found["p99"], 7.0);
        let error = read("calls 1\nlistening\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "a child tells \"listening\", which is no name and number"
        );
    }
}
