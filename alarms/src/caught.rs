//! An action that panics has failed, and stops no other.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use crate::Failure;

/// Runs an action. A panic in it becomes its failure: what it wrote is rolled back as after any other
/// error, and it is tried again. (Where panics abort, as on wasm, there is nothing to catch.)
pub(crate) async fn caught(run: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut run = pin!(run);
    poll_fn(|context| {
        // The action is not polled again after a panic, and its transaction is dropped.
        match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(context))) {
            Ok(poll) => poll,
            Err(panic) => {
                let text = format!("the action panicked: {}", text_of(&*panic));
                Poll::Ready(Err(Failure::from(text)))
            }
        }
    })
    .await
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text")
}
