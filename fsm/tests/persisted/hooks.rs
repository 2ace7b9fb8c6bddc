use std::sync::Mutex;

use dokit_fsm::{Hooks, SendError, Transition};
use dokit_storage::{Batch, Memory, Store, Timestamp};
use futures_executor::block_on;

use super::{Event, ORDER, State, at, dump, pay, ship};

/// Writes down each call, in memory and in the store, and fails in the hook named.
#[derive(Default)]
struct Recording {
    calls: Mutex<Vec<String>>,
    fails_in: Option<&'static str>,
}

impl Recording {
    fn failing_in(hook: &'static str) -> Self {
        Self {
            fails_in: Some(hook),
            ..Self::default()
        }
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    async fn record(
        &self,
        hook: &'static str,
        call: String,
        store: &mut impl Store,
    ) -> Result<(), String> {
        self.calls.lock().unwrap().push(format!("{hook} {call}"));
        let seen = ORDER.persisted().state(store).await;
        let name = seen.map(|state| ORDER.state_name(&state));
        let mut batch = Batch::new();
        batch.put(hook, format!("{:?}", name.unwrap()));
        batch.set_alarm(at(99));
        store
            .commit(batch)
            .await
            .map_err(|error| error.to_string())?;
        if self.fails_in == Some(hook) {
            return Err(format!("{hook} does not want to"));
        }
        Ok(())
    }
}

fn told(step: &Transition<'_, State, Event>) -> String {
    let Transition {
        from, event, to, ..
    } = step;
    let (from, to) = (ORDER.state_name(from), ORDER.state_name(to));
    format!(
        "{from} {} {to} {}",
        ORDER.event_name(event),
        step.at.as_millis()
    )
}

impl Hooks<State, Event> for Recording {
    type Error = String;

    async fn on_exit(
        &self,
        step: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), String> {
        self.record("on_exit", told(step), store).await
    }

    async fn on_transition(
        &self,
        step: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), String> {
        self.record("on_transition", told(step), store).await
    }

    async fn on_entry(
        &self,
        step: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), String> {
        self.record("on_entry", told(step), store).await
    }

