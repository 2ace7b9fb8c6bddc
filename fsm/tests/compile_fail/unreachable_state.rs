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
        Pending => { Pay => Paid }
        Shipped => { Ship => Paid }
    }
}

fn main() {}
