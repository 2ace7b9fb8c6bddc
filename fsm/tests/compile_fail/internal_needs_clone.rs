use dokit_fsm::machine;

enum State {
    Pending,
}

enum Event {
    Note,
}

machine! {
    ORDER: State, Event {
        Pending => { Note => internal }
    }
}

fn main() {}
