//! What a table can say, and what it says of itself.

use std::time::Duration;

use dokit_fsm::{Refused, machine};

#[derive(Clone, Debug, PartialEq)]
enum State {
    Idle,
    Running { tries: u32 },
    OnHold(String),
    End,
}

#[derive(Clone, Debug)]
enum Event {
    Start,
    Fail,
    Hold(String),
    GoOn,
    Stop { force: bool },
    Abort,
    Elsewhere,
}

mod checks {
    use super::{Event, State};

    pub(super) fn forced(_: &State, event: &Event) -> Result<(), &'static str> {
        match event {
            Event::Stop { force: true } => Ok(()),
            _ => Err("it is not forced"),
        }
    }

    pub(super) fn tired(state: &State, _: &Event) -> Result<(), String> {
        match state {
            State::Running { tries } if *tries >= 2 => Ok(()),
            State::Running { tries } => Err(format!("only {tries} tries")),
            _ => Ok(()),
        }
    }
}

machine! {
    /// Every kind of row.
    #[machine(rename_all = "kebab-case", unhandled(Elsewhere))]
    JOB: State, Event {
        Idle => { Start => run -> Running }
        Running => {
            Fail if checks::tired => End,
            Fail => again -> internal,
            Hold => hold -> [OnHold, End],
            Stop if checks::forced => End,
            Stop if checks::tired => Idle,
        } after "1h 30m" => Fail
        OnHold => { GoOn | Start => run -> Running, Hold => internal },
        _ => { Abort => End, Start => internal }
    }
}

fn run(_: &State, _: &Event) -> State {
    State::Running { tries: 0 }
}

fn again(state: &State, _: &Event) -> State {
    match state {
        State::Running { tries } => State::Running { tries: tries + 1 },
        other => other.clone(),
    }
}

fn hold(_: &State, event: &Event) -> State {
    match event {
        Event::Hold(reason) if reason == "for ever" => State::End,
        Event::Hold(reason) if reason == "by mistake" => State::Idle,
        Event::Hold(reason) => State::OnHold(reason.clone()),
        _ => State::End,
    }
}

const RUNNING: State = State::Running { tries: 0 };

fn held(reason: &str) -> Event {
    Event::Hold(reason.to_owned())
}

#[test]
fn a_function_makes_a_state_with_data_and_may_choose_by_the_event() {
    assert_eq!(JOB.next(&State::Idle, &Event::Start).unwrap(), RUNNING);
    let lunch = JOB.next(&RUNNING, &held("lunch")).unwrap();
    assert_eq!(lunch, State::OnHold("lunch".to_owned()));
    assert_eq!(JOB.next(&RUNNING, &held("for ever")).unwrap(), State::End);
    assert_eq!(
        JOB.next(&lunch, &held("dinner")).unwrap(),
        lunch,
        "internal"
    );
    let both = [Event::GoOn, Event::Start].map(|event| JOB.next(&lunch, &event).unwrap());
    assert_eq!(both, [RUNNING, RUNNING]);
}

#[test]
fn a_function_that_answers_a_state_its_row_does_not_name_is_an_error() {
    let refused = JOB.next(&RUNNING, &held("by mistake")).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "undeclared target: state \"running\" on event \"hold\" led to \"idle\"; \
         the table names [on-hold, end]"
    );
}

#[test]
fn guards_are_tried_in_order_and_all_their_reasons_are_told() {
    let tired = State::Running { tries: 2 };
    let again = JOB
        .next(&State::Running { tries: 1 }, &Event::Fail)
        .unwrap();
    assert_eq!(again, tired);
    assert_eq!(JOB.next(&tired, &Event::Fail).unwrap(), State::End);
    assert_eq!(
        JOB.next(&tired, &Event::Stop { force: true }).unwrap(),
        State::End
    );
    assert_eq!(
        JOB.next(&tired, &Event::Stop { force: false }).unwrap(),
        State::Idle
    );
    let refused = JOB
        .next(&RUNNING, &Event::Stop { force: false })
        .unwrap_err();
    let Refused::Guard(refused) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        refused.to_string(),
        "transition refused: state \"running\" does not let event \"stop\" pass: \
         it is not forced; only 0 tries"
    );
    assert_eq!(
        serde_json::to_string(&refused).unwrap(),
        r#"{"state":"running","event":"stop","reason":"it is not forced; only 0 tries"}"#
    );
}

#[test]
fn a_wildcard_serves_each_state_that_goes_on_and_has_no_row_of_its_own() {
    for state in [State::Idle, RUNNING, State::OnHold(String::new())] {
        assert_eq!(JOB.next(&state, &Event::Abort).unwrap(), State::End);
    }
    assert_eq!(JOB.next(&RUNNING, &Event::Start).unwrap(), RUNNING);
    let refused = JOB.next(&State::End, &Event::Abort).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid transition: state \"end\" does not handle event \"abort\"; valid events: []"
    );
    assert_eq!(
        JOB.valid_events(&RUNNING),
        ["fail", "hold", "stop", "abort", "start"],
        "its own first, each once"
    );
}

