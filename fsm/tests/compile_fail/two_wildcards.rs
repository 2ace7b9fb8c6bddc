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
        _ => { Ship => Shipped }
        _ => { Pay => internal } after "1s" => Pay
    }
}

fn main() {}
