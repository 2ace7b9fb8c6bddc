use std::cell::RefCell;

use dokit_alarms::{Cause, Error, Missed, Repeat};
use dokit_storage::{Batch, Memory, Store, Timestamp};
use futures_executor::block_on;
use proptest::prelude::*;

use crate::world::{JOBS, act, alarm, note};

/// A moment in UTC.
fn utc(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> Timestamp {
    // https://howardhinnant.github.io/date_algorithms.html#days_from_civil
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100
        + of_year
        - 719_468;
    Timestamp::from_millis(((days * 24 + hour) * 60 + minute) * 60_000)
}

/// The first runs of a schedule after a moment, by letting it run.
fn runs(expression: &str, zone: &str, after: Timestamp, count: usize) -> Vec<String> {
    let mut store = Memory::new();
    let next = block_on(JOBS.cron(&mut store, after, "job", expression, zone, &note("x")));
    let mut runs = vec![next.unwrap()];
    while runs.len() < count {
        let now = *runs.last().unwrap();
        let report = block_on(JOBS.run_due(&mut store, now, async |_, _| Ok(()))).unwrap();
        runs.extend(report.ran[0].next);
    }
    let text = |at: &Timestamp| at.to_string().replace(":00.000Z", "Z");
    runs.iter().map(text).collect()
}

#[test]
fn the_moments_of_this_test_are_right() {
    assert_eq!(
        utc(2026, 11, 21, 3, 18).to_string(),
        "2026-11-21T03:18:00.000Z"
    );
    assert_eq!(
        utc(2028, 2, 29, 0, 0).to_string(),
        "2028-02-29T00:00:00.000Z"
    );
}

#[test]
fn office_hours_follow_the_zone_through_the_year() {
    assert_eq!(
        runs(
            "0 9 * * MON-FRI",
            "Europe/Berlin",
            utc(2026, 10, 22, 12, 0),
            3
        ),
        // Summer time ends on Sunday the 25th.
        [
            "2026-10-23T07:00Z",
            "2026-10-26T08:00Z",
            "2026-10-27T08:00Z"
        ]
    );
    assert_eq!(
        runs("0 9 * * MON-FRI", "UTC", utc(2026, 10, 22, 12, 0), 2),
        ["2026-10-23T09:00Z", "2026-10-26T09:00Z"]
    );
}

#[test]
fn a_time_that_spring_skips_runs_at_the_end_of_the_gap() {
    assert_eq!(
        runs("30 2 * * *", "America/New_York", utc(2026, 3, 7, 12, 0), 2),
        // 03:00 EDT instead of 02:30, then 02:30 EDT.
        ["2026-03-08T07:00Z", "2026-03-09T06:30Z"]
    );
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", utc(2027, 3, 27, 12, 0), 2),
        ["2027-03-28T01:00Z", "2027-03-29T00:30Z"]
    );
}

#[test]
fn a_time_that_autumn_repeats_runs_once_the_first_time() {
    assert_eq!(
        runs(
            "30 1 * * *",
            "America/New_York",
            utc(2026, 10, 31, 12, 0),
            2
        ),
        ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]
    );
    assert_eq!(
        runs("30 2 * * *", "Europe/Berlin", utc(2026, 10, 24, 12, 0), 2),
        ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]
    );
}

#[test]
fn wildcards_run_through_gap_and_overlap_without_a_break() {
    assert_eq!(
        runs(
            "*/30 * * * *",
            "America/New_York",
            utc(2026, 11, 1, 4, 45),
            5
        ),
        [
            "2026-11-01T05:00Z",
            "2026-11-01T05:30Z",
            "2026-11-01T06:00Z",
            "2026-11-01T06:30Z",
            "2026-11-01T07:00Z"
        ]
    );
    assert_eq!(
        runs("0 * * * *", "America/New_York", utc(2026, 3, 8, 5, 30), 3),
        [
            "2026-03-08T06:00Z",
            "2026-03-08T07:00Z",
            "2026-03-08T08:00Z"
        ]
    );
}

