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
    #[machine(unhandled(Ship))]
    ORDER: State, Event {
        Pending => { Pay => Paid }
        Paid => { Ship => Shipped }
    }
}

fn main() {}
