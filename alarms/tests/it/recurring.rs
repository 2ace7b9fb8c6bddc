use std::{cell::RefCell, time::Duration};

use dokit_alarms::{Missed, Outcome, Repeat, Retries};
use dokit_storage::{Memory, Store, Timestamp};
use futures_executor::block_on;

use crate::world::{Action, JOBS, START, act, alarm, at, fail, fire, log, log_of, note};

const HOUR: i64 = 3_600_000;

#[test]
fn a_series_keeps_its_rhythm_however_late_it_runs() {
    let mut store = Memory::new();
    let next = block_on(JOBS.every(&mut store, START, "hourly", "1h", &note("x"))).unwrap();
    assert_eq!(next, at(HOUR));
    for n in 1..5 {
        let due = fire(&mut store);
        assert_eq!(due, at(n * HOUR));
        let late = due.saturating_add(Duration::from_secs(77));
        let report = block_on(JOBS.run_due(&mut store, late, act)).unwrap();
        assert_eq!(report.ran[0].planned, due);
        assert_eq!(report.ran[0].next, Some(at((n + 1) * HOUR)));
    }
    let job = block_on(JOBS.get(&store, "hourly")).unwrap().unwrap();
    assert_eq!(
        job.repeat(),
        Some(&Repeat::Every(Duration::from_secs(3600)))
    );
    assert_eq!(block_on(log_of(&store)).len(), 4);
}

#[test]
fn another_interval_or_action_is_taken_over() {
    let mut store = Memory::new();
    block_on(async {
        JOBS.every(&mut store, START, "job", "1h", &note("old"))
            .await
            .unwrap();
        let next = JOBS
            .every(&mut store, at(1), "job", "1h", &note("new"))
            .await
            .unwrap();
        assert_eq!(next, at(HOUR));
        let job = JOBS.get(&store, "job").await.unwrap().unwrap();
        assert_eq!(job.action().unwrap(), note("new"));
        let next = JOBS
            .every(&mut store, at(2), "job", "2h", &note("new"))
            .await
            .unwrap();
        assert_eq!(next, at(2 * HOUR + 2));
        // From a series to a single run, and back.
        JOBS.schedule_as(&mut store, at(3), "job", "1h", &note("once"))
            .await
            .unwrap();
        let job = JOBS.get(&store, "job").await.unwrap().unwrap();
        assert_eq!(job.repeat(), None);
        let next = JOBS
            .every(&mut store, at(4), "job", "2h", &note("new"))
            .await
            .unwrap();
        assert_eq!(next, at(2 * HOUR + 4));
        assert_eq!(store.alarm().await.unwrap(), Some(next));
    });
}

#[test]
fn missed_runs_follow_the_policy_that_the_series_was_made_with() {
    let skip = Missed::Skip {
        grace: Duration::from_secs(60),
    };
    // Ten and a half hours nothing ran.
    let now = at(10 * HOUR + HOUR / 2);
    for (missed, planned) in [
        (Missed::RunOnce, vec![1]),
        (skip, vec![]),
        (Missed::RunAll { at_most: 4 }, vec![7, 8, 9, 10]),
        (Missed::RunAll { at_most: 99 }, (1..=10).collect()),
    ] {
        let mut store = Memory::new();
        let jobs = JOBS.missed(missed);
        block_on(jobs.every(&mut store, START, "hourly", "1h", &note("x"))).unwrap();
        let ran = RefCell::new(Vec::new());
        let report = block_on(JOBS.run_due(&mut store, now, async |_, due| {
            ran.borrow_mut()
                .push((due.planned.as_millis() - START.as_millis()) / HOUR);
            Ok(())
        }));
        let ran = ran.into_inner();
        assert_eq!(ran, planned, "{missed:?}");
        let report = report.unwrap();
        assert_eq!(report.next, Some(at(11 * HOUR)), "{missed:?}");
        if ran.is_empty() {
            assert_eq!(report.ran[0].outcome, Outcome::Skipped);
        }
    }
}

#[test]
fn a_run_that_fails_is_tried_again_and_the_series_goes_on() {
    let mut store = Memory::new();
    let jobs = JOBS.retries(Retries::new().tries(3));
    block_on(jobs.every(&mut store, START, "job", "1h", &fail("no ink"))).unwrap();
    for round in 1..3 {
        for attempt in 1..=3 {
            let now = fire(&mut store);
            let report = block_on(jobs.run_due(&mut store, now, async |txn, due| {
                assert_eq!((due.attempt, due.planned), (attempt, at(round * HOUR)));
                act(txn, due).await
            }));
            let ran = report.unwrap().ran.remove(0);
            if attempt < 3 {
                assert!(ran.next < Some(at(round * HOUR + 60_000)), "{ran:?}");
            } else {
                let error = "no ink".to_owned();
                assert_eq!(ran.outcome, Outcome::Dead { error });
                assert_eq!(ran.next, Some(at((round + 1) * HOUR)));
            }
        }
    }
    // One entry for the series: the last run that was given up.
    let dead = block_on(jobs.dead(&store)).unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].planned(), dead[0].tries()), (at(2 * HOUR), 3));
    let job = block_on(jobs.get(&store, "job")).unwrap().unwrap();
    assert_eq!(
        (job.at(), job.failed(), job.last_error()),
        (at(3 * HOUR), 0, None)
    );
}

