use crate::Machine;

/// What a look at a machine's whole table finds: for a test.
///
/// What is always a mistake does not compile: a duplicate transition, one that can never run, an unknown
/// state, a state that nothing leads to. What is sometimes meant is reported here. A machine never has
/// two next states for one event: transitions of one event are tried in the order of the table, and the
/// first whose guard lets it pass is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The states that handle no event, in the order of the table.
    pub terminal: Vec<&'static str>,
    /// The states from which no terminal state can be reached: once there, the machine never ends. A
    /// machine that is not meant to end has all of its states here.
    pub endless: Vec<&'static str>,
    /// States with events that only guarded transitions handle, so that all of them may refuse it.
    pub refusable: Vec<(&'static str, &'static str)>,
    /// States with events that several transitions handle, so that their order decides.
    pub ordered: Vec<(&'static str, &'static str)>,
    /// States that cannot be reached from [`Machine::initial`]. Empty, unless the table's `initial`
    /// gives another state than the first of the table.
    pub unreachable: Vec<&'static str>,
}

impl<S, E> Machine<S, E> {
    /// Looks at the whole table: see [`Report`].
    #[must_use]
    pub fn check(&self) -> Report {
        let edges: Vec<_> = self.edges().collect();
        let leads = |from: &str, to: &str| edges.iter().any(|it| it.from == from && it.to == to);
        let states: Vec<_> = self.states().collect();

        let is_terminal = |state: &&str| !edges.iter().any(|edge| edge.from == *state);
        let terminal: Vec<_> = states.iter().copied().filter(is_terminal).collect();
        let ending = closure(terminal.clone(), &states, |from, to| leads(to, from));
        let initial = self.state_name(&self.initial());
        let reached = closure(vec![initial], &states, leads);

        let mut report = Report {
            terminal,
            endless: without(&states, &ending),
            unreachable: without(&states, &reached),
            ..Report::default()
        };
        for (state, event, guards) in self.handled() {
            if guards.iter().all(|guarded| *guarded) {
                report.refusable.push((state, event));
            }
            if guards.len() > 1 {
                report.ordered.push((state, event));
            }
        }
        report
    }
}

/// All that `leads` gets to from `found`, `found` included.
fn closure(
    mut found: Vec<&'static str>,
    states: &[&'static str],
    leads: impl Fn(&str, &str) -> bool,
) -> Vec<&'static str> {
    let mut next = 0;
    while let Some(from) = found.get(next).copied() {
        next += 1;
        for to in states {
            if leads(from, to) && !found.contains(to) {
                found.push(to);
            }
        }
    }
    found
}

fn without(states: &[&'static str], found: &[&'static str]) -> Vec<&'static str> {
    let missing = states.iter().filter(|state| !found.contains(state));
    missing.copied().collect()
}
