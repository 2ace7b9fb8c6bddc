//! The same load on dokit, workerd and axum, in turns.

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use crate::{
    Result,
    arguments::Arguments,
    load::{Ask, Ledger, each, generator, run},
    machine::Machine,
    measured::{Series, Spread, number, some},
    peer::{Peer, Server, find_workerd},
    report::{Bound, Targets, head, row},
};

struct Load {
    writes: bool,
    namespace: &'static str,
    objects: u64,
    connections: u64,
}

impl Load {
    fn title(&self) -> String {
        let what = if self.writes { "increment" } else { "get" };
        let objects = some(self.objects, self.namespace);
        format!(
            "{what}, {objects}, {}",
            some(self.connections, "connection")
        )
    }
}

/// One object and many, from one connection and from many.
fn loads(arguments: &Arguments) -> Vec<Load> {
    let many = arguments.size(1000, 50);
    let mut loads = Vec::new();
    for (writes, namespace) in [(true, "counter"), (false, "counter")] {
        for (objects, connections) in [(1, 1), (1, 64), (many, 64)] {
            loads.push(Load {
                writes,
                namespace,
                objects,
                connections,
            });
        }
    }
    loads
}

/// A server and what it has acknowledged.
struct Contender {
    peer: Peer,
    server: Server,
    ledgers: Vec<(&'static str, Ledger)>,
}

impl Contender {
    fn new(peer: Peer, server: Server) -> Self {
        Self {
            peer,
            server,
            ledgers: Vec::new(),
        }
    }

    /// The objects of a load, all of them there and awake.
    fn ledger(&mut self, runtime: &Runtime, load: &Load) -> Result<Ledger> {
        let same = |(namespace, ledger): &&(&str, Ledger)| {
            *namespace == load.namespace && ledger.objects() == load.objects
        };
        if let Some((_, ledger)) = self.ledgers.iter().find(same) {
            return Ok(ledger.clone());
        }
        let ledger = Ledger::new(load.namespace, load.objects);
        if self.peer != Peer::Axum {
            runtime.block_on(each(self.server.address, &ledger, &Ask::Increment))?;
        }
        self.ledgers.push((load.namespace, ledger.clone()));
        Ok(ledger)
    }