#[test]
fn the_forms_of_an_expression() {
    let after = utc(2026, 11, 21, 12, 0);
    for (expression, first) in [
        ("*/5 * * * *", "2026-11-21T12:05Z"),
        ("@daily", "2026-11-22T00:00Z"),
        ("0 0 L * *", "2026-11-30T00:00Z"),
        ("0 0 * * MON#1", "2026-12-07T00:00Z"),
        // Day of month or day of week.
        ("0 0 13 * FRI", "2026-11-27T00:00Z"),
        ("0 0 * * 0", "2026-11-22T00:00Z"),
        ("0 0 * * 7", "2026-11-22T00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00Z"),
        ("30 0 12 * * *", "2026-11-21T12:00:30.000Z"),
        ("0 0 0 1 1 * 2031", "2031-01-01T00:00Z"),
    ] {
        assert_eq!(runs(expression, "UTC", after, 1), [first], "{expression}");
    }
}

#[test]
fn what_never_fires_or_does_not_exist_is_refused_and_says_so() {
    let mut store = Memory::new();
    let now = utc(2026, 11, 21, 12, 0);
    let long = "* ".repeat(200);
    for (expression, zone, reason) in [
        ("0 0 31 2 *", "UTC", "it never fires"),
        ("0 0 0 1 1 * 2020", "UTC", "it never fires"),
        // After the last moment that an alarm can be set for.
        ("0 0 0 1 2 * 2189", "UTC", "it never fires"),
        ("60 * * * *", "UTC", "number out of bounds"),
        ("* * *", "UTC", "pattern must have between 5 and 7 fields"),
        ("", "UTC", "it is empty"),
        (long.as_str(), "UTC", "it is longer than 256 bytes"),
        ("0 9 * * *", "Europe/Atlantis", "unknown time zone"),
        ("0 9 * * *", "", "unknown time zone"),
    ] {
        let refused = block_on(JOBS.cron(&mut store, now, "x", expression, zone, &note("x")));
        let Err(Error::InvalidCron { reason: said, .. }) = refused else {
            panic!("{expression:?} in {zone:?}: {refused:?}");
        };
        assert_eq!(said, reason, "{expression:?} in {zone:?}");
    }
    let refused = block_on(JOBS.cron(&mut store, now, "x", "0 0 31 2 *", "UTC", &note("x")));
    assert_eq!(
        refused.unwrap_err().to_string(),
        "invalid cron schedule \"0 0 31 2 *\" in \"UTC\": it never fires"
    );
    let early = Timestamp::from_millis(i64::MIN);
    assert!(block_on(JOBS.cron(&mut store, early, "x", "@daily", "UTC", &note("x"))).is_err());
    assert_eq!(alarm(&store), None);
}

#[test]
fn a_schedule_that_is_over_ends_by_itself() {
    let mut store = Memory::new();
    let now = utc(2026, 11, 21, 12, 0);
    block_on(async {
        let once = "0 0 0 1 1 * 2027";
        let next = JOBS
            .cron(&mut store, now, "job", once, "UTC", &note("x"))
            .await
            .unwrap();
        let report = JOBS.run_due(&mut store, next, act).await.unwrap();
        assert_eq!((report.ran[0].next, report.next), (None, None));
        assert!(JOBS.list(&store).await.unwrap().is_empty());
    });
}

#[test]
fn scheduling_again_keeps_the_next_run_unless_the_schedule_changed() {
    let mut store = Memory::new();
    let now = utc(2026, 11, 21, 12, 0);
    block_on(async {
        let next = JOBS
            .cron(&mut store, now, "job", "0 13 * * *", "UTC", &note("x"))
            .await;
        let next = next.unwrap();
        // Late: the run of 13:00 is not lost by asking again at 14:00.
        let late = utc(2026, 11, 21, 14, 0);
        let again = JOBS
            .cron(&mut store, late, "job", "0 13 * * *", "UTC", &note("y"))
            .await;
        assert_eq!(again.unwrap(), next);
        let job = JOBS.get(&store, "job").await.unwrap().unwrap();
        assert_eq!(job.action().unwrap(), note("y"));
        let Some(Repeat::Cron { zone, .. }) = job.repeat() else {
            panic!("{job:?}")
        };
        assert_eq!(zone, "UTC");
        let moved = JOBS
            .cron(
                &mut store,
                late,
                "job",
                "0 13 * * *",
                "Europe/Berlin",
                &note("y"),
            )
            .await;
        assert_eq!(moved.unwrap(), utc(2026, 11, 22, 12, 0));
    });
}