#[test]
fn an_event_that_is_said_to_be_unhandled_has_a_name_and_is_refused() {
    let refused = JOB.next(&RUNNING, &Event::Elsewhere).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "invalid transition: state \"running\" does not handle event \"elsewhere\"; \
         valid events: [fail, hold, stop, abort, start]"
    );
}

#[test]
fn a_timeout_is_in_the_table() {
    assert_eq!(JOB.timeout(&RUNNING), Some(Duration::from_secs(5400)));
    assert!(matches!(JOB.timeout_event(&RUNNING), Some(Event::Fail)));
    assert_eq!(JOB.timeout(&State::Idle), None);
    assert!(JOB.timeout_event(&State::End).is_none());
}

#[test]
fn a_check_reports_what_may_be_meant_or_not() {
    let report = JOB.check();
    assert_eq!(report.terminal, ["end"]);
    assert_eq!(report.endless, [""; 0]);
    assert_eq!(report.unreachable, [""; 0]);
    assert_eq!(report.refusable, [("running", "stop")]);
    assert_eq!(report.ordered, [("running", "fail"), ("running", "stop")]);
}

mod circle {
    use super::machine;

    pub(crate) enum Light {
        Off,
        On,
        Broken,
    }

    pub(crate) enum Press {
        Button,
        Hammer,
    }

    machine! {
        #[machine(initial = Light::On)]
        pub(crate) LIGHT: Light, Press {
            Off => { Button => On }
            On  => { Hammer => Broken }
            Broken => { Button => Broken }
        }
    }
}

#[test]
fn a_check_finds_states_without_a_way_out_and_states_before_the_initial_one() {
    use circle::{LIGHT, Light, Press};
    let report = LIGHT.check();
    assert_eq!(report.terminal, [""; 0]);
    assert_eq!(report.endless, ["off", "on", "broken"]);
    assert_eq!(report.unreachable, ["off"]);
    assert!(matches!(LIGHT.initial(), Light::On));
    assert!(LIGHT.can(&Light::Broken, &Press::Button));
    assert!(!LIGHT.can(&Light::Off, &Press::Hammer));
}

#[test]
fn a_machine_is_drawn_for_mermaid() {
    assert_eq!(
        JOB.to_mermaid(),
        "\
stateDiagram-v2
    state \"on-hold\" as on_hold
    state \"end\" as end_
    [*] --> idle
    idle --> running : start
    idle --> end_ : abort
    running --> end_ : fail [tired] after 1h 30m
    running --> running : fail after 1h 30m (internal)
    running --> on_hold : hold
    running --> end_ : hold
    running --> end_ : stop [forced]
    running --> idle : stop [tired]
    running --> end_ : abort
    running --> running : start (internal)
    on_hold --> running : go-on
    on_hold --> running : start
    on_hold --> on_hold : hold (internal)
    on_hold --> end_ : abort
    end_ --> [*]
"
    );
}

#[test]
fn a_machine_is_drawn_for_graphviz() {
    assert_eq!(
        circle::LIGHT.to_dot(),
        "\
digraph \"light\" {
    rankdir=LR;
    node [shape=box, style=rounded];
    \"\" [shape=point];
    \"off\";
    \"on\";
    \"broken\";
    \"\" -> \"on\";
    \"off\" -> \"on\" [label=\"button\"];
    \"on\" -> \"broken\" [label=\"hammer\"];
    \"broken\" -> \"broken\" [label=\"button\"];
}
"
    );
    let dot = JOB.to_dot();
    assert!(dot.contains("    \"end\" [peripheries=2];\n"), "{dot}");
    assert!(
        dot.contains("[label=\"fail [tired] after 1h 30m\"];\n"),
        "{dot}"
    );
}

#[test]
fn a_machine_says_its_edges_when_it_is_debugged() {
    let text = format!("{:?}", circle::LIGHT);
    assert!(
        text.starts_with(
            "Machine { name: \"light\", edges: [Edge { from: \"off\", event: \"button\", \
             to: \"on\", guard: None, internal: false, after: None }, "
        ),
        "{text}"
    );
}

#[test]
fn the_cases_and_raw_names_of_variants_are_written_as_serde_writes_them() {
    enum Odd {
        r#Self_,
        HTTPGet,
    }
    enum Go {
        On,
    }
    machine! {
        #[machine(rename_all = "SCREAMING_SNAKE_CASE")]
        ODD_NAMES: Odd, Go { r#Self_ => { On => HTTPGet } }
    }
    assert_eq!(ODD_NAMES.name(), "odd_names");
    assert!(ODD_NAMES.states().eq(["SELF", "H_T_T_P_GET"]));
    assert!(ODD_NAMES.events().eq(["ON"]));
    assert!(ODD_NAMES.can(&Odd::r#Self_, &Go::On) && !ODD_NAMES.can(&Odd::HTTPGet, &Go::On));
}
