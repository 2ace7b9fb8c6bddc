//! What an engine does, as little as tests need of it.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use dokit_alarms::{Alarms, Due, Failure};
use dokit_storage::{Batch, KeyRange, ListOptions, Memory, Store, Timestamp, Transaction};
use serde::{Deserialize, Serialize};

/// Some moment to start from, not a round one.
pub(crate) const START: Timestamp = Timestamp::from_millis(1_795_231_096_429);

/// What jobs do in these tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Action {
    /// Adds a line to the log.
    Note(String),
    /// Writes, then fails.
    Fail { error: String },
    /// Fails, and says that trying is no use.
    GiveUp,
}

pub(crate) const JOBS: Alarms<Action> = Alarms::new();

pub(crate) fn note(text: &str) -> Action {
    Action::Note(text.to_owned())
}

pub(crate) fn fail(error: &str) -> Action {
    Action::Fail {
        error: error.to_owned(),
    }
}

/// The result of a future that never waits, as those of a store in memory do not.
pub(crate) fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits"),
    }
}

/// `millis` after the start.
pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

/// Runs an action: notes go to the log in the store, one key each, in order.
pub(crate) async fn act<T: Store>(
    txn: &mut Transaction<'_, T>,
    due: Due<Action>,
) -> Result<(), Failure> {
    match due.action {
        Action::Note(text) => log(txn, &text).await,
        Action::Fail { error } => {
            log(txn, "this must be rolled back").await?;
            Err(error.into())
        }
        Action::GiveUp => Err(Failure::give_up("no use")),
    }
}

/// Adds a line to the log.
pub(crate) async fn log<T: Store>(store: &mut T, text: &str) -> Result<(), Failure> {
    let range = ListOptions::new().prefix("log/").to_range()?;
    let lines = store.list(&range).await?.len();
    let mut batch = Batch::new();
    batch.put(format!("log/{lines:04}"), serde_json::to_string(text)?);
    Ok(store.commit(batch).await?)
}

/// The lines of the log.
pub(crate) async fn log_of<T: Store>(store: &T) -> Vec<String> {
    let range = ListOptions::new().prefix("log/");
    let lines = store.list(&range.to_range().unwrap()).await.unwrap();
    lines
        .into_iter()
        .map(|(_, json)| serde_json::from_str(&json).unwrap())
        .collect()
}

/// The engine's alarm fires: it is gone while the object deals with it.
pub(crate) fn fire(store: &mut Memory) -> Timestamp {
    ready(async {
        let at = store.alarm().await.unwrap().expect("no alarm is set");
        let mut batch = Batch::new();
        batch.delete_alarm();
        store.commit(batch).await.unwrap();
        at
    })
}

pub(crate) fn alarm(store: &Memory) -> Option<Timestamp> {
    ready(store.alarm()).unwrap()
}

/// Every key of the store.
pub(crate) fn keys(store: &Memory) -> Vec<String> {
    let all = ready(store.list(&KeyRange::default())).unwrap();
    all.into_iter().map(|(key, _)| key).collect()
}

/// The ids of the jobs that wait.
pub(crate) fn ids(store: &Memory) -> Vec<String> {
    let jobs = ready(JOBS.list(store)).unwrap();
    jobs.iter().map(|job| job.id().to_owned()).collect()
}
