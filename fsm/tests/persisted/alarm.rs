//! A machine's deadline as a job of `dokit-alarms`.

use dokit_alarms::{Alarms, Outcome};
use dokit_fsm::{
    DeadlineAlarm, DeadlineAlarmError, Hooks, NoHooks, Persisted, SendError, Transition,
};
use dokit_storage::{Faults, Memory, Store, Timestamp};
use futures_executor::block_on;
use proptest::{collection::vec, prelude::*, sample::select};
use serde::{Deserialize, Serialize};

use super::{DAY, Event, ORDER, State, at, dump, pay, ship};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Job {
    Expire,
    Other,
}

const JOBS: Alarms<Job> = Alarms::new();

fn order() -> Persisted<State, Event, DeadlineAlarm<Job, NoHooks>> {
    ORDER.persisted().alarm(JOBS, "order", Job::Expire)
}

async fn wake(store: &mut impl Store, now: Timestamp) -> Vec<Outcome> {
    let report = JOBS.run_due(store, now, async |txn, due| match due.action {
        Job::Expire => Ok(order().expire(txn, now).await.map(|_| ())?),
        Job::Other => Ok(()),
    });
    report
        .await
        .unwrap()
        .ran
        .into_iter()
        .map(|ran| ran.outcome)
        .collect()
}

#[test]
fn the_alarm_is_armed_moved_and_cancelled_with_the_steps() {
    block_on(async {
        let mut store = Memory::new();
        JOBS.schedule_as(&mut store, at(1), "other", at(3 * DAY), &Job::Other)
            .await
            .unwrap();
        order().start(&mut store, at(10)).await.unwrap();
        assert_eq!(store.alarm().await.unwrap(), Some(at(10 + DAY)));
        order()
            .send(&mut store, at(20), &Event::Retry)
            .await
            .unwrap();
        assert_eq!(store.alarm().await.unwrap(), Some(at(20 + DAY)));
        order().send(&mut store, at(30), &pay()).await.unwrap();
        assert_eq!(
            store.alarm().await.unwrap(),
            Some(at(3 * DAY)),
            "the other job's"
        );
        order().send(&mut store, at(40), &ship()).await.unwrap();
        assert_eq!(store.alarm().await.unwrap(), Some(at(40 + 5_400_000)));
        order().reset(&mut store, at(50)).await.unwrap();
        assert_eq!(store.alarm().await.unwrap(), Some(at(50 + DAY)));
        let jobs = JOBS.list(&store).await.unwrap();
        assert_eq!(jobs.len(), 2);
    });
}

#[test]
fn a_day_later_the_order_is_cancelled_once_also_after_a_crash() {
    block_on(async {
        let disk = Memory::new();
        order().start(&mut disk.clone(), at(10)).await.unwrap();
        assert_eq!(wake(&mut disk.clone(), at(DAY)).await, [], "too early");

        // The wake-up's commit fails: nothing of it remains, and the engine wakes it again.
        let before = dump(&disk).await;
        let mut dying = Faults::new(disk.clone());
        dying.fail_commits_from(1);
        let due = at(10 + DAY);
        let failed = JOBS.run_due(&mut dying, due, async |txn, _| {
            Ok(order().expire(txn, due).await.map(|_| ())?)
        });
        failed.await.unwrap_err();
        assert_eq!(dump(&disk).await, before);

        let late = at(5 * DAY);
        assert_eq!(wake(&mut disk.clone(), late).await, [Outcome::Done]);
        assert_eq!(order().state(&disk).await.unwrap(), State::Cancelled);
        assert_eq!(wake(&mut disk.clone(), late).await, []);
        assert_eq!(disk.alarm().await.unwrap(), None);
        assert_eq!(order().history(&disk).await.unwrap().len(), 1);
    });
}

