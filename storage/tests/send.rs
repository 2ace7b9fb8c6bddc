//! Natively every future of the crate can move between threads, closures of users included.

use dokit_storage::{Error, Key, Memory, Schema, TypedStorage};

struct Counter;
impl Schema for Counter {}
const COUNT: Key<Counter, u64> = Key::new("count");

fn assert_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_transaction_with_an_async_closure_is_send() {
    let mut storage = TypedStorage::<Counter, _>::new(Memory::new());
    let step = 2;
    let future = assert_send(storage.transaction(async |txn| {
        let count = txn.get(COUNT).await?.unwrap_or(0);
        txn.put(COUNT, &(count + step)).await?;
        let mut inner = txn.begin();
        inner.put(COUNT, &100).await?;
        drop(inner);
        let mut inner = txn.begin();
        inner.put(COUNT, &3).await?;
        inner.commit().await?;
        Ok::<_, Error>(count + step)
    }));
    assert_eq!(futures_executor::block_on(future).unwrap(), 2);
    let read = assert_send(storage.get(COUNT));
    assert_eq!(futures_executor::block_on(read).unwrap(), Some(3));
}
