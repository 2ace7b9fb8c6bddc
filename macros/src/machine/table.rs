//! The checked table: names resolved to places, wildcards written out, and what is wrong refused.

use proc_macro2::Span;
use syn::{Error, Ident, Path, Result};

use super::{
    duration,
    parse::{After, Block, Length, Machine, Rule, Source, Target},
};
use crate::case::Case;

pub(super) struct Table<'a> {
    pub(super) states: Vec<State<'a>>,
    pub(super) events: Vec<&'a Ident>,
}

pub(super) struct State<'a> {
    pub(super) variant: &'a Ident,
    /// In the order in which they are tried.
    pub(super) moves: Vec<Move<'a>>,
    pub(super) after: Option<Timeout<'a>>,
}

/// One event's way out of one state.
pub(super) struct Move<'a> {
    pub(super) event: usize,
    pub(super) guard: Option<&'a Path>,
    pub(super) target: &'a Target,
    /// The states it may lead to; of an internal one, the state itself.
    pub(super) to: Vec<usize>,
}

pub(super) struct Timeout<'a> {
    pub(super) length: Fixed<'a>,
    pub(super) event: usize,
    pub(super) function: Option<&'a Path>,
}

pub(super) enum Fixed<'a> {
    Millis(u64),
    Constant(&'a Path),
}

/// Errors gathered, so that one build shows them all.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn add(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(Error::new(span, message));
    }

    fn push(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }
}

impl<'a> Table<'a> {
    pub(super) fn check(machine: &'a Machine) -> Result<Self> {
        let mut errors = Errors::default();
        let mut table = Self {
            states: Vec::new(),
            events: Vec::new(),
        };
        table.collect_states(machine, &mut errors);
        if table.states.is_empty() {
            let message = "a machine needs a state: `State => { Event => State }`";
            return Err(Error::new(machine.name.span(), message));
        }
        for block in &machine.blocks {
            check_order(block, &mut errors);
            if let Source::State(variant) = &block.source {
                let state = table.state(variant);
                for (event, rule) in block.events() {
                    table.add(state, event, rule);
                }
            }
        }
        for block in &machine.blocks {
            if let Source::Wildcard(_) = block.source {
                table.add_wildcard(block, &mut errors);
            }
        }
        for event in &machine.options.unhandled {
            if table.events.contains(&event) {
                errors.add(event.span(), format!("`{event}` is handled by the table"));
            } else {
                table.events.push(event);
            }
        }
        for block in &machine.blocks {
            if let (Source::State(variant), Some(after)) = (&block.source, &block.after) {
                table.add_timeout(variant, after, &mut errors);
            }
        }
        table.check_reachable(&mut errors);
        table.check_names(machine.options.case, &mut errors);
        match errors.0 {
            Some(error) => Err(error),
            None => Ok(table),
        }
    }

    /// States in the order of their first mention, blocks first, so that the initial one is 0.
    fn collect_states(&mut self, machine: &'a Machine, errors: &mut Errors) {
        let mut wildcard = false;
        for block in &machine.blocks {
            match &block.source {
                Source::State(variant) if self.find(variant).is_some() => errors.add(
                    variant.span(),
                    format!("`{variant}` is listed twice; put its transitions into one block"),
                ),
                Source::State(variant) => self.state_or_new(variant),
                Source::Wildcard(span) if wildcard => {
                    errors.add(*span, "a machine has one wildcard block");
                }
                Source::Wildcard(span) => {
                    wildcard = true;
                    if block.after.is_some() {
                        errors.add(*span, "a wildcard has no timeout: give it to a state");
                    }
                }
            }
        }
        for rule in machine.blocks.iter().flat_map(|block| &block.rules) {
            match &rule.target {
                Target::State(variant) => self.state_or_new(variant),
                Target::Computed(_, variants) => {
                    for (at, variant) in variants.iter().enumerate() {
                        if variants[..at].contains(variant) {
                            errors.add(variant.span(), format!("`{variant}` is named twice"));
                        }
                        self.state_or_new(variant);
                    }
                }
                Target::Internal(..) => {}
            }
        }
    }

    /// Adds an event's way out of a state, after what is there.
    fn add(&mut self, state: usize, event: &'a Ident, rule: &'a Rule) {
        let to = match &rule.target {
            Target::State(variant) => vec![self.state(variant)],
            Target::Computed(_, variants) => variants.iter().map(|it| self.state(it)).collect(),
            Target::Internal(..) => vec![state],
        };
        let event = self.event_or_new(event);
        self.states[state].moves.push(Move {
            event,
            guard: rule.guard.as_ref(),
            target: &rule.target,
            to,
        });
    }

