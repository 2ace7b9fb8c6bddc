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
        Pending => { Pay => Paid } after "1 day" => Pay
        Paid => { Ship => Shipped } after "1d" => Pay
        Shipped => {} after "1d" => Ship
    }
}

machine! {
    SECOND: State, Event {
        Pending => { Pay => Paid } after "0s" => Pay
        Paid => { Ship => Shipped }
        _ => { Ship => internal } after "1s" => Ship
    }
}

fn main() {}
