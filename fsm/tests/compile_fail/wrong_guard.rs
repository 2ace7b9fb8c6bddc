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
        Pending => { Pay if is_rich => Paid }
        Paid => { Ship if is_paid => Shipped }
    }
}

fn is_rich(_: &State) -> Result<(), String> {
    Ok(())
}

fn is_paid(_: &State, _: &Event) -> bool {
    true
}

fn main() {}
