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
        Pending => { Pay => Paid, Pay if is_rich => Shipped }
        Paid => { Ship if is_rich => Shipped, Ship if is_rich => Pending }
    }
}

fn is_rich(_: &State, _: &Event) -> Result<(), String> {
    Ok(())
}

fn main() {}
