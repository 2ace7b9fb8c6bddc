use std::time::Duration;

use dokit_alarms::{ActionKey, Failure, Handled, Retries};
use dokit_storage::{Batch, Memory, Store, Transaction};
use futures_executor::block_on;
use serde::{Deserialize, Serialize};

use crate::world::{JOBS, START, act, alarm, at, fire, keys, log, log_of, note};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    CheckExpiry,
    SendReminder,
    Cleanup,
}

const ACTION: ActionKey<Action> = ActionKey::new();

async fn done<T: Store>(txn: &mut Transaction<'_, T>, action: Action) -> Result<(), Failure> {
    log(txn, &format!("{action:?}")).await
}

fn put(store: &mut Memory, json: &str) {
    let mut batch = Batch::new();
    batch.put("__alarm_action", json);
    block_on(store.commit(batch)).unwrap();
}

#[test]
fn the_name_and_the_alarm_are_one_commit_and_the_moment_is_answered() {
    let mut store = Memory::new();
    let mut txn = Transaction::begin(&mut store);
    let due = block_on(ACTION.schedule(&mut txn, START, "1h", &Action::SendReminder)).unwrap();
    assert_eq!(due, at(3_600_000));
    assert_eq!(alarm(&Memory::new()), None);
    block_on(txn.commit()).unwrap();
    let name = block_on(store.get("__alarm_action")).unwrap();
    assert_eq!(name.as_deref(), Some("\"send-reminder\""));
    assert_eq!(alarm(&store), Some(due));
    // Below it, one commit: a store that fails the second one sees none.
    let faults = dokit_storage::Faults::new(Memory::new());
    faults.fail_commits_from(2);
    let mut store = faults.clone();
    block_on(ACTION.schedule(&mut store, START, "1h", &Action::Cleanup)).unwrap();
    assert_eq!(faults.commits(), 1);
}

#[test]
fn handling_runs_the_action_and_clears_its_name() {
    let mut store = Memory::new();
    block_on(ACTION.schedule(&mut store, START, "1h", &Action::CheckExpiry)).unwrap();
    let now = fire(&mut store);
    let handled = block_on(ACTION.handle(&mut store, now, async |txn, action| {
        assert_eq!(txn.get("__alarm_action").await?, None);
        done(txn, action).await
    }));
    assert_eq!(handled.unwrap(), Handled::Done);
    assert_eq!(block_on(log_of(&store)), ["CheckExpiry"]);
    assert_eq!(keys(&store), ["__deadlines", "log/0000"]);
    assert_eq!(alarm(&store), None);
}

#[test]
fn an_action_that_schedules_the_next_one_is_not_undone_by_the_clearing() {
    let mut store = Memory::new();
    block_on(ACTION.schedule(&mut store, START, "1h", &Action::SendReminder)).unwrap();
    for _ in 0..3 {
        let now = fire(&mut store);
        let handled = block_on(ACTION.handle(&mut store, now, async |txn, action| {
            ACTION.schedule(txn, now, "1h", &action).await?;
            done(txn, action).await
        }));
        assert_eq!(handled.unwrap(), Handled::Done);
        assert_eq!(
            alarm(&store),
            Some(now.saturating_add(Duration::from_secs(3600)))
        );
    }
    assert_eq!(block_on(log_of(&store)).len(), 3);
}

#[test]
fn early_late_and_repeated_wake_ups_do_no_harm() {
    let mut store = Memory::new();
    let due = block_on(ACTION.schedule(&mut store, START, "1h", &Action::Cleanup)).unwrap();
    fire(&mut store);
    let early = block_on(ACTION.handle(&mut store, START, done)).unwrap();
    assert_eq!(early, Handled::NotDue { at: due });
    assert_eq!(alarm(&store), Some(due));
    let late = at(999_999_999);
    let handled = block_on(ACTION.handle(&mut store, late, done)).unwrap();
    assert_eq!(handled, Handled::Done);
    let again = block_on(ACTION.handle(&mut store, late, done)).unwrap();
    assert_eq!(again, Handled::Nothing);
    assert_eq!(block_on(log_of(&store)), ["Cleanup"]);
}

#[test]
fn a_missing_name_is_an_answer_and_no_endless_retry() {
    let mut store = Memory::new();
    block_on(ACTION.schedule(&mut store, START, "1h", &Action::Cleanup)).unwrap();
    let mut batch = Batch::new();
    batch.delete("__alarm_action");
    block_on(store.commit(batch)).unwrap();
    let now = fire(&mut store);
    let handled = block_on(ACTION.handle(&mut store, now, done)).unwrap();
    assert_eq!(handled, Handled::Missing);
    assert_eq!(alarm(&store), None);
}

