//! Jobs: scheduled, listed, run in order, cancelled.

use std::time::Duration;

use dokit_alarms::{Alarms, Outcome};
use dokit_storage::{Batch, Memory, Store, Timestamp};
use futures_executor::block_on;

use crate::world::{Action, JOBS, START, act, alarm, at, fire, ids, keys, log, log_of, note};

#[test]
fn each_job_gets_an_id_of_its_own_and_can_be_read_and_cancelled() {
    let mut store = Memory::new();
    block_on(async {
        let first = JOBS
            .schedule(&mut store, START, "2s", &note("a"))
            .await
            .unwrap();
        let second = JOBS
            .schedule(&mut store, START, at(1_000), &note("b"))
            .await
            .unwrap();
        assert_eq!(
            (first.as_str(), second.as_str()),
            ("#00000001", "#00000002")
        );
        assert_eq!(ids(&store), ["#00000002", "#00000001"]);
        let job = JOBS.get(&store, &first).await.unwrap().unwrap();
        assert_eq!(job.action().unwrap(), note("a"));
        assert_eq!(
            (job.at(), job.planned(), job.created()),
            (at(2_000), at(2_000), START)
        );
        assert_eq!(
            (job.failed(), job.last_error(), job.repeat()),
            (0, None, None)
        );
        assert_eq!(job.json(), "{\"note\":\"a\"}");
        assert!(JOBS.cancel(&mut store, &second).await.unwrap());
        assert!(!JOBS.cancel(&mut store, &second).await.unwrap());
        assert!(JOBS.get(&store, &second).await.unwrap().is_none());
        assert_eq!(store.alarm().await.unwrap(), Some(at(2_000)));
        // An id is not given out twice, so that an old one cancels nobody else's job.
        let third = JOBS
            .schedule(&mut store, START, "3s", &note("c"))
            .await
            .unwrap();
        assert_eq!(third, "#00000003");
    });
}

#[test]
fn an_id_that_no_job_can_have_is_refused() {
    let mut store = Memory::new();
    let long = "x".repeat(513);
    for (id, error) in [
        ("", "invalid alarm id \"\": it is empty".to_owned()),
        (
            "#1",
            "invalid alarm id \"#1\": an id that begins with # is made by the library".to_owned(),
        ),
        (
            long.as_str(),
            format!(
                "invalid alarm id \"{}...\": it is longer than 512 bytes",
                "x".repeat(64)
            ),
        ),
    ] {
        let refused = block_on(JOBS.schedule_as(&mut store, START, id, "1s", &note("a")));
        assert_eq!(refused.unwrap_err().to_string(), error);
    }
    assert!(keys(&store).is_empty());
}

#[test]
fn jobs_run_in_the_order_of_time_and_those_of_one_time_in_the_order_of_ids() {
    let mut store = Memory::new();
    block_on(async {
        for (id, when) in [("c", 5), ("z", 3), ("b", 5), ("a/b", 5), ("y", 9), ("a", 5)] {
            let moment = at(when * 1000);
            JOBS.schedule_as(&mut store, START, id, moment, &note(id))
                .await
                .unwrap();
        }
        let report = JOBS.run_due(&mut store, at(8_999), act).await.unwrap();
        assert_eq!(report.ran.len(), 5);
        assert_eq!(
            report.next,
            Some(at(9_099)),
            "the least interval after this wake-up"
        );
        assert_eq!(log_of(&store).await, ["z", "a", "a/b", "b", "c"]);
    });
}

#[test]
fn early_late_and_repeated_wake_ups_do_no_harm() {
    let mut store = Memory::new();
    block_on(JOBS.schedule(&mut store, START, "1h", &note("a"))).unwrap();
    let due = fire(&mut store);
    let early = block_on(JOBS.run_due(&mut store, at(5), act)).unwrap();
    assert!(early.ran.is_empty());
    assert_eq!((early.next, alarm(&store)), (Some(due), Some(due)));
    let late = at(10 * 3_600_000);
    assert_eq!(
        block_on(JOBS.run_due(&mut store, late, act))
            .unwrap()
            .ran
            .len(),
        1
    );
    let again = block_on(JOBS.run_due(&mut store, late, act)).unwrap();
    assert!(again.ran.is_empty());
    assert_eq!((again.next, alarm(&store)), (None, None));
    assert_eq!(block_on(log_of(&store)), ["a"]);
    // Long before anything was scheduled.
    let nothing = block_on(JOBS.run_due(&mut store, Timestamp::from_millis(i64::MIN), act));
    assert!(nothing.unwrap().ran.is_empty());
}

