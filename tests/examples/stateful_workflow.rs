//! The workflow as a process, over HTTP; and what takes its time, by the test kit's clock.

#[path = "../../examples/stateful_workflow.rs"]
#[expect(unreachable_pub, reason = "the example, without its main")]
mod example;

use std::thread;

use crate::support::{Server, awake_and_asleep};
use dokit::{
    client::CallError,
    object::{
        Stub,
        testing::{TestHost, block_on},
    },
};
use example::{
    NewStep, Outcome, StatefulWorkflow, StatefulWorkflowApiClient, Status, StepRunner, StepStatus,
    Worker, Workflow, WorkflowError,
};
use serde_json::{Value, json};
use tempfile::tempdir;

/// A workflow of a server.
#[derive(Clone, Copy)]
struct Order<'s> {
    server: &'s Server,
    name: &'s str,
}

impl Order<'_> {
    fn ask(&self, method: &str, body: &Value) -> (u16, Value) {
        let path = format!("/stateful-workflow/{}/{method}", self.name);
        self.server.post(&path, &body.to_string())
    }

    /// Calls a method without arguments that has to succeed.
    fn get(&self, method: &str) -> Value {
        let (status, answer) = self.ask(method, &json!([]));
        assert_eq!(status, 200, "{method}: {answer}");
        answer
    }

    /// Calls a method without arguments that has to be refused.
    fn refused(&self, method: &str) -> (u16, String) {
        let (status, answer) = self.ask(method, &json!([]));
        (
            status,
            answer["code"].as_str().unwrap_or_default().to_owned(),
        )
    }

    fn create(&self, steps: &[&str], data: &Value) {
        let steps: Vec<_> = steps
            .iter()
            .map(|name| match name.strip_prefix("outside ") {
                Some(name) => json!({"name": name, "by": "outside"}),
                None => json!({"name": name}),
            })
            .collect();
        assert_eq!(self.ask("create", &json!([steps, data])).0, 200);
    }

    /// Begins a step, and gives its token.
    fn execute(&self) -> Value {
        self.get("execute")["token"].clone()
    }

    fn report(&self, token: &Value, outcome: &Value) -> Value {
        let (status, counted) = self.ask("report", &json!([token, outcome]));
        assert_eq!(status, 200, "{counted}");
        counted
    }

    /// Asks until no worker has a step any more.
    fn wait(&self) -> Value {
        loop {
            let workflow = self.get("status");
            let steps = workflow["steps"].as_array().unwrap();
            if steps.iter().all(|step| step["status"] != "running") {
                return workflow;
            }
            thread::yield_now();
        }
    }
}

fn completed() -> Value {
    json!({"type": "completed", "result": "ok"})
}

fn failed() -> Value {
    json!({"type": "failed", "error": "no"})
}

fn orders<'s>(server: &'s Server) -> impl Fn(&'s str) -> Order<'s> {
    |name| Order { server, name }
}

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("stateful_workflow", |server| {
        server.play_header(include_str!("../../examples/stateful_workflow.rs"));
    });
}

#[test]
fn steps_run_one_by_one_to_the_end() {
    awake_and_asleep("stateful_workflow", |server| {
        let order = orders(server)("order-7");
        order.create(&["reserve", "charge", "ship"], &json!({"cents": 500}));
        let made = order.get("status");
        assert_eq!(
            (&made["status"], &made["currentStep"]),
            (&json!("pending"), &json!(0))
        );
        assert!(
            made["createdAt"]
                .as_i64()
                .is_some_and(|at| at > 1_700_000_000_000)
        );
        for (number, result) in [
            json!({"executed": "reserve"}),
            json!({"charged": 500}),
            json!({"executed": "ship"}),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(order.get("execute")["step"], number);
            let workflow = order.wait();
            assert_eq!(workflow["currentStep"], number + 1);
            let step = &workflow["steps"][number];
            assert_eq!(
                (&step["status"], &step["result"]),
                (&json!("completed"), &result)
            );
            assert_eq!(step["attempts"], 1);
        }
        assert_eq!(order.get("status")["status"], "completed");
        for method in ["execute", "pause", "resume"] {
            assert_eq!(
                order.refused(method),
                (409, "invalid_transition".into()),
                "{method}"
            );
        }
        assert_eq!(
            order.get("status")["steps"][2]["attempts"],
            1,
            "nothing runs past the end"
        );
    });
}

