//! What never ends, and what ends more than itself.

use std::thread;

use dokit_client::header;
use http::Request;
use serde_json::{Value, json};

use crate::process::{Workerd, wait_until};

/// Of objects with keys alone, and of those with SQL.
const NAMESPACES: [&str; 2] = ["probe", "sql-probe"];

fn call(server: &Workerd, path: &str, arguments: &Value) -> Value {
    let (status, answer) = server.json("POST", path, &arguments.to_string());
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Waits until so many calls and alarms hang, or have hung.
fn wait_until_witnessed(server: &Workerd, namespace: &str, hangs: u64) {
    let witness = format!("/{namespace}/witness/get");
    wait_until(|| call(server, &witness, &json!(["count"])) == json!(hangs));
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn a_call_that_never_ends_is_given_up_at_its_deadline_also_after_an_early_commit() {
    let server = Workerd::start("probe");
    // From now on the clock stands still.
    assert_eq!(server.send("POST", "/-start", "[]").0, 200);
    for namespace in NAMESPACES {
        for (hangs, early) in [(1, None), (2, Some("early"))] {
            let object = format!("/{namespace}/{}", early.unwrap_or("none"));
            let hang = Request::builder()
                .method("POST")
                .uri(format!("{object}/hang"))
                .header(header::TIMEOUT_MS, "500");
            let hang = hang.body(json!([early, "late"]).to_string()).unwrap();
            let answer = thread::scope(|scope| {
                let answer = scope.spawn(|| server.request(&hang));
                wait_until_witnessed(&server, namespace, hangs);
                let advance = "/-advance?by=500&meanwhile=true";
                assert_eq!(server.send("POST", advance, "").0, 200);
                answer.join().unwrap()
            });
            assert_eq!(answer.status().as_u16(), 504, "{object}: {}", answer.body());
            let told: Value = serde_json::from_str(answer.body()).unwrap();
            assert_eq!(told["code"], "deadline_exceeded");
            let keys = call(&server, &format!("{object}/keys"), &json!([""]));
            assert_eq!(keys, json!(early.as_slice()), "{object}");
            let count = call(&server, &format!("{object}/increment"), &json!([1]));
            assert_eq!(count, 1, "it serves on");
        }
    }
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn a_panic_ends_what_runs_in_other_objects_and_all_of_them_serve_on() {
    let server = Workerd::start("probe");
    for namespace in NAMESPACES {
        let (a, b) = (format!("/{namespace}/a"), format!("/{namespace}/b"));
        let status = thread::scope(|scope| {
            let hangs = scope.spawn(|| {
                let arguments = json!(["early", "late"]).to_string();
                server.send("POST", &format!("{a}/hang"), &arguments).0
            });
            wait_until_witnessed(&server, namespace, 1);
            let panic = json!(["k", 1]).to_string();
            let (status, told) = server.json("POST", &format!("{b}/put_then_panic"), &panic);
            assert_eq!((status, &told["code"]), (500, &json!("internal")), "{told}");
            hangs.join().unwrap()
        });
        match namespace {
            "probe" => assert_eq!(status, 503),
            // The platform holds its transaction until it gives that up, and answers then.
            _ => assert!(status >= 500, "{status}"),
        }
        for (object, there) in [(a, json!(["early"])), (b, json!([]))] {
            assert_eq!(
                call(&server, &format!("{object}/keys"), &json!([""])),
                there
            );
            let count = call(&server, &format!("{object}/increment"), &json!([1]));
            assert_eq!(count, 1);
        }
    }
}

/// Sets an alarm that never ends at its first run, and has `meanwhile` done while it runs. Gives the runs of it
/// that ended.
fn hangs_at_first(namespace: &str, meanwhile: impl FnOnce(&Workerd)) -> (Value, Value) {
    let server = Workerd::start("probe");
    assert_eq!(server.send("POST", "/-start", "[]").0, 200);
    let a = format!("/{namespace}/a");
    let at = call(&server, &format!("{a}/hang_later"), &json!([1000, 1]));
    thread::scope(|scope| {
        let rings = scope.spawn(|| server.send("POST", "/-advance?by=1000", "").0);
        wait_until_witnessed(&server, namespace, 1);
        meanwhile(&server);
        assert_eq!(rings.join().unwrap(), 200);
    });
    assert_eq!(server.send("POST", "/-advance?by=5000", "").0, 200);
    (call(&server, &format!("{a}/fired"), &json!([])), at)
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn an_alarm_that_never_ends_is_given_up_counted_and_tried_again_and_stops_no_other() {
    for (namespace, deadline) in [("probe", 14 * 60_000), ("sql-probe", 28_000)] {
        let (fired, at) = hangs_at_first(namespace, |server| {
            let b = format!("/{namespace}/b");
            call(server, &format!("{b}/set_alarm"), &json!([0, 0]));
            wait_until(|| call(server, &format!("{b}/fired"), &json!([])) != json!([]));
            let path = format!("/-advance?by={deadline}&meanwhile=true");
            assert_eq!(server.send("POST", &path, "").0, 200);
        });
        assert_eq!(fired.as_array().unwrap().len(), 1, "{fired}");
        assert_eq!(
            (&fired[0]["retryCount"], &fired[0]["scheduled"]),
            (&json!(1), &at)
        );
    }
}
