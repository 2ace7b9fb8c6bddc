//! The constant that `machine!` writes. Hidden from the documentation: its shape is between the macro
//! and this crate.

use std::{fmt::Display, time::Duration};

/// A whole machine.
#[derive(Debug)]
pub struct Table<S: 'static, E: 'static> {
    /// The machine's name: that of the constant, in lower case.
    pub name: &'static str,
    /// Where a persisted machine is kept unless the user says otherwise.
    pub key: &'static str,
    /// The place of a state in `states`.
    pub state_index: fn(&S) -> usize,
    /// The place of an event in `events`.
    pub event_index: fn(&E) -> usize,
    /// Makes the initial state.
    pub initial: fn() -> S,
    /// The names of the events.
    pub events: &'static [&'static str],
    /// The initial one first.
    pub states: &'static [State<S, E>],
}

/// A state and the ways out of it.
#[derive(Debug)]
pub struct State<S: 'static, E: 'static> {
    /// The name of the state.
    pub name: &'static str,
    /// In the order in which they are tried; none where the state is terminal.
    pub moves: &'static [Move<S, E>],
    /// What happens when the state is held too long.
    pub after: Option<Timeout<S, E>>,
}

/// One event's way out of a state.
#[derive(Debug)]
pub struct Move<S: 'static, E: 'static> {
    /// The place of the event in the table.
    pub event: usize,
    /// What may refuse it.
    pub guard: Option<Guard<S, E>>,
    /// Whether the state is not left.
    pub internal: bool,
    /// The states that `make` may answer.
    pub to: &'static [usize],
    /// Makes the next state.
    pub make: fn(&S, &E) -> S,
}

/// A check of the state and the event.
#[derive(Debug)]
pub struct Guard<S, E> {
    /// The name of the function.
    pub name: &'static str,
    /// Says why the event is refused.
    pub check: fn(&S, &E) -> Result<(), String>,
}

/// A state's timeout.
#[derive(Debug)]
pub struct Timeout<S, E> {
    /// How long the state is held at most.
    pub length: Duration,
    /// The place of the event that is sent then.
    pub event: usize,
    /// Makes that event.
    pub make: fn(&S) -> E,
}

// By hand, because a derive would ask the user's enums to be `Copy` too.
impl<S, E> Clone for Table<S, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, E> Copy for Table<S, E> {}

/// A guard's answer with its reason as text.
pub fn refusal<R: Display>(answer: Result<(), R>) -> Result<(), String> {
    answer.map_err(|reason| reason.to_string())
}
