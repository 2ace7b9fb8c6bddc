//! A machine in a store: hooks, deadlines, records of other versions, ids, crashes.

#![expect(
    clippy::unwrap_used,
    reason = "a test's own functions may panic as it does"
)]

mod alarm;
mod crash;
mod deadlines;
mod hooks;
mod once;
mod records;
mod send;

use dokit_fsm::machine;
use dokit_storage::{KeyRange, Memory, Store, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Pending,
    Paid { amount: u64 },
    Shipped(String),
    Delivered,
    Cancelled,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Event {
    Pay { amount: u64 },
    Ship(String),
    Deliver,
    Cancel,
    Note,
    Retry,
}

machine! {
    /// An order with data in its states, a timeout, and every kind of transition.
    ORDER: State, Event {
        Pending => {
            Pay if is_positive => paid -> Paid,
            Retry => Pending,
        } after "1d" => Cancel
        Paid    => { Ship if is_known => shipped -> Shipped }
        Shipped => { Deliver => Delivered } after "1h 30m" => Cancel
        _       => { Cancel => Cancelled, Note => internal }
    }
}

fn paid(_: &State, event: &Event) -> State {
    match event {
        Event::Pay { amount } => State::Paid { amount: *amount },
        _ => State::Pending,
    }
}

fn shipped(_: &State, event: &Event) -> State {
    match event {
        Event::Ship(tracking) => State::Shipped(tracking.clone()),
        _ => State::Pending,
    }
}

fn is_positive(_: &State, event: &Event) -> Result<(), String> {
    match event {
        Event::Pay { amount: 0 } => Err("the amount is 0".to_owned()),
        _ => Ok(()),
    }
}

fn is_known(_: &State, event: &Event) -> Result<(), &'static str> {
    match event {
        Event::Ship(tracking) if tracking.is_empty() => Err("the tracking number is empty"),
        _ => Ok(()),
    }
}

const DAY: i64 = 86_400_000;

fn pay() -> Event {
    Event::Pay { amount: u64::MAX }
}

fn ship() -> Event {
    Event::Ship("T-1".to_owned())
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// All that is in a store, its alarm too.
async fn dump(store: &Memory) -> (Vec<(String, String)>, Option<Timestamp>) {
    let values = store.list(&KeyRange::default()).await.unwrap();
    (values, store.alarm().await.unwrap())
}
