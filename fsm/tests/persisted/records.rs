use dokit_fsm::{Migration, RecordError, SendError, machine};
use dokit_storage::{Batch, Limits, Memory, Store, TypedStorage};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

use super::{Event, ORDER, State, at, dump, pay};

async fn put(store: &mut Memory, key: &str, json: &str) {
    let mut batch = Batch::new();
    batch.put(key, json);
    store.commit(batch).await.unwrap();
}

#[test]
fn the_record_is_one_readable_value() {
    block_on(async {
        let mut store = Memory::new();
        ORDER
            .persisted()
            .send(&mut store, at(7), &pay())
            .await
            .unwrap();
        assert_eq!(
            store.get("__fsm:order").await.unwrap().unwrap(),
            r#"{"version":1,"name":"paid","state":{"paid":{"amount":18446744073709551615}},"entered":7,"deadline":null,"history":{"pruned":0,"last":1},"ids":{"forgotten":0,"last":0}}"#
        );
    });
}

#[test]
fn a_record_of_this_release_is_still_read() {
    block_on(async {
        let mut store = Memory::new();
        let release_0_1 = r#"{"version":1,"name":"shipped","state":{"shipped":"T-9"},"entered":7,"deadline":5400007,"history":{"pruned":3,"last":5},"ids":{"forgotten":0,"last":1}}"#;
        put(&mut store, "__fsm:order", release_0_1).await;
        put(
            &mut store,
            "__fsm:order:history:00000000000000000005",
            r#"{"from":"paid","event":"ship","to":"shipped","at":7}"#,
        )
        .await;
        put(
            &mut store,
            "__fsm:order:id:old",
            r#"{"event":"ship","fingerprint":"a0a87e2e3e40d9b1f8cf9fb1e3e6f2c5","state":{"shipped":"T-9"},"version":1}"#,
        )
        .await;
        let order = ORDER.persisted();
        assert_eq!(
            order.state(&store).await.unwrap(),
            State::Shipped("T-9".to_owned())
        );
        assert_eq!(order.deadline(&store).await.unwrap(), Some(at(5_400_007)));
        assert_eq!(order.history(&store).await.unwrap().len(), 1);
        let reused = order
            .send_once(&mut store, at(8), "old", &Event::Deliver)
            .await;
        assert!(matches!(reused.unwrap_err(), SendError::IdReused { .. }));
    });
}

#[test]
fn nothing_is_written_until_the_first_step() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        assert_eq!(order.state(&store).await.unwrap(), State::Pending);
        assert_eq!(order.entered_at(&store).await.unwrap(), None);
        assert_eq!(order.history(&store).await.unwrap(), []);
        order
            .send(&mut store, at(1), &Event::Deliver)
            .await
            .unwrap_err();
        assert_eq!(dump(&store).await, (Vec::new(), None));
    });
}

#[test]
fn the_library_keeps_out_of_the_lists_of_its_user() {
    struct Schema;
    impl dokit_storage::Schema for Schema {}
    block_on(async {
        let mut storage = TypedStorage::<Schema, _>::new(Memory::new());
        let order = ORDER.persisted();
        order
            .send_once(storage.store_mut(), at(1), "a", &pay())
            .await
            .unwrap();
        assert!(storage.list(Default::default()).await.unwrap().is_empty());
        // And a step is part of a user's transaction.
        let mut txn = storage.begin();
        order
            .send(txn.store_mut(), at(2), &Event::Cancel)
            .await
            .unwrap();
        txn.rollback();
        let state = order.state(storage.store()).await.unwrap();
        assert_eq!(state, State::Paid { amount: u64::MAX });
    });
}

#[test]
fn machines_under_different_keys_know_nothing_of_each_other() {
    block_on(async {
        let mut store = Memory::new();
        let one = ORDER.persisted().key("item-1");
        let two = ORDER.persisted().key(format!("item-{}", 2));
        one.send(&mut store, at(1), &pay()).await.unwrap();
        assert_eq!(two.state(&store).await.unwrap(), State::Pending);
        assert_eq!(one.history(&store).await.unwrap().len(), 1);
        assert_eq!(two.history(&store).await.unwrap().len(), 0);
    });
}

