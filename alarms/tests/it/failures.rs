//! Jobs that fail: tried again, kept as dead, revived.

use std::time::Duration;

use dokit_alarms::{Alarms, Cause, Failure, Outcome, Retries};
use dokit_storage::{Batch, Limits, Memory, Store, Timestamp};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

use crate::world::{Action, JOBS, START, act, alarm, at, fail, fire, ids, log_of, note, ready};

fn dead_ids(store: &Memory) -> Vec<String> {
    let dead = ready(JOBS.dead(store)).unwrap();
    dead.iter().map(|job| job.id().to_owned()).collect()
}

#[test]
fn a_failing_action_leaves_nothing_but_the_note_of_its_failure() {
    let mut store = Memory::new();
    block_on(JOBS.schedule_as(&mut store, START, "job", "1s", &fail("no ink"))).unwrap();
    let now = fire(&mut store);
    let report = block_on(JOBS.run_due(&mut store, now, act)).unwrap();
    let error = "no ink".to_owned();
    assert_eq!(
        report.ran[0].outcome,
        Outcome::Retrying { error, failed: 1 }
    );
    assert!(block_on(log_of(&store)).is_empty());
    let job = block_on(JOBS.get(&store, "job")).unwrap().unwrap();
    assert_eq!((job.failed(), job.last_error()), (1, Some("no ink")));
    assert_eq!(job.planned(), now);
    assert_eq!(Some(job.at()), report.ran[0].next);
    assert_eq!(alarm(&store), Some(job.at()));
}

/// FEATURES A02: an alarm set early in a wake-up replaces no retry.
#[test]
fn a02_scheduling_in_a_wake_up_does_not_cancel_the_retry_of_a_failing_job() {
    let mut store = Memory::new();
    block_on(async {
        JOBS.schedule_as(&mut store, START, "a", "1s", &note("a"))
            .await
            .unwrap();
        JOBS.schedule_as(&mut store, START, "b", "1s", &fail("b"))
            .await
            .unwrap();
    });
    let now = fire(&mut store);
    let report = block_on(JOBS.run_due(&mut store, now, async |txn, due| {
        JOBS.schedule(txn, now, "1d", &note("tomorrow")).await?;
        act(txn, due).await
    }));
    let retry = report.unwrap().ran[1].next.unwrap();
    assert_eq!(alarm(&store), Some(retry));
    // What the failing one scheduled is gone with it.
    assert_eq!(ids(&store), ["b", "#00000001"]);
}

/// FEATURES A03: tries are counted on disk, and work that is given up is kept.
#[test]
fn a03_a_job_is_tried_as_often_as_was_said_and_then_kept_as_dead() {
    let mut store = Memory::new();
    block_on(JOBS.schedule_as(&mut store, START, "job", "1s", &fail("no ink"))).unwrap();
    let mut tries: Vec<Timestamp> = Vec::new();
    while alarm(&store).is_some() {
        let now = fire(&mut store);
        // The program starts anew each time: settings are all it has.
        let jobs = Alarms::<Action>::new();
        let report = block_on(jobs.run_due(&mut store, now, async |txn, due| {
            assert_eq!(due.attempt as usize, tries.len() + 1);
            assert_eq!(due.planned, at(1_000));
            act(txn, due).await
        }));
        tries.push(now);
        assert_eq!(report.unwrap().ran.len(), 1);
    }
    assert_eq!(tries.len(), 10);
    for (n, pair) in (1..).zip(tries.windows(2)) {
        let waited = pair[1].saturating_duration_since(pair[0]);
        let plain = Duration::from_secs(1 << n);
        assert!(
            waited >= plain && waited <= plain + plain / 4,
            "{n}: {waited:?}"
        );
    }
    let dead = block_on(JOBS.dead(&store)).unwrap();
    let [job] = dead.as_slice() else { panic!() };
    assert_eq!((job.id(), job.error(), job.tries()), ("job", "no ink", 10));
    assert_eq!((job.cause(), job.repeat()), (Cause::Failed, None));
    assert_eq!((job.planned(), job.created()), (at(1_000), START));
    assert_eq!(job.died(), tries[9]);
    assert_eq!(job.action().unwrap(), fail("no ink"));
    assert!(ids(&store).is_empty());
}

