use dokit_alarms::{ActionKey, Deadline, Handled, Wakes, cancel_alarm, schedule_alarm, wakes};
use dokit_storage::{Memory, Store, Timestamp, Transaction};
use futures_executor::block_on;

use crate::world::{Action, JOBS, START, act, alarm, at, fire, note};

const IDLE: Deadline = Deadline::new("idle");
const LEASE: Deadline = Deadline::new("lease");

#[test]
fn a_deadline_is_taken_once_and_not_before_its_time() {
    let mut store = Memory::new();
    block_on(async {
        let due = IDLE.set(&mut store, START, "5m").await.unwrap();
        assert_eq!(due, at(300_000));
        let early = at(299_999);
        assert_eq!(IDLE.take(&mut store, early).await.unwrap(), None);
        assert_eq!(IDLE.get(&store).await.unwrap(), Some(due));
        assert_eq!(IDLE.take(&mut store, at(400_000)).await.unwrap(), Some(due));
        assert_eq!(IDLE.take(&mut store, at(400_000)).await.unwrap(), None);
        assert_eq!(store.alarm().await.unwrap(), None);
    });
}

#[test]
fn an_early_wake_up_sets_the_alarm_again() {
    let mut store = Memory::new();
    let due = block_on(IDLE.set(&mut store, START, "5m")).unwrap();
    fire(&mut store);
    assert_eq!(alarm(&store), None);
    assert_eq!(block_on(IDLE.take(&mut store, START)).unwrap(), None);
    assert_eq!(alarm(&store), Some(due));
}

#[test]
fn the_alarm_stands_at_the_earliest_of_all() {
    let mut store = Memory::new();
    block_on(async {
        IDLE.set(&mut store, START, "5m").await.unwrap();
        LEASE.set(&mut store, START, "3m").await.unwrap();
        let jobs = &JOBS;
        jobs.schedule_as(&mut store, START, "job", "2m", &note("a"))
            .await
            .unwrap();
        schedule_alarm(&mut store, START, "1m").await.unwrap();
        let minutes =
            |store: &Memory| alarm(store).map(|at| (at.as_millis() - START.as_millis()) / 60_000);
        assert_eq!(minutes(&store), Some(1));
        assert!(cancel_alarm(&mut store).await.unwrap());
        assert!(!cancel_alarm(&mut store).await.unwrap());
        assert_eq!(minutes(&store), Some(2));
        jobs.cancel(&mut store, "job").await.unwrap();
        assert_eq!(minutes(&store), Some(3));
        assert!(LEASE.clear(&mut store).await.unwrap());
        assert_eq!(minutes(&store), Some(5));
        assert!(IDLE.clear(&mut store).await.unwrap());
        assert!(!IDLE.clear(&mut store).await.unwrap());
        assert_eq!(minutes(&store), None);
    });
}

#[test]
fn a_deadline_that_nobody_takes_is_woken_for_ever_more_rarely() {
    let mut store = Memory::new();
    block_on(IDLE.set(&mut store, START, "5m")).unwrap();
    let mut waits = Vec::new();
    let mut before = START;
    for _ in 0..14 {
        let now = fire(&mut store);
        waits.push((now.as_millis() - before.as_millis()) / 1000);
        before = now;
        let report = block_on(JOBS.run_due(&mut store, now, act)).unwrap();
        assert_eq!(report.deadlines, ["idle"]);
        assert!(report.ran.is_empty());
    }
    assert_eq!(waits[0], 300);
    for (wait, plain) in waits[1..]
        .iter()
        .zip([2, 4, 8, 16, 32, 64, 128, 256, 512, 1024])
    {
        assert!((plain..=plain + plain / 4).contains(wait), "{waits:?}");
    }
    assert!(waits[13] >= 3600, "{waits:?}");
    // It is not lost, and setting it again starts afresh.
    let now = fire(&mut store);
    assert_eq!(
        block_on(IDLE.take(&mut store, now)).unwrap(),
        Some(at(300_000))
    );
    assert_eq!(alarm(&store), None);
}

#[test]
fn the_plain_alarm_is_done_with_the_wake_up() {
    let mut store = Memory::new();
    block_on(schedule_alarm(&mut store, START, "30s")).unwrap();
    block_on(schedule_alarm(&mut store, START, "40s")).unwrap();
    let now = fire(&mut store);
    assert_eq!(now, at(40_000));
    let report = block_on(JOBS.run_due(&mut store, now, act)).unwrap();
    assert!(report.deadlines.is_empty());
    assert_eq!(alarm(&store), None);
}