#[test]
fn missed_runs_follow_the_policy_also_after_a_year() {
    let start = utc(2025, 11, 21, 12, 0);
    let now = utc(2026, 11, 21, 12, 30);
    for (missed, expected) in [
        (Missed::RunOnce, vec!["2025-11-21T12:01Z"]),
        (
            Missed::RunAll { at_most: 3 },
            vec![
                "2026-11-21T12:28Z",
                "2026-11-21T12:29Z",
                "2026-11-21T12:30Z",
            ],
        ),
    ] {
        let mut store = Memory::new();
        let jobs = JOBS.missed(missed);
        block_on(jobs.cron(&mut store, start, "job", "* * * * *", "UTC", &note("x"))).unwrap();
        let ran = RefCell::new(Vec::new());
        let report = block_on(JOBS.run_due(&mut store, now, async |_, due| {
            ran.borrow_mut()
                .push(due.planned.to_string().replace(":00.000Z", "Z"));
            Ok(())
        }));
        assert_eq!(ran.into_inner(), expected);
        assert_eq!(report.unwrap().next, Some(utc(2026, 11, 21, 12, 31)));
    }
}

#[test]
fn a_zone_that_is_gone_makes_the_series_dead_and_not_lost() {
    let mut store = Memory::new();
    let mut batch = Batch::new();
    batch.put(
        "__alarms/due/0000000000000005/job",
        r#"{"action":{"note":"x"},"planned":5,"created":1,"repeat":{"cron":{"expression":"@daily","zone":"Mars/Olympus"}}}"#,
    );
    batch.put("__alarms/id/job", "5");
    block_on(store.commit(batch)).unwrap();
    let report = block_on(JOBS.run_due(&mut store, utc(2026, 1, 1, 0, 0), act)).unwrap();
    assert_eq!(report.ran.len(), 1);
    let dead = block_on(JOBS.dead(&store)).unwrap();
    assert_eq!(
        (dead[0].cause(), dead[0].error()),
        (Cause::Unreadable, "unknown time zone")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn no_expression_panics(
        expression in "([0-9*/,#LW?@A-Zz\u{e9} -]{0,12} ?){0,8}",
        zone in "[A-Za-z/_.]{0,12}",
    ) {
        let mut store = Memory::new();
        let now = utc(2026, 11, 21, 12, 0);
        let _ = block_on(JOBS.cron(&mut store, now, "x", &expression, &zone, &note("x")));
    }

    #[test]
    fn a_run_is_always_later_than_the_one_before(
        minute in 0..60_u32,
        hour in 0..24_u32,
        millis in 0..31_536_000_000_i64,
        zone in prop_oneof![
            Just("America/New_York"), Just("Europe/Berlin"), Just("Australia/Lord_Howe"), Just("UTC"),
        ],
    ) {
        let mut store = Memory::new();
        let now = Timestamp::from_millis(utc(2026, 1, 1, 0, 0).as_millis() + millis);
        let expression = format!("{minute} {hour} * * *");
        let next = block_on(JOBS.cron(&mut store, now, "x", &expression, zone, &note("x"))).unwrap();
        prop_assert!(next > now);
        prop_assert!(next.saturating_duration_since(now) <= std::time::Duration::from_secs(26 * 3600));
        let report = block_on(JOBS.run_due(&mut store, next, act)).unwrap();
        let following = report.next.unwrap().saturating_duration_since(next).as_secs();
        prop_assert!((22 * 3600..=26 * 3600).contains(&following), "{following}");
    }
}
