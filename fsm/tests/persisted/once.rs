use dokit_fsm::SendError;
use dokit_storage::{Faults, Memory, Store};
use futures_executor::block_on;

use super::{Event, ORDER, State, at, dump, pay, ship};

#[test]
fn the_same_id_answers_what_it_answered_and_takes_no_second_step() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        let paid = order
            .send_once(&mut store, at(1), "a", &pay())
            .await
            .unwrap();
        assert_eq!(paid, State::Paid { amount: u64::MAX });
        order
            .send_once(&mut store, at(2), "b", &ship())
            .await
            .unwrap();
        let before = dump(&store).await;
        let again = order
            .send_once(&mut store, at(3), "a", &pay())
            .await
            .unwrap();
        assert_eq!(
            again,
            State::Paid { amount: u64::MAX },
            "though it is shipped now"
        );
        assert_eq!(dump(&store).await, before);
        assert_eq!(order.history(&store).await.unwrap().len(), 2);
    });
}

#[test]
fn an_id_with_another_event_or_other_data_is_refused() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        order
            .send_once(&mut store, at(1), "a", &pay())
            .await
            .unwrap();
        let before = dump(&store).await;
        let other = order
            .send_once(&mut store, at(2), "a", &ship())
            .await
            .unwrap_err();
        assert_eq!(
            other.to_string(),
            "id \"a\" was used for another event, \"pay\", and now comes with \"ship\""
        );
        // A float would not tell these two amounts apart.
        let less = Event::Pay {
            amount: u64::MAX - 1,
        };
        let error = order
            .send_once(&mut store, at(2), "a", &less)
            .await
            .unwrap_err();
        assert!(matches!(error, SendError::IdReused { .. }));
        assert_eq!(dump(&store).await, before);
    });
}

#[test]
fn an_id_whose_event_was_refused_may_be_tried_again() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        order
            .send_once(&mut store, at(1), "a", &ship())
            .await
            .unwrap_err();
        assert_eq!(dump(&store).await.0, []);
        order.send(&mut store, at(2), &pay()).await.unwrap();
        order
            .send_once(&mut store, at(3), "a", &ship())
            .await
            .unwrap();
    });
}

#[test]
fn an_id_makes_a_lost_answer_safe_to_ask_for_again() {
    block_on(async {
        let disk = Memory::new();
        let mut store = Faults::new(disk.clone());
        let order = ORDER.persisted();
        store.lose_commit_answer(1);
        let error = order
            .send_once(&mut store, at(1), "a", &pay())
            .await
            .unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "commit in the store");
        let paid = order
            .send_once(&mut store, at(2), "a", &pay())
            .await
            .unwrap();
        assert_eq!(paid, State::Paid { amount: u64::MAX });
        let history = order.history(&disk).await.unwrap();
        assert_eq!(history.len(), 1);
        assert_eq!(history[0].at, at(1));
    });
}

#[test]
fn the_newest_ids_are_remembered_and_the_store_does_not_grow() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted().remembered_ids(3).keep_history(2);
        for number in 0..50 {
            let id = format!("id-{number}");
            order
                .send_once(&mut store, at(number), &id, &Event::Note)
                .await
                .unwrap();
        }
        let keys: Vec<String> = dump(&store)
            .await
            .0
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(
            keys,
            [
                "__fsm:order",
                "__fsm:order:history:00000000000000000049",
                "__fsm:order:history:00000000000000000050",
                "__fsm:order:id:id-47",
                "__fsm:order:id:id-48",
                "__fsm:order:id:id-49",
                "__fsm:order:ids:00000000000000000048",
                "__fsm:order:ids:00000000000000000049",
                "__fsm:order:ids:00000000000000000050",
            ]
        );
        // Forgotten, so it is an event as any other.
        order
            .send_once(&mut store, at(60), "id-0", &pay())
            .await
            .unwrap();
        let none = ORDER.persisted().remembered_ids(0).key("none");
        none.send_once(&mut store, at(61), "a", &Event::Note)
            .await
            .unwrap();
        assert_eq!(store.get("none:id:a").await.unwrap(), None);
    });
}

#[test]
fn a_lowered_bound_is_reached_step_by_step() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        for number in 0..100 {
            let id = number.to_string();
            order
                .send_once(&mut store, at(number), &id, &Event::Note)
                .await
                .unwrap();
        }
        assert_eq!(dump(&store).await.0.len(), 301);
        let order = order.keep_history(1).remembered_ids(1);
        assert_eq!(order.history(&store).await.unwrap().len(), 1);
        for number in 100..104 {
            let id = number.to_string();
            order
                .send_once(&mut store, at(number), &id, &Event::Note)
                .await
                .unwrap();
        }
        assert_eq!(dump(&store).await.0.len(), 4);
    });
}

#[test]
fn an_id_that_cannot_be_a_key_is_refused() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        let empty = order
            .send_once(&mut store, at(1), "", &pay())
            .await
            .unwrap_err();
        assert_eq!(
            empty.to_string(),
            "invalid id of 0 bytes: an id has 1 to 512"
        );
        let long = "x".repeat(513);
        let error = order
            .send_once(&mut store, at(1), &long, &pay())
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid id of 513 bytes: an id has 1 to 512"
        );
        order
            .send_once(&mut store, at(1), &long[1..], &pay())
            .await
            .unwrap();
    });
}
