//! The toolkit crates in Durable Objects of the `worker` crate, as `examples/workers-toolkit` shows them.

use std::{collections::BTreeSet, fs, thread};

use serde_json::{Value, json};

use crate::process::Workerd;

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn typed_storage_counts_both_or_neither_and_is_there_after_a_crash() {
    let mut server = Workerd::start("toolkit");
    let about = "/visits/example.org/about";
    // Calls overlap, and none is lost: the storage lets no other request in between.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..10 {
                    assert_eq!(server.send("POST", about, "").0, 200);
                }
            });
        }
    });
    server.crash();
    assert_eq!(
        server.json("POST", about, ""),
        (200, json!({"total": 41, "page": 41}))
    );
    assert_eq!(
        server.json("POST", "/visits/example.org/__proto__", ""),
        (200, json!({"total": 42, "page": 1}))
    );
    let (_, shown) = server.json("GET", "/visits/example.org", "");
    assert_eq!(
        shown.to_string(),
        r#"{"pages":{"__proto__":1,"about":41},"total":42}"#
    );
    assert_eq!(
        server.json("GET", "/visits/example.com", ""),
        (200, json!({"total": 0, "pages": {}})),
        "another object"
    );
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn a_state_machine_refuses_what_its_table_does_not_have_and_is_there_after_a_crash() {
    let mut server = Workerd::start("toolkit");
    let (_, new) = server.json("GET", "/tickets/7", "");
    assert_eq!(
        new,
        json!({"state": "open", "next": ["assign"], "history": []})
    );
    assert_eq!(
        server.json("POST", "/tickets/7/assign", ""),
        (200, json!("assigned"))
    );
    server.crash();
    assert_eq!(
        server.send("POST", "/tickets/7/assign", ""),
        (
            409,
            "invalid transition: state \"assigned\" does not handle event \"assign\"; \
             valid events: [resolve]"
                .to_owned()
        )
    );
    assert_eq!(
        server.json("POST", "/tickets/7/resolve", ""),
        (200, json!("resolved"))
    );
    let (_, shown) = server.json("GET", "/tickets/7", "");
    let history = shown["history"].as_array().unwrap();
    let events: Vec<&Value> = history.iter().map(|step| &step["event"]).collect();
    assert_eq!(events, ["assign", "resolve"]);
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn alarms_fire_in_order_also_those_that_fell_due_while_nothing_ran() {
    let mut server = Workerd::start("toolkit");
    for (id, wait, text) in [
        ("never", "30d", "three"),
        ("first", "300ms", "one"),
        ("second", "400ms", "two"),
    ] {
        let path = format!("/reminders/ada/{id}?in={wait}");
        assert_eq!(server.send("POST", &path, text).0, 200);
    }
    // It may fire before the crash or after it; either way once.
    server.crash();
    let shown = server.eventually("/reminders/ada", |shown| {
        shown["sent"].as_array().is_some_and(|sent| sent.len() == 2)
    });
    assert_eq!(shown, json!({"waiting": ["never"], "sent": ["one", "two"]}));
    let (status, told) = server.send("POST", "/reminders/ada/x?in=soon", "");
    assert_eq!(status, 400);
    assert!(told.contains("\"soon\""), "{told}");
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn typed_calls_are_served_and_made_with_the_codes_of_the_wire() {
    let mut server = Workerd::start("toolkit");
    let add = |server: &Workerd, arguments: &str| server.json("POST", "/scores/ada/add", arguments);
    assert_eq!(add(&server, r#"["lost cities", 5]"#), (200, json!(5)));
    server.crash();
    assert_eq!(add(&server, r#"["lost cities", 2]"#), (200, json!(7)));
    assert_eq!(
        server.json("GET", "/scores/ada", ""),
        (200, json!({"lost cities": 7})),
        "the worker's own call"
    );
    let (status, told) = add(&server, r#"["lost cities", 4294967295]"#);
    assert_eq!(
        (status, &told["code"], &told["details"]),
        (409, &json!("too_many"), &json!({"game": "lost cities"}))
    );
    let (status, told) = add(&server, r#"["lost cities", -1]"#);
    assert_eq!((status, &told["code"]), (400, &json!("invalid_arguments")));
    let (status, told) = server.json("POST", "/scores/ada/subtract", "[]");
    assert_eq!((status, &told["code"]), (404, &json!("method_not_found")));
    let (status, told) = server.json("PUT", "/scores/ada/add", "");
    assert_eq!(status, 405, "{told}");
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn neither_gateway_nor_queue_nor_sockets_are_compiled_in() {
    let module = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/workerd/dist/workers_toolkit/index_bg.wasm"
    );
    let module = fs::read(module).unwrap();
    // Its functions have names.
    let module = String::from_utf8_lossy(&module);
    let ours = modules(&module, "dokit_cloudflare");
    assert!(ours.contains("store") && ours.contains("bound"), "{ours:?}");
    // What drops a store can drop the transaction of an object with SQL: that is in it.
    for absent in ["object", "gateway", "router", "sockets"] {
        assert!(!ours.contains(absent), "{ours:?}");
    }
    let objects = modules(&module, "dokit_object");
    assert!(objects.is_subset(&BTreeSet::from(["clock"])), "{objects:?}");
}

/// The modules of a crate that are named: `dokit_storage[hash]::codec::..` names `codec`.
fn modules<'a>(text: &'a str, of: &str) -> BTreeSet<&'a str> {
    let after = text.split(of).skip(1);
    let module = after.filter_map(|rest| {
        let rest = match rest.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?.1,
            None => rest,
        };
        let path = rest.strip_prefix("::")?;
        path.split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()
    });
    module.collect()
}
