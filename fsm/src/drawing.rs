//! Drawings of a machine, for Mermaid and for Graphviz.

use std::{fmt::Write as _, time::Duration};

use crate::{Edge, Machine};

/// Words that Mermaid's grammar of state diagrams takes for itself
/// (<https://mermaid.js.org/syntax/stateDiagram.html>).
const MERMAID_WORDS: [&str; 14] = [
    "accdescr",
    "acctitle",
    "as",
    "class",
    "classdef",
    "click",
    "default",
    "direction",
    "end",
    "hide",
    "note",
    "scale",
    "state",
    "style",
];

impl<S, E> Machine<S, E> {
    /// The machine as a Mermaid state diagram. An arrow is labelled with its event, its guard in
    /// brackets, and the timeout that sends it.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        let mut lines = vec!["stateDiagram-v2".to_owned()];
        for state in self.states() {
            let id = mermaid_id(state);
            if id != state {
                lines.push(format!("    state \"{state}\" as {id}"));
            }
        }
        let initial = self.state_name(&self.initial());
        lines.push(format!("    [*] --> {}", mermaid_id(initial)));
        for edge in self.edges() {
            let (from, to) = (mermaid_id(edge.from), mermaid_id(edge.to));
            lines.push(format!("    {from} --> {to} : {}", label(&edge)));
        }
        for state in self.check().terminal {
            lines.push(format!("    {} --> [*]", mermaid_id(state)));
        }
        lines.join("\n") + "\n"
    }

    /// The machine as a DOT graph, for Graphviz. Labels are those of
    /// [`to_mermaid`](Self::to_mermaid); terminal states have a double border.
    #[must_use]
    pub fn to_dot(&self) -> String {
        let mut lines = vec![
            format!("digraph {:?} {{", self.name()),
            "    rankdir=LR;".to_owned(),
            "    node [shape=box, style=rounded];".to_owned(),
            // No state has an empty name.
            "    \"\" [shape=point];".to_owned(),
        ];
        let terminal = self.check().terminal;
        for state in self.states() {
            let border = if terminal.contains(&state) {
                " [peripheries=2]"
            } else {
                ""
            };
            lines.push(format!("    {state:?}{border};"));
        }
        let initial = self.state_name(&self.initial());
        lines.push(format!("    \"\" -> {initial:?};"));
        for edge in self.edges() {
            let Edge { from, to, .. } = edge;
            let label = label(&edge);
            lines.push(format!("    {from:?} -> {to:?} [label={label:?}];"));
        }
        lines.join("\n") + "\n}\n"
    }
}

/// A name as Mermaid takes an id: letters, digits and underscores, and none of its own words.
fn mermaid_id(name: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    let id: String = name.chars().map(plain).collect();
    if MERMAID_WORDS.contains(&id.to_ascii_lowercase().as_str()) {
        return format!("{id}_");
    }
    id
}

fn label(edge: &Edge) -> String {
    let mut label = edge.event.to_owned();
    let written = [
        edge.guard.map(|guard| format!(" [{guard}]")),
        edge.after
            .map(|length| format!(" after {}", length_of(length))),
        edge.internal.then(|| " (internal)".to_owned()),
    ];
    label.extend(written.into_iter().flatten());
    label
}

/// A duration as the table may write it: `1d`, `1h 30m`.
fn length_of(length: Duration) -> String {
    let mut rest = length.as_millis();
    let mut text = String::new();
    for (unit, millis) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1000),
        ("ms", 1),
    ] {
        if rest >= millis {
            let gap = if text.is_empty() { "" } else { " " };
            // Writing to a string cannot fail.
            let _ = write!(text, "{gap}{}{unit}", rest / millis);
            rest %= millis;
        }
    }
    text
}
