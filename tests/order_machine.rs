//! The order of the front door, by property: its machine against the pure table with a store that fails
//! and stops, and the whole object, stopped at every commit, against a model.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

#[path = "../examples/order_processing.rs"]
#[expect(dead_code, unreachable_pub, reason = "the example, without its main")]
mod example;

use dokit::{
    client::CallError,
    fsm::proptest::{Harness, walks},
    object::testing::{TestHost, block_on},
};
use example::{ORDER, Order, OrderApiClient, OrderError, OrderEvent, OrderState};
use proptest::prelude::*;

fn event() -> impl Strategy<Value = OrderEvent> + Clone {
    prop_oneof![
        Just(OrderEvent::Pay),
        "[A-Z]{1,8}".prop_map(|tracking_number| OrderEvent::Ship { tracking_number }),
        Just(OrderEvent::Deliver),
        Just(OrderEvent::Cancel),
    ]
}

/// What a day does to an order, and what the disk does.
#[derive(Clone, Debug)]
enum Step {
    Send(OrderEvent),
    Hours(u32),
    Sleep,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => event().prop_map(Step::Send),
        1 => (1..30_u32).prop_map(Step::Hours),
        1 => Just(Step::Sleep),
        1 => Just(Step::Crash),
    ]
}

/// An order as it should be.
#[derive(Clone, Debug, PartialEq)]
struct Model {
    state: OrderState,
    tracking_number: Option<String>,
    steps: usize,
    hours: u32,
}

impl Model {
    /// The same after an event, if the state handles it.
    fn after(&self, event: &OrderEvent) -> Option<Self> {
        let state = ORDER.next(&self.state, event).ok()?;
        let mut after = self.clone();
        after.state = state;
        after.steps += 1;
        if let OrderEvent::Ship { tracking_number } = event {
            after.tracking_number = Some(tracking_number.clone());
        }
        Some(after)
    }

    /// The same when the time has come to cancel it.
    fn later(&self, hours: u32) -> Self {
        let mut later = self.clone();
        later.hours += hours;
        if later.hours >= 24 && later.state == OrderState::Pending {
            later.state = OrderState::Cancelled;
            later.steps += 1;
        }
        later
    }
}

proptest! {
    /// Each commit of the run is made to fail in turn, before it takes effect and after. Whatever was
    /// answered is there when the store is opened again, and nothing is half there.
    #[test]
    fn an_order_stopped_at_every_commit_is_as_its_answers_said(
        steps in prop::collection::vec(step(), 1..12),
    ) {
        for answer_lost in [false, true] {
            let mut stop_at = 1;
            while block_on(live(&steps, stop_at, answer_lost))? >= stop_at {
                stop_at += 1;
            }
        }
    }
}

/// Lives through the steps with the commit of this number failing, and tells how many there were.
async fn live(steps: &[Step], stop_at: u64, answer_lost: bool) -> Result<u64, TestCaseError> {
    let host = TestHost::new().object::<Order>();
    let orders = host.namespace::<Order>();
    let order = OrderApiClient::new(orders.get_by_name("o"));
    let disk = host.disk::<Order>(&orders.id_from_name("o"));
    order.initialize("o".to_owned()).await.unwrap();
    let made = disk.commits();
    let mut model = Model {
        state: OrderState::Pending,
        tracking_number: None,
        steps: 0,
        hours: 0,
    };
    if answer_lost {
        disk.lose_commit_answer(stop_at);
    } else {
        disk.fail_commit(stop_at);
    }
    for step in steps {
        match step {
            Step::Send(event) => {
                let expected = model.after(event);
                match order.transition(event.clone()).await {
                    Ok(state) => {
                        model = expected.expect("the machine took what the table refuses");
                        prop_assert_eq!(state, model.state);
                    }
                    Err(CallError::Object(OrderError::InvalidTransition(invalid))) => {
                        prop_assert_eq!(expected, None);
                        let known = ORDER.valid_events(&model.state);
                        prop_assert_eq!(invalid.valid_events.len(), known.len());
                    }
                    Err(error) => {
                        // The commit that was to fail. Only a look can tell if it took effect.
                        let code = error.code();
                        prop_assert_eq!(code.as_deref(), Some("commit_failed"));
                        host.crash();
                        if answer_lost {
                            model = expected.expect("a refused event writes nothing");
                        }
                    }
                }
            }
            Step::Hours(hours) => {
                host.advance(&format!("{hours}h")).await;
                // An alarm whose commit failed is tried again a second later.
                host.advance("10s").await;
                model = model.later(*hours);
            }
            Step::Sleep => host.sleep(),
            Step::Crash => host.crash(),
        }
        let view = order.get_order().await.unwrap();
        prop_assert_eq!(view.state, model.state);
        prop_assert_eq!(&view.tracking_number, &model.tracking_number);
        prop_assert_eq!(view.history.len(), model.steps);
    }
    Ok(disk.commits() - made)
}

/// Crashes, failing reads and lost answers between the steps; the published harness checks that the
/// machine is where its table says.
#[test]
fn a_disturbed_order_never_ships_unpaid_and_never_leaves_its_end() {
    Harness::new(ORDER.persisted(), event())
        .invariant(|view| {
            let paid = view.walk.iter().any(|(event, _)| *event == OrderEvent::Pay);
            let sent = matches!(view.state, OrderState::Shipped | OrderState::Delivered);
            if sent && !paid {
                return Err("an order was sent that nobody paid".into());
            }
            let ends = view
                .walk
                .iter()
                .filter(|(_, state)| ORDER.is_terminal(state));
            if ends.count() > 1 {
                return Err("an order went on after its end".into());
            }
            Ok(())
        })
        .run();
}

proptest! {
    #[test]
    fn every_walk_of_the_order_ends_within_three_steps(walk in walks(ORDER, event(), 0..10)) {
        prop_assert!(walk.steps.len() <= 3);
        prop_assert_eq!(ORDER.replay(walk.events()).ok(), Some(*walk.end()));
    }
}