    /// Sees that each object has counted what it acknowledged; says how much that was.
    fn check(&self, runtime: &Runtime) -> Result<u64> {
        let mut acknowledged = 0;
        if self.peer != Peer::Axum {
            for (_, ledger) in &self.ledgers {
                runtime.block_on(each(self.server.address, ledger, &Ask::Get))?;
                acknowledged += ledger.acknowledged();
            }
        }
        Ok(acknowledged)
    }
}

pub(crate) fn measure(
    arguments: &Arguments,
    machine: &mut Machine,
    targets: &mut Targets,
    data: &Path,
) -> Result<()> {
    let runtime = generator()?;
    let folder = |peer: Peer| data.join(peer.name());
    let start = |peer: Peer, workerd: Option<&PathBuf>| match (peer, workerd) {
        (Peer::Dokit, _) => Server::dokit(&folder(peer)).map(Some),
        (Peer::Workerd, Some(program)) => Server::workerd(program, &folder(peer)).map(Some),
        (Peer::Workerd, None) => Ok(None),
        (Peer::Axum, _) => Server::axum().map(Some),
    };
    let workerd = match find_workerd() {
        Ok(program) => Some(program),
        Err(why) => {
            println!("\nWithout workerd, which is not here and cannot be installed: {why}");
            None
        }
    };
    let mut contenders = Vec::new();
    for peer in [Peer::Dokit, Peer::Workerd, Peer::Axum] {
        if let Some(server) = start(peer, workerd.as_ref())? {
            contenders.push(Contender::new(peer, server));
        }
    }

    head(
        "Over HTTP",
        &[
            "load",
            "who",
            "calls/s",
            "p50 us",
            "p99 us",
            "dokit to it",
            "its CPU",
            "load's CPU",
            "fdatasync/s",
            "disturbed",
        ],
    );
    for load in &loads(arguments) {
        let mut series: Vec<Series> = contenders.iter().map(|_| Series::default()).collect();
        for round in 0..arguments.rounds {
            // Each follows each other one in turn.
            for turn in 0..contenders.len() {
                let index = (round + turn) % contenders.len();
                let contender = &mut contenders[index];
                let ledger = contender.ledger(&runtime, load)?;
                let ask = match (contender.peer, load.writes) {
                    (Peer::Axum, _) => Ask::Constant,
                    (_, true) => Ask::Increment,
                    (_, false) => Ask::Get,
                };
                let Server { address, .. } = contender.server;
                let (warm_up, span) = (arguments.warm_up(), arguments.span);
                let (found, conditions) = machine.during(Some(contender.server.pid()), || {
                    let run = run(address, &ledger, &ask, load.connections, warm_up, span);
                    runtime.block_on(run)
                })?;
                contender.check(&runtime)?;
                series[index].push(found, conditions);
            }
        }
        let series: Vec<_> = contenders.iter().map(|it| it.peer).zip(series).collect();
        print(load, &series);
        compare(load, &series, targets);
    }

    println!();
    for contender in &contenders {
        let (name, memory) = (contender.peer.name(), contender.server.memory());
        let memory = memory.map_or(f64::NAN, |bytes| bytes as f64 / 1024.0 / 1024.0);
        println!(
            "{name} has {} MiB in memory after these rows.",
            number(memory, 0)
        );
    }
    // Killed and started anew: all that was acknowledged is there.
    for contender in contenders {
        let Contender {
            peer,
            server,
            ledgers,
        } = contender;
        drop(server);
        if peer == Peer::Axum {
            continue;
        }
        if let Some(server) = start(peer, workerd.as_ref())? {
            let again = Contender {
                peer,
                server,
                ledgers,
            };
            let acknowledged = again.check(&runtime)?;
            println!(
                "{} was killed and started anew: all {} acknowledged increments are there.",
                peer.name(),
                number(acknowledged as f64, 0)
            );
        }
    }
    Ok(())
}

fn of(series: &[(Peer, Series)], peer: Peer) -> Option<&Series> {
    let found = series.iter().find(|(of, _)| *of == peer);
    found.map(|(_, series)| series)
}

fn print(load: &Load, series: &[(Peer, Series)]) {
    let own = of(series, Peer::Dokit);
    for (peer, found) in series {
        let ratio = match own {
            Some(own) if *peer != Peer::Dokit => {
                own.per_second().ratio(&found.per_second()).text(2)
            }
            _ => String::new(),
        };
        let share = |spread: Spread| format!("{:.0} %", spread.median() * 100.0);
        row([
            load.title(),
            peer.name().to_owned(),
            found.per_second().text(0),
            found.p50().text(0),
            found.p99().text(0),
            ratio,
            share(found.conditions(|around| around.server_cpu)),
            share(found.conditions(|around| around.own_cpu)),
            found.conditions(|around| around.syncs_per_second).text(0),
            found.disturbed(),
        ]);
    }
}

fn compare(load: &Load, series: &[(Peer, Series)], targets: &mut Targets) {
    let Some(own) = of(series, Peer::Dokit).filter(|_| load.writes) else {
        return;
    };
    let title = load.title();
    if let Some(workerd) = of(series, Peer::Workerd) {
        if load.connections == 1 {
            let found = own.p50().ratio(&workerd.p50());
            targets.add(
                format!("{title}: p50 to workerd's"),
                Bound::AtMost(0.4, 0.4),
                found,
            );
        } else {
            let found = own.per_second().ratio(&workerd.per_second());
            targets.add(
                format!("{title}: times workerd"),
                Bound::AtLeast(15.0, 20.0),
                found,
            );
        }
    }
    if let Some(axum) = of(series, Peer::Axum).filter(|_| load.connections > 1) {
        let found = own.per_second().ratio(&axum.per_second());
        targets.add(
            format!("{title}: times axum"),
            Bound::AtLeast(0.5, 0.6),
            found,
        );
    }
}