#[test]
fn what_cannot_be_done_is_refused() {
    awake_and_asleep("stateful_workflow", |server| {
        let order = orders(server)("order-7");
        for method in ["status", "execute", "pause", "resume", "cancel"] {
            assert_eq!(
                order.refused(method),
                (404, "no_workflow".into()),
                "{method}"
            );
        }
        assert_eq!(order.report(&json!("token"), &completed()), false);
        let many = vec![json!({"name": "reserve"}); 101];
        for (steps, code) in [
            (json!([]), "bad_steps"),
            (json!(many), "bad_steps"),
            (
                json!([{"name": "reserve", "by": "magic"}]),
                "invalid_arguments",
            ),
            (json!(["reserve"]), "invalid_arguments"),
            (json!({}), "invalid_arguments"),
        ] {
            let (status, told) = order.ask("create", &json!([steps, {}]));
            assert_eq!((status, &told["code"]), (400, &json!(code)));
        }
        assert_eq!(
            order.refused("status"),
            (404, "no_workflow".into()),
            "none of them made it"
        );

        order.create(&["outside approve"], &json!({}));
        let (status, told) = order.ask("create", &json!([[{"name": "reserve"}], {}]));
        assert_eq!((status, &told["code"]), (409, &json!("exists")));
        for method in ["pause", "resume"] {
            let (status, told) = order.ask(method, &json!([]));
            assert_eq!(status, 409);
            assert_eq!(
                told["details"]["validEvents"],
                json!(["execute"]),
                "{method}"
            );
        }
        assert_eq!(order.get("status")["steps"][0]["name"], "approve");
    });
}

#[test]
fn a_step_is_never_run_twice_by_two_callers() {
    awake_and_asleep("stateful_workflow", |server| {
        let order = orders(server);
        // A step that takes its time: one caller has it, the others hear so.
        let approval = order("approval");
        approval.create(&["outside approve"], &json!({}));
        let answers: Vec<_> = thread::scope(|scope| {
            let calls = [(); 8].map(|()| scope.spawn(|| approval.ask("execute", &json!([])).0));
            calls.into_iter().map(|call| call.join().unwrap()).collect()
        });
        assert_eq!(
            answers.iter().filter(|status| **status == 200).count(),
            1,
            "{answers:?}"
        );
        assert_eq!(
            answers.iter().filter(|status| **status == 409).count(),
            7,
            "{answers:?}"
        );
        assert_eq!(approval.refused("execute"), (409, "step_runs".into()));

        // Steps that end by themselves, and callers that know nothing of each other.
        let busy = order("busy");
        busy.create(
            &["reserve", "ship", "reserve", "ship", "reserve"],
            &json!({}),
        );
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while busy.get("status")["status"] != "completed" {
                        busy.ask("execute", &json!([]));
                    }
                });
            }
        });
        for step in busy.get("status")["steps"].as_array().unwrap() {
            assert_eq!(
                (&step["status"], &step["attempts"]),
                (&json!("completed"), &json!(1))
            );
        }
    });
}

#[test]
fn a_pause_during_a_step_holds_however_the_step_ends() {
    awake_and_asleep("stateful_workflow", |server| {
        let order = orders(server);
        let last = order("last");
        last.create(&["outside approve"], &json!({}));
        let token = last.execute();
        last.get("pause");
        assert_eq!(last.report(&token, &completed()), true);
        let paused = last.get("status");
        assert_eq!(paused["status"], "paused");
        assert_eq!(paused["steps"][0]["status"], "completed");
        assert_eq!(last.refused("execute"), (409, "invalid_transition".into()));
        last.get("resume");
        assert_eq!(last.get("status")["status"], "completed");

        let failing = order("failing");
        failing.create(&["outside approve", "ship"], &json!({}));
        let token = failing.execute();
        failing.get("pause");
        assert_eq!(failing.report(&token, &failed()), true);
        assert_eq!(failing.get("status")["status"], "paused");
        failing.get("resume");
        let token = failing.execute();
        failing.report(&token, &completed());
        failing.execute();
        let done = failing.wait();
        assert_eq!(done["status"], "completed");
        assert_eq!(
            (&done["steps"][0]["attempts"], &done["steps"][1]["attempts"]),
            (&json!(2), &json!(1))
        );
    });
}

