//! A store that stops at every commit of a random run, before the commit and after it.

use dokit_fsm::{Hooks, RecordError, SendError, Transition};
use dokit_storage::{Batch, Error, Faults, Memory, Store};
use futures_executor::block_on;
use proptest::prelude::*;

use super::{Event, ORDER, State, at, dump};

struct Tracking;

impl Hooks<State, Event> for Tracking {
    type Error = Error;

    async fn on_entry(
        &self,
        step: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), Error> {
        let mut batch = Batch::new();
        if let State::Shipped(tracking) = step.to {
            batch.put("tracking", format!("{tracking:?}"));
        }
        store.commit(batch).await
    }
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3_u64).prop_map(|amount| Event::Pay { amount }),
        "[a-z]{0,2}".prop_map(Event::Ship),
        Just(Event::Deliver),
        Just(Event::Cancel),
        Just(Event::Note),
        Just(Event::Retry),
    ]
}

/// Sends `events` by id to a store of which the `dies_at`-th commit and all later ones fail, then
/// once more to the store reopened, as a client does that got no answers.
fn crash_and_repeat(events: &[Event], dies_at: u64, answer_lost: bool) -> Memory {
    block_on(async {
        let disk = Memory::new();
        let mut store = Faults::new(disk.clone());
        let order = ORDER.persisted().hooks(Tracking);
        if answer_lost {
            store.lose_commit_answer(dies_at);
            store.fail_commits_from(dies_at + 1);
        } else {
            store.fail_commits_from(dies_at);
        }
        let mut model = ORDER.initial();
        for (number, event) in (0..).zip(events) {
            let id = number.to_string();
            let answer = order.send_once(&mut store, at(number), &id, event).await;
            let next = ORDER.next(&model, event);
            match answer {
                Ok(state) => {
                    assert_eq!(Ok(&state), next.as_ref());
                    model = state;
                }
                Err(SendError::Record(RecordError::Storage(_))) => {
                    model = if answer_lost { next.unwrap() } else { model };
                    break;
                }
                Err(_) => assert!(next.is_err()),
            }
        }
        assert_eq!(order.state(&disk).await.unwrap(), model, "after the crash");

        let mut store = disk.clone();
        for (number, event) in (0..).zip(events) {
            let id = number.to_string();
            let answer = order.send_once(&mut store, at(number), &id, event).await;
            if let Err(error) = answer {
                assert!(
                    matches!(error, SendError::Invalid(_) | SendError::Guard(_)),
                    "{error}"
                );
            }
        }
        disk
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// A machine that ends and whose refused events stay refused, so that sending all again by id ends
    /// where one undisturbed run does.
    #[test]
    fn a_crash_at_any_commit_and_a_repetition_end_where_no_crash_does(
        events in dokit_fsm::proptest::walks(ORDER, events(), 0..8)
    ) {
        let events: Vec<Event> = events.events().cloned().collect();
        let undisturbed = block_on(dump(&crash_and_repeat(&events, u64::MAX / 2, false)));
        for dies_at in 1..=u64::try_from(events.len()).unwrap() {
            for answer_lost in [false, true] {
                let disk = crash_and_repeat(&events, dies_at, answer_lost);
                prop_assert_eq!(block_on(dump(&disk)), undisturbed.clone(), "dies at {}", dies_at);
            }
        }
    }

    #[test]
    fn a_crash_among_events_of_any_kind_leaves_what_was_answered(
        events in dokit_fsm::proptest::sequences(events(), 0..8)
    ) {
        for dies_at in 1..=u64::try_from(events.len()).unwrap() {
            for answer_lost in [false, true] {
                crash_and_repeat(&events, dies_at, answer_lost);
            }
        }
    }
}

#[test]
fn a_send_is_one_commit() {
    block_on(async {
        let mut store = Faults::new(Memory::new());
        let order = ORDER.persisted().hooks(Tracking);
        for (event, commits) in [(super::pay(), 1), (super::ship(), 2), (Event::Deliver, 3)] {
            order
                .send_once(&mut store, at(1), ORDER.event_name(&event), &event)
                .await
                .unwrap();
            assert_eq!(store.commits(), commits);
        }
        order
            .send(&mut store, at(2), &Event::Note)
            .await
            .unwrap_err();
        assert_eq!(store.commits(), 3, "a refused event commits nothing");
        store.fail_read(1);
        let error = order
            .send(&mut store, at(2), &Event::Note)
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "read in the store");
    });
}
