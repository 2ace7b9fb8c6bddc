//! What an earlier version wrote stays readable: these are the texts it wrote, byte for byte.

use dokit_alarms::{Alarms, Cause, Failure, Missed, Repeat};
use dokit_storage::{Batch, KeyRange, Memory, Store, Timestamp};
use futures_executor::block_on;

use crate::world::{Action, JOBS, fail, note};

const STORED: [(&str, &str); 9] = [
    (
        "__alarms/dead/c",
        r#"{"job":{"action":"giveUp","planned":2000,"created":1000,"failed":1,"error":"no use"},"died":2000,"cause":"failed"}"#,
    ),
    (
        "__alarms/due/0000000000004111/b",
        r#"{"action":{"fail":{"error":"no ink"}},"planned":2000,"created":1000,"failed":1,"error":"no ink"}"#,
    ),
    (
        "__alarms/due/0000000000901000/d",
        r#"{"action":{"note":"d"},"planned":901000,"created":1000,"repeat":{"every":{"secs":900,"nanos":0}},"missed":{"runAll":{"atMost":3}}}"#,
    ),
    (
        "__alarms/due/0000000003601000/#00000001",
        r#"{"action":{"note":"a"},"planned":3601000,"created":1000}"#,
    ),
    ("__alarms/id/#00000001", "3601000"),
    ("__alarms/id/b", "4111"),
    ("__alarms/id/d", "901000"),
    ("__alarms/next", "2"),
    (
        "__deadlines",
        r#"{"deadlines":{"alarms":{"at":4111}},"woke":2000,"quietUntil":2100,"wakes":1}"#,
    ),
];

fn contents(store: &Memory) -> Vec<(String, String)> {
    block_on(store.list(&KeyRange::default())).unwrap()
}

#[test]
fn the_stored_form_is_this_one() {
    let mut store = Memory::new();
    let now = Timestamp::from_millis(1_000);
    block_on(async {
        JOBS.schedule(&mut store, now, "1h", &note("a"))
            .await
            .unwrap();
        JOBS.schedule_as(&mut store, now, "b", "1s", &fail("no ink"))
            .await
            .unwrap();
        JOBS.schedule_as(&mut store, now, "c", "1s", &Action::GiveUp)
            .await
            .unwrap();
        let jobs = JOBS.missed(Missed::RunAll { at_most: 3 });
        jobs.every(&mut store, now, "d", "15m", &note("d"))
            .await
            .unwrap();
        let now = Timestamp::from_millis(2_000);
        // How long a usual retry waits is not part of the form.
        let wait = std::time::Duration::from_millis(2_111);
        let report = JOBS.run_due(&mut store, now, async |_, due| match due.action {
            Action::Fail { error } => Err(Failure::retry_after(wait, error)),
            _ => Err(Failure::give_up("no use")),
        });
        assert_eq!(report.await.unwrap().ran.len(), 2);
    });
    let contents = contents(&store);
    let stored: Vec<_> = contents
        .iter()
        .map(|(key, json)| (key.as_str(), json.as_str()))
        .collect();
    assert_eq!(stored, STORED);
}

#[test]
fn the_stored_form_is_read() {
    let mut store = Memory::new();
    let mut batch = Batch::new();
    for (key, json) in STORED {
        batch.put(key, json);
    }
    // As a program with the feature cron writes it; without the feature it must not be lost.
    batch.put(
        "__alarms/due/0000000009999999/e",
        r#"{"action":{"note":"e"},"planned":9999999,"created":1000,"repeat":{"cron":{"expression":"@daily","zone":"UTC"}},"missed":{"skip":{"grace":{"secs":60,"nanos":0}}}}"#,
    );
    batch.put("__alarms/id/e", "9999999");
    block_on(store.commit(batch)).unwrap();
    let jobs = block_on(JOBS.list(&store)).unwrap();
    let ids: Vec<_> = jobs.iter().map(|job| job.id()).collect();
    assert_eq!(ids, ["b", "d", "#00000001", "e"]);
    assert_eq!(jobs[0].last_error(), Some("no ink"));
    let Some(Repeat::Cron { expression, zone }) = jobs[3].repeat() else {
        panic!("{:?}", jobs[3]);
    };
    assert_eq!((expression.as_str(), zone.as_str()), ("@daily", "UTC"));
    let dead = block_on(JOBS.dead(&store)).unwrap();
    assert_eq!((dead[0].id(), dead[0].cause()), ("c", Cause::Failed));
    let all = Timestamp::from_millis(10_000_000);
    let report = block_on(JOBS.run_due(&mut store, all, async |_, _| Ok(()))).unwrap();
    assert_eq!(report.ran.len(), 4 + 2, "d makes up for three runs");
    if cfg!(not(feature = "cron")) {
        let dead = block_on(JOBS.dead(&store)).unwrap();
        assert_eq!(
            dead[1].error(),
            "cron schedules need the feature cron of dokit-alarms"
        );
        let revived = block_on(Alarms::<Action>::new().revive(&mut store, all, "e"));
        assert!(revived.unwrap());
    }
}

/// As a torn record may say.
#[test]
fn an_object_whose_ids_are_used_up_schedules_no_job() {
    let mut store = Memory::new();
    let mut batch = Batch::new();
    batch.put("__alarms/next", u64::MAX.to_string());
    block_on(async {
        store.commit(batch).await.unwrap();
        let now = Timestamp::from_millis(1_000);
        let refused = JOBS.schedule(&mut store, now, "1s", &note("a")).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "invalid value of \"__alarms/next\": no job can follow the one numbered 18446744073709551615"
        );
        assert_eq!(store.alarm().await.unwrap(), None);
    });
}