#[test]
fn a_failed_step_can_be_tried_again() {
    awake_and_asleep("stateful_workflow", |server| {
        let order = orders(server);
        let dear = order("dear");
        dear.create(&["charge", "ship"], &json!({"cents": 5_000}));
        for attempt in 1..=2 {
            dear.execute();
            let workflow = dear.wait();
            assert_eq!(
                (&workflow["status"], &workflow["currentStep"]),
                (&json!("failed"), &json!(0))
            );
            let step = &workflow["steps"][0];
            assert_eq!(
                (&step["status"], &step["attempts"]),
                (&json!("failed"), &json!(attempt))
            );
            assert_eq!(step["error"], "the card does not pay 5000 cents");
        }

        let approval = order("approval");
        approval.create(&["outside approve"], &json!({}));
        let first = approval.execute();
        approval.report(&first, &failed());
        assert_eq!(approval.get("status")["status"], "failed");
        let second = approval.execute();
        assert_eq!(
            approval.report(&first, &completed()),
            false,
            "that try is over"
        );
        assert_eq!(approval.get("status")["status"], "running");
        assert_eq!(approval.report(&second, &completed()), true);
        assert_eq!(
            approval.report(&second, &failed()),
            false,
            "it is reported once"
        );
        let done = approval.get("status");
        assert_eq!(
            (&done["status"], &done["steps"][0]["error"]),
            (&json!("completed"), &Value::Null)
        );
    });
}

#[test]
fn a_cancelled_workflow_is_gone_whatever_its_worker_does() {
    awake_and_asleep("stateful_workflow", |server| {
        let order = orders(server)("order-7");
        order.create(&["outside approve", "ship"], &json!({}));
        let token = order.execute();
        order.get("cancel");
        assert_eq!(order.report(&token, &completed()), false);
        assert_eq!(order.refused("status"), (404, "no_workflow".into()));
        order.create(&["outside approve"], &json!({}));
        let again = order.execute();
        assert_eq!(
            order.report(&token, &completed()),
            false,
            "of the one before"
        );
        assert_eq!(order.report(&again, &completed()), true);
        assert_eq!(order.get("status")["status"], "completed");
    });
}

#[test]
fn it_goes_on_where_it_was_after_kill_9() {
    let data = tempdir().unwrap();
    let mut server = Server::start("stateful_workflow", data.path(), &[]);
    let steps = ["reserve", "outside approve", "ship"];
    orders(&server)("order-7").create(&steps, &json!({}));
    let mut token = Value::Null;
    for number in 0..3 {
        let begun = orders(&server)("order-7").execute();
        if number == 1 {
            server = server.restart("stateful_workflow", data.path(), &[]);
            let order = orders(&server)("order-7");
            assert_eq!(order.refused("execute"), (409, "step_runs".into()));
            assert_eq!(order.report(&begun, &completed()), true);
            token = begun;
        }
        orders(&server)("order-7").wait();
        server = server.restart("stateful_workflow", data.path(), &[]);
    }
    let order = orders(&server)("order-7");
    assert_eq!(order.report(&token, &completed()), false);
    let done = order.get("status");
    assert_eq!(done["status"], "completed");
    for step in done["steps"].as_array().unwrap() {
        assert_eq!(step["attempts"], 1, "{step}");
    }
}

