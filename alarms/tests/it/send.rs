//! Natively every future of the crate can move between threads, closures of users included.

use dokit_alarms::{ActionKey, Alarms, Deadline, schedule_alarm};
use dokit_storage::{Error, Key, Memory, Schema, Store, Timestamp, Transaction, TypedStorage};
use futures_executor::block_on;

use crate::world::{JOBS, START, act, at, log, log_of, note};

struct Counter;
impl Schema for Counter {}
const COUNT: Key<Counter, u64> = Key::new("count");
const IDLE: Deadline = Deadline::new("idle");
const ACTION: ActionKey<String> = ActionKey::new();

fn assert_send<T: Send>(value: T) -> T {
    value
}

/// Stands for another crate's operation on any store, such as a state machine's `send`.
async fn send_event<T: Store>(store: &mut T) -> Result<u64, Error> {
    let mut txn = Transaction::begin(store);
    let mut typed = TypedStorage::<Counter, _>::new(&mut txn);
    let count = typed.get(COUNT).await?.unwrap_or(0) + 1;
    typed.put(COUNT, &count).await?;
    txn.commit().await?;
    Ok(count)
}

/// An object whose method borrows of itself while it runs its jobs.
struct Object {
    store: Memory,
    greeting: String,
    greeted: Vec<String>,
}

impl Object {
    async fn alarm(&mut self, now: Timestamp) -> dokit_alarms::Result<()> {
        let greeting = &self.greeting;
        let report = JOBS
            .run_due(&mut self.store, now, async |txn, due| {
                let count = send_event(txn).await?;
                let mut storage = TypedStorage::<Counter, _>::new(&mut *txn);
                let mut inner = storage.begin();
                inner.put(COUNT, &(count + 6)).await?;
                inner.commit().await?;
                JOBS.schedule(txn, now, "1h", &note("again")).await?;
                JOBS.every(txn, now, "hourly", "1h", &note("every")).await?;
                IDLE.set(txn, now, "1h").await?;
                log(txn, &format!("{greeting} {}", due.id)).await?;
                act(txn, due).await
            })
            .await?;
        self.greeted
            .extend(report.ran.into_iter().map(|ran| ran.id));
        Ok(())
    }

    async fn alarm_by_steps(&mut self, now: Timestamp) -> dokit_alarms::Result<()> {
        while let Some(ran) = JOBS
            .run_next(&mut self.store, now, async |txn, due| {
                send_event(txn).await?;
                self.greeted.push(due.id);
                Ok(())
            })
            .await?
        {
            self.greeted.push(format!("{:?}", ran.outcome));
        }
        Ok(())
    }
}

#[test]
fn a_wake_up_of_an_object_that_borrows_of_itself_is_send() {
    let mut store = Memory::new();
    block_on(assert_send(JOBS.schedule_as(
        &mut store,
        START,
        "a",
        "1s",
        &note("a"),
    )))
    .unwrap();
    let mut object = Object {
        store,
        greeting: "hello".to_owned(),
        greeted: Vec::new(),
    };
    block_on(assert_send(object.alarm(at(1_000)))).unwrap();
    assert_eq!(object.greeted, ["a"]);
    assert_eq!(block_on(log_of(&object.store)), ["hello a", "a"]);
    let count = TypedStorage::<Counter, _>::new(object.store.clone());
    assert_eq!(block_on(count.get(COUNT)).unwrap(), Some(7));
    block_on(assert_send(object.alarm_by_steps(at(10_000_000)))).unwrap();
    let greeted = ["a", "#00000001", "Done", "hourly", "Done"];
    assert_eq!(object.greeted, greeted);
}

#[test]
fn the_other_operations_are_send() {
    let mut store = Memory::new();
    let one = "one".to_owned();
    block_on(assert_send(ACTION.schedule(&mut store, START, "1s", &one))).unwrap();
    let handled = ACTION.handle(&mut store, Timestamp::LAST, async |txn, _| {
        send_event(txn).await?;
        Ok(())
    });
    let _ = block_on(assert_send(handled)).unwrap();
    block_on(assert_send(schedule_alarm(&mut store, START, "1s"))).unwrap();
    block_on(assert_send(IDLE.take(&mut store, START))).unwrap();
    block_on(assert_send(JOBS.cancel(&mut store, "x"))).unwrap();
    block_on(assert_send(JOBS.revive(&mut store, START, "x"))).unwrap();
    block_on(assert_send(JOBS.dead(&store))).unwrap();
}

/// Settings are shared between threads whatever the action is.
#[test]
fn settings_are_copies_and_go_anywhere() {
    fn plain<T: Send + Sync + Copy + 'static>(_: T) {}
    plain(Alarms::<std::rc::Rc<u8>>::new());
    plain(ActionKey::<std::rc::Rc<u8>>::new());
}
