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
        Pending => { Pay => pay -> [Paid, Shipped] }
        Paid => { Ship => Shipped }
    }
}

fn pay(_: &State, _: &Event) -> Option<State> {
    None
}

fn main() {}
