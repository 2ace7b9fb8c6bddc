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
        Pending => { Pay => Paid, Ship => Shipped }
        Paid => { Ship => Shipped }
        _ => { Ship => internal, Pay => internal }
    }
}

fn main() {}
