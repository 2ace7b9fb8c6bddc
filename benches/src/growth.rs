//! How each cost grows: with the number of objects, and with the size of their values.

use std::{fs, path::Path, sync::Arc};

use tokio::runtime::Runtime;

use crate::{
    Result,
    arguments::Arguments,
    load::{Ask, Ledger, each, generator, run},
    machine::Machine,
    measured::{Series, number},
    peer::Server,
    report::{Bound, Targets, head, row},
    tasks::{Found, Rounds, ask},
};

/// One server under load.
struct Load<'a> {
    arguments: &'a Arguments,
    runtime: &'a Runtime,
    server: &'a Server,
}

impl Load<'_> {
    fn run(
        &self,
        machine: &mut Machine,
        ledger: &Ledger,
        ask: &Ask,
        series: &mut Series,
    ) -> Result<()> {
        let (warm_up, span) = (self.arguments.warm_up(), self.arguments.span);
        let (found, around) = machine.during(Some(self.server.pid()), || {
            let run = run(self.server.address, ledger, ask, 64, warm_up, span);
            self.runtime.block_on(run)
        })?;
        series.push(found, around);
        Ok(())
    }
}

pub(crate) fn objects(
    arguments: &Arguments,
    machine: &mut Machine,
    targets: &mut Targets,
    data: &Path,
) -> Result<()> {
    let all = [1, 10, 100, 1000, 10_000, 100_000];
    let sizes = &all[..arguments.size(all.len(), 3)];
    let runtime = generator()?;
    let server = Server::dokit(&data.join("dokit"))?;
    let ledgers: Vec<_> = sizes
        .iter()
        .map(|objects| Ledger::new("counter", *objects))
        .collect();
    for ledger in &ledgers {
        runtime.block_on(each(server.address, ledger, &Ask::Increment))?;
    }
    let mut writes: Vec<Series> = sizes.iter().map(|_| Series::default()).collect();
    let mut reads: Vec<Series> = sizes.iter().map(|_| Series::default()).collect();
    let load = Load {
        arguments,
        runtime: &runtime,
        server: &server,
    };
    for round in 0..arguments.rounds {
        for turn in 0..sizes.len() {
            let at = (round + turn) % sizes.len();
            load.run(machine, &ledgers[at], &Ask::Increment, &mut writes[at])?;
            // All of them, not only those that the next run draws.
            runtime.block_on(each(server.address, &ledgers[at], &Ask::Get))?;
            load.run(machine, &ledgers[at], &Ask::Get, &mut reads[at])?;
        }
    }
    drop(server);

    let base = sizes
        .iter()
        .position(|objects| *objects == 1000)
        .unwrap_or(0);
    let than = number(sizes[base] as f64, 0);
    for (what, title, series) in [
        (
            "increment",
            "Durable increments over HTTP, 64 connections, by the number of objects",
            &writes,
        ),
        (
            "get",
            "Reads over HTTP, 64 connections, by the number of objects",
            &reads,
        ),
    ] {
        let cost = format!("cost, times that at {than}");
        let p99 = format!("p99, times that at {than}");
        head(
            title,
            &[
                "objects",
                "calls/s",
                "p50 us",
                "p99 us",
                &cost,
                &p99,
                "fdatasync/s",
                "disturbed",
            ],
        );
        for (objects, found) in sizes.iter().zip(series) {
            let cost = series[base].per_second().ratio(&found.per_second());
            let p99 = found.p99().ratio(&series[base].p99());
            row([
                number(*objects as f64, 0),
                found.per_second().text(0),
                found.p50().text(0),
                found.p99().text(0),
                cost.text(2),
                p99.text(2),
                found.conditions(|around| around.syncs_per_second).text(0),
                found.disturbed(),
            ]);
            if *objects == 100_000 {
                let bound = Bound::AtMost(2.0, 1.5);
                targets.add(
                    format!("{what}: cost at 100,000 objects to 1,000"),
                    bound,
                    cost,
                );
                targets.add(
                    format!("{what}: p99 at 100,000 objects to 1,000"),
                    bound,
                    p99,
                );
            }
        }
    }
    others(arguments, machine, data, sizes)
}

/// What is measured in processes of their own.
fn others(arguments: &Arguments, machine: &mut Machine, data: &Path, sizes: &[u64]) -> Result<()> {
    head(
        "The rest, in process, by the number of objects",
        &[
            "objects",
            "alarms set/s",
            "alarms fired/s",
            "awake, bytes each",
            "first call p50 us",
            "first call p99 us",
            "open, ms",
            "disturbed",
        ],
    );
    for objects in sizes.iter().copied() {
        // Fewer cannot be weighed.
        if objects < 100 {
            continue;
        }
        let store = data.join("rest");
        let rounds = Rounds::run(arguments.rounds, machine, || {
            let mut found = Found::new();
            for (task, numbers) in [
                ("fill", &[objects][..]),
                ("open", &[]),
                // Beside as many objects that have none.
                ("alarms", &[objects]),
                ("awake", &[objects]),
                ("wake", &[objects, (objects / 2).min(2000)]),
            ] {
                found.extend(ask(task, &store, numbers)?);
            }
            fs::remove_dir_all(&store)?;
            Ok(found)
        })?;
        row([
            number(objects as f64, 0),
            rounds.get("set").text(0),
            rounds.get("fired").text(0),
            rounds.get("awake_bytes").text(0),
            rounds.get("first_p50").text(0),
            rounds.get("first_p99").text(0),
            rounds.get("open").text(1),
            rounds.disturbed(),
        ]);
    }
    Ok(())
}

pub(crate) fn values(arguments: &Arguments, machine: &mut Machine, data: &Path) -> Result<()> {
    let sizes = [100, 1000, 10_000, 100_000];
    let objects = arguments.size(1000_u64, 20);
    let runtime = generator()?;
    let server = Server::dokit(&data.join("dokit"))?;
    let ledger = Ledger::new("document", objects);
    let load = Load {
        arguments,
        runtime: &runtime,
        server: &server,
    };
    let mut series: Vec<[Series; 2]> = sizes.iter().map(|_| Default::default()).collect();
    for round in 0..arguments.rounds {
        for turn in 0..sizes.len() {
            let at = (round + turn) % sizes.len();
            let text: Arc<str> = "x".repeat(sizes[at]).into();
            let write = Ask::Write(Arc::clone(&text));
            runtime.block_on(each(server.address, &ledger, &write))?;
            load.run(machine, &ledger, &write, &mut series[at][0])?;
            load.run(machine, &ledger, &Ask::Read(text), &mut series[at][1])?;
        }
    }
    drop(server);
    for (index, what) in ["Durable writes", "Reads"].iter().enumerate() {
        let objects = number(objects as f64, 0);
        head(
            &format!(
                "{what} over HTTP, {objects} objects, 64 connections, by the size of the value"
            ),
            &[
                "bytes",
                "calls/s",
                "p50 us",
                "p99 us",
                "MB/s",
                "cost, times that at 100 B",
                "fdatasync/s",
                "disturbed",
            ],
        );
        for (bytes, both) in sizes.iter().zip(&series) {
            let found = &both[index];
            let rate = found.per_second();
            row([
                number(*bytes as f64, 0),
                rate.text(0),
                found.p50().text(0),
                found.p99().text(0),
                rate.map(|rate| rate * *bytes as f64 / 1e6).text(1),
                series[0][index].per_second().ratio(&rate).text(2),
                found.conditions(|around| around.syncs_per_second).text(0),
                found.disturbed(),
            ]);
        }
    }
    Ok(())
}
