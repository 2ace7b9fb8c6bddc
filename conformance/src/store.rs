//! What every [`Store`] must do, as test bodies that take a store and know nothing else of it.
//!
//! A backend's own tests call [`run_all`], and [`run_all_durable`] where it outlives a crash:
//!
//! ```
//! use dokit_conformance::store;
//! use dokit_storage::Memory;
//!
//! async fn memory_is_a_store() {
//!     store::run_all(async || Memory::new()).await;
//! }
//! ```

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use dokit_storage::Store;

mod cases;
mod dice;
mod durable;
mod look;

/// Names each case and runs it on what `fresh` gives.
macro_rules! run_cases {
    ($fresh:ident, $($case:ident),* $(,)?) => {
        $(named(stringify!($case), async { cases::$case($fresh().await).await }).await;)*
    };
}

/// Runs every case, each on a fresh, empty store of its own.
///
/// # Panics
///
/// At the first case that fails, with its name and what it found.
pub async fn run_all<T: Store>(fresh: impl AsyncFn() -> T) {
    run_all_one_by_one(&fresh).await;
    named("two_stores_share_nothing", async {
        cases::two_stores_share_nothing(fresh().await, fresh().await).await;
    })
    .await;
}

/// The same for a place that has one store at a time: the object of a platform, say. What is fresh may be
/// the store of the case before, emptied.
///
/// # Panics
///
/// At the first case that fails, with its name and what it found.
pub async fn run_all_one_by_one<T: Store>(fresh: impl AsyncFn() -> T) {
    run_cases! {
        fresh,
        a_key_that_was_never_written_is_missing,
        a_value_comes_back_as_the_same_text,
        a_later_write_replaces_an_earlier_one,
        a_deleted_key_is_missing,
        a_batch_deletes_everything_first_and_writes_then,
        delete_all_deletes_the_keys_and_the_alarm,
        an_empty_batch_changes_nothing,
        a_batch_of_many_keys_is_one_commit,
        keys_are_listed_in_the_order_of_their_bytes,
        a_list_keeps_to_its_range_limit_and_direction,
        an_empty_range_lists_nothing,
        odd_characters_in_keys_mean_nothing,
        an_alarm_is_set_replaced_kept_and_deleted,
        an_alarm_outside_its_range_is_refused,
        a_key_at_the_limit_is_taken_and_one_over_it_is_refused,
        a_value_at_the_limit_is_taken_and_one_over_it_is_refused,
        a_refused_batch_changes_nothing,
        a_transaction_is_seen_from_within_and_takes_effect_on_commit,
        a_transaction_that_is_dropped_leaves_nothing,
        a_savepoint_is_rolled_back_alone,
        random_commits_and_lists_are_those_of_memory,
    }
}

/// Runs the cases for a store that outlives a crash. `reopen` drops the store as a crash would,
/// without a goodbye, and opens the same one again.
///
/// # Panics
///
/// At the first case that fails, with its name and what it found.
pub async fn run_all_durable<T: Store>(fresh: impl AsyncFn() -> T, reopen: impl AsyncFn(T) -> T) {
    named("what_was_committed_is_there_after_reopening", async {
        durable::what_was_committed_is_there_after_reopening(fresh().await, &reopen).await;
    })
    .await;
    named("a_deletion_outlives_reopening", async {
        durable::a_deletion_outlives_reopening(fresh().await, &reopen).await;
    })
    .await;
    named("what_was_not_committed_is_gone_after_reopening", async {
        durable::what_was_not_committed_is_gone_after_reopening(fresh().await, &reopen).await;
    })
    .await;
    named("a_random_run_is_whole_after_each_reopening", async {
        durable::a_random_run_is_whole_after_each_reopening(fresh().await, &reopen).await;
    })
    .await;
}

/// Runs a case; where it panics, panics with its name before its message.
async fn named(name: &str, case: impl Future<Output = ()>) {
    let mut case = pin!(case);
    let outcome = poll_fn(|context| {
        // Nothing of the case is looked at again after it panicked.
        match catch_unwind(AssertUnwindSafe(|| case.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await;
    if let Err(panic) = outcome {
        panic!("the store fails `{name}`: {}", message(&*panic));
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref().copied())
        .unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use dokit_storage::{Batch, Faults, KeyRange, Limits, Memory, Result, Timestamp};

    use super::*;

    /// Runs a future that never waits, as those of `Memory` never do.
    fn at_once<R>(future: impl Future<Output = R>) -> R {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => panic!("it waits"),
        }
    }

    #[test]
    fn memory_keeps_every_promise_of_a_store() {
        at_once(run_all(async || Memory::new()));
        at_once(run_all(async || Memory::new().with_limits(Limits::NONE)));
        at_once(run_all(async || Faults::new(Memory::new())));
        // Its content lives as long as one of its handles.
        at_once(run_all_durable(async || Memory::new(), async |store| store));
    }

    /// A store with one thing wrong.
    struct Wrong<F>(Memory, F);

    impl<F: Fn(&mut KeyRange, &mut Batch) + Send + Sync> Store for Wrong<F> {
        async fn get(&self, key: &str) -> Result<Option<String>> {
            self.0.get(key).await
        }

        async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
            let mut range = range.clone();
            (self.1)(&mut range, &mut Batch::new());
            self.0.list(&range).await
        }

        async fn alarm(&self) -> Result<Option<Timestamp>> {
            self.0.alarm().await
        }

        async fn commit(&mut self, mut batch: Batch) -> Result<()> {
            (self.1)(&mut KeyRange::default(), &mut batch);
            self.0.commit(batch).await
        }
    }

    #[test]
    #[should_panic(expected = "the store fails `a_list_keeps_to_its_range_limit_and_direction`")]
    fn a_store_that_forgets_the_limit_is_found() {
        at_once(run_all(async || {
            Wrong(Memory::new(), |range: &mut KeyRange, _: &mut Batch| {
                range.limit = None;
            })
        }));
    }

    #[test]
    #[should_panic(expected = "the store fails `keys_are_listed_in_the_order_of_their_bytes`")]
    fn a_store_that_cannot_read_backwards_is_found() {
        at_once(run_all(async || {
            Wrong(Memory::new(), |range: &mut KeyRange, _: &mut Batch| {
                range.reverse = false;
            })
        }));
    }

    #[test]
    #[should_panic(expected = "the store fails `delete_all_deletes_the_keys_and_the_alarm`")]
    fn a_store_that_keeps_the_alarm_after_delete_all_is_found() {
        at_once(run_all(async || {
            Wrong(Memory::new(), |_: &mut KeyRange, batch: &mut Batch| {
                if batch.deletes_all() && batch.writes().next().is_none() {
                    batch.set_alarm(Timestamp::from_millis(5));
                }
            })
        }));
    }

    #[test]
    #[should_panic(expected = "the store fails `two_stores_share_nothing`")]
    fn stores_that_share_their_content_are_found() {
        let shared = Memory::new();
        at_once(async {
            let fresh = async || shared.clone();
            named("two_stores_share_nothing", async {
                cases::two_stores_share_nothing(fresh().await, fresh().await).await;
            })
            .await;
        });
    }

    #[test]
    #[should_panic(expected = "the store fails `what_was_committed_is_there_after_reopening`")]
    fn a_store_that_forgets_is_found() {
        at_once(run_all_durable(
            async || Memory::new(),
            async |_| Memory::new(),
        ));
    }
}