#[test]
fn a_reset_is_stored_cancels_the_deadline_and_is_in_the_history() {
    block_on(async {
        let disk = Memory::new();
        let mut store = disk.clone();
        let order = ORDER.persisted();
        order
            .send_once(&mut store, at(1), "a", &pay())
            .await
            .unwrap();
        assert_eq!(
            order.reset(&mut store, at(2)).await.unwrap(),
            State::Pending
        );
        assert_eq!(order.state(&disk).await.unwrap(), State::Pending);
        assert_eq!(
            order.deadline(&disk).await.unwrap(),
            Some(at(2 + super::DAY))
        );
        let history = order.history(&disk).await.unwrap();
        assert_eq!(
            serde_json::to_string(&history[1]).unwrap(),
            r#"{"from":"paid","event":null,"to":"pending","at":2}"#
        );
        // What an id was answered before is still known.
        let again = order
            .send_once(&mut store, at(3), "a", &pay())
            .await
            .unwrap();
        assert_eq!(again, State::Paid { amount: u64::MAX });
        assert_eq!(order.state(&disk).await.unwrap(), State::Pending);
    });
}

#[test]
fn a_reset_forgets_no_id_and_leaves_none_behind() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted().remembered_ids(2).keep_history(0);
        for id in ["a", "b"] {
            order
                .send_once(&mut store, at(1), id, &Event::Note)
                .await
                .unwrap();
        }
        order.reset(&mut store, at(2)).await.unwrap();
        for id in ["c", "d"] {
            order
                .send_once(&mut store, at(3), id, &Event::Note)
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
                "__fsm:order:id:c",
                "__fsm:order:id:d",
                "__fsm:order:ids:00000000000000000003",
                "__fsm:order:ids:00000000000000000004",
            ]
        );
    });
}

#[test]
fn a_deadline_that_the_table_no_longer_has_is_none() {
    block_on(async {
        let mut store = Memory::new();
        let timed = r#"{"version":1,"name":"paid","state":{"paid":{"amount":1}},"entered":7,"deadline":9,"history":{"pruned":0,"last":0},"ids":{"forgotten":0,"last":0}}"#;
        put(&mut store, "__fsm:order", timed).await;
        let order = ORDER.persisted();
        assert_eq!(order.deadline(&store).await.unwrap(), None);
        assert_eq!(order.expire(&mut store, at(10)).await.unwrap(), None);
        assert_eq!(store.get("__fsm:order").await.unwrap().unwrap(), timed);
    });
}

#[test]
fn an_unknown_state_is_an_error_that_names_it_and_a_reset_leaves_it() {
    block_on(async {
        let mut store = Memory::new();
        let lost = r#"{"version":1,"name":"on_hold","state":"on_hold","entered":7,"deadline":9,"history":{"pruned":0,"last":0},"ids":{"forgotten":0,"last":0}}"#;
        put(&mut store, "__fsm:order", lost).await;
        let order = ORDER.persisted();
        let error = order.state(&store).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "record \"__fsm:order\" is in the unknown state \"on_hold\"; known states: \
             [pending, paid, shipped, delivered, cancelled]"
        );
        let error = order.send(&mut store, at(8), &pay()).await.unwrap_err();
        assert!(matches!(
            error,
            SendError::Record(RecordError::UnknownState { .. })
        ));
        order.expire(&mut store, at(9)).await.unwrap_err();
        assert_eq!(store.get("__fsm:order").await.unwrap().unwrap(), lost);
        order.reset(&mut store, at(10)).await.unwrap();
        assert_eq!(order.history(&store).await.unwrap()[0].from, "on_hold");
    });
}

#[test]
fn a_record_that_does_not_decode_is_an_error_and_never_the_initial_state() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted();
        put(&mut store, "__fsm:order", "{}").await;
        let error = order.state(&store).await.unwrap_err().to_string();
        assert!(
            error.starts_with("decode the value of \"__fsm:order\""),
            "{error}"
        );
        let torn = r#"{"version":1,"name":"paid","state":{"paid":{"amount":"much"}},"entered":7,"deadline":null,"history":{"pruned":0,"last":0},"ids":{"forgotten":0,"last":0}}"#;
        put(&mut store, "__fsm:order", torn).await;
        let error = order.state(&store).await.unwrap_err().to_string();
        assert!(error.contains("State, at paid.amount"), "{error}");
        order.send(&mut store, at(8), &pay()).await.unwrap_err();
        assert_eq!(store.get("__fsm:order").await.unwrap().unwrap(), torn);
    });
}

#[test]
fn a_state_too_large_for_the_store_changes_nothing() {
    block_on(async {
        let mut limits = Limits::default();
        limits.value_bytes = 200;
        let mut store = Memory::new().with_limits(limits);
        let order = ORDER.persisted();
        order.send(&mut store, at(1), &pay()).await.unwrap();
        let before = dump(&store).await;
        let long = Event::Ship("x".repeat(200));
        let error = order.send(&mut store, at(2), &long).await.unwrap_err();
        assert!(
            error.to_string().starts_with("value of \"__fsm:order\" is"),
            "{error}"
        );
        assert!(!error.is_retryable());
        assert_eq!(dump(&store).await, before);
    });
}

