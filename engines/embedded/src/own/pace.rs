use std::collections::HashMap;

use dokit_object::engine::Call;

/// Which of an object's methods were seen to run from beginning to end without waiting for anything.
///
/// A method that waits in the middle, for another object say, has its writes open meanwhile, and with them
/// those of the calls before it in the same transaction, whose answers would wait too. So a method runs by
/// itself until it was seen not to wait, and for good once it was seen to.
#[derive(Debug, Default)]
pub(super) struct Pace {
    prompt: HashMap<&'static str, bool>,
}

impl Pace {
    pub(super) fn is_prompt(&self, call: &Call) -> bool {
        self.prompt.get(kind(call)).is_some_and(|prompt| *prompt)
    }

    pub(super) fn note(&mut self, kind: &'static str, waited: bool) {
        *self.prompt.entry(kind).or_insert(true) &= !waited;
    }
}

/// What calls of one kind are known by. No method's name has a slash in it.
pub(crate) fn kind(call: &Call) -> &'static str {
    match call {
        Call::Rpc(call) => call.method.name(),
        Call::Fetch(_) => "/fetch",
        Call::Alarm => "/alarm",
        Call::Socket(_) => "/socket",
        Call::Delivered(_) => "/delivered",
    }
}
