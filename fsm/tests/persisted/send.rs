//! Natively every future can move between threads.

use dokit_fsm::{Hooks, Persisted, SendError};
use dokit_storage::{Memory, Schema, Store, Timestamp, TypedStorage};
use futures_executor::block_on;

use super::{Event, ORDER, State, at, pay, ship};

fn assert_send<T: Send>(value: T) -> T {
    value
}

async fn in_any_store<T: Store, H: Hooks<State, Event, Error: Send>>(
    order: &Persisted<State, Event, H>,
    store: &mut T,
    now: Timestamp,
) -> Result<State, SendError<H::Error>> {
    order.start(store, now).await?;
    order.send(store, now, &pay()).await?;
    order.send_once(store, now, "ship", &ship()).await?;
    order.expire(store, now).await?;
    order.history(store).await?;
    order.reset(store, now).await
}

#[test]
fn every_operation_is_send_over_any_store_and_within_a_closure_of_a_transaction() {
    struct Empty;
    impl Schema for Empty {}
    let order = ORDER.persisted();
    let mut store = Memory::new();
    assert_eq!(
        block_on(assert_send(in_any_store(&order, &mut store, at(1)))).unwrap(),
        State::Pending
    );
    let mut storage = TypedStorage::<Empty, _>::new(store);
    let paid = block_on(assert_send(storage.transaction(async |txn| {
        let state = ORDER.persisted().send(txn.store_mut(), at(2), &pay()).await;
        Ok::<_, dokit_storage::Error>(state.is_ok())
    })));
    assert!(paid.unwrap());
}

#[test]
fn a_machine_can_be_kept_in_a_constant_and_shared() {
    const ORDERS: Persisted<State, Event> = ORDER.persisted().keep_history(10).remembered_ids(5);
    fn shared<T: Send + Sync + Clone + std::fmt::Debug>(_: &T) {}
    shared(&ORDERS);
    shared(&ORDER);
    assert_eq!(
        format!("{ORDERS:?}"),
        "Persisted { machine: \"order\", key: \"__fsm:order\", history: 10, remembered_ids: 5, \
         migrations: 0, .. }"
    );
}