#[test]
fn a_retry_is_of_the_run_that_failed_also_where_earlier_ones_were_passed_over() {
    let mut store = Memory::new();
    let jobs = JOBS.missed(Missed::RunAll { at_most: 2 });
    block_on(async {
        jobs.every(&mut store, START, "job", "1h", &fail("x"))
            .await
            .unwrap();
        let now = at(10 * HOUR);
        let ran = jobs.run_next(&mut store, now, act).await.unwrap().unwrap();
        assert_eq!(ran.planned, at(9 * HOUR));
        let job = jobs.get(&store, "job").await.unwrap().unwrap();
        assert_eq!((job.planned(), job.failed()), (at(9 * HOUR), 1));
        let ran = jobs
            .run_next(&mut store, job.at(), async |_, _| Ok(()))
            .await;
        let ran = ran.unwrap().unwrap();
        assert_eq!((ran.planned, ran.next), (at(9 * HOUR), Some(at(10 * HOUR))));
    });
}

#[test]
fn reviving_a_run_of_a_living_series_adds_a_run_and_moves_none() {
    let mut store = Memory::new();
    let jobs = JOBS.retries(Retries::new().tries(1));
    block_on(async {
        jobs.every(&mut store, START, "job", "1h", &fail("no ink"))
            .await
            .unwrap();
        let report = jobs.run_due(&mut store, at(HOUR), act).await.unwrap();
        assert_eq!(report.next, Some(at(2 * HOUR)));
        jobs.every(&mut store, at(HOUR), "job", "1h", &note("repaired"))
            .await
            .unwrap();
        let now = at(HOUR + 60_000);
        assert!(jobs.revive(&mut store, now, "job").await.unwrap());
        assert!(jobs.dead(&store).await.unwrap().is_empty());
        assert_eq!(store.alarm().await.unwrap(), Some(now));
        let report = jobs.run_due(&mut store, now, act).await.unwrap();
        assert_eq!((report.ran.len(), report.next), (1, Some(at(2 * HOUR))));
        assert_eq!(report.ran[0].planned, now);
        // It fails when it is brought forward: tried again, and the series is where it was.
        jobs.every(&mut store, now, "job", "1h", &fail("x"))
            .await
            .unwrap();
        let twice = JOBS.retries(Retries::new().tries(2));
        let _ = jobs.run_due(&mut store, at(2 * HOUR), act).await.unwrap();
        assert!(
            jobs.revive(&mut store, at(2 * HOUR + 5), "job")
                .await
                .unwrap()
        );
        let report = twice
            .run_due(&mut store, at(2 * HOUR + 5), act)
            .await
            .unwrap();
        let retry = report.next.unwrap();
        assert!(retry < at(2 * HOUR + 10_000));
        let report = twice.run_due(&mut store, retry, act).await.unwrap();
        assert!(matches!(report.ran[0].outcome, Outcome::Dead { .. }));
        assert_eq!(report.next, Some(at(3 * HOUR)));
    });
}

#[test]
fn an_action_can_end_its_own_series_or_change_it() {
    let mut store = Memory::new();
    block_on(async {
        JOBS.every(&mut store, START, "ends", "1h", &note("ends"))
            .await
            .unwrap();
        JOBS.every(&mut store, START, "slower", "1h", &note("slower"))
            .await
            .unwrap();
        let now = at(HOUR);
        let report = JOBS.run_due(&mut store, now, async |txn, due| {
            if due.id == "ends" {
                assert!(JOBS.cancel(txn, "ends").await?);
            } else {
                JOBS.every(txn, now, "slower", "2h", &due.action).await?;
            }
            log(txn, &due.id).await
        });
        assert_eq!(report.await.unwrap().next, Some(at(3 * HOUR)));
        let ids: Vec<_> = JOBS.list(&store).await.unwrap();
        assert_eq!(ids.len(), 1);
        assert_eq!(ids[0].id(), "slower");
        assert_eq!(log_of(&store).await, ["ends", "slower"]);
    });
}

#[test]
fn intervals_that_make_no_series_are_refused() {
    let mut store = Memory::new();
    for (interval, text) in [
        (
            "99ms",
            "invalid interval 99ms: the shortest is 100ms, the longest 219 years",
        ),
        (
            "0s",
            "invalid duration \"0s\": it must be longer than nothing",
        ),
        (
            "5M",
            "invalid duration \"5M\": \"M\" is a month or a year, of no fixed length; write days (d), or minutes (m)",
        ),
    ] {
        let refused = block_on(JOBS.every(&mut store, START, "x", interval, &Action::GiveUp));
        assert_eq!(refused.unwrap_err().to_string(), text);
    }
    let none = JOBS.least_interval(Duration::ZERO);
    for interval in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
        let refused = block_on(none.every(&mut store, START, "x", interval, &Action::GiveUp));
        assert!(refused.is_err(), "{interval:?}");
    }
    assert_eq!(alarm(&store), None);
}

#[test]
fn a_series_ends_where_alarms_end() {
    let mut store = Memory::new();
    let last = Timestamp::LAST.saturating_sub(Duration::from_secs(5));
    block_on(async {
        JOBS.every(&mut store, last, "job", "3s", &note("x"))
            .await
            .unwrap();
        let report = JOBS
            .run_due(&mut store, Timestamp::LAST, act)
            .await
            .unwrap();
        assert_eq!((report.ran.len(), report.next), (1, None));
        assert_eq!(store.alarm().await.unwrap(), None);
        assert!(JOBS.list(&store).await.unwrap().is_empty());
    });
}
