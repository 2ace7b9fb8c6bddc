use std::fmt::Debug;

use ::proptest::{
    collection::{SizeRange, vec},
    strategy::Strategy,
};

use crate::Machine;

/// Sequences of events in any order, legal or not. They shrink to fewer and simpler events.
pub fn sequences<E: Debug>(
    event: impl Strategy<Value = E>,
    length: impl Into<SizeRange>,
) -> impl Strategy<Value = Vec<E>> {
    vec(event, length)
}

/// A way through a machine's table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Walk<S, E> {
    /// The state it starts in: the machine's initial one.
    pub start: S,
    /// Each event with the state that it led to.
    pub steps: Vec<(E, S)>,
}

impl<S, E> Walk<S, E> {
    /// The events in order.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &E> {
        self.steps.iter().map(|(event, _)| event)
    }

    /// The state it ends in.
    pub fn end(&self) -> &S {
        self.steps.last().map_or(&self.start, |(_, state)| state)
    }
}

/// Walks of `machine` from its initial state: every event is one that the table takes, guards included.
/// They shrink to fewer and simpler steps.
///
/// A walk ends early in a terminal state, and where none of many events tried is taken, so `length` is
/// the most it has.
pub fn walks<S: Debug, E: Debug>(
    machine: Machine<S, E>,
    event: impl Strategy<Value = E>,
    length: impl Into<SizeRange>,
) -> impl Strategy<Value = Walk<S, E>> {
    // With four tries for each event of the table, one that is legal in a state is missed about once
    // in fifty times.
    let tries = 4 * machine.events().len().max(1);
    vec(vec(event, 1..=tries), length).prop_map(move |candidates| {
        let mut walk = Walk {
            start: machine.initial(),
            steps: Vec::new(),
        };
        for events in candidates {
            let mut legal = events.into_iter().filter_map(|event| {
                let state = machine.next(walk.end(), &event).ok()?;
                Some((event, state))
            });
            if let Some(step) = legal.next() {
                walk.steps.push(step);
            }
        }
        walk
    })
}