/// A workflow of the test kit.
fn workflow() -> (TestHost, StatefulWorkflowApiClient<Stub>) {
    let host = TestHost::new()
        .object::<StatefulWorkflow>()
        .object::<StepRunner>();
    let namespace = host.namespace::<StatefulWorkflow>();
    (
        host,
        StatefulWorkflowApiClient::new(namespace.get_by_name("order-7")),
    )
}

fn step(name: &str, by: Worker) -> NewStep {
    let name = name.to_owned();
    NewStep { name, by }
}

fn steps(workflow: &Workflow) -> Vec<(StepStatus, u32)> {
    let steps = workflow.steps.iter();
    steps.map(|step| (step.status, step.attempts)).collect()
}

#[test]
fn a_worker_that_does_not_report_is_taken_for_lost_and_the_step_can_be_tried_again() {
    block_on(async {
        let (host, order) = workflow();
        let approve = vec![step("approve", Worker::Outside)];
        order.create(approve, Value::Null).await.unwrap();
        let lost = order.execute().await.unwrap();
        host.sleep();
        host.advance("14m 59s").await;
        assert_eq!(order.status().await.unwrap().status, Status::Running);
        host.crash();
        host.advance("1s").await;
        let failed = order.status().await.unwrap();
        assert_eq!(failed.status, Status::Failed);
        let error = failed.steps[0].error.as_deref();
        assert_eq!(error, Some("its worker has not reported within 15m"));
        let result = json!("late");
        let late = order.report(lost.token, Outcome::Completed { result });
        assert!(!late.await.unwrap());

        let again = order.execute().await.unwrap();
        host.advance("14m").await;
        let result = json!("in time");
        let reported = order.report(again.token, Outcome::Completed { result });
        assert!(reported.await.unwrap());
        host.advance("1d").await;
        let done = order.status().await.unwrap();
        assert_eq!(
            (done.status, steps(&done)),
            (Status::Completed, vec![(StepStatus::Completed, 2)])
        );
    });
}

#[test]
fn a_step_that_was_handed_over_is_run_after_a_crash_and_not_after_a_cancel() {
    block_on(async {
        let (host, order) = workflow();
        let reserve = || vec![step("reserve", Worker::Runner)];
        order.create(reserve(), Value::Null).await.unwrap();
        order.execute().await.unwrap();
        host.crash();
        host.settle().await;
        let done = order.status().await.unwrap();
        assert_eq!(
            (done.status, steps(&done)),
            (Status::Completed, vec![(StepStatus::Completed, 1)])
        );

        order.cancel().await.unwrap();
        order.create(reserve(), Value::Null).await.unwrap();
        let begun = order.execute().await.unwrap();
        order.cancel().await.unwrap();
        host.advance("1d").await;
        let runner = host.namespace::<StepRunner>().id_from_string(&begun.token);
        let runner = host.disk::<StepRunner>(&runner.unwrap());
        assert_eq!(runner.commits(), 0, "it never heard of it");
        let gone = order.status().await.unwrap_err();
        assert!(
            matches!(gone, CallError::Object(WorkflowError::NoWorkflow)),
            "{gone:?}"
        );
    });
}

/// Whatever commit of the workflow fails, or whose answer is lost: its step has begun once.
#[test]
fn a_step_runs_once_though_a_commit_fails() {
    block_on(async {
        for nth in 1..=8 {
            for lost in [false, true] {
                let case = format!("commit {nth}, lost {lost}");
                let (host, order) = workflow();
                let reserve = vec![step("reserve", Worker::Runner)];
                order.create(reserve, Value::Null).await.unwrap();
                let id = host.namespace::<StatefulWorkflow>().id_from_name("order-7");
                let disk = host.disk::<StatefulWorkflow>(&id);
                if lost {
                    disk.lose_commit_answer(nth);
                } else {
                    disk.fail_commit(nth);
                }
                for _ in 0..8 {
                    // Whoever got no answer asks again.
                    let _ = order.execute().await;
                    host.advance("1m").await;
                }
                let done = order.status().await.unwrap();
                assert_eq!(
                    (done.status, steps(&done)),
                    (Status::Completed, vec![(StepStatus::Completed, 1)]),
                    "{case}"
                );
            }
        }
    });
}
