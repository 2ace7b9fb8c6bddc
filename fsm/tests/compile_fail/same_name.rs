use dokit_fsm::machine;

#[allow(non_camel_case_types)]
enum State {
    OnHold,
    On_Hold,
}

enum Event {
    Go,
}

machine! {
    ORDER: State, Event {
        OnHold => { Go => On_Hold }
    }
}

fn main() {}