#[test]
fn the_plain_alarm_is_done_with_the_wake_up_whatever_is_done_in_it() {
    block_on(async {
        let fired = || async {
            let mut store = Memory::new();
            schedule_alarm(&mut store, START, "30s").await.unwrap();
            let now = fire(&mut store);
            (store, now)
        };
        let (mut store, now) = fired().await;
        assert_eq!(IDLE.take(&mut store, now).await.unwrap(), None);
        assert_eq!(alarm(&store), None);

        let (mut store, now) = fired().await;
        let idle = IDLE.set(&mut store, now, "5m").await.unwrap();
        assert_eq!(alarm(&store), Some(idle));

        let (mut store, now) = fired().await;
        let action = note("a");
        let job = JOBS.schedule_as(&mut store, now, "job", "5m", &action);
        let job = job.await.unwrap();
        assert_eq!(alarm(&store), Some(job));

        let (mut store, now) = fired().await;
        let action = ActionKey::<Action>::new();
        let handled = action.handle(&mut store, now, async |_, _| Ok(())).await;
        assert_eq!(handled.unwrap(), Handled::Nothing);
        assert_eq!(alarm(&store), None);
    });
}

#[test]
fn the_plain_alarm_is_not_lost_to_calls_that_come_before_its_wake_up() {
    block_on(async {
        let mut store = Memory::new();
        schedule_alarm(&mut store, START, "30s").await.unwrap();
        IDLE.set(&mut store, START, "30s").await.unwrap();
        let now = at(30_005);
        assert!(IDLE.take(&mut store, now).await.unwrap().is_some());
        for _ in 0..3 {
            let now = alarm(&store).expect("the wake-up is still to come");
            drop(JOBS.run_due(&mut store, now, act).await.unwrap());
        }
        let now = fire(&mut store);
        assert!(now <= at(80_000));
        drop(JOBS.run_due(&mut store, now, act).await.unwrap());
        assert_eq!(alarm(&store), None);

        // Whoever leaves the alarm standing is woken ever more rarely, and not for ever.
        schedule_alarm(&mut store, START, "30s").await.unwrap();
        let mut woken = 0;
        while let Some(now) = alarm(&store) {
            drop(JOBS.run_due(&mut store, now, act).await.unwrap());
            woken += 1;
            assert!(woken < 20);
        }
        assert!(woken > 5);
    });
}

#[test]
fn a_deadline_that_nobody_takes_does_not_keep_an_object_busy_that_takes_others() {
    let mut store = Memory::new();
    block_on(async {
        LEASE.set(&mut store, START, "1m").await.unwrap();
        IDLE.set(&mut store, START, "1d").await.unwrap();
        let plain = schedule_alarm(&mut store, START, "2h").await.unwrap();
        let mut times = Vec::new();
        while alarm(&store) < Some(at(3_600_000)) {
            let now = fire(&mut store);
            times.push(now);
            assert_eq!(IDLE.take(&mut store, now).await.unwrap(), None);
            assert!(times.len() < 20, "{times:?}");
        }
        assert!(times.len() > 5, "{times:?}");
        assert_eq!(wakes(&store).await.unwrap().waiting["wake"], plain);
    });
}

#[test]
fn wakes_tell_why_an_object_is_awake() {
    let mut store = Memory::new();
    assert_eq!(block_on(wakes(&store)).unwrap(), Wakes::default());
    block_on(async {
        IDLE.set(&mut store, START, "5m").await.unwrap();
        let soon = "1s";
        JOBS.schedule(&mut store, START, soon, &note("a"))
            .await
            .unwrap();
        JOBS.name("other")
            .schedule(&mut store, START, "2s", &note("b"))
            .await
            .unwrap();
    });
    for _ in 0..2 {
        let now = fire(&mut store);
        let ran = block_on(JOBS.run_due(&mut store, now, act)).unwrap();
        drop(ran);
        let other = JOBS.name("other");
        let ran = block_on(other.run_due(&mut store, now, act)).unwrap();
        drop(ran);
    }
    let wakes = block_on(wakes(&store)).unwrap();
    assert_eq!((wakes.count, wakes.last), (2, Some(at(2_000))));
    assert_eq!(wakes.next, Some(at(300_000)));
    let waiting: Vec<_> = wakes.waiting.into_iter().collect();
    assert_eq!(waiting, [("own:idle".to_owned(), at(300_000))]);
}

#[test]
fn a_deadline_set_in_a_transaction_is_rolled_back_with_it() {
    let mut store = Memory::new();
    block_on(async {
        let mut txn = Transaction::begin(&mut store);
        IDLE.set(&mut txn, START, "5m").await.unwrap();
        assert_eq!(txn.alarm().await.unwrap(), Some(at(300_000)));
        txn.rollback();
    });
    assert_eq!(alarm(&store), None);
    assert_eq!(block_on(IDLE.get(&store)).unwrap(), None);
}

#[test]
fn names_known_at_run_time_are_the_same_deadlines() {
    let mut store = Memory::new();
    let named = Deadline::named(format!("{}le", "id"));
    block_on(named.set(&mut store, START, Timestamp::LAST)).unwrap();
    assert_eq!(block_on(IDLE.get(&store)).unwrap(), Some(Timestamp::LAST));
    assert_eq!(named, IDLE);
}
