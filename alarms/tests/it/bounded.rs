//! Whatever an object does when it is woken, it is not woken without end.

use std::time::Duration;

use dokit_alarms::{ActionKey, Alarms, Deadline, Result, cancel_alarm, schedule_alarm};
use dokit_storage::{Memory, Store, Timestamp};
use futures_executor::block_on;
use proptest::{collection::vec, prelude::*};

use crate::world::{Action, JOBS, START, act, at, fail, fire, note};

const DEADLINES: [Deadline; 2] = [Deadline::new("idle"), Deadline::new("lease")];
const ACTION: ActionKey<Action> = ActionKey::new();
const OTHERS: Alarms<Action> = JOBS.name("others");

/// What is done with the alarms of an object, in a wake-up or in any other call.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(usize),
    Set(usize),
    Clear(usize),
    Plain,
    CancelPlain,
    Job { fails: bool },
    CancelJob,
    RunDue,
    RunOthers,
    Name { fails: bool },
    CancelName,
    Handle,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..2_usize).prop_map(Step::Take),
        (0..2_usize).prop_map(Step::Set),
        (0..2_usize).prop_map(Step::Clear),
        Just(Step::Plain),
        Just(Step::CancelPlain),
        any::<bool>().prop_map(|fails| Step::Job { fails }),
        Just(Step::CancelJob),
        Just(Step::RunDue),
        Just(Step::RunOthers),
        any::<bool>().prop_map(|fails| Step::Name { fails }),
        Just(Step::CancelName),
        Just(Step::Handle),
    ]
}

fn action(fails: bool) -> Action {
    if fails { fail("it does") } else { note("done") }
}

const HOUR: Duration = Duration::from_secs(3600);

/// All that is scheduled is scheduled for an hour later, so that what comes sooner is of the crate's
/// own making.
async fn take_step(store: &mut Memory, now: Timestamp, step: Step) -> Result<()> {
    let later = HOUR;
    match step {
        Step::Take(which) => DEADLINES[which].take(store, now).await.map(|_| ()),
        Step::Set(which) => DEADLINES[which].set(store, now, later).await.map(|_| ()),
        Step::Clear(which) => DEADLINES[which].clear(store).await.map(|_| ()),
        Step::Plain => schedule_alarm(store, now, later).await.map(|_| ()),
        Step::CancelPlain => cancel_alarm(store).await.map(|_| ()),
        Step::Job { fails } => {
            let action = action(fails);
            let scheduled = JOBS.schedule_as(store, now, "job", later, &action);
            scheduled.await.map(|_| ())
        }
        Step::CancelJob => JOBS.cancel(store, "job").await.map(|_| ()),
        Step::RunDue => JOBS.run_due(store, now, act).await.map(|_| ()),
        Step::RunOthers => OTHERS.run_due(store, now, act).await.map(|_| ()),
        Step::Name { fails } => {
            let action = action(fails);
            let scheduled = ACTION.schedule(store, now, later, &action);
            scheduled.await.map(|_| ())
        }
        Step::CancelName => ACTION.cancel(store).await.map(|_| ()),
        Step::Handle => {
            let handled = ACTION.handle(store, now, async |_, action| match action {
                Action::Note(_) => Ok(()),
                _ => Err("it fails".into()),
            });
            handled.await.map(|_| ())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_plain_alarm_is_lost_to_what_is_done_before_it_fires(
        before in vec(step(), 0..6),
        just_before_it_fires in vec(step(), 0..4),
    ) {
        let mut store = Memory::new();
        let note = |plain: &mut Option<Timestamp>, now: Timestamp, step: Step| match step {
            Step::Plain => *plain = Some(now.saturating_add(HOUR)),
            Step::CancelPlain => *plain = None,
            _ => {}
        };
        block_on(async {
            let mut plain = None;
            for step in before {
                take_step(&mut store, START, step).await.unwrap();
                note(&mut plain, START, step);
            }
            let end = at(3 * 3_600_000);
            let mut now = START;
            while let Some(due) = store.alarm().await.unwrap().filter(|at| *at < end) {
                now = now.max(due);
                for step in &just_before_it_fires {
                    take_step(&mut store, now, *step).await.unwrap();
                    note(&mut plain, now, *step);
                }
                if store.alarm().await.unwrap().is_some() {
                    now = now.max(fire(&mut store));
                    plain = plain.filter(|at| *at > now);
                    take_step(&mut store, now, Step::RunDue).await.unwrap();
                }
            }
            prop_assert!(plain.is_none_or(|at| at >= end), "{plain:?} has passed");
            Ok(())
        })?;
    }

    #[test]
    fn an_object_is_never_woken_without_a_pause_whatever_it_does_then(
        before in vec(step(), 0..6),
        in_a_wake_up in vec(step(), 1..5),
    ) {
        let mut store = Memory::new();
        block_on(async {
            for step in before {
                take_step(&mut store, START, step).await.unwrap();
            }
            let end = at(6 * 3_600_000);
            let mut woken = Vec::new();
            let mut before = START;
            while store.alarm().await.unwrap().is_some_and(|at| at < end) {
                // An alarm for a moment that has passed fires now.
                let now = fire(&mut store).max(before);
                for step in &in_a_wake_up {
                    take_step(&mut store, now, *step).await.unwrap();
                }
                let pause = now.saturating_duration_since(before).as_millis();
                prop_assert!(woken.is_empty() || pause >= 100, "{pause} ms after {woken:?}");
                prop_assert!(woken.len() < 500, "{woken:?}");
                woken.push(now);
                before = now;
            }
            Ok(())
        })?;
    }
}