    async fn on_deadline(
        &self,
        deadline: Option<Timestamp>,
        now: Timestamp,
        store: &mut impl Store,
    ) -> Result<(), String> {
        let deadline = deadline.map(Timestamp::as_millis);
        let call = format!("{deadline:?} at {}", now.as_millis());
        self.record("on_deadline", call, store).await
    }
}

#[test]
fn hooks_run_once_in_order_and_see_the_new_state_and_commit_with_it() {
    block_on(async {
        let mut store = Memory::new();
        let hooks = Recording::default();
        let order = ORDER.persisted().hooks(&hooks);
        assert!(order.start(&mut store, at(1)).await.unwrap());
        assert_eq!(hooks.calls(), ["on_deadline Some(86400001) at 1"]);
        order.send(&mut store, at(5), &pay()).await.unwrap();
        assert_eq!(
            hooks.calls(),
            [
                "on_exit pending pay paid 5",
                "on_transition pending pay paid 5",
                "on_entry pending pay paid 5",
                "on_deadline None at 5",
            ]
        );
        for hook in ["on_exit", "on_transition", "on_entry", "on_deadline"] {
            assert_eq!(
                store.get(hook).await.unwrap().unwrap(),
                "\"paid\"",
                "{hook}"
            );
        }
        assert_eq!(store.alarm().await.unwrap(), Some(at(99)));
    });
}

#[test]
fn an_internal_transition_neither_leaves_nor_enters_and_a_self_transition_does_both() {
    block_on(async {
        let mut store = Memory::new();
        let hooks = Recording::default();
        let order = ORDER.persisted().hooks(&hooks);
        order.start(&mut store, at(1)).await.unwrap();
        hooks.calls();
        order.send(&mut store, at(2), &Event::Note).await.unwrap();
        assert_eq!(hooks.calls(), ["on_transition pending note pending 2"]);
        order.send(&mut store, at(3), &Event::Retry).await.unwrap();
        assert_eq!(
            hooks.calls(),
            [
                "on_exit pending retry pending 3",
                "on_transition pending retry pending 3",
                "on_entry pending retry pending 3",
                "on_deadline Some(86400003) at 3",
            ]
        );
    });
}

#[test]
fn no_hook_runs_when_an_object_wakes_or_reads_or_is_refused() {
    block_on(async {
        let disk = Memory::new();
        let order = ORDER.persisted();
        order.send(&mut disk.clone(), at(1), &pay()).await.unwrap();
        let before = dump(&disk).await;

        let hooks = Recording::default();
        let woken = ORDER.persisted().hooks(&hooks);
        let mut store = disk.clone();
        assert_eq!(
            woken.state(&store).await.unwrap(),
            State::Paid { amount: u64::MAX }
        );
        assert!(woken.can(&store, &ship()).await.unwrap());
        woken.history(&store).await.unwrap();
        woken.deadline(&store).await.unwrap();
        woken.valid_events(&store).await.unwrap();
        assert_eq!(woken.entered_at(&store).await.unwrap(), Some(at(1)));
        assert!(!woken.start(&mut store, at(2)).await.unwrap());
        assert_eq!(woken.expire(&mut store, at(i64::MAX)).await.unwrap(), None);
        woken
            .send(&mut store, at(3), &Event::Deliver)
            .await
            .unwrap_err();
        woken
            .send(&mut store, at(3), &Event::Ship(String::new()))
            .await
            .unwrap_err();
        assert_eq!(hooks.calls(), [""; 0]);
        assert_eq!(dump(&disk).await, before);
    });
}

#[test]
fn a_hook_that_fails_leaves_everything_as_it_was() {
    for hook in ["on_exit", "on_transition", "on_entry", "on_deadline"] {
        block_on(async {
            let mut store = Memory::new();
            ORDER.persisted().start(&mut store, at(1)).await.unwrap();
            let before = dump(&store).await;
            let order = ORDER.persisted().hooks(Recording::failing_in(hook));
            let error = order.send(&mut store, at(2), &pay()).await.unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("run {hook} from state \"pending\" to \"paid\"")
            );
            let SendError::Hook { source, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(source, format!("{hook} does not want to"));
            assert_eq!(dump(&store).await, before, "{hook} left something behind");
            let once = order.send_once(&mut store, at(2), "id", &pay()).await;
            once.unwrap_err();
            order.expire(&mut store, at(i64::MAX)).await.unwrap_err();
            assert_eq!(dump(&store).await, before, "{hook} left something behind");

            // The same event passes once the hook does.
            ORDER
                .persisted()
                .send(&mut store, at(3), &pay())
                .await
                .unwrap();
        });
    }
}

#[test]
fn a_deadline_hook_that_fails_undoes_a_start_and_a_reset() {
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER
            .persisted()
            .hooks(Recording::failing_in("on_deadline"));
        let error = order.start(&mut store, at(1)).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "run on_deadline from state \"pending\" to \"pending\""
        );
        assert_eq!(dump(&store).await, (Vec::new(), None));
        ORDER
            .persisted()
            .send(&mut store, at(2), &pay())
            .await
            .unwrap();
        let before = dump(&store).await;
        order.reset(&mut store, at(3)).await.unwrap_err();
        assert_eq!(dump(&store).await, before);
    });
}

#[test]
fn an_event_sent_from_a_hook_is_a_step_of_the_same_commit() {
    struct ShipsAtOnce;
    impl Hooks<State, Event> for ShipsAtOnce {
        type Error = SendError;

        async fn on_entry(
            &self,
            step: &Transition<'_, State, Event>,
            store: &mut impl Store,
        ) -> Result<(), SendError> {
            if let State::Paid { amount } = step.to {
                let ship = Event::Ship(if *amount > 1 { "T-2" } else { "" }.to_owned());
                ORDER.persisted().send(store, step.at, &ship).await?;
            }
            Ok(())
        }
    }
    block_on(async {
        let mut store = Memory::new();
        let order = ORDER.persisted().hooks(ShipsAtOnce);
        let cheap = Event::Pay { amount: 1 };
        let error = order.send(&mut store, at(1), &cheap).await.unwrap_err();
        let SendError::Hook {
            source: SendError::Guard(refused),
            ..
        } = error
        else {
            panic!("{error}");
        };
        assert_eq!(
            refused.to_string(),
            "transition refused: state \"paid\" does not let event \"ship\" pass: \
             the tracking number is empty"
        );
        assert_eq!(dump(&store).await, (Vec::new(), None));

        // The answer is the step's own; what the hook did after it stands.
        let answer = order.send(&mut store, at(1), &pay()).await.unwrap();
        assert_eq!(answer, State::Paid { amount: u64::MAX });
        assert_eq!(
            order.state(&store).await.unwrap(),
            State::Shipped("T-2".to_owned())
        );
        assert_eq!(order.history(&store).await.unwrap().len(), 2);
        assert!(order.deadline(&store).await.unwrap().is_some());
    });
}
