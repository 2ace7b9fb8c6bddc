use dokit_alarms::Outcome;
use dokit_storage::{Batch, Error, Faults, KeyRange, Limits, Memory, Result, Store, Timestamp};
use futures_executor::block_on;

use crate::world::{JOBS, START, act, alarm, at, log_of, note};

fn three_jobs() -> (Memory, Faults<Memory>) {
    let disk = Memory::new();
    let mut store = Faults::new(disk.clone());
    block_on(async {
        for id in ["a", "b", "c"] {
            JOBS.schedule_as(&mut store, START, id, "1s", &note(id))
                .await
                .unwrap();
        }
    });
    (disk, store)
}

#[test]
fn a_wake_up_that_crashes_between_jobs_keeps_what_was_committed_and_the_rest_due() {
    let (disk, mut store) = three_jobs();
    store.fail_commit(2);
    let error = block_on(JOBS.run_due(&mut store, at(1_000), act)).unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.to_string(), "commit in the store");
    assert_eq!(block_on(log_of(&disk)), ["a"]);
    assert_eq!(
        alarm(&disk),
        Some(at(1_100)),
        "set in the same commit as the first job's writes"
    );
    let report = block_on(JOBS.run_due(&mut store, at(1_100), act)).unwrap();
    assert_eq!(report.ran.len(), 2);
    assert_eq!(block_on(log_of(&disk)), ["a", "b", "c"]);
}

#[test]
fn a_commit_whose_answer_was_lost_is_not_done_twice() {
    let (disk, mut store) = three_jobs();
    store.lose_commit_answer(1);
    assert!(block_on(JOBS.run_due(&mut store, at(1_000), act)).is_err());
    let report = block_on(JOBS.run_due(&mut store, at(1_100), act)).unwrap();
    assert_eq!(report.ran.len(), 2);
    assert_eq!(block_on(log_of(&disk)), ["a", "b", "c"]);
}

#[test]
fn a_disk_that_cannot_be_read_is_an_error_and_loses_nothing() {
    let (disk, mut store) = three_jobs();
    for nth in 1.. {
        store.fail_read(nth);
        let result = block_on(JOBS.run_due(&mut store, at(1_000), act));
        store.heal();
        if result.is_ok_and(|report| report.ran.is_empty()) {
            break;
        }
        assert!(nth < 200, "it never ends");
    }
    let mut log = block_on(log_of(&disk));
    // A read that failed within an action is that action's failure, and is tried again.
    let mut now = at(1_000);
    while let Some(next) = alarm(&disk) {
        now = now.max(next);
        let report = block_on(JOBS.run_due(&mut store, now, act)).unwrap();
        assert!(report.ran.iter().all(|ran| ran.outcome == Outcome::Done));
        log = block_on(log_of(&disk));
    }
    log.sort();
    assert_eq!(log, ["a", "b", "c"]);
}

/// A store that does not accept every batch, as an engine may.
struct Picky(Memory);

impl Store for Picky {
    async fn get(&self, key: &str) -> Result<Option<String>> {
        self.0.get(key).await
    }

    async fn list(&self, range: &KeyRange) -> Result<Vec<(String, String)>> {
        self.0.list(range).await
    }

    async fn alarm(&self) -> Result<Option<Timestamp>> {
        self.0.alarm().await
    }

    async fn commit(&mut self, batch: Batch) -> Result<()> {
        if batch.writes().any(|(key, _)| key == "refused") {
            let reason = "this store does not like it".to_owned();
            let key = "refused".to_owned();
            return Err(Error::InvalidValue { key, reason });
        }
        self.0.commit(batch).await
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }
}

#[test]
fn a_commit_that_the_store_refuses_is_the_failure_of_that_action_alone() {
    let mut store = Picky(Memory::new());
    block_on(async {
        JOBS.schedule_as(&mut store, START, "a", "1s", &note("a"))
            .await
            .unwrap();
        JOBS.schedule_as(&mut store, START, "b", "1s", &note("b"))
            .await
            .unwrap();
        let report = JOBS.run_due(&mut store, at(1_000), async |txn, due| {
            if due.id == "a" {
                let mut batch = Batch::new();
                batch.put("refused", "1");
                Store::commit(txn, batch).await?;
            }
            act(txn, due).await
        });
        let report = report.await.unwrap();
        let error = "invalid value of \"refused\": this store does not like it".to_owned();
        assert_eq!(
            report.ran[0].outcome,
            Outcome::Retrying { error, failed: 1 }
        );
        assert_eq!(report.ran[1].outcome, Outcome::Done);
        assert_eq!(log_of(&store).await, ["b"]);
    });
}

#[test]
fn each_operation_is_one_commit() {
    let mut store = Faults::new(Memory::new());
    block_on(async {
        let jobs = &JOBS;
        jobs.schedule(&mut store, START, "1s", &note("a"))
            .await
            .unwrap();
        assert_eq!(store.commits(), 1);
        jobs.schedule_as(&mut store, START, "b", "1s", &note("b"))
            .await
            .unwrap();
        jobs.every(&mut store, START, "c", "1s", &note("c"))
            .await
            .unwrap();
        assert_eq!(store.commits(), 3);
        // What changes nothing writes nothing.
        jobs.every(&mut store, START, "c", "1s", &note("c"))
            .await
            .unwrap();
        jobs.cancel(&mut store, "unknown").await.unwrap();
        let report = jobs.run_due(&mut store, at(999), act).await.unwrap();
        assert!(report.ran.is_empty());
        assert_eq!(store.commits(), 3);
        let report = jobs.run_due(&mut store, at(1_000), act).await.unwrap();
        assert_eq!((report.ran.len(), store.commits()), (3, 6));
        jobs.cancel(&mut store, "c").await.unwrap();
        assert_eq!(store.commits(), 7);
    });
}
