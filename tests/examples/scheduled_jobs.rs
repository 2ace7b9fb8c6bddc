//! Scheduled jobs as a process, over HTTP; and their times, by the test kit's clock.

#[path = "../../examples/scheduled_jobs.rs"]
#[expect(unreachable_pub, reason = "the example, without its main")]
mod example;

use std::{collections::BTreeSet, thread, time::Duration};

use crate::support::{Server, awake_and_asleep};
use dokit::object::{
    Stub,
    testing::{TestHost, block_on},
};
use example::{Account, ScheduledJobs, ScheduledJobsApiClient, Task};
use serde_json::{Value, json};
use tempfile::tempdir;

const ANN: &str = "/scheduled-jobs/ann";

/// Asks until nothing waits any more, and gives the account then.
fn wait_until_done(server: &Server) -> Value {
    while server.post(&format!("{ANN}/list_jobs"), "[]").1 != json!([]) {
        thread::yield_now();
    }
    server.post(&format!("{ANN}/get_account"), "[]").1
}

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("scheduled_jobs", |server| {
        server.play_header(include_str!("../../examples/scheduled_jobs.rs"));
    });
}

#[test]
fn jobs_run_when_their_time_has_come() {
    awake_and_asleep("scheduled_jobs", |server| {
        let ask = |method: &str, body: &str| server.post(&format!("{ANN}/{method}"), body);
        let (status, id) = ask("schedule", r#"["1ms", {"type": "deposit", "cents": 500}]"#);
        assert_eq!(status, 200);
        let account = wait_until_done(server);
        assert_eq!(account["cents"], 500);
        let done = &account["done"][0];
        assert_eq!((&done["id"], &done["attempt"]), (&id, &json!(1)));
        assert!(done["at"].as_i64() >= done["planned"].as_i64());

        let rent = r#"["rent", "30d", {"type": "pay", "cents": 300, "to": "bob"}]"#;
        let (_, first) = ask("every", rent);
        assert_eq!(
            ask("every", rent),
            (200, first.clone()),
            "it keeps its rhythm"
        );
        let (_, jobs) = ask("list_jobs", "[]");
        let job = json!([{
            "id": "rent", "at": first, "every": "30d", "failed": 0, "error": null,
            "task": {"type": "pay", "cents": 300, "to": "bob"},
        }]);
        assert_eq!(jobs, job);
        assert_eq!(ask("cancel", r#"["rent"]"#), (200, json!(true)));
        assert_eq!(ask("cancel", r#"["rent"]"#), (200, json!(false)));
        assert_eq!(ask("list_jobs", "[]"), (200, json!([])));
    });
}

#[test]
fn what_cannot_be_scheduled_is_refused_and_leaves_nothing() {
    awake_and_asleep("scheduled_jobs", |server| {
        let ask = |method: &str, body: &str| server.post(&format!("{ANN}/{method}"), body);
        let task = r#"{"type": "deposit", "cents": 1}"#;
        let long = "x".repeat(513);
        for (method, body, code) in [
            (
                "schedule",
                format!(r#"["soon", {task}]"#),
                "invalid_duration",
            ),
            ("schedule", format!(r#"["0s", {task}]"#), "invalid_duration"),
            (
                "schedule",
                format!(r#"["-1s", {task}]"#),
                "invalid_duration",
            ),
            (
                "schedule",
                format!(r#"["100000d", {task}]"#),
                "invalid_duration",
            ),
            ("schedule", format!("[null, {task}]"), "invalid_arguments"),
            (
                "schedule",
                r#"["1s", {"type": "steal"}]"#.into(),
                "invalid_arguments",
            ),
            (
                "schedule",
                r#"["1s", {"type": "deposit", "cents": -1}]"#.into(),
                "invalid_arguments",
            ),
            (
                "every",
                format!(r#"["a", "1ms", {task}]"#),
                "invalid_interval",
            ),
            (
                "every",
                format!(r#"["", "1h", {task}]"#),
                "invalid_alarm_id",
            ),
            (
                "every",
                format!(r#"["{long}", "1h", {task}]"#),
                "invalid_alarm_id",
            ),
        ] {
            let (status, told) = ask(method, &body);
            assert_eq!((status, &told["code"]), (400, &json!(code)), "{body:.60}");
        }
        assert_eq!(ask("retry", r#"["nothing"]"#), (200, json!(false)));
        assert_eq!(ask("list_jobs", "[]"), (200, json!([])));
    });
}

#[test]
fn each_job_runs_once_though_the_process_is_killed() {
    let data = tempdir().unwrap();
    let mut server = Server::start("scheduled_jobs", data.path(), &[]);
    let mut ids = BTreeSet::new();
    for after in 1..=60 {
        let body = format!(r#"["{after}ms", {{"type": "deposit", "cents": 1}}]"#);
        let (_, id) = server.post(&format!("{ANN}/schedule"), &body);
        ids.insert(id.as_str().unwrap().to_owned());
        if after % 20 == 0 {
            // Some have run, some run now, some wait.
            server = server.restart("scheduled_jobs", data.path(), &[]);
        }
    }
    let account = wait_until_done(&server);
    assert_eq!(account["cents"], 60);
    let done = account["done"].as_array().unwrap().iter();
    let done: Vec<_> = done.map(|done| done["id"].as_str().unwrap()).collect();
    assert_eq!(done.len(), 60);
    assert_eq!(
        done.into_iter().collect::<BTreeSet<_>>(),
        ids.iter().map(String::as_str).collect()
    );
}

fn deposit(cents: u64) -> Task {
    Task::Deposit { cents }
}

fn pay(cents: u64) -> Task {
    let to = "bob".to_owned();
    Task::Pay { cents, to }
}

/// An account of its own, and its host.
fn account() -> (TestHost, ScheduledJobsApiClient<Stub>) {
    let host = TestHost::new().object::<ScheduledJobs>();
    let jobs = ScheduledJobsApiClient::new(host.namespace::<ScheduledJobs>().get_by_name("ann"));
    (host, jobs)
}

fn ids(account: &Account) -> Vec<&str> {
    account.done.iter().map(|done| done.id.as_str()).collect()
}

/// Whatever commit fails, or is lost, or its answer is: the deposits are made once each.
#[test]
fn none_is_lost_or_repeated_when_one_fails() {
    block_on(async {
        for nth in 1..=12 {
            for lost in [false, true] {
                let case = format!("commit {nth}, lost {lost}");
                let (host, jobs) = account();
                for task in [deposit(1), pay(1_000), deposit(10), deposit(100)] {
                    jobs.schedule("1h".to_owned(), task).await.unwrap();
                }
                let id = host.namespace::<ScheduledJobs>().id_from_name("ann");
                let disk = host.disk::<ScheduledJobs>(&id);
                if lost {
                    disk.lose_commit_answer(nth);
                } else {
                    disk.fail_commit(nth);
                }
                host.advance("59m").await;
                assert_eq!(jobs.get_account().await.unwrap().cents, 0, "{case}: early");
                host.advance("2d").await;
                host.crash();
                let account = jobs.get_account().await.unwrap();
                assert_eq!(account.cents, 111, "{case}");
                assert_eq!(
                    ids(&account),
                    ["#00000001", "#00000003", "#00000004"],
                    "{case}"
                );
                let failed = jobs.failed_jobs().await.unwrap();
                assert_eq!(failed.len(), 1, "{case}");
                assert_eq!(
                    (&failed[0].task, failed[0].tries),
                    (&pay(1_000), 5),
                    "{case}"
                );
                assert_eq!(failed[0].error, "there are 111 cents", "{case}");
            }
        }
    });
}

#[test]
fn one_that_fails_is_tried_again_until_it_can_be_done() {
    block_on(async {
        let (host, jobs) = account();
        jobs.schedule("1s".to_owned(), pay(300)).await.unwrap();
        host.advance("1s").await;
        let waiting = jobs.list_jobs().await.unwrap();
        assert_eq!(
            (waiting[0].failed, waiting[0].error.as_deref()),
            (1, Some("there are 0 cents"))
        );
        jobs.schedule("1s".to_owned(), deposit(500)).await.unwrap();
        host.sleep();
        host.advance("10s").await;
        let account = jobs.get_account().await.unwrap();
        assert_eq!(account.cents, 200);
        assert_eq!(account.done[1].attempt, 2);
        assert_eq!(jobs.list_jobs().await.unwrap(), []);

        // One whose tries are used up waits for somebody who sees to it.
        let id = jobs.schedule("1s".to_owned(), pay(300)).await.unwrap();
        host.advance("1h").await;
        assert_eq!(jobs.failed_jobs().await.unwrap()[0].id, id);
        jobs.schedule("1s".to_owned(), deposit(500)).await.unwrap();
        host.advance("1h").await;
        assert_eq!(
            jobs.get_account().await.unwrap().cents,
            700,
            "it is not tried by itself"
        );
        assert!(jobs.retry(id).await.unwrap());
        host.settle().await;
        assert_eq!(jobs.get_account().await.unwrap().cents, 400);
        assert_eq!(jobs.failed_jobs().await.unwrap(), []);
    });
}

#[test]
fn a_recurring_job_keeps_its_rhythm_through_sleep_crashes_and_failures() {
    block_on(async {
        let (host, jobs) = account();
        let first = jobs
            .every("rent".to_owned(), "1d".to_owned(), pay(100))
            .await
            .unwrap();
        // On the first day there is not enough, for all the tries.
        jobs.schedule("1d 1h".to_owned(), deposit(1_000))
            .await
            .unwrap();
        for day in 1..=5 {
            host.advance("1d").await;
            if day % 2 == 0 {
                host.sleep()
            } else {
                host.crash()
            }
        }
        let account = jobs.get_account().await.unwrap();
        let rents = account.done.iter().filter(|done| done.id == "rent");
        let planned: Vec<_> = rents.map(|done| (done.planned, done.at)).collect();
        let day = |day: u64| first.saturating_add(Duration::from_secs((day - 1) * 24 * 60 * 60));
        assert_eq!(planned, [2, 3, 4, 5].map(|at| (day(at), day(at))));
        let failed = jobs.failed_jobs().await.unwrap();
        assert_eq!(
            (failed.len(), failed[0].tries),
            (1, 5),
            "the rent of the first day"
        );
    });
}
