//! The tally in JavaScript and the tally in Rust, in each other's place: called by each other's clients, over
//! each other's data. What they are is in `tests/typescript`.

use std::{path::Path, process::Command};

use serde_json::{Value, json};

use crate::process::{Workerd, wait_until};

/// What a client in JavaScript, of a Worker, gets from a method of the tally `name`.
fn in_javascript(server: &Workerd, name: &str, method: &str, arguments: &str) -> Value {
    let path = format!("/js/{name}/{method}");
    let (status, value) = server.json("POST", &path, arguments);
    assert_eq!(status, 200, "{path}: {value}");
    value
}

/// What the gateway answers, or a client in Rust, of an object that is called through it.
fn in_rust(server: &Workerd, path: &str, arguments: &str) -> Value {
    let (status, value) = server.json("POST", path, arguments);
    assert_eq!(status, 200, "{path}: {value}");
    value
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn each_language_calls_the_other_and_itself() {
    for language in ["rust", "javascript"] {
        let server = Workerd::start_tally(language);
        assert_eq!(
            in_rust(&server, "/caller/any/countUp", r#"["a", [5, -2]]"#),
            json!([5, 3, 3]),
            "{language}"
        );
        assert_eq!(in_javascript(&server, "a", "increment", "[4]"), json!(7));
        assert_eq!(in_javascript(&server, "a", "getCount", "[]"), json!(7));
        assert_eq!(in_javascript(&server, "a", "reset", "[]"), Value::Null);
        let kinds = in_rust(&server, "/caller/any/kindsOf", r#"["a"]"#);
        assert_eq!(kinds["text"], format!("from {language}"));
        let same = in_javascript(&server, "a", "kinds", "[]");
        assert_eq!(
            (&same["text"], &same["list"]),
            (&kinds["text"], &kinds["list"])
        );
        let told = in_rust(&server, "/caller/any/fail", r#"["a"]"#);
        assert_eq!(told[0], 404, "{language}: {told}");
        let text = told[2].as_str().unwrap();
        let expected = match language {
            "rust" => "rust does not have it either",
            _ => "Not Found",
        };
        assert!(text.contains(expected), "{told}");
    }
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn a_client_in_node_calls_both_over_the_gateway() {
    for language in ["rust", "javascript"] {
        let server = Workerd::start_tally(language);
        let client = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/typescript/node.mjs");
        let ran = Command::new("node")
            .arg(client)
            .arg(format!("http://{}/tally/a", server.address()))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        let seen: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let refused = match language {
            "rust" => {
                "call of \"fly\" failed (404): unknown method \"fly\"; known methods: [increment, \
                 getCount, reset, fill, kinds, remind, missing, odd]"
            }
            _ => "call of \"fly\" failed (404): Not Found",
        };
        assert_eq!(seen, json!([null, 5, 3, 3, refused]));
    }
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn what_one_language_has_stored_the_other_reads_and_the_first_again() {
    for [first, second] in [["javascript", "rust"], ["rust", "javascript"]] {
        let mut server = Workerd::start_tally(first);
        in_rust(&server, "/tally/a/fill", "[]");
        in_rust(&server, "/tally/a/increment", "[41]");
        server.crash_into(second);
        // JavaScript leaves the tags out, as `undefined`.
        let tags = if first == "rust" {
            json!(["a"])
        } else {
            json!([])
        };
        assert_eq!(
            in_rust(&server, "/tally/a/kinds", "[]"),
            json!({
                "text": format!("from {first}"), "number": 0.1, "flag": true, "nothing": null,
                "list": [1, 2, 3], "metadata": {"owner": "ada", "tags": tags},
                "date": "2026-11-21T12:00:00.000Z",
            })
        );
        assert_eq!(in_rust(&server, "/tally/a/increment", "[1]"), 42);
        in_rust(&server, "/tally/a/fill", "[]");
        server.crash_into(first);
        assert_eq!(in_rust(&server, "/tally/a/increment", "[-2]"), 40);
        let read = in_rust(&server, "/tally/a/kinds", "[]");
        assert_eq!(read["text"], format!("from {second}"));
    }
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn an_alarm_that_one_language_has_set_the_other_runs() {
    for [first, second] in [["javascript", "rust"], ["rust", "javascript"]] {
        let mut server = Workerd::start_tally(first);
        // It is due when the other is there, or fires before: each counts 100, once.
        in_rust(&server, "/tally/a/remind", "[700]");
        server.crash_into(second);
        let count = || in_rust(&server, "/tally/a/getCount", "[]");
        wait_until(|| count() != 0);
        assert_eq!(count(), 100, "{first}, {second}");
    }
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn what_is_in_no_json_is_an_error_that_names_the_key_and_nothing_is_dropped() {
    let mut server = Workerd::start_tally("javascript");
    in_javascript(&server, "a", "fillOddly", "[]");
    server.crash_into("rust");
    for (key, stored, kind) in [
        ("map", "map", "a Map"),
        ("bytes", "bytes", "bytes"),
        ("big", "big", "a BigInt"),
        ("number", "notANumber", "a number that is not finite"),
        ("nested", "nested", "a Set"),
    ] {
        let told = in_rust(&server, "/tally/a/odd", &format!("[{key:?}]"));
        let expected = format!(
            "read in the store: TypeError: the value of {stored:?} has {kind} in it, which has no json \
             form"
        );
        assert_eq!(told, expected);
    }
}
