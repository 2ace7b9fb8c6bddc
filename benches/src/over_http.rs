//! The same load on dokit, workerd and axum, in turns.

use std::path::{Path, PathBuf};

use tokio::runtime::Runtime;

use crate::{
    Result,
    arguments::Arguments,
    load::{Ask, Ledger, each, generator, run},
    machine::{Conditions, Machine},
    measured::{Measured, Series, Spread, number, some},
    peer::{Peer, Server, find_workerd},
    report::{Bound, Targets, head, row},
};

/// The namespace of the objects that count in a table of their own database.
const SQL: &str = "sql-counter";

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
    for (writes, namespace) in [(true, "counter"), (false, "counter"), (true, SQL)] {
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

    /// One run of a load, and a look at what is stored after it.
    fn run(
        &mut self,
        arguments: &Arguments,
        runtime: &Runtime,
        machine: &mut Machine,
        load: &Load,
    ) -> Result<(Measured, Conditions)> {
        let ledger = self.ledger(runtime, load)?;
        let ask = match (self.peer, load.writes) {
            (Peer::Axum, _) => Ask::Constant,
            (_, true) => Ask::Increment,
            (_, false) => Ask::Get,
        };
        let Server { address, .. } = self.server;
        let (warm_up, span) = (arguments.warm_up(), arguments.span);
        let found = machine.during(Some(self.server.pid()), || {
            let run = run(address, &ledger, &ask, load.connections, warm_up, span);
            runtime.block_on(run)
        })?;
        self.check(runtime)?;
        Ok(found)
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

    /// All that was acknowledged has to be there in a new process.
    fn kill_and_check(self, runtime: &Runtime, servers: &Servers) -> Result<()> {
        let Self {
            peer,
            server,
            ledgers,
        } = self;
        drop(server);
        if peer == Peer::Axum {
            return Ok(());
        }
        if let Some(server) = servers.start(peer)? {
            let again = Self {
                peer,
                server,
                ledgers,
            };
            let acknowledged = number(again.check(runtime)? as f64, 0);
            let name = peer.name();
            println!(
                "{name} was killed and started anew: all {acknowledged} acknowledged increments are there."
            );
        }
        Ok(())
    }
}

/// How the servers are started.
struct Servers<'a> {
    data: &'a Path,
    workerd: Option<PathBuf>,
}

impl<'a> Servers<'a> {
    fn find(data: &'a Path) -> Self {
        let workerd = find_workerd()
            .inspect_err(|why| {
                println!("\nWithout workerd, which is not here and cannot be installed: {why}");
            })
            .ok();
        Self { data, workerd }
    }

    /// None where the server cannot be had.
    fn start(&self, peer: Peer) -> Result<Option<Server>> {
        let data = self.data.join(peer.name());
        match (peer, &self.workerd) {
            (Peer::Dokit, _) => Server::dokit(&data).map(Some),
            (Peer::Workerd, Some(program)) => Server::workerd(program, &data).map(Some),
            (Peer::Workerd, None) => Ok(None),
            (Peer::Axum, _) => Server::axum().map(Some),
        }
    }
}

pub(crate) fn measure(
    arguments: &Arguments,
    machine: &mut Machine,
    targets: &mut Targets,
    data: &Path,
) -> Result<()> {
    let runtime = generator()?;
    let servers = Servers::find(data);
    let mut contenders = Vec::new();
    for peer in [Peer::Dokit, Peer::Workerd, Peer::Axum] {
        if let Some(server) = servers.start(peer)? {
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
                if contender.peer == Peer::Axum && load.namespace == SQL {
                    // The same constant as before.
                    continue;
                }
                let (found, around) = contender.run(arguments, &runtime, machine, load)?;
                series[index].push(found, around);
            }
        }
        let peers = contenders.iter().map(|contender| contender.peer);
        let series = peers.zip(series).filter(|(_, found)| !found.is_empty());
        let series: Vec<_> = series.collect();
        print(load, &series);
        compare(load, &series, targets);
    }

    println!();
    for contender in &contenders {
        let memory = contender.server.memory();
        let mebibytes = memory.map_or(f64::NAN, |bytes| bytes as f64 / 1024.0 / 1024.0);
        let name = contender.peer.name();
        println!("{name} has {mebibytes:.0} MiB in memory after these rows.");
    }
    for contender in contenders {
        contender.kill_and_check(&runtime, &servers)?;
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
        let (rates, waits) = (
            own.per_second().ratio(&workerd.per_second()),
            own.p50().ratio(&workerd.p50()),
        );
        let target = match (load.namespace, load.connections) {
            // One caller waits for a sync each time, here and there.
            (SQL, 1) => None,
            (SQL, _) => Some(("times workerd", Bound::AtLeast(5.0, 5.0), rates)),
            (_, 1) => Some(("p50 to workerd's", Bound::AtMost(0.4, 0.4), waits)),
            _ => Some(("times workerd", Bound::AtLeast(15.0, 20.0), rates)),
        };
        if let Some((asked, bound, found)) = target {
            targets.add(format!("{title}: {asked}"), bound, found);
        }
    }
    if load.connections == 1 {
        return;
    }
    if let Some(axum) = of(series, Peer::Axum) {
        let found = own.per_second().ratio(&axum.per_second());
        targets.add(
            format!("{title}: times axum"),
            Bound::AtLeast(0.5, 0.6),
            found,
        );
    }
}