#[test]
fn an_unknown_action_names_the_known_ones_and_is_parked() {
    let mut store = Memory::new();
    // By hand, as the seed did it: first the name, then the alarm.
    for name in ["\"nope\"", "\"toString\"", "\"\""] {
        put(&mut store, name);
        let handled = block_on(ACTION.handle(&mut store, START, done)).unwrap();
        let Handled::Dead { error } = handled else {
            panic!("{handled:?}");
        };
        let bare = name.trim_matches('"');
        assert_eq!(
            error,
            format!(
                "decode action {name}: unknown variant `{bare}`, expected one of `check-expiry`, \
                 `send-reminder`, `cleanup` at line 1 column {}",
                name.len()
            )
        );
        assert_eq!(alarm(&store), None);
        let dead = block_on(ACTION.dead(&store)).unwrap().unwrap();
        assert_eq!((dead.json.as_str(), dead.at), (name, START));
    }
    let handled = block_on(ACTION.handle(&mut store, START, done)).unwrap();
    assert_eq!(handled, Handled::Nothing);
    // A later version knows the name again.
    put(&mut store, "\"cleanup\"");
    let occupied = block_on(ACTION.revive(&mut store, at(1_000))).unwrap_err();
    assert_eq!(
        occupied.to_string(),
        "alarm \"__alarm_action\" is scheduled already; cancel it before reviving the dead one"
    );
    assert!(block_on(ACTION.cancel(&mut store)).unwrap());
    assert!(block_on(ACTION.revive(&mut store, at(1_000))).unwrap());
    assert_eq!(alarm(&store), Some(at(1_000)));
    assert!(!block_on(ACTION.revive(&mut store, at(1_000))).unwrap());
}

#[test]
fn a_name_put_by_hand_runs_when_the_alarm_fires() {
    let mut store = Memory::new();
    put(&mut store, "\"check-expiry\"");
    let handled = block_on(ACTION.handle(&mut store, START, done)).unwrap();
    assert_eq!(handled, Handled::Done);
    assert_eq!(block_on(log_of(&store)), ["CheckExpiry"]);
}

#[test]
fn a_failing_action_is_rolled_back_tried_again_and_parked_at_last() {
    let mut store = Memory::new();
    let action = ACTION.retries(Retries::new().tries(3));
    block_on(action.schedule(&mut store, START, "1s", &Action::Cleanup)).unwrap();
    for failed in 1..3 {
        let now = fire(&mut store);
        let handled = block_on(action.handle(&mut store, now, async |txn, action| {
            done(txn, action).await?;
            Err("the mail server is down".into())
        }));
        let next = alarm(&store).unwrap();
        assert_eq!(
            handled.unwrap(),
            Handled::Retrying {
                error: "the mail server is down".to_owned(),
                failed,
                at: next
            }
        );
        assert!(next > now);
        // Woken for something else in between, it does not run early.
        let early = block_on(action.handle(&mut store, now, done)).unwrap();
        assert_eq!(early, Handled::NotDue { at: next });
    }
    let now = fire(&mut store);
    let handled = block_on(action.handle(&mut store, now, async |_, _| Err("still down".into())));
    let error = "still down".to_owned();
    assert_eq!(handled.unwrap(), Handled::Dead { error });
    assert!(block_on(log_of(&store)).is_empty());
    assert_eq!(alarm(&store), None);
    let dead = block_on(action.dead(&store)).unwrap().unwrap();
    assert_eq!(
        (dead.json.as_str(), dead.error.as_str()),
        ("\"cleanup\"", "still down")
    );
}

#[test]
fn an_action_that_deletes_everything_leaves_nothing() {
    let mut store = Memory::new();
    block_on(ACTION.schedule(&mut store, START, "1s", &Action::Cleanup)).unwrap();
    let now = fire(&mut store);
    let handled = block_on(ACTION.handle(&mut store, now, async |txn, _| {
        let mut batch = Batch::new();
        batch.delete_all();
        Ok(Store::commit(txn, batch).await?)
    }));
    assert_eq!(handled.unwrap(), Handled::Done);
    assert!(keys(&store).is_empty());
}

#[test]
fn actions_under_other_keys_and_jobs_do_not_disturb_each_other() {
    let mut store = Memory::new();
    let other = ACTION.key("__other");
    block_on(async {
        ACTION
            .schedule(&mut store, START, "1s", &Action::Cleanup)
            .await
            .unwrap();
        other
            .schedule(&mut store, START, "2s", &Action::CheckExpiry)
            .await
            .unwrap();
        JOBS.schedule(&mut store, START, "3s", &note("job"))
            .await
            .unwrap();
    });
    for _ in 0..3 {
        let now = fire(&mut store);
        block_on(async {
            let report = JOBS.run_due(&mut store, now, act).await.unwrap();
            assert!(!report.more);
            for key in [ACTION, other] {
                let handled = key.handle(&mut store, now, done).await.unwrap();
                assert!(!matches!(handled, Handled::Missing), "{handled:?}");
            }
        });
    }
    assert_eq!(block_on(log_of(&store)), ["Cleanup", "CheckExpiry", "job"]);
    assert_eq!(alarm(&store), None);
}

#[test]
fn an_empty_key_is_refused() {
    let mut store = Memory::new();
    let error = block_on(
        ACTION
            .key("")
            .schedule(&mut store, START, "1s", &Action::Cleanup),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "invalid key \"\": it is empty"
    );
}
