use dokit_fsm::machine;

#[derive(serde::Serialize, serde::Deserialize)]
enum State {
    Pending,
    Paid,
}

enum Event {
    Pay,
}

machine! {
    ORDER: State, Event {
        Pending => { Pay => Paid }
    }
}

struct Mail;

fn main() {
    let _ = ORDER.persisted().hooks(Mail);
}
