//! The published strategies and the harness: what they make, and that they find what is wrong.

use std::{
    convert::Infallible,
    sync::atomic::{AtomicU64, Ordering::SeqCst},
};

use dokit_fsm::{
    Hooks, Transition, machine,
    proptest::{Harness, Step, Trouble, sequences, walks},
};
use dokit_storage::{Batch, Error, Store, decode};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum State {
    Pending,
    Paid { amount: u64 },
    Review { amount: u64 },
    Shipped { amount: u64, tracking: String },
    Done,
}

#[derive(Clone, Debug, PartialEq)]
enum Event {
    Pay { amount: u64 },
    Refund,
    Approve,
    Ship { tracking: String },
    Note,
    Expire,
    Close,
}

machine! {
    ORDER: State, Event {
        Pending => { Pay => pay -> [Paid, Review], Expire => Done } after "1d" => Expire
        Paid    => { Ship if has_tracking => ship -> Shipped, Refund => Pending }
        Review  => { Approve => approve -> Paid, Expire => internal } after "2h" => Expire
        Shipped => { Close => Done }
        _       => { Note => internal, Refund => Pending }
    }
}

fn amount(state: &State) -> u64 {
    match state {
        State::Paid { amount } | State::Review { amount } | State::Shipped { amount, .. } => {
            *amount
        }
        State::Pending | State::Done => 0,
    }
}

fn pay(_: &State, event: &Event) -> State {
    match event {
        Event::Pay { amount } if *amount > 1000 => State::Review { amount: *amount },
        Event::Pay { amount } => State::Paid { amount: *amount },
        _ => State::Pending,
    }
}

fn approve(state: &State, _: &Event) -> State {
    State::Paid {
        amount: amount(state),
    }
}

fn ship(state: &State, event: &Event) -> State {
    let tracking = match event {
        Event::Ship { tracking } => tracking.clone(),
        _ => String::new(),
    };
    State::Shipped {
        amount: amount(state),
        tracking,
    }
}

fn has_tracking(_: &State, event: &Event) -> Result<(), &'static str> {
    match event {
        Event::Ship { tracking } if tracking.is_empty() => Err("the tracking number is empty"),
        _ => Ok(()),
    }
}

fn events() -> impl Strategy<Value = Event> + Clone {
    // Past 2^53 a number that went through a float would not come back.
    events_paying(prop_oneof![0..2000_u64, Just(u64::MAX)])
}

fn events_paying(
    amounts: impl Strategy<Value = u64> + Clone + 'static,
) -> impl Strategy<Value = Event> + Clone {
    prop_oneof![
        amounts.prop_map(|amount| Event::Pay { amount }),
        Just(Event::Refund),
        Just(Event::Approve),
        "[A-Z]{0,2}".prop_map(|tracking| Event::Ship { tracking }),
        Just(Event::Note),
        Just(Event::Expire),
        Just(Event::Close),
    ]
}

/// Counts the steps in the store.
struct Counting;

async fn count_one(store: &mut impl Store, count: u64) -> Result<(), Error> {
    let mut batch = Batch::new();
    batch.put("count", count.to_string());
    store.commit(batch).await
}

async fn counted(store: &impl Store) -> Result<Option<u64>, Error> {
    let json = store.get("count").await?;
    json.map(|json| decode("count", &json)).transpose()
}

impl Hooks<State, Event> for Counting {
    type Error = Error;

    async fn on_transition(
        &self,
        _: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), Error> {
        let count = counted(store).await?.unwrap_or(0);
        count_one(store, count + 1).await
    }
}

/// The mistake that the seed makes (D-01, D-02): it trusts what it has in memory.
#[derive(Default)]
struct CountingInMemory {
    count: AtomicU64,
}

impl Hooks<State, Event> for CountingInMemory {
    type Error = Error;

    async fn on_transition(
        &self,
        _: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), Error> {
        if counted(store).await?.is_none() {
            self.count.store(0, SeqCst);
        }
        let count = self.count.fetch_add(1, SeqCst) + 1;
        count_one(store, count).await
    }
}