/// The same machine two versions later: `paid` has a currency, `cancelled` is `closed`.
mod later {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub(super) enum Later {
        Pending,
        Paid { amount: u64, currency: String },
        Closed,
    }

    pub(super) enum Event {
        Pay,
        Close,
    }

    machine! {
        pub(super) ORDER: Later, Event {
            Pending => { Pay => pay -> Paid }
            _ => { Close => Closed }
            Paid => { Pay => internal }
        }
    }

    fn pay(_: &Later, _: &Event) -> Later {
        Later::Paid {
            amount: 1,
            currency: "EUR".to_owned(),
        }
    }

    pub(super) const FIRST_STEP: [Migration; 1] = [STEPS[0]];

    pub(super) const STEPS: [Migration; 2] = [
        |json| {
            let mut state: serde_json::Value = serde_json::from_str(json)?;
            if let Some(paid) = state.get_mut("paid") {
                paid["currency"] = "EUR".into();
            }
            Ok(state.to_string())
        },
        |json| match json {
            "\"cancelled\"" => Ok("\"closed\"".to_owned()),
            "\"delivered\"" => Err("an order is not delivered any more".into()),
            other => Ok(other.to_owned()),
        },
    ];
}

#[test]
fn a_record_of_an_older_version_goes_through_every_step() {
    use later::Later;
    block_on(async {
        let mut store = Memory::new();
        let old = ORDER.persisted();
        let new = later::ORDER.persisted().migrations(&later::STEPS);
        old.send_once(&mut store, at(1), "a", &pay()).await.unwrap();
        let before = dump(&store).await;
        let paid = Later::Paid {
            amount: u64::MAX,
            currency: "EUR".to_owned(),
        };
        assert_eq!(new.state(&store).await.unwrap(), paid);
        assert_eq!(dump(&store).await, before, "reading does not write");

        old.send(&mut store, at(2), &Event::Cancel).await.unwrap();
        assert_eq!(new.state(&store).await.unwrap(), Later::Closed);

        // The next step writes the new version, which the old program refuses and leaves alone.
        old.reset(&mut store, at(3)).await.unwrap();
        new.send(&mut store, at(4), &later::Event::Pay)
            .await
            .unwrap();
        let before = dump(&store).await;
        let error = old.state(&store).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "record \"__fsm:order\" has version 3, which is newer than this program's 1"
        );
        old.send(&mut store, at(5), &pay()).await.unwrap_err();
        old.start(&mut store, at(5)).await.unwrap_err();
        old.reset(&mut store, at(5)).await.unwrap_err();
        let between = later::ORDER.persisted().migrations(&later::FIRST_STEP);
        let error = between.state(&store).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "record \"__fsm:order\" has version 3, which is newer than this program's 2"
        );
        assert_eq!(dump(&store).await, before);
        let currency = "EUR".to_owned();
        let paid = Later::Paid {
            amount: 1,
            currency,
        };
        assert_eq!(new.state(&store).await.unwrap(), paid);
    });
}

#[test]
fn a_migration_that_fails_says_which_and_leaves_the_record() {
    block_on(async {
        let mut store = Memory::new();
        let old = ORDER.persisted();
        for event in [pay(), super::ship(), Event::Deliver] {
            old.send(&mut store, at(1), &event).await.unwrap();
        }
        let before = dump(&store).await;
        let new = later::ORDER.persisted().migrations(&later::STEPS);
        let error = new
            .send(&mut store, at(2), &later::Event::Close)
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "migrate record \"__fsm:order\" from version 2 to 3"
        );
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.to_string(), "an order is not delivered any more");
        assert_eq!(dump(&store).await, before);
    });
}

/// As a torn record may say.
#[test]
fn a_record_whose_numbers_are_as_high_as_they_can_be_takes_no_step() {
    block_on(async {
        let machine = ORDER.persisted();
        for counted in ["history", "ids"] {
            let mut store = Memory::new();
            machine.start(&mut store, at(1)).await.unwrap();
            let json = store.get("__fsm:order").await.unwrap().unwrap();
            let mut record: serde_json::Value = serde_json::from_str(&json).unwrap();
            record[counted]["last"] = u64::MAX.into();
            let mut batch = Batch::new();
            batch.put("__fsm:order", record.to_string());
            store.commit(batch).await.unwrap();
            let before = dump(&store).await;
            let refused = machine.send_once(&mut store, at(2), "id", &pay()).await;
            assert_eq!(
                refused.unwrap_err().to_string(),
                "invalid value of \"__fsm:order\": nothing can follow what is numbered 18446744073709551615"
            );
            assert_eq!(dump(&store).await, before);
        }
    });
}