#[test]
fn a_refused_step_leaves_the_alarm() {
    block_on(async {
        let mut store = Memory::new();
        order().start(&mut store, at(10)).await.unwrap();
        let before = dump(&store).await;
        order()
            .send(&mut store, at(20), &Event::Deliver)
            .await
            .unwrap_err();
        order()
            .send(&mut store, at(20), &Event::Pay { amount: 0 })
            .await
            .unwrap_err();
        assert_eq!(dump(&store).await, before);
    });
}

#[test]
fn the_machine_keeps_its_own_hooks_and_their_errors() {
    struct Never;
    impl Hooks<State, Event> for Never {
        type Error = &'static str;

        async fn on_deadline(
            &self,
            _: Option<Timestamp>,
            _: Timestamp,
            _: &mut impl Store,
        ) -> Result<(), &'static str> {
            Err("never")
        }
    }
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER
            .persisted()
            .hooks(Never)
            .alarm(JOBS, "order", Job::Expire);
        let error = order.start(&mut store, at(10)).await.unwrap_err();
        let SendError::Hook { source, .. } = error else {
            panic!("{error}");
        };
        assert!(matches!(source, DeadlineAlarmError::Hooks("never")));
        assert_eq!(dump(&store).await, (Vec::new(), None));

        // No alarm can be set for a moment before 1970.
        let error = self::order()
            .start(&mut store, at(-2 * DAY))
            .await
            .unwrap_err();
        let source = std::error::Error::source(&error).unwrap();
        assert!(
            source
                .to_string()
                .starts_with("invalid alarm time 1969-12-31"),
            "{source}"
        );
        assert_eq!(dump(&store).await, (Vec::new(), None));
    });
}

#[test]
fn the_alarm_stands_at_the_deadline_of_the_state_that_a_hook_has_sent_the_machine_on_to() {
    struct SendsOn;
    impl Hooks<State, Event> for SendsOn {
        type Error = SendError;

        async fn on_entry(
            &self,
            step: &Transition<'_, State, Event>,
            store: &mut impl Store,
        ) -> Result<(), SendError> {
            let next = match step.to {
                State::Paid { .. } => ship(),
                _ => return Ok(()),
            };
            ORDER.persisted().send(store, step.at, &next).await?;
            Ok(())
        }
    }
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER
            .persisted()
            .hooks(SendsOn)
            .alarm(JOBS, "order", Job::Expire);
        order.start(&mut store, at(10)).await.unwrap();
        order.send(&mut store, at(20), &pay()).await.unwrap();
        let deadline = order.deadline(&store).await.unwrap();
        assert_eq!(deadline, Some(at(20 + 5_400_000)), "of the shipped order");
        assert_eq!(store.alarm().await.unwrap(), deadline);

        // Nor is there one for a state that the machine has left within the commit.
        let mut store = Memory::new();
        let order = ORDER
            .persisted()
            .hooks(Cancels)
            .alarm(JOBS, "order", Job::Expire);
        order.start(&mut store, at(10)).await.unwrap();
        order.send(&mut store, at(20), &Event::Retry).await.unwrap();
        assert_eq!(order.state(&store).await.unwrap(), State::Cancelled);
        assert_eq!(store.alarm().await.unwrap(), None);
    });

    struct Cancels;
    impl Hooks<State, Event> for Cancels {
        type Error = SendError;

        async fn on_transition(
            &self,
            step: &Transition<'_, State, Event>,
            store: &mut impl Store,
        ) -> Result<(), SendError> {
            let order = ORDER.persisted();
            order.send(store, step.at, &Event::Cancel).await?;
            Ok(())
        }
    }
}

