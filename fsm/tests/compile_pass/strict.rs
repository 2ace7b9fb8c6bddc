//! A table warns of nothing, whatever its user denies, and takes names that the macro uses itself.
#![deny(warnings, missing_docs, clippy::all, clippy::pedantic, clippy::restriction)]
#![forbid(unsafe_code, clippy::unwrap_used)]

mod states {
    #[derive(Clone)]
    pub(crate) enum State {
        Off,
        On,
    }
}

enum Event {
    Press,
    Look,
}

/// Guards with the names of the generated code's variables.
fn from(_: &states::State, _: &Event) -> Result<(), &'static str> {
    Ok(())
}

fn input(_: &states::State, _: &Event) -> Result<(), &'static str> {
    Err("no")
}

dokit_fsm::machine! {
    LIGHT: states::State, Event {
        Off => { Press if from => On, Press if input => Off }
        On => { Press => Off, Look => internal }
    }
}

macro_rules! in_a_macro {
    ($name:ident, $state:ident) => {
        dokit_fsm::machine! {
            $name: states::State, Event {
                $state => { Press => On, Look => internal }
            }
        }
    };
}

in_a_macro!(LAMP, Off);

fn main() {
    assert!(LIGHT.can(&states::State::Off, &Event::Press));
    assert!(LAMP.can(&states::State::Off, &Event::Look));
}
