//! What has to hold when a server has been started again.

use std::{
    collections::BTreeMap,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags};

use crate::{
    clockwork::Deed,
    effects::Doubts,
    load::{Known, Objects, Way, World},
    process::Process,
};

/// How often alarms that are due are given the time to fire.
const PATIENCE: usize = 200;

/// Compares every object whose name begins with `generation` with what is known of it.
pub(crate) async fn objects(
    world: &World,
    objects: &Objects,
    generation: &str,
    process: &mut Process,
    doubts: &mut Doubts,
) -> Result<(), Box<dyn Error>> {
    let prefix = format!("{generation}-");
    // What callers knew is at rest: none of them runs.
    let (ledgers, scratches, clockworks) = {
        let known = world.known();
        let of = |names: Vec<&String>| -> Vec<String> {
            let of = names.into_iter().filter(|name| name.starts_with(&prefix));
            of.cloned().collect()
        };
        (
            of(known.ledgers.keys().collect()),
            of(known.scratches.keys().collect()),
            of(known.clockworks.keys().collect()),
        )
    };
    process.settle()?;
    for name in scratches {
        let mut patience = 0..PATIENCE;
        let contents = loop {
            let contents = objects.scratch(&name).contents().await?;
            if !contents.alarm_is_due() || patience.next().is_none() {
                break contents;
            }
            process.settle()?;
        };
        let mut known = world.known();
        let model = known.scratches.entry(name.clone()).or_default();
        let checked = model.check(&contents, doubts);
        checked.map_err(|wrong| format!("scratch {name}: {wrong}"))?;
    }
    let mut told = Vec::new();
    for name in clockworks {
        let mut patience = 0..PATIENCE;
        let record = loop {
            let record = objects.clockwork(&name).record().await?;
            if !record.alarm_is_due() || patience.next().is_none() {
                break record;
            }
            process.settle()?;
        };
        let mut known = world.known();
        let model = known.clockworks.entry(name.clone()).or_default();
        let checked = model.check(&record, doubts);
        checked.map_err(|wrong| format!("clockwork {name}: {wrong}"))?;
        told.extend(record.set.into_iter().filter_map(|(op, deed)| match deed {
            Deed::Tell { ledger } => Some((op, ledger, record.fired.contains_key(&op))),
            Deed::Fire { .. } | Deed::FailFirst | Deed::CommitEarly => None,
        }));
    }
    let mut books = BTreeMap::new();
    for name in ledgers {
        let book = objects.ledger(&name).book().await?;
        let mut known = world.known();
        let checked = known.ledger(&name).check(&book, doubts);
        checked.map_err(|wrong| format!("ledger {name}: {wrong}"))?;
        books.insert(name, book);
    }
    let times = |ledger: &str, op| {
        let book = books.get(ledger);
        book.and_then(|book| book.received.get(op).copied())
    };
    let received = |ledger: &str, op| times(ledger, op).is_some();
    for (op, ledger, fired) in &told {
        if *fired && !received(ledger, op) {
            return Err(format!("alarm {op} fired, and ledger {ledger} was never told").into());
        }
    }
    let Known { sends, .. } = &*world.known();
    for send in sends.iter().filter(|send| send.from.starts_with(&prefix)) {
        let sent = books
            .get(&send.from)
            .and_then(|book| book.sent.get(&send.op));
        let (done, received) = (sent == Some(&true), received(&send.to, &send.op));
        let later = send.way == Way::Later;
        let wrong = (send.answered && !done)
            || (done && !received)
            || (send.way != Way::Plain && received && sent.is_none())
            || (later && received && times(&send.to, &send.op) != Some(1));
        if wrong {
            return Err(format!("{send:?}: sent {sent:?}, received {received}").into());
        }
    }
    Ok(())
}

/// What SQLite says of its files: those of objects that have one for themselves, if they were written to since
/// they were last closed in good order, or if `all` are asked for.
pub(crate) fn databases(data: &Path, all: bool) -> Result<(), Box<dyn Error>> {
    let shared = integrity(&data.join("objects.sqlite"))?;
    let orphans = "SELECT count(*) FROM entries WHERE object NOT IN (SELECT object FROM objects)";
    let orphans: i64 = shared.query_row(orphans, [], |row| row.get(0))?;
    if orphans > 0 {
        return Err(format!("{orphans} entries have no object").into());
    }
    for path in files(data)? {
        let own = path.extension().is_some_and(|end| end == "sqlite");
        if own && (all || path.with_extension("sqlite-wal").exists()) {
            integrity(&path)?;
        }
    }
    Ok(())
}

fn integrity(path: &Path) -> Result<Connection, Box<dyn Error>> {
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let said: String = database.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    if said == "ok" {
        Ok(database)
    } else {
        Err(format!("integrity_check of {path:?} says {said:?}").into())
    }
}

/// All files in a folder and those in it.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    Ok(files)
}
