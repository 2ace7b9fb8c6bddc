//! The front door, as a stranger would use it: the example as a process, curl's requests, `kill -9`.

use std::{
    path::Path,
    process::{Command, Output},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use crate::support::{Server, path_of};
use serde_json::{Value, json};
use tempfile::tempdir;

fn serve(data: &Path) -> Server {
    Server::start("order_processing", data, &[])
}

#[test]
fn its_header_says_what_it_does() {
    let data = tempdir().unwrap();
    serve(data.path()).play_header(include_str!("../../examples/order_processing.rs"));
}

#[test]
fn the_readme_says_what_it_does() {
    let data = tempdir().unwrap();
    serve(data.path()).play(include_str!("../../README.md").lines());
}

#[test]
fn an_order_is_made_paid_shipped_and_delivered() {
    let data = tempdir().unwrap();
    let server = serve(data.path());
    let order = |method: &str, body: &str| server.post(&format!("/order/order-123/{method}"), body);

    assert_eq!(order("get_order", "[]").0, 404);
    let (status, made) = order("initialize", r#"["order-123"]"#);
    assert_eq!(status, 200);
    assert_eq!(
        order("initialize", r#"["order-123"]"#),
        (200, made),
        "idempotent"
    );
    let (status, other) = order("initialize", r#"["order-124"]"#);
    assert_eq!((status, &other["code"]), (409, &json!("other_order")));

    let deliver = r#"[{"type":"deliver"}]"#;
    assert_eq!(
        order("transition", deliver),
        (
            409,
            json!({
                "error": "invalid transition: state \"pending\" does not handle event \
                          \"deliver\"; valid events: [pay, cancel]",
                "code": "invalid_transition",
                "details": {
                    "state": "pending",
                    "event": "deliver",
                    "validEvents": ["pay", "cancel"],
                },
            })
        )
    );
    assert_eq!(
        order("transition", r#"[{"type":"pay"}]"#),
        (200, json!("paid"))
    );
    let ship = r#"[{"type":"ship","trackingNumber":"TRACK-456"}]"#;
    assert_eq!(order("transition", ship), (200, json!("shipped")));

    let (status, shipped) = order("get_order", "[]");
    assert_eq!(status, 200);
    assert_eq!(shipped["orderId"], "order-123");
    assert_eq!(shipped["state"], "shipped");
    assert_eq!(shipped["trackingNumber"], "TRACK-456");
    assert!(
        shipped["createdAt"]
            .as_i64()
            .is_some_and(|at| at > 1_700_000_000_000)
    );
    let steps = shipped["history"].as_array().unwrap();
    let steps: Vec<_> = steps
        .iter()
        .map(|step| (&step["from"], &step["event"], &step["to"]))
        .collect();
    assert_eq!(
        steps,
        [
            (&json!("pending"), &json!("pay"), &json!("paid")),
            (&json!("paid"), &json!("ship"), &json!("shipped")),
        ]
    );

    assert_eq!(order("transition", deliver), (200, json!("delivered")));
    server.kill();
    let server = serve(data.path());
    let (_, delivered) = server.post("/order/order-123/get_order", "[]");
    assert_eq!(delivered["state"], "delivered");
    assert_eq!(delivered["trackingNumber"], "TRACK-456");
}

#[test]
fn bad_requests_are_answered_with_their_codes_and_the_order_serves_on() {
    let data = tempdir().unwrap();
    let server = serve(data.path());
    server.post("/order/order-123/initialize", r#"["order-123"]"#);
    let large = format!("[\"{}\"]", "x".repeat(2 * 1024 * 1024));
    let long_name = format!("/order/{}/get_order", "x".repeat(1025));
    let at = |method: &str| format!("/order/order-123/{method}");
    let cases: &[(u16, &str, &str, String, &str)] = &[
        (404, "method_not_found", "POST", at("explode"), "[]"),
        (404, "method_not_found", "POST", at(""), "[]"),
        (404, "method_not_found", "POST", at("get_order/x"), "[]"),
        (
            404,
            "namespace_not_found",
            "POST",
            "/orders/order-123/get_order".into(),
            "[]",
        ),
        (404, "namespace_not_found", "POST", "/".into(), "[]"),
        (400, "invalid_name", "POST", "/order".into(), "[]"),
        (
            400,
            "invalid_id",
            "POST",
            "/order@id/123/get_order".into(),
            "[]",
        ),
        (
            400,
            "invalid_arguments",
            "POST",
            at("transition"),
            "{\"type\":\"pay\"}",
        ),
        (400, "invalid_arguments", "POST", at("transition"), "pay"),
        (400, "invalid_arguments", "POST", at("transition"), ""),
        (400, "invalid_arguments", "POST", at("transition"), "[]"),
        (
            400,
            "invalid_arguments",
            "POST",
            at("transition"),
            "[{\"type\":\"pay\"}, 1]",
        ),
        (
            400,
            "invalid_arguments",
            "POST",
            at("transition"),
            "[{\"type\":\"fly\"}]",
        ),
        (
            400,
            "invalid_arguments",
            "POST",
            at("transition"),
            "[{\"type\":\"ship\"}]",
        ),
        (400, "invalid_arguments", "POST", at("initialize"), "[17]"),
        (413, "payload_too_large", "POST", at("initialize"), &large),
        (414, "name_too_long", "POST", long_name, "[]"),
        (405, "method_not_allowed", "GET", at("get_order"), ""),
    ];
    for (status, code, verb, path, body) in cases {
        let case = format!("{verb} {path:.60} {body:.60}");
        let answer = server.try_request(verb, path, body.as_bytes());
        let (answered, told) = answer.unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(
            (answered, &told["code"]),
            (*status, &json!(code)),
            "{case}: {told}"
        );
        let (status, order) = server.post("/order/order-123/get_order", "[]");
        assert_eq!(
            (status, &order["state"]),
            (200, &json!("pending")),
            "after {case}"
        );
    }
    let (_, told) = server.post("/order/order-123/explode", "[]");
    assert_eq!(
        told["error"],
        "unknown method \"explode\"; known methods: [initialize, transition, get_order]"
    );
    let (_, told) = server.post("/order/order-123/initialize", "[17]");
    let text = told["error"].as_str().unwrap();
    assert!(
        text.contains("argument 0 (\"order_id\")") && text.contains("invalid type: integer `17`"),
        "{text}"
    );
}

/// Several clients drive orders of their own; the process is killed while they do. Each transition
/// that was answered is there after the restart, and no half of one that was not.
#[test]
fn every_answered_transition_survives_kill_9() {
    let data = tempdir().unwrap();
    for round in 0..8_usize {
        let server = serve(data.path());
        let answered = AtomicUsize::new(0);
        let kill_after = 3 + round * 5;
        let clients: Vec<Vec<(String, usize)>> = thread::scope(|scope| {
            let clients: Vec<_> = (0..4)
                .map(|client| {
                    let (server, answered) = (&server, &answered);
                    scope.spawn(move || {
                        drive(server, &format!("{round}-{client}"), answered, kill_after)
                    })
                })
                .collect();
            clients
                .into_iter()
                .map(|client| client.join().unwrap())
                .collect()
        });
        drop(server);
        let server = serve(data.path());
        for (name, answered) in clients.into_iter().flatten() {
            check(&server, &name, answered);
        }
    }
}

const STEPS: [(&str, &str, &str); 4] = [
    ("initialize", "", "pending"),
    ("transition", r#"{"type":"pay"}"#, "paid"),
    (
        "transition",
        r#"{"type":"ship","trackingNumber":"T-1"}"#,
        "shipped",
    ),
    ("transition", r#"{"type":"deliver"}"#, "delivered"),
];

/// Takes orders through their lives until the server is gone, and tells how many steps of each were
/// answered. The client whose answer is the last that is allowed kills it.
fn drive(
    server: &Server,
    prefix: &str,
    answered: &AtomicUsize,
    kill_after: usize,
) -> Vec<(String, usize)> {
    let mut orders = Vec::new();
    for number in 0.. {
        let name = format!("order-{prefix}-{number}");
        for (done, (method, event, _)) in STEPS.iter().enumerate() {
            let argument = if event.is_empty() {
                format!("{name:?}")
            } else {
                (*event).to_owned()
            };
            let path = format!("/order/{name}/{method}");
            let body = format!("[{argument}]");
            match server.try_request("POST", &path, body.as_bytes()) {
                Ok((status, told)) => assert_eq!(status, 200, "{told}"),
                Err(_) => {
                    orders.push((name, done));
                    return orders;
                }
            }
            if answered.fetch_add(1, Ordering::SeqCst) + 1 == kill_after {
                let id = server.process_id().to_string();
                assert!(
                    Command::new("kill")
                        .args(["-9", &id])
                        .status()
                        .unwrap()
                        .success()
                );
            }
        }
        orders.push((name, STEPS.len()));
    }
    orders
}

fn check(server: &Server, name: &str, answered: usize) {
    let (status, order) = server.post(&format!("/order/{name}/get_order"), "[]");
    if status == 404 {
        assert_eq!(answered, 0, "{name} is gone");
        return;
    }
    let steps = order["history"].as_array().unwrap();
    let done = steps.len() + 1;
    // The step in flight may have been made durable without its answer getting out.
    assert!(
        (answered..=answered + 1).contains(&done),
        "{name}: {answered} answered, {done} done"
    );
    assert_eq!(order["orderId"], name);
    assert_eq!(order["state"], STEPS[done - 1].2, "{order}");
    let tracking = if done >= 3 { json!("T-1") } else { Value::Null };
    assert_eq!(order["trackingNumber"], tracking, "{order}");
    if done < STEPS.len() {
        let path = format!("/order/{name}/transition");
        let (status, told) = server.post(&path, &format!("[{}]", STEPS[done].1));
        assert_eq!(
            (status, &told),
            (200, &json!(STEPS[done].2)),
            "{name} goes on"
        );
    }
}

#[test]
fn a_pending_order_is_cancelled_when_its_time_comes_though_nothing_ran_then() {
    let data = tempdir().unwrap();
    let server = Server::start("order_processing", data.path(), &["--auto-cancel", "300ms"]);
    server.post("/order/left-alone/initialize", r#"["left-alone"]"#);
    // One that is paid in time: on a machine that stands still now and then, not each of them is.
    let mut orders = (0..100).map(|number| format!("/order/paid-{number}"));
    let paid = orders.find(|order| {
        let name = order.rsplit('/').next();
        server.post(&format!("{order}/initialize"), &json!([name]).to_string());
        let (status, told) = server.post(&format!("{order}/transition"), r#"[{"type":"pay"}]"#);
        assert!(
            status == 200 || told["details"]["state"] == "cancelled",
            "{told}"
        );
        status == 200
    });
    server.kill();
    #[expect(
        clippy::disallowed_methods,
        reason = "the time comes while nothing runs"
    )]
    thread::sleep(std::time::Duration::from_millis(400));
    let server = Server::start("order_processing", data.path(), &["--auto-cancel", "300ms"]);
    loop {
        let (_, order) = server.post("/order/left-alone/get_order", "[]");
        if order["state"] == "cancelled" {
            assert_eq!(order["history"].as_array().unwrap().len(), 1);
            break;
        }
        assert_eq!(order["state"], "pending");
        thread::yield_now();
    }
    let (_, order) = server.post(&format!("{}/get_order", paid.unwrap()), "[]");
    assert_eq!(order["state"], "paid");
}

#[test]
fn it_stops_when_it_is_told_to() {
    let data = tempdir().unwrap();
    let server = serve(data.path());
    server.post("/order/order-123/initialize", r#"["order-123"]"#);
    assert!(server.terminate());
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let data = tempdir().unwrap();
    let server = serve(data.path());
    let second = Command::new(path_of("order_processing"))
        .args(["serve", "--addr", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("in use by another host"), "{said}");
    assert_eq!(
        server
            .post("/order/order-123/initialize", r#"["order-123"]"#)
            .0,
        200
    );
}

#[test]
fn without_arguments_it_tells_the_whole_story() {
    let data = tempdir().unwrap();
    let tell = || {
        let mut command = Command::new(path_of("order_processing"));
        command.arg("--data").arg(data.path()).output().unwrap()
    };
    // Where the machine has stood still for two seconds, the order was cancelled before it was paid.
    let too_late = |told: &Output| {
        let error = String::from_utf8_lossy(&told.stderr);
        error.contains("state \"cancelled\" does not handle event \"pay\"")
    };
    let mut stories = std::iter::repeat_with(tell).take(10);
    let told = stories.find(|told| !too_late(told)).unwrap();
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.status.success(),
        "{text}\n{}",
        String::from_utf8_lossy(&told.stderr)
    );
    for part in [
        "kill -9",
        "the paid order is Paid",
        "state \"shipped\" does not handle event \"cancel\"; valid events: [deliver]",
        "shipped -> delivered by deliver",
        "pending -> cancelled by cancel",
        "(TRACK-456)",
    ] {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}