#[test]
fn a05_an_action_that_panics_has_failed_and_stops_nobody() {
    let mut store = Memory::new();
    block_on(async {
        for (id, action) in [("1 panics", note("panic")), ("2 good", note("good"))] {
            JOBS.schedule_as(&mut store, START, id, "1s", &action)
                .await
                .unwrap();
        }
        let run = JOBS.run_due(&mut store, at(1_000), async |txn, due| {
            let panics = due.id == "1 panics";
            act(txn, due).await?;
            assert!(!panics, "planned panic");
            Ok(())
        });
        let report = run.await.unwrap();
        let outcomes: Vec<_> = report.ran.iter().map(|ran| &ran.outcome).collect();
        let [Outcome::Retrying { error, failed: 1 }, Outcome::Done] = &outcomes[..] else {
            panic!("{outcomes:?}");
        };
        assert_eq!(error, "the action panicked: planned panic");
        assert_eq!(
            log_of(&store).await,
            ["good"],
            "what it wrote is rolled back"
        );
    });
    assert_eq!(ids(&store), ["1 panics"]);
}

#[derive(Serialize, Deserialize)]
enum OldAction {
    Renamed(u64),
}

/// FEATURES A05, D-07, D-30, D-31: one bad job stops nobody.
#[test]
fn a05_a_bad_job_never_stops_the_others() {
    let mut store = Memory::new();
    let old = Alarms::<OldAction>::new();
    block_on(async {
        let renamed = OldAction::Renamed(u64::MAX);
        old.schedule_as(&mut store, START, "1 renamed", "1s", &renamed)
            .await
            .unwrap();
        old.every(&mut store, START, "2 renamed series", "1s", &renamed)
            .await
            .unwrap();
        JOBS.schedule_as(&mut store, START, "3 failing", "1s", &fail("x"))
            .await
            .unwrap();
        JOBS.schedule_as(&mut store, START, "4 hopeless", "1s", &Action::GiveUp)
            .await
            .unwrap();
        JOBS.every(
            &mut store,
            START,
            "5 hopeless series",
            "1s",
            &Action::GiveUp,
        )
        .await
        .unwrap();
        JOBS.schedule_as(&mut store, START, "6 good", "1s", &note("good"))
            .await
            .unwrap();
        // Not even a record: nobody but a broken disk writes such a thing.
        let mut batch = Batch::new();
        batch.put(
            format!("__alarms/due/{:016}/0 torn", at(10).as_millis()),
            "[1]",
        );
        store.commit(batch).await.unwrap();
    });
    let report = block_on(JOBS.run_due(&mut store, at(1_500), act)).unwrap();
    let ran: Vec<_> = report.ran.iter().map(|ran| ran.id.as_str()).collect();
    assert_eq!(
        ran,
        [
            "0 torn",
            "1 renamed",
            "2 renamed series",
            "3 failing",
            "4 hopeless",
            "5 hopeless series",
            "6 good"
        ]
    );
    assert_eq!(block_on(log_of(&store)), ["good"]);
    // A series whose action failed goes on; one that nobody can run does not.
    assert_eq!(ids(&store), ["5 hopeless series", "3 failing"]);
    assert_eq!(
        dead_ids(&store),
        [
            "0 torn",
            "1 renamed",
            "2 renamed series",
            "4 hopeless",
            "5 hopeless series"
        ]
    );
    let dead = block_on(JOBS.dead(&store)).unwrap();
    assert_eq!(dead[0].json(), "[1]");
    assert_eq!(dead[1].json(), "{\"Renamed\":18446744073709551615}");
    assert_eq!(dead[1].cause(), Cause::Unreadable);
    assert_eq!(
        dead[1].error(),
        "decode action {\"Renamed\":18446744073709551615}: unknown variant `Renamed`, expected one of \
         `note`, `fail`, `giveUp` at line 1 column 10"
    );
    assert!(dead[1].action().is_err());
    assert_eq!(
        (dead[3].cause(), dead[3].error(), dead[3].tries()),
        (Cause::Failed, "no use", 1)
    );
}

#[test]
fn a_dead_job_is_revived_by_a_version_that_knows_its_action() {
    let mut store = Memory::new();
    let old = Alarms::<OldAction>::new();
    block_on(async {
        old.schedule_as(&mut store, START, "job", "1s", &OldAction::Renamed(7))
            .await
            .unwrap();
        let report = JOBS.run_due(&mut store, at(1_000), act).await.unwrap();
        assert!(matches!(report.ran[0].outcome, Outcome::Dead { .. }));
        assert_eq!(store.alarm().await.unwrap(), None);
        assert!(!old.revive(&mut store, at(9_000), "unknown").await.unwrap());
        assert!(old.revive(&mut store, at(9_000), "job").await.unwrap());
        assert!(!old.revive(&mut store, at(9_000), "job").await.unwrap());
        assert_eq!(store.alarm().await.unwrap(), Some(at(9_000)));
        let mut seen = 0;
        let ran = old.run_next(&mut store, at(9_000), async |_, due| {
            let OldAction::Renamed(number) = due.action;
            seen = number;
            assert_eq!(due.attempt, 1);
            Ok(())
        });
        assert_eq!(ran.await.unwrap().unwrap().outcome, Outcome::Done);
        assert_eq!(seen, 7);
        assert!(old.dead(&store).await.unwrap().is_empty());
    });
}

