use std::{fmt, time::Duration};

use crate::{
    GuardRefused, InvalidTransition, Persisted, Refused, UndeclaredTarget,
    table::{Move, State, Table, Timeout},
};

/// A state machine as a constant table: the states `S`, the events `E`, and which event leads from
/// which state to which.
///
/// Made by [`machine!`](crate::machine!). It holds no state of its own: every method is a pure function
/// of its arguments and may be called anywhere. The one that decides is [`next`](Self::next); a
/// [`Persisted`] machine, [`replay`](Self::replay), the drawings and the test strategies all read the
/// same table.
pub struct Machine<S: 'static, E: 'static> {
    table: Table<S, E>,
}

/// One arrow of a machine: a transition that the table allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Edge {
    /// The name of the state it leaves.
    pub from: &'static str,
    /// The name of its event.
    pub event: &'static str,
    /// The name of the state it leads to. A transition whose function chooses among several states is
    /// one arrow for each.
    pub to: &'static str,
    /// The name of the guard that may refuse it.
    pub guard: Option<&'static str>,
    /// Whether it runs without leaving the state.
    pub internal: bool,
    /// How long the state is held before the event is sent by itself.
    pub after: Option<Duration>,
}

/// What the table says an event does.
#[derive(Debug)]
pub(crate) struct Decision<S> {
    pub(crate) to: S,
    pub(crate) internal: bool,
}

impl<S, E> Machine<S, E> {
    #[doc(hidden)]
    #[must_use]
    pub const fn __new(table: Table<S, E>) -> Self {
        Self { table }
    }

