//! The two orders of the seed (`002`, "State Machines" and "Full Example"), from the first event to the
//! last, without and with a store.

use dokit_fsm::{InvalidTransition, Refused, SendError, machine};
use dokit_storage::{Memory, Timestamp};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OrderState {
    Pending,
    Paid,
    Shipped,
    Delivered,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "snake_case",
    rename_all_fields = "camelCase"
)]
enum OrderEvent {
    Pay,
    Ship { tracking_number: String },
    Deliver,
    Cancel,
}

machine! {
    /// The life of an order.
    ORDER: OrderState, OrderEvent {
        Pending => { Pay => Paid, Cancel => Cancelled }
        Paid    => { Ship => Shipped, Cancel => Cancelled }
        Shipped => { Deliver => Delivered }
    }
}

/// The first order of the seed.
mod processing {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(crate) enum State {
        Pending,
        Processing,
        Shipped,
        Delivered,
        Cancelled,
    }

    pub(crate) enum Event {
        StartProcessing,
        Ship { tracking_number: String },
        Deliver,
        Cancel { reason: String },
    }

    machine! {
        pub(crate) PROCESSING: State, Event {
            Pending    => { StartProcessing => Processing, Cancel => Cancelled }
            Processing => { Ship => Shipped, Cancel => Cancelled }
            Shipped    => { Deliver => Delivered }
        }
    }
}

fn ship() -> OrderEvent {
    OrderEvent::Ship {
        tracking_number: "TRACK-456".to_owned(),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

#[test]
fn each_event_of_the_table_leads_where_it_says_and_no_other_is_taken() {
    use OrderState::{Cancelled, Delivered, Paid, Pending, Shipped};
    let events = [
        OrderEvent::Pay,
        ship(),
        OrderEvent::Deliver,
        OrderEvent::Cancel,
    ];
    let table = [
        (Pending, [Some(Paid), None, None, Some(Cancelled)]),
        (Paid, [None, Some(Shipped), None, Some(Cancelled)]),
        (Shipped, [None, None, Some(Delivered), None]),
        (Delivered, [None, None, None, None]),
        (Cancelled, [None, None, None, None]),
    ];
    for (state, targets) in table {
        for (event, target) in events.iter().zip(targets) {
            assert_eq!(
                ORDER.next(&state, event).ok(),
                target,
                "{state:?} {event:?}"
            );
            assert_eq!(ORDER.can(&state, event), target.is_some());
        }
    }
    assert_eq!(ORDER.initial(), Pending);
    assert_eq!(ORDER.name(), "order");
    assert_eq!(ORDER.valid_events(&Pending), ["pay", "cancel"]);
    assert_eq!(ORDER.valid_events(&Delivered), [""; 0]);
    assert!(ORDER.is_terminal(&Cancelled) && !ORDER.is_terminal(&Shipped));
    assert!(
        ORDER
            .states()
            .eq(["pending", "paid", "shipped", "cancelled", "delivered"]),
        "those with transitions of their own first, the initial one before all"
    );
    assert!(ORDER.events().eq(["pay", "cancel", "ship", "deliver"]));
}

#[test]
fn an_event_that_the_state_does_not_handle_is_an_error_with_its_parts() {
    let refused = ORDER.next(&OrderState::Pending, &OrderEvent::Deliver);
    let Err(Refused::Invalid(invalid)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        invalid.to_string(),
        "invalid transition: state \"pending\" does not handle event \"deliver\"; \
         valid events: [pay, cancel]"
    );
    let json = serde_json::to_string(&invalid).unwrap();
    assert_eq!(
        json,
        r#"{"state":"pending","event":"deliver","validEvents":["pay","cancel"]}"#
    );
    let back: InvalidTransition = serde_json::from_str(&json).unwrap();
    assert_eq!(back, invalid);

    let terminal = ORDER.next(&OrderState::Delivered, &OrderEvent::Pay);
    assert_eq!(
        terminal.unwrap_err().to_string(),
        "invalid transition: state \"delivered\" does not handle event \"pay\"; valid events: []"
    );
}

#[test]
fn the_first_order_of_the_seed_names_its_events_in_snake_case() {
    use processing::{Event, PROCESSING, State};
    let refused = PROCESSING.next(&State::Pending, &Event::Deliver);
    assert_eq!(
        refused.unwrap_err().to_string(),
        "invalid transition: state \"pending\" does not handle event \"deliver\"; \
         valid events: [start_processing, cancel]"
    );
    let cancel = Event::Cancel {
        reason: "late".to_owned(),
    };
    let ship = Event::Ship {
        tracking_number: "1".to_owned(),
    };
    assert!(matches!(&cancel, Event::Cancel { reason } if reason == "late"));
    assert!(matches!(&ship, Event::Ship { tracking_number } if tracking_number == "1"));
    let path = [Event::StartProcessing, ship, Event::Deliver];
    assert_eq!(PROCESSING.replay(&path).unwrap(), State::Delivered);
    assert_eq!(
        PROCESSING
            .replay(&[Event::StartProcessing, cancel])
            .unwrap(),
        State::Cancelled
    );
}

#[test]
fn an_order_is_where_it_was_when_it_is_opened_again() {
    block_on(async {
        let disk = Memory::new();
        let order = ORDER.persisted();
        assert_eq!(order.state(&disk).await.unwrap(), OrderState::Pending);
        assert_eq!(
            order
                .send(&mut disk.clone(), at(1), &OrderEvent::Pay)
                .await
                .unwrap(),
            OrderState::Paid
        );
        // Everything in memory is gone; the disk is not.
        let (order, mut store) = (ORDER.persisted(), disk.clone());
        assert_eq!(order.state(&store).await.unwrap(), OrderState::Paid);
        assert_eq!(
            order.valid_events(&store).await.unwrap(),
            ["ship", "cancel"]
        );
        assert!(order.can(&store, &ship()).await.unwrap());
        order.send(&mut store, at(2), &ship()).await.unwrap();
        let error = order.send(&mut store, at(3), &OrderEvent::Cancel).await;
        let error: SendError = error.unwrap_err();
        assert_eq!(
            error.invalid_transition().unwrap().valid_events,
            ["deliver"]
        );
        order
            .send(&mut store, at(4), &OrderEvent::Deliver)
            .await
            .unwrap();

        let history = order.history(&disk).await.unwrap();
        let json = serde_json::to_value(&history).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"from": "pending", "event": "pay", "to": "paid", "at": 1},
                {"from": "paid", "event": "ship", "to": "shipped", "at": 2},
                {"from": "shipped", "event": "deliver", "to": "delivered", "at": 4},
            ])
        );
    });
}
