//! What the engine does without HTTP: calls, and alarms. Each run is a process of its own with a new
//! store.

use std::path::Path;

use crate::{
    Result,
    arguments::Arguments,
    machine::Machine,
    measured::some,
    report::{head, row},
    tasks::{Rounds, ask_fresh},
};

/// What is called, objects, callers.
const CALLS: [(&str, u64, u64); 6] = [
    ("increment", 1, 1),
    ("increment", 1, 64),
    ("increment", 1000, 64),
    ("increment", 1000, 512),
    ("get", 1, 1),
    ("get", 1000, 64),
];

pub(crate) fn measure(arguments: &Arguments, machine: &mut Machine, data: &Path) -> Result<()> {
    head(
        "In process",
        &[
            "load",
            "/s",
            "p50 us",
            "p99 us",
            "fdatasync/s",
            "to the disk's",
            "disturbed",
        ],
    );
    let print = |load: String, rounds: &Rounds, what: &str| {
        let (rate, syncs) = (rounds.get(what), rounds.syncs());
        row([
            load,
            rate.text(0),
            rounds.get(&format!("{what}_p50")).text(0),
            rounds.get(&format!("{what}_p99")).text(0),
            syncs.text(0),
            rate.ratio(&syncs).text(2),
            rounds.disturbed(),
        ]);
    };
    for (what, objects, callers) in CALLS {
        let millis = u64::try_from(arguments.span.as_millis())?;
        let numbers = [objects, callers, millis, u64::from(what == "increment")];
        let rounds = Rounds::run(arguments.rounds, machine, || {
            ask_fresh("calls", data, &numbers)
        })?;
        let (objects, callers) = (some(objects, "counter"), some(callers, "caller"));
        print(format!("{what}, {objects}, {callers}"), &rounds, "calls");
    }
    let objects = arguments.size(20_000, 500);
    let rounds = Rounds::run(arguments.rounds, machine, || {
        ask_fresh("alarms", data, &[objects])
    })?;
    let objects = some(objects, "object");
    print(format!("alarms set, {objects}, 64 callers"), &rounds, "set");
    print(
        format!("alarms fired, {objects} due at once"),
        &rounds,
        "fired",
    );
    Ok(())
}
