//! The files of the user's and workerd's, and the command line.

use super::*;

#[test]
fn what_is_the_users_in_wrangler_jsonc_stays_as_it_is() {
    let project = Project::with(
        r#"{
	// Ours.
	"name": "shop", /* the name */
	"durable_objects": {
		"bindings": [
			{ "name": "OLD", "class_name": "Old" },
			{ "name": "USERS", "class_name": "User", "script_name": "accounts" }, // of another Worker
		],
	},
	"vars": { "GREETING": "// \" hello, }" },
	"env": {
		"production": { "routes": ["shop.example/*"] },
		"staging": {
			"durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] },
		},
		"empty": {},
	},
}
"#,
    );
    project.run(exports![Counter], "write").unwrap();
    assert_eq!(
        project.get(WRANGLER),
        r#"{
	// Ours.
	"name": "shop", /* the name */
	"durable_objects": {
		"bindings": [
			{ "name": "COUNTER", "class_name": "Counter" },
			{ "name": "USERS", "class_name": "User", "script_name": "accounts" }
		],
	},
	"vars": { "GREETING": "// \" hello, }" },
	"env": {
		"production": { "routes": ["shop.example/*"],
		"durable_objects": {
			"bindings": [
				{ "name": "COUNTER", "class_name": "Counter" }
			]
		} },
		"staging": {
			"durable_objects": { "bindings": [{ "name": "COUNTER", "class_name": "Counter" }] },
		},
		"empty": {
			"durable_objects": {
				"bindings": [
					{ "name": "COUNTER", "class_name": "Counter" }
				]
			}
		},
	},
	"migrations": [
		{ "tag": "v1", "new_sqlite_classes": ["Counter"] }
	],
}
"#
    );
    project.run(exports![Counter], "check").unwrap();
    let written = project.get(WRANGLER);
    project.run(exports![Counter], "write").unwrap();
    assert_eq!(project.get(WRANGLER), written);
}

#[test]
fn a_binding_that_leads_elsewhere_is_found_in_every_environment() {
    let project = Project::new();
    project.run(exports![Counter Order], "write").unwrap();
    let right = project.get(WRANGLER);
    let wrong = |from: &str, to: &str, how: &str| {
        assert!(right.contains(from));
        project.put(WRANGLER, &right.replace(from, to));
        let error = project.run(exports![Counter Order], "check");
        assert_eq!(
            error.unwrap_err(),
            format!("wrangler.jsonc {how}; `write` mends it")
        );
        project.run(exports![Counter Order], "write").unwrap();
        project.run(exports![Counter Order], "check").unwrap();
    };
    let counter = r#""COUNTER", "class_name": "Counter""#;
    wrong(
        counter,
        r#""COUNTER", "class_name": "Order""#,
        "binds COUNTER to class Order",
    );
    wrong(
        counter,
        r#""COUNTERS", "class_name": "Counter""#,
        "does not bind COUNTER to class Counter",
    );
    wrong(
        counter,
        r#""COUNTER", "class_name": "Counter", "script_name": "other""#,
        "binds COUNTER to class Counter of other",
    );
    wrong(
        r#""migrations""#,
        r#""env": { "production": {} }, "migrations""#,
        "does not bind COUNTER to class Counter in environment production",
    );
    wrong(
        r#""durable_objects""#,
        r#""vars""#,
        "does not bind COUNTER to class Counter",
    );
}

#[test]
fn a_file_that_cannot_be_understood_is_refused_and_left_alone() {
    let project = Project::new();
    for (wrangler, why) in [
        (
            "[]",
            "invalid type: sequence, expected an object at line 1 column 0",
        ),
        ("{}", "is empty; without it `write` makes a whole one"),
        (
            r#"{ "name": "shop" /* "#,
            "EOF while parsing an object at line 1 column 20",
        ),
        (
            r#"{ "exports": {} }"#,
            "has `exports`, beside which wrangler takes no `migrations`",
        ),
        (
            r#"{ "migrations": [], "migrations": [] }"#,
            "has `migrations` twice",
        ),
        (
            r#"{ "migrations": [{ "tag": 1 }] }"#,
            "has `migrations` that cannot be read: invalid type: integer `1`, expected a string",
        ),
        (
            r#"{ "durable_objects": { "bindings": [{ "name": "COUNTER" }] } }"#,
            "has a binding { \"name\": \"COUNTER\" }: missing field `class_name`",
        ),
    ] {
        project.put(WRANGLER, wrangler);
        let error = project.run(exports![Counter], "write").unwrap_err();
        assert_eq!(error, format!("wrangler.jsonc {why}"));
        assert_eq!(project.get(WRANGLER), wrangler);
        assert!(!project.0.path().join(HISTORY).exists());
    }
}

