use dokit_fsm::machine;

enum State {
    Pending,
    Paid,
    Shipped,
}

enum Event {
    Pay,
    Ship,
}

machine! {
    ORDER: State, Event {
        Pending => { Pay -> Paid }
    }
}

machine! {
    #[machine(name = "order")]
    OTHER: State, Event {
        Pending => { Pay => Paid }
    }
}

machine! {
    #[machine(rename_all = "lower")]
    THIRD: State, Event {
        Pending => { Pay => Paid }
    }
}

machine! {
    FOURTH: State, Event {
        Pending => { Pay => State::Paid }
    }
}

machine! {
    FIFTH: State, Event {
        Pending => { Pay => pay -> [] }
    }
}

machine! {
    SIXTH: State, Event {}
}

fn main() {}