#[test]
fn a_persisted_machine_and_its_hooks_agree_with_the_table_whatever_fails() {
    Harness::new(ORDER.persisted().hooks(Counting), events())
        .invariant(|view| {
            let count = view.value::<u64>("count")?.unwrap_or(0);
            assert_eq!(count, u64::try_from(view.walk.len())?);
            Ok(())
        })
        .invariant(|view| match view.state {
            State::Shipped { tracking, .. } if tracking.is_empty() => Err("no tracking".into()),
            State::Paid { amount } if *amount > 1000 => {
                let approved = view.walk.iter().any(|(event, _)| *event == Event::Approve);
                assert!(approved, "{amount} was not approved");
                Ok(())
            }
            _ => Ok(()),
        })
        .run();
}

#[test]
fn a_history_shorter_than_the_walk_is_its_end() {
    Harness::new(ORDER.persisted().keep_history(3), events())
        .cases(64)
        .run();
    Harness::new(ORDER.persisted().keep_history(0), events())
        .cases(16)
        .run();
}

#[test]
fn memory_that_outlives_a_failed_step_is_found_and_shrunk_to_three_steps() {
    for seed in 0..4 {
        let hooks = CountingInMemory::default();
        let counterexample = Harness::new(ORDER.persisted().hooks(hooks), events())
            .seed(seed)
            .invariant(|view| {
                let count = view.value::<u64>("count")?.unwrap_or(0);
                assert_eq!(count, u64::try_from(view.walk.len())?);
                Ok(())
            })
            .check()
            .unwrap_err();
        // One step to have a count, one that is lost, and one that shows it.
        assert_eq!(counterexample.steps.len(), 3, "{counterexample}");
        let troubles = counterexample.steps.iter().map(|step| match step {
            Step::Send(_, trouble) | Step::Expire(trouble) => *trouble,
            _ => Trouble::None,
        });
        let troubled: Vec<bool> = troubles.map(|it| it != Trouble::None).collect();
        assert_eq!(troubled, [false, true, false], "{counterexample}");
        assert!(
            counterexample.reason.contains("left: 3"),
            "{counterexample}"
        );
    }
}