#[test]
fn an_effect_is_a_job_of_the_same_commit_and_is_tried_until_it_is_done_or_kept_as_dead() {
    const EFFECTS: Alarms<String> = Alarms::new()
        .name("effects")
        .retries(dokit_alarms::Retries::new().tries(3));

    struct TellsTheShop;
    impl Hooks<State, Event> for TellsTheShop {
        type Error = dokit_alarms::Error;

        async fn on_entry(
            &self,
            step: &Transition<'_, State, Event>,
            store: &mut impl Store,
        ) -> Result<(), Self::Error> {
            let effect = format!("mail: {}", ORDER.state_name(step.to));
            EFFECTS.schedule(store, step.at, step.at, &effect).await?;
            Ok(())
        }
    }
    block_on(async {
        let mut store = Faults::new(Memory::new());
        let order = ORDER.persisted().hooks(TellsTheShop);
        store.fail_commit(1);
        order.send(&mut store, at(10), &pay()).await.unwrap_err();
        assert!(EFFECTS.list(&store).await.unwrap().is_empty());

        order.send(&mut store, at(20), &pay()).await.unwrap();
        for told in ["the server is down", "still down"] {
            let now = store.alarm().await.unwrap().unwrap();
            let report = EFFECTS.run_due(&mut store, now, async |_, _| Err(told.into()));
            assert!(report.await.unwrap().ran[0].next.is_some());
        }
        let (mut store, now) = (store.store().clone(), at(DAY));
        let mut sent = Vec::new();
        while let Some(ran) = EFFECTS
            .run_next(&mut store, now, async |_, due| {
                sent.push((due.action, due.attempt));
                Ok(())
            })
            .await
            .unwrap()
        {
            assert_eq!(ran.outcome, Outcome::Done);
        }
        assert_eq!(sent, [("mail: paid".to_owned(), 3)]);

        order.send(&mut store, now, &ship()).await.unwrap();
        for _ in 0..3 {
            let now = store.alarm().await.unwrap().unwrap();
            let report = EFFECTS.run_due(&mut store, now, async |_, _| Err("gone".into()));
            drop(report.await.unwrap());
        }
        let dead = EFFECTS.dead(&store).await.unwrap();
        assert_eq!(dead[0].action().unwrap(), "mail: shipped");
        assert_eq!((dead[0].error(), dead[0].tries()), ("gone", 3));
    });
}

/// Sends the machine on: an order that is paid is shipped at once, one that is shipped is noted.
struct SendsOnAndOn;

impl Hooks<State, Event> for SendsOnAndOn {
    type Error = SendError;

    async fn on_entry(
        &self,
        step: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), SendError> {
        let next = match step.to {
            State::Paid { .. } => ship(),
            State::Shipped(_) => Event::Note,
            _ => return Ok(()),
        };
        ORDER.persisted().send(store, step.at, &next).await?;
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_alarm_stands_at_the_deadline_whatever_happens_and_in_which_order(
        steps in vec((0..3 * DAY, select(vec![
            Some(pay()), Some(ship()), Some(Event::Deliver), Some(Event::Cancel),
            Some(Event::Note), Some(Event::Retry), None,
        ]), any::<bool>()), 1..12),
    ) {
        block_on(async {
            let mut store = Memory::new();
            let plain = || ORDER.persisted().alarm(JOBS, "order", Job::Expire);
            let sends_on = || ORDER.persisted().hooks(SendsOnAndOn).alarm(JOBS, "order", Job::Expire);
            let mut now = 1;
            plain().start(&mut store, at(now)).await.unwrap();
            for (later, event, hooked) in steps {
                now += later;
                match event {
                    Some(event) if hooked => {
                        let _ = sends_on().send(&mut store, at(now), &event).await;
                    }
                    Some(event) => {
                        let _ = plain().send(&mut store, at(now), &event).await;
                    }
                    None if hooked => drop(plain().reset(&mut store, at(now)).await.unwrap()),
                    None => drop(wake(&mut store, at(now)).await),
                }
                let job = JOBS.get(&store, "order").await.unwrap();
                let deadline = plain().deadline(&store).await.unwrap();
                prop_assert_eq!(job.map(|job| job.at()), deadline);
            }
            Ok(())
        })?;
    }
}