    /// Gives each rule of a wildcard to every state that is not terminal and has none of its own for
    /// the event.
    fn add_wildcard(&mut self, block: &'a Block, errors: &mut Errors) {
        let own: Vec<Vec<usize>> = self
            .states
            .iter()
            .map(|state| state.moves.iter().map(|it| it.event).collect())
            .collect();
        for (variant, rule) in block.events() {
            let event = self.event_or_new(variant);
            let mut applies = false;
            for (state, own) in own.iter().enumerate() {
                if !own.is_empty() && !own.contains(&event) {
                    applies = true;
                    self.add(state, variant, rule);
                }
            }
            if !applies {
                errors.add(
                    variant.span(),
                    format!(
                        "this wildcard never applies: every state that is not terminal handles \
                         `{variant}` itself"
                    ),
                );
            }
        }
    }

    fn add_timeout(&mut self, variant: &'a Ident, after: &'a After, errors: &mut Errors) {
        let state = self.state(variant);
        let event = self.events.iter().position(|it| **it == after.event);
        let handled = |event: usize| self.states[state].moves.iter().any(|it| it.event == event);
        let Some(event) = event.filter(|event| handled(*event)) else {
            return errors.add(
                after.event.span(),
                format!(
                    "`{variant}` does not handle `{}`, which its timeout sends",
                    after.event
                ),
            );
        };
        let length = match &after.length {
            Length::Constant(path) => Fixed::Constant(path),
            Length::Text(text) => match duration::millis(text) {
                Ok(millis) => Fixed::Millis(millis),
                Err(error) => return errors.push(error),
            },
        };
        self.states[state].after = Some(Timeout {
            length,
            event,
            function: after.function.as_ref(),
        });
    }

    fn check_reachable(&self, errors: &mut Errors) {
        let mut reached = vec![false; self.states.len()];
        let mut open = vec![0];
        while let Some(state) = open.pop() {
            if !std::mem::replace(&mut reached[state], true) {
                open.extend(self.states[state].moves.iter().flat_map(|it| &it.to));
            }
        }
        let initial = self.states[0].variant;
        for (state, reached) in self.states.iter().zip(reached) {
            if !reached {
                errors.add(
                    state.variant.span(),
                    format!(
                        "unreachable state: no transitions lead from `{initial}`, the first state \
                         and so the initial one, to `{}`",
                        state.variant
                    ),
                );
            }
        }
    }

    /// Two variants may differ in Rust and not in their written names.
    fn check_names(&self, case: Case, errors: &mut Errors) {
        let states: Vec<_> = self.states.iter().map(|state| state.variant).collect();
        for variants in [&states, &self.events] {
            for (at, variant) in variants.iter().enumerate() {
                let name = case.apply(&variant.to_string());
                let same = |other: &&&Ident| case.apply(&other.to_string()) == name;
                if let Some(other) = variants[..at].iter().find(same) {
                    errors.add(
                        variant.span(),
                        format!("`{variant}` and `{other}` are both written \"{name}\""),
                    );
                }
            }
        }
    }

    fn find(&self, variant: &Ident) -> Option<usize> {
        self.states.iter().position(|it| it.variant == variant)
    }

    fn state(&self, variant: &Ident) -> usize {
        self.find(variant)
            .expect("every state was collected before the first rule is looked at")
    }

    fn state_or_new(&mut self, variant: &'a Ident) {
        if self.find(variant).is_none() {
            self.states.push(State {
                variant,
                moves: Vec::new(),
                after: None,
            });
        }
    }

    fn event_or_new(&mut self, variant: &'a Ident) -> usize {
        let known = self.events.iter().position(|it| *it == variant);
        known.unwrap_or_else(|| {
            self.events.push(variant);
            self.events.len() - 1
        })
    }
}

/// Refuses a transition that an earlier one of the same event leaves nothing to do.
fn check_order(block: &Block, errors: &mut Errors) {
    let source = match &block.source {
        Source::State(variant) => variant.to_string(),
        Source::Wildcard(_) => "_".to_owned(),
    };
    let rules: Vec<_> = block.events().collect();
    for (at, (event, rule)) in rules.iter().enumerate() {
        for (_, earlier) in rules[..at].iter().filter(|(other, _)| other == event) {
            let message = match (&earlier.guard, &rule.guard) {
                (None, None) => {
                    format!("duplicate transition: `{source}` already handles `{event}` above")
                }
                (None, Some(_)) => format!(
                    "this transition never runs: the one of `{source}` on `{event}` above has no \
                     guard; put the guarded one first"
                ),
                (Some(before), Some(now)) if before == now => format!(
                    "duplicate transition: `{source}` already handles `{event}` under this guard"
                ),
                (Some(_), _) => continue,
            };
            errors.add(event.span(), message);
            break;
        }
    }
}