/// Writes over what the machine stored.
struct Meddling(fn(&mut serde_json::Value), &'static str);

impl Hooks<State, Event> for Meddling {
    type Error = Error;

    async fn on_entry(
        &self,
        _: &Transition<'_, State, Event>,
        store: &mut impl Store,
    ) -> Result<(), Error> {
        let Self(meddle, key) = self;
        let json = store.get(key).await?.unwrap_or_default();
        let mut value = decode(key, &json)?;
        meddle(&mut value);
        let mut batch = Batch::new();
        batch.put(*key, value.to_string());
        store.commit(batch).await
    }
}

#[test]
fn whatever_is_stored_and_differs_from_the_table_is_found() {
    let record = "__fsm:order";
    let first = "__fsm:order:history:00000000000000000001";
    for (meddling, reason) in [
        (
            Meddling(|it| it["state"] = "Done".into(), record),
            "the stored state is Done; the table says ",
        ),
        (
            Meddling(|it| it["deadline"] = 1.into(), record),
            "the stored deadline is Some(Timestamp(1)); the table says Some(",
        ),
        (
            Meddling(|it| it["event"] = "bribe".into(), first),
            "the stored history is ",
        ),
        (
            Meddling(|it| it["name"] = "lost".into(), record),
            "the record does not read: record \"__fsm:order\" is in the unknown state \"lost\"",
        ),
    ] {
        let harness = Harness::new(ORDER.persisted().hooks(meddling), events());
        let counterexample = harness.seed(1).check().unwrap_err();
        assert_eq!(counterexample.steps.len(), 1, "{counterexample}");
        assert!(
            counterexample.reason.starts_with(reason),
            "{counterexample}"
        );
    }
}

#[test]
fn a_broken_invariant_shrinks_to_the_shortest_walk_with_the_simplest_events() {
    for seed in 0..4 {
        let counterexample = Harness::new(ORDER.persisted(), events_paying(0..2000_u64))
            .seed(seed)
            .invariant(|view| match view.state {
                State::Shipped { amount, .. } if *amount > 1500 => Err("too dear to ship".into()),
                _ => Ok(()),
            })
            .check()
            .unwrap_err();
        let Step::Send(Event::Ship { tracking }, Trouble::None) = &counterexample.steps[2] else {
            panic!("{counterexample}");
        };
        assert_eq!(
            counterexample.to_string(),
            format!(
                "too dear to ship after 3 steps:\
                 \n  1. Send(Pay {{ amount: 1501 }}, None)\
                 \n  2. Send(Approve, None)\
                 \n  3. Send(Ship {{ tracking: {tracking:?} }}, None)"
            )
        );
        assert_eq!(tracking.len(), 1);
    }
}

#[test]
fn a_hook_that_fails_by_itself_is_no_counterexample() {
    struct NoRefunds;
    impl Hooks<State, Event> for NoRefunds {
        type Error = &'static str;

        async fn on_exit(
            &self,
            step: &Transition<'_, State, Event>,
            _: &mut impl Store,
        ) -> Result<(), Self::Error> {
            match step.event {
                Event::Refund => Err("no refunds"),
                _ => Ok(()),
            }
        }
    }
    Harness::new(ORDER.persisted().hooks(NoRefunds), events())
        .cases(64)
        .invariant(|view| match view.walk {
            [.., (Event::Refund, _)] => Err("refunded".into()),
            _ => Ok(()),
        })
        .run();
}

#[test]
#[should_panic(expected = "never paid after 1 steps:\n  1. Send(Pay { amount: 0 }, None)")]
fn a_run_panics_with_the_counterexample() {
    Harness::new(ORDER.persisted(), events_paying(0..2000_u64))
        .seed(7)
        .invariant(|view| match view.state {
            State::Paid { .. } => Err("never paid".into()),
            _ => Ok(()),
        })
        .run();
}

#[test]
fn a_strategy_that_makes_nothing_does_not_pass() {
    let none = events().prop_filter("none is good enough", |_| false);
    let counterexample = Harness::new(ORDER.persisted(), none).cases(8).check();
    let reason = counterexample.unwrap_err().reason;
    assert!(
        reason.starts_with("the strategy makes no events"),
        "{reason}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_walk_is_one_that_the_table_takes(walk in walks(ORDER, events(), 0..15)) {
        prop_assert_eq!(&ORDER.replay(walk.events()).unwrap(), walk.end());
        let mut state = walk.start.clone();
        for (event, to) in &walk.steps {
            prop_assert!(ORDER.can(&state, event));
            prop_assert_eq!(&ORDER.next(&state, event).unwrap(), to);
            state = to.clone();
        }
    }

    #[test]
    fn no_sequence_of_events_leaves_the_table(events in sequences(events(), 0..30)) {
        let mut state = ORDER.initial();
        for event in &events {
            let valid = ORDER.valid_events(&state).contains(&ORDER.event_name(event));
            match ORDER.next(&state, event) {
                Ok(next) => {
                    prop_assert!(valid);
                    state = next;
                }
                Err(refused) => {
                    let handled = !refused.to_string().starts_with("invalid transition");
                    prop_assert_eq!(valid, handled, "{}", refused);
                }
            }
        }
    }
}

#[test]
fn walks_go_deep() {
    let mut runner = TestRunner::deterministic();
    let walks = walks(ORDER, events(), 10..=10);
    let mut ends = Vec::new();
    let mut longest = 0;
    for _ in 0..200 {
        let walk = walks.new_tree(&mut runner).unwrap().current();
        longest = longest.max(walk.steps.len());
        ends.push(ORDER.state_name(walk.end()));
    }
    assert_eq!(longest, 10);
    for state in ORDER.states() {
        assert!(ends.contains(&state), "no walk of 200 ends in {state}");
    }
}

#[test]
fn hooks_without_an_error_need_no_handling() {
    struct Silent;
    impl Hooks<State, Event> for Silent {
        type Error = Infallible;
    }
    Harness::new(ORDER.persisted().hooks(&Silent), events())
        .cases(8)
        .run();
}
