use dokit_fsm::machine;

enum State {
    Pending,
    Paid { amount: u64 },
    Shipped(String),
}

enum Event {
    Pay,
    Ship,
    Expire { late: bool },
}

machine! {
    ORDER: State, Event {
        Pending => { Pay => Paid, Expire => Shipped } after "1d" => Expire
        Paid => { Ship => Shipped }
    }
}

fn main() {}