/// FEATURES D-05.
#[test]
fn d05_an_action_that_schedules_under_its_own_id_is_not_undone() {
    let mut store = Memory::new();
    block_on(JOBS.schedule_as(&mut store, START, "again", "1h", &note("a"))).unwrap();
    for round in 1..4 {
        let now = fire(&mut store);
        let report = block_on(JOBS.run_due(&mut store, now, async |txn, due| {
            JOBS.schedule_as(txn, now, &due.id, "1h", &due.action)
                .await?;
            act(txn, due).await
        }));
        assert_eq!(report.unwrap().ran[0].outcome, Outcome::Done);
        assert_eq!(ids(&store), ["again"]);
        assert_eq!(alarm(&store), Some(at((round + 1) * 3_600_000)));
    }
    assert_eq!(block_on(log_of(&store)).len(), 3);
}

/// FEATURES A01: whoever sets an alarm replaces nobody else's.
#[test]
fn a01_libraries_with_jobs_of_their_own_share_the_one_alarm() {
    let mut store = Memory::new();
    let other = Alarms::<Action>::new().name("other");
    block_on(async {
        JOBS.schedule_as(&mut store, START, "job", "2s", &note("mine"))
            .await
            .unwrap();
        other
            .schedule_as(&mut store, START, "job", "1s", &note("other's"))
            .await
            .unwrap();
        other
            .schedule_as(&mut store, START, "late", "3s", &note("other's"))
            .await
            .unwrap();
        assert_eq!(store.alarm().await.unwrap(), Some(at(1_000)));
    });
    let mut woken = Vec::new();
    while alarm(&store).is_some() {
        let now = fire(&mut store);
        woken.push(now);
        for jobs in [JOBS, other] {
            let report = block_on(jobs.run_due(&mut store, now, act)).unwrap();
            assert!(report.ran.len() <= 1);
        }
    }
    assert_eq!(woken, [at(1_000), at(2_000), at(3_000)]);
    assert_eq!(block_on(log_of(&store)), ["other's", "mine", "other's"]);
}

/// FEATURES A04: code that runs at each wake-up leaves one job.
#[test]
fn a04_scheduling_again_under_an_id_replaces_after_each_wake_up_too() {
    let mut store = Memory::new();
    block_on(async {
        for wake in 0..5 {
            let now = at(wake * 600_000);
            JOBS.every(&mut store, now, "cleanup", "1h", &note("c"))
                .await
                .unwrap();
            let cancel = note(&format!("cancel {wake}"));
            JOBS.schedule_as(&mut store, now, "auto-cancel", "1d", &cancel)
                .await
                .unwrap();
            assert_eq!(ids(&store), ["cleanup", "auto-cancel"]);
            // The rhythm is kept, however often it is asked for.
            assert_eq!(store.alarm().await.unwrap(), Some(at(3_600_000)));
        }
        let job = JOBS.get(&store, "auto-cancel").await.unwrap().unwrap();
        assert_eq!(job.action().unwrap(), note("cancel 4"));
        assert_eq!(job.at(), at(4 * 600_000 + 86_400_000));
    });
}