    /// The machine's name: that of the constant in lower case, `order` for `ORDER`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.table.name
    }

    pub(crate) const fn key(&self) -> &'static str {
        self.table.key
    }

    /// The state that a machine starts in: the first of the table, or the table's `initial`.
    #[must_use]
    pub fn initial(&self) -> S {
        (self.table.initial)()
    }

    /// The state that `event` leads to from `state`.
    ///
    /// # Errors
    ///
    /// [`Refused`] says why there is none: the state does not handle the event, or a guard refused it.
    pub fn next(&self, state: &S, event: &E) -> Result<S, Refused> {
        self.decide(state, event).map(|decision| decision.to)
    }

    /// The state that these events lead to from the initial one, one after the other.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next), for the first event that is refused.
    pub fn replay<'e>(&self, events: impl IntoIterator<Item = &'e E>) -> Result<S, Refused> {
        let mut events = events.into_iter();
        events.try_fold(self.initial(), |state, event| self.next(&state, event))
    }

    /// The table's one place that decides, for a live event, a stored one and a test alike.
    pub(crate) fn decide(&self, state: &S, event: &E) -> Result<Decision<S>, Refused> {
        let from = self.row(state);
        let index = (self.table.event_index)(event);
        let mut reasons = Vec::new();
        for candidate in from.moves.iter().filter(|it| it.event == index) {
            if let Some(guard) = &candidate.guard
                && let Err(reason) = (guard.check)(state, event)
            {
                reasons.push(reason);
                continue;
            }
            return self.follow(candidate, from, state, event);
        }
        let state = from.name.to_owned();
        let event = self.table.events[index].to_owned();
        if reasons.is_empty() {
            let valid_events = self.events_of(from).map(str::to_owned).collect();
            return Err(Refused::Invalid(InvalidTransition {
                state,
                event,
                valid_events,
            }));
        }
        Err(Refused::Guard(GuardRefused {
            state,
            event,
            reason: reasons.join("; "),
        }))
    }

    fn follow(
        &self,
        chosen: &Move<S, E>,
        from: &State<S, E>,
        state: &S,
        event: &E,
    ) -> Result<Decision<S>, Refused> {
        let to = (chosen.make)(state, event);
        let index = (self.table.state_index)(&to);
        if !chosen.to.contains(&index) {
            let declared = chosen.to.iter().map(|to| self.table.states[*to].name);
            return Err(Refused::UndeclaredTarget(UndeclaredTarget {
                state: from.name,
                event: self.table.events[chosen.event],
                target: self.table.states[index].name,
                declared: declared.collect(),
            }));
        }
        Ok(Decision {
            to,
            internal: chosen.internal,
        })
    }

    /// Whether `event` leads anywhere from `state`, its guards asked.
    #[must_use]
    pub fn can(&self, state: &S, event: &E) -> bool {
        self.decide(state, event).is_ok()
    }

    /// The names of the events that `state` handles, in the order of the table. Guards are not asked:
    /// they look at an event, and here is none.
    #[must_use]
    pub fn valid_events(&self, state: &S) -> Vec<&'static str> {
        self.events_of(self.row(state)).collect()
    }

    /// Whether `state` handles no event at all.
    #[must_use]
    pub fn is_terminal(&self, state: &S) -> bool {
        self.row(state).moves.is_empty()
    }

    /// The name of a state, as errors, records and drawings write it.
    #[must_use]
    pub fn state_name(&self, state: &S) -> &'static str {
        self.row(state).name
    }

    /// The name of an event, as errors, records and drawings write it.
    #[must_use]
    pub fn event_name(&self, event: &E) -> &'static str {
        self.table.events[(self.table.event_index)(event)]
    }

    /// The names of all states: those that handle events in the order of the table, the initial one
    /// first, then the terminal ones.
    pub fn states(&self) -> impl ExactSizeIterator<Item = &'static str> + use<S, E> {
        self.table.states.iter().map(|state| state.name)
    }

    /// The names of all events.
    pub fn events(&self) -> impl ExactSizeIterator<Item = &'static str> + use<S, E> {
        self.table.events.iter().copied()
    }

    /// Every arrow of the machine, in the order of the table, wildcards written out.
    pub fn edges(&self) -> impl Iterator<Item = Edge> + use<S, E> {
        let Table { states, events, .. } = self.table;
        states.iter().flat_map(move |from| {
            from.moves.iter().flat_map(move |it| {
                it.to.iter().map(move |to| Edge {
                    from: from.name,
                    event: events[it.event],
                    to: states[*to].name,
                    guard: it.guard.as_ref().map(|guard| guard.name),
                    internal: it.internal,
                    after: from
                        .after
                        .as_ref()
                        .filter(|after| after.event == it.event)
                        .map(|after| after.length),
                })
            })
        })
    }

    /// Each event of each state, with whether its transitions are guarded, in the order they are tried.
    pub(crate) fn handled(&self) -> Vec<(&'static str, &'static str, Vec<bool>)> {
        let states = self.table.states.iter();
        let of = |state: &'static State<S, E>, event: &'static str| {
            let moves = state.moves.iter();
            moves
                .filter(|it| self.table.events[it.event] == event)
                .map(|it| it.guard.is_some())
                .collect()
        };
        states
            .flat_map(|state| self.events_of(state).map(move |event| (state, event)))
            .map(|(state, event)| (state.name, event, of(state, event)))
            .collect()
    }

    /// How long `state` is held before its timeout, as the table says; `None` where it has none.
    #[must_use]
    pub fn timeout(&self, state: &S) -> Option<Duration> {
        self.timeout_of(state).map(|timeout| timeout.length)
    }

    /// The event that the timeout of `state` sends; `None` where it has none.
    #[must_use]
    pub fn timeout_event(&self, state: &S) -> Option<E> {
        self.timeout_of(state).map(|timeout| (timeout.make)(state))
    }

    /// This machine kept in a store. See [`Persisted`] for what can be set, and its defaults.
    #[must_use]
    pub const fn persisted(&self) -> Persisted<S, E> {
        Persisted::new(*self)
    }

    pub(crate) fn state_index(&self, state: &S) -> usize {
        (self.table.state_index)(state)
    }

    fn row(&self, state: &S) -> &'static State<S, E> {
        &self.table.states[self.state_index(state)]
    }

    fn timeout_of(&self, state: &S) -> Option<&'static Timeout<S, E>> {
        self.row(state).after.as_ref()
    }

    fn events_of(&self, state: &'static State<S, E>) -> impl Iterator<Item = &'static str> {
        let events = self.table.events;
        let moves = state.moves.iter().enumerate();
        moves
            .filter(|(at, it)| {
                !state.moves[..*at]
                    .iter()
                    .any(|other| other.event == it.event)
            })
            .map(|(_, it)| events[it.event])
    }
}

// By hand, because derives would ask the same of the user's enums.
impl<S, E> Clone for Machine<S, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, E> Copy for Machine<S, E> {}

impl<S, E> fmt::Debug for Machine<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("name", &self.name())
            .field("edges", &self.edges().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
