//! A short crash campaign, and a look at whether it would notice. The long one is the example `crash`.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

#[path = "../examples/crash/campaign.rs"]
mod campaign;
#[path = "../examples/crash/check.rs"]
mod check;
#[path = "../examples/crash/clockwork.rs"]
mod clockwork;
#[path = "../examples/crash/effects.rs"]
mod effects;
#[path = "../examples/crash/ledger.rs"]
mod ledger;
#[path = "../examples/crash/load.rs"]
mod load;
#[path = "../examples/crash/power.rs"]
mod power;
#[path = "../examples/crash/process.rs"]
mod process;
#[path = "../examples/crash/random.rs"]
mod random;
#[path = "../examples/crash/scratch.rs"]
mod scratch;
#[path = "../examples/crash/server.rs"]
mod server;

use std::{env, fs::OpenOptions, path::Path, process::Command, time::Duration};

use campaign::{Moment, Plan, Summary, Tamper};
use random::Random;
use rusqlite::Connection;
use server::Orders;
use tempfile::tempdir;

const ORDERS: &str = "DOKIT_TEST_ORDERS";

/// The process that the tests below kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run by the tests that kill it"]
async fn serves_until_it_is_killed() {
    let orders = env::var(ORDERS).expect("the test that kills it gives orders");
    let orders = Orders::from_text(&orders).unwrap();
    server::serve(&orders).await.unwrap();
}

/// Runs one round for each of the moments.
async fn campaign(moments: &[Moment], tamper: Option<Tamper>) -> Result<Summary, String> {
    let folder = tempdir().unwrap();
    let plan = Plan {
        rounds: u32::try_from(moments.len()).unwrap(),
        seed: Random::any_seed(),
        data: folder.path().join("data"),
        least_answers: 300,
        longest_load: Duration::from_millis(100),
        moments: moments.to_vec(),
        tamper,
    };
    let program = |orders: &str| {
        let mut command = Command::new(env::current_exe().unwrap());
        let arguments = [
            "--exact",
            "serves_until_it_is_killed",
            "--ignored",
            "--nocapture",
        ];
        command.args(arguments).env(ORDERS, orders);
        command
    };
    let ran = campaign::run(&plan, &program).await;
    ran.map_err(|error| format!("seed {}: {error}", plan.seed))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_and_whole_whenever_the_process_is_killed() {
    let moments = [
        Moment::Load,
        Moment::Checkpoint,
        Moment::StartUp,
        Moment::ShutDown,
        Moment::Never,
        Moment::Load,
    ];
    let summary = campaign(&moments, None).await.unwrap();
    assert!(summary.kills > 4 && summary.answered > 1500, "{summary}");
}

/// What the campaign says when, after the last kill, somebody has changed what is there.
async fn noticed(tamper: Tamper) -> String {
    for _ in 0..20 {
        let ran = campaign(&[Moment::Load, Moment::Load], Some(tamper)).await;
        let noticed = ran.expect_err("it was not noticed");
        // A load that was small may have left nothing of the kind: then there is another.
        if !noticed.contains(NOTHING_CHANGED) {
            assert!(noticed.contains("at the end"), "{noticed}");
            return noticed;
        }
    }
    panic!("there was never anything to change");
}

const NOTHING_CHANGED: &str = "nothing was changed";

fn sql(data: &Path, sql: &str) -> Result<(), String> {
    let database = Connection::open(data.join("objects.sqlite")).unwrap();
    changed(database.execute(sql, []).unwrap())
}

fn changed(rows: usize) -> Result<(), String> {
    match rows {
        0 => Err(NOTHING_CHANGED.to_owned()),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_campaign_notices_what_is_lost() {
    let lines = noticed(|data| sql(data, "DELETE FROM entries WHERE key LIKE 'line:%'")).await;
    assert!(lines.contains("is lost"), "{lines}");
    const RECEIVED: &str = "DELETE FROM entries WHERE key LIKE 'received:%'";
    let received = noticed(|data| sql(data, RECEIVED)).await;
    assert!(
        received.contains("received false") || received.contains("never told"),
        "{received}"
    );
    noticed(|data| {
        let log = data.join("objects.sqlite-wal");
        let log = OpenOptions::new().write(true).open(log).unwrap();
        // After some of its first commits: how far the last ones reach, and what of an earlier load is behind
        // them, is not known.
        log.set_len(20_000).unwrap();
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_campaign_notices_what_is_torn() {
    const COUNT: &str = "UPDATE entries SET value = value + 1 WHERE key = 'count'";
    let count = noticed(|data| sql(data, COUNT)).await;
    assert!(count.contains("torn"), "{count}");
    const ITEM: &str = "DELETE FROM entries WHERE key = 'item:0'";
    let item = noticed(|data| sql(data, ITEM)).await;
    assert!(item.contains("torn"), "{item}");
    let rows = noticed(|data| {
        let files = check::files(&data.join("sql")).unwrap();
        let databases = files
            .iter()
            .filter(|file| file.extension().is_some_and(|end| end == "sqlite"));
        let deleted = databases.map(|file| {
            let database = Connection::open(file).unwrap();
            // One that was killed as it woke for the first time has no table.
            database.execute("DELETE FROM lines", []).unwrap_or(0)
        });
        changed(deleted.sum())
    });
    let rows = rows.await;
    assert!(rows.contains("are not the 0 rows"), "{rows}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_campaign_notices_alarms_that_are_forgotten_or_fire_twice() {
    const FORGET: &str =
        "UPDATE objects SET alarm = NULL WHERE alarm > 0 AND namespace = 'clockwork'";
    let forgotten = noticed(|data| sql(data, FORGET)).await;
    assert!(forgotten.contains("forgotten"), "{forgotten}");
    const AGAIN: &str =
        "UPDATE objects SET alarm = 1 WHERE alarm IS NULL AND namespace = 'clockwork'";
    let twice = noticed(|data| sql(data, AGAIN)).await;
    assert!(twice.contains("not set"), "{twice}");
}