/// FEATURES A06: a mistake cannot wake an object without a pause.
#[test]
fn a06_a_job_that_always_schedules_itself_for_now_is_held_to_the_least_interval() {
    let mut store = Memory::new();
    let jobs = JOBS
        .least_interval(Duration::from_secs(2))
        .most_per_wake(10);
    block_on(jobs.schedule_as(&mut store, START, "mad", "1s", &note("x"))).unwrap();
    let mut before = at(-10_000);
    for wake in 1..=5_usize {
        let now = fire(&mut store);
        assert!(now.saturating_duration_since(before) >= Duration::from_secs(2));
        before = now;
        let report = block_on(jobs.run_due(&mut store, now, async |txn, due| {
            jobs.schedule_as(txn, now, &due.id, now, &due.action)
                .await?;
            act(txn, due).await
        }));
        let report = report.unwrap();
        assert_eq!((report.ran.len(), report.more), (10, true));
        assert_eq!(block_on(log_of(&store)).len(), 10 * wake);
        // After the wake-up it is no better.
        block_on(jobs.schedule_as(&mut store, now, "mad", now, &note("x"))).unwrap();
    }
    let refused = block_on(jobs.every(&mut store, START, "fast", "1999ms", &note("x")));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "invalid interval 1s 999ms: the shortest is 2s, the longest 219 years"
    );
}

#[test]
fn a_wake_up_runs_only_so_many_jobs_and_the_rest_follow_in_order() {
    let mut store = Memory::new();
    block_on(async {
        for n in 0..7 {
            let moment = at(1_000 - n);
            JOBS.schedule(&mut store, START, moment, &note(&n.to_string()))
                .await
                .unwrap();
        }
    });
    let jobs = JOBS.most_per_wake(3);
    let mut ran = Vec::new();
    let mut now = at(2_000);
    loop {
        let report = block_on(jobs.run_due(&mut store, now, act)).unwrap();
        ran.push(report.ran.len());
        if !report.more {
            break;
        }
        assert_eq!(
            report.next,
            Some(now.saturating_add(Duration::from_millis(100)))
        );
        now = fire(&mut store);
    }
    assert_eq!(ran, [3, 3, 1]);
    assert_eq!(
        block_on(log_of(&store)),
        ["6", "5", "4", "3", "2", "1", "0"]
    );
}

#[test]
fn an_action_that_deletes_everything_leaves_nothing() {
    let mut store = Memory::new();
    block_on(async {
        JOBS.every(&mut store, START, "series", "1s", &note("x"))
            .await
            .unwrap();
        JOBS.schedule(&mut store, START, "1s", &note("x"))
            .await
            .unwrap();
    });
    let now = fire(&mut store);
    let report = block_on(JOBS.run_due(&mut store, now, async |txn, _| {
        let mut batch = Batch::new();
        batch.delete_all();
        Ok(Store::commit(txn, batch).await?)
    }));
    assert_eq!(report.unwrap().ran.len(), 1);
    assert!(keys(&store).is_empty());
    assert_eq!(alarm(&store), None);
}

#[test]
fn an_action_can_cancel_a_job_that_is_due_after_it() {
    let mut store = Memory::new();
    block_on(async {
        JOBS.schedule_as(&mut store, START, "a", "1s", &note("a"))
            .await
            .unwrap();
        JOBS.schedule_as(&mut store, START, "b", "1s", &note("b"))
            .await
            .unwrap();
    });
    let report = block_on(JOBS.run_due(&mut store, at(1_000), async |txn, due| {
        assert!(!JOBS.cancel(txn, &due.id).await?, "it is removed already");
        assert!(JOBS.cancel(txn, "b").await?);
        log(txn, &due.id).await
    }));
    assert_eq!(report.unwrap().ran.len(), 1);
    assert_eq!(block_on(log_of(&store)), ["a"]);
}

#[test]
fn a_clock_that_was_set_back_does_not_hold_up_jobs() {
    let mut store = Memory::new();
    let hour = 3_600_000;
    block_on(async {
        JOBS.schedule(&mut store, at(hour), "1s", &note("a"))
            .await
            .unwrap();
        let report = JOBS
            .run_due(&mut store, at(hour + 1_000), act)
            .await
            .unwrap();
        assert_eq!(report.ran.len(), 1);
        // Now the clock says that it is an hour earlier.
        JOBS.schedule(&mut store, START, "1s", &note("b"))
            .await
            .unwrap();
        assert_eq!(store.alarm().await.unwrap(), Some(at(1_000)));
    });
}
