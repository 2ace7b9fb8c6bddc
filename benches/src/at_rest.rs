//! What objects cost while nobody calls them, and what it costs to call them again.

use std::{fs, path::Path};

use crate::{
    Result,
    arguments::Arguments,
    machine::Machine,
    measured::{Spread, number},
    report::{Bound, Targets, head, row},
    tasks::{Rounds, ask},
};

pub(crate) fn measure(
    arguments: &Arguments,
    machine: &mut Machine,
    targets: &mut Targets,
    data: &Path,
) -> Result<()> {
    head("At rest", &["what", "measured", "disturbed"]);
    awake(arguments, machine, targets, data)?;
    asleep(arguments, machine, data)
}

fn tell(what: impl Into<String>, found: &Spread, digits: usize, rounds: &Rounds) {
    row([what.into(), found.text(digits), rounds.disturbed()]);
}

fn awake(
    arguments: &Arguments,
    machine: &mut Machine,
    targets: &mut Targets,
    data: &Path,
) -> Result<()> {
    let objects: u64 = arguments.size(100_000, 1000);
    let many = number(objects as f64, 0);
    let store = data.join("awake");
    let rounds = Rounds::run(arguments.rounds, machine, || {
        if store.exists() {
            fs::remove_dir_all(&store)?;
        }
        ask("fill", &store, &[objects])?;
        ask("awake", &store, &[objects])
    })?;
    let each = rounds.get("awake_bytes");
    let resident = rounds.get("resident").map(|bytes| bytes / 1024.0 / 1024.0);
    tell(
        format!("objects awake at once in one process, of {many}, each called and checked"),
        &rounds.get("awake"),
        0,
        &rounds,
    );
    tell("memory of one that is awake, bytes", &each, 0, &rounds);
    tell("memory of that whole process, MiB", &resident, 0, &rounds);
    tell("files it has open", &rounds.get("files"), 0, &rounds);
    targets.add(
        format!("memory of an awake object, of {many}, in bytes"),
        Bound::AtMost(4096.0, 4096.0),
        each,
    );

    let rounds = Rounds::run(arguments.rounds, machine, || {
        ask("wake", &store, &[objects, objects / 50])
    })?;
    let first = format!("first call of one of {many} that sleep");
    tell(
        format!("{first}, p50 us"),
        &rounds.get("first_p50"),
        0,
        &rounds,
    );
    tell(
        format!("{first}, p99 us"),
        &rounds.get("first_p99"),
        0,
        &rounds,
    );
    tell(
        "second call of the same, p50 us",
        &rounds.get("second_p50"),
        0,
        &rounds,
    );
    Ok(())
}

fn asleep(arguments: &Arguments, machine: &mut Machine, data: &Path) -> Result<()> {
    let objects: u64 = arguments.size(1_000_000, 2000);
    let many = number(objects as f64, 0);
    let (few, store) = (data.join("few"), data.join("many"));
    ask("fill", &few, &[1])?;
    ask("fill", &store, &[objects])?;
    let one = Rounds::run(arguments.rounds, machine, || ask("open", &few, &[]))?;
    let all = Rounds::run(arguments.rounds, machine, || ask("open", &store, &[]))?;
    let crashed = Rounds::run(arguments.rounds, machine, || {
        ask("crash", &store, &[objects.min(20_000)])?;
        ask("open", &store, &[])
    })?;
    for (rounds, after) in [(&all, "after a shutdown"), (&crashed, "after a kill -9")] {
        let what = format!("a store of {many} objects {after}");
        tell(
            format!("opening {what}, ms"),
            &rounds.get("open"),
            1,
            rounds,
        );
        tell(
            format!("first answer of {what}, ms"),
            &rounds.get("answer"),
            1,
            rounds,
        );
    }
    let whole = all.get("resident").median() - one.get("resident").median();
    row([
        format!("memory of one that sleeps, of {many}, bytes"),
        number((whole / objects as f64).max(0.0), 1),
        all.disturbed(),
    ]);
    Ok(())
}