#[test]
fn a_revived_job_has_all_its_tries_again() {
    let mut store = Memory::new();
    let jobs = JOBS.retries(Retries::new().tries(2));
    block_on(jobs.schedule_as(&mut store, START, "job", "1s", &fail("no ink"))).unwrap();
    for life in 0..2 {
        let mut attempts = Vec::new();
        while alarm(&store).is_some() {
            let now = fire(&mut store);
            let ran = block_on(jobs.run_next(&mut store, now, async |txn, due| {
                attempts.push(due.attempt);
                act(txn, due).await
            }));
            assert!(ran.unwrap().is_some());
        }
        assert_eq!(attempts, [1, 2]);
        assert_eq!(dead_ids(&store), ["job"]);
        let later = at(1_000_000 * (life + 1));
        assert!(block_on(jobs.revive(&mut store, later, "job")).unwrap());
        let job = block_on(jobs.get(&store, "job")).unwrap().unwrap();
        assert_eq!((job.at(), job.failed(), job.last_error()), (later, 0, None));
    }
}

#[test]
fn a_dead_job_whose_id_is_taken_is_not_revived_and_can_be_removed() {
    let mut store = Memory::new();
    block_on(async {
        JOBS.schedule_as(&mut store, START, "job", "1s", &Action::GiveUp)
            .await
            .unwrap();
        let report = JOBS.run_due(&mut store, at(1_000), act).await.unwrap();
        assert_eq!(report.ran.len(), 1);
        JOBS.schedule_as(&mut store, START, "job", "1s", &note("new"))
            .await
            .unwrap();
        let refused = JOBS.revive(&mut store, at(1_000), "job").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "alarm \"job\" is scheduled already; cancel it before reviving the dead one"
        );
        assert!(JOBS.remove_dead(&mut store, "job").await.unwrap());
        assert!(!JOBS.remove_dead(&mut store, "job").await.unwrap());
    });
    assert!(dead_ids(&store).is_empty());
    assert_eq!(ids(&store), ["job"]);
}

#[test]
fn a_failure_may_say_when_to_try_again() {
    let mut store = Memory::new();
    block_on(JOBS.schedule_as(&mut store, START, "job", "1s", &note("x"))).unwrap();
    let report = block_on(JOBS.run_due(&mut store, at(1_000), async |_, _| {
        Err(Failure::retry_after(Duration::from_secs(77), "slow down"))
    }));
    assert_eq!(report.unwrap().ran[0].next, Some(at(78_000)));
    let once = JOBS.retries(Retries::new().tries(1));
    let report = block_on(once.run_due(&mut store, at(78_000), async |_, _| {
        Err(Failure::retry_after(Duration::MAX, "slow down"))
    }));
    assert_eq!(report.unwrap().ran[0].next, None);
    assert_eq!(dead_ids(&store), ["job"]);
}

#[test]
fn an_action_of_the_largest_size_can_still_fail() {
    let mut store = Memory::new();
    let limit = Limits::default().value_bytes - 8192;
    let job = |bytes: usize| note(&"x".repeat(bytes));
    let refused = block_on(JOBS.schedule_as(&mut store, START, "big", "1s", &job(limit)));
    let text = refused.unwrap_err().to_string();
    let rest = text.strip_prefix("action of alarm \"big\" is ").unwrap();
    assert!(
        rest.ends_with(" bytes with its schedule; the limit is 122880"),
        "{text}"
    );
    let bytes: usize = rest.split(' ').next().unwrap().parse().unwrap();
    let fits = job(limit - (bytes - limit));
    block_on(JOBS.schedule_as(&mut store, START, "big", "1s", &fits)).unwrap();
    let jobs = JOBS.retries(Retries::new().tries(2));
    for now in [at(1_000), at(100_000)] {
        let error = "\u{1}".repeat(5_000);
        let report =
            block_on(jobs.run_due(&mut store, now, async |_, _| Err(error.as_str().into())));
        assert_eq!(report.unwrap().ran.len(), 1);
    }
    assert_eq!(dead_ids(&store), ["big"]);
}