#[test]
fn a_file_that_would_hide_wrangler_jsonc_or_be_hidden_by_it_is_refused() {
    for name in ["wrangler.toml", "wrangler.json"] {
        let project = Project::new();
        project.put(name, "");
        let error = project.run(exports![Counter], "write").unwrap_err();
        assert!(
            error.starts_with(&format!("there is a {name}; ")),
            "{error}"
        );
        assert!(!project.0.path().join(WRANGLER).exists());
    }
}

#[test]
fn a_command_line_that_is_not_understood_is_answered_with_those_that_are() {
    let project = Project::new();
    for (line, answer) in [
        (
            "",
            "no command was given; there are:\ncheck [--stage STAGE]",
        ),
        ("deploy", "unknown command deploy; there are:\ncheck"),
        ("check --stages x", "unknown option --stages; there are:"),
        ("check --stage", "--stage wants a value"),
        (
            "write --rename Counter",
            "--rename wants OLD=NEW, not Counter",
        ),
        (
            "write --take Room=Counter",
            "--take wants SCRIPT/OLD=NEW, not Room=Counter",
        ),
        (
            "workerd --addr x:1",
            "where are the objects stored? give --data DIR",
        ),
    ] {
        let error = project.run(exports![Counter], line).unwrap_err();
        assert!(error.starts_with(answer), "{error}");
    }
    assert!(
        project
            .run(exports![Counter], "--help")
            .unwrap()
            .starts_with("check")
    );
}

#[test]
fn workerd_is_given_the_same_classes_modules_and_variables() {
    let project = Project::with(
        r#"{
  "name": "shop",
  "main": "build/index.js",
  "compatibility_date": "2026-07-01",
  "compatibility_flags": ["nodejs_compat"],
  "vars": { "AUTO_CANCEL": "1d", "LIMITS": { "items": 5 } },
}"#,
    );
    let folder = project.0.path().canonicalize().unwrap();
    fs::create_dir_all(folder.join("build/snippets/a")).unwrap();
    for module in ["a.wasm", "index.js", "readme.txt", "snippets/a/inline0.js"] {
        project.put(&format!("build/{module}"), "");
    }
    let folder = folder.to_str().unwrap();
    let command =
        format!("workerd --data {folder}/data --addr 127.0.0.1:0 --var AUTO_CANCEL=\"2s\"");
    let text = project.run(exports![Counter ChatRoom], &command).unwrap();
    assert_eq!(
        text.replace(folder, "/shop"),
        r#"# Run as: workerd serve -I / THIS-FILE
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "objects", worker = .objects),
    (name = "disk", disk = (path = "/shop/data", writable = true)),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "objects")],
);
const objects :Workerd.Worker = (
  compatibilityDate = "2026-07-01",
  compatibilityFlags = ["nodejs_compat"],
  durableObjectStorage = (localDisk = "disk"),
  # With the namespace as its key, workerd gives an object the same id as the embedded engine does.
  durableObjectNamespaces = [
    (className = "Counter", uniqueKey = "counter", enableSql = true),
    (className = "ChatRoom", uniqueKey = "chat-room", enableSql = true),
  ],
  bindings = [
    (name = "COUNTER", durableObjectNamespace = "Counter"),
    (name = "CHAT_ROOM", durableObjectNamespace = "ChatRoom"),
    (name = "AUTO_CANCEL", text = "\"2s\""),
    (name = "LIMITS", json = "{\"items\":5}"),
  ],
  modules = [
    (name = "index.js", esModule = embed "/shop/build/index.js"),
    (name = "a.wasm", wasm = embed "/shop/build/a.wasm"),
    (name = "snippets/a/inline0.js", esModule = embed "/shop/build/snippets/a/inline0.js"),
  ],
);
"#
    );
    // With nothing built there is nothing to run.
    fs::remove_dir_all(project.0.path().join("build")).unwrap();
    let error = project.run(exports![Counter], &command).unwrap_err();
    assert!(error.starts_with("failed to read "), "{error}");
}
