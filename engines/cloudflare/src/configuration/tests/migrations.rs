//! What is written down of classes that come, change and go.

use super::*;

#[test]
fn a_crate_without_files_gets_both() {
    let project = Project::new();
    let exported = || exports![Counter ChatRoom];
    assert_eq!(
        project.run(exported(), "check").unwrap_err(),
        "dokit.migrations.json is not there; `write` mends it"
    );
    assert_eq!(
        project.run(exported(), "write").unwrap(),
        "dokit.migrations.json: \"v1\" creates Counter, creates ChatRoom\n\
         wrangler.jsonc was not there: done"
    );
    assert_eq!(
        project.get(HISTORY),
        r#"[
  { "tag": "v1", "new_sqlite_classes": ["Counter", "ChatRoom"] }
]
"#
    );
    assert_eq!(
        project.get(WRANGLER),
        r#"{
  "name": "my-worker",
  "main": "build/index.js",
  "compatibility_date": "2026-08-01",
  "build": { "command": "worker-build --release" },
  "durable_objects": {
    "bindings": [
      { "name": "COUNTER", "class_name": "Counter" },
      { "name": "CHAT_ROOM", "class_name": "ChatRoom" }
    ]
  },
  "migrations": [
    { "tag": "v1", "new_sqlite_classes": ["Counter", "ChatRoom"] }
  ]
}
"#
    );
    project.run(exported(), "check").unwrap();
    assert_eq!(
        project.run(exported(), "write").unwrap(),
        "the configuration is that of the code: nothing was written"
    );
}

#[test]
fn every_kind_of_migration_is_appended_to_what_was_there() {
    let project = Project::new();
    project.run(exports![Counter Order], "write").unwrap();
    let said = project.run(exports![Counter Purchase], "write --rename Order=Purchase");
    assert_eq!(
        said.unwrap(),
        "dokit.migrations.json: \"v2\" renames Order to Purchase\n\
         wrangler.jsonc binds ORDER to class Order: done\n\
         wrangler.jsonc lacks migration: \"v2\" renames Order to Purchase: done"
    );
    let said = project.run(
        exports![Counter Purchase ChatRoom],
        "write --take rooms/Room=ChatRoom",
    );
    said.unwrap();
    let said = project.run(
        exports![ChatRoom Order],
        "write --give Purchase --delete Counter",
    );
    said.unwrap();
    assert_eq!(
        project.get(HISTORY),
        r#"[
  { "tag": "v1", "new_sqlite_classes": ["Counter", "Order"] },
  { "tag": "v2", "renamed_classes": [{ "from": "Order", "to": "Purchase" }] },
  { "tag": "v3", "transferred_classes": [{ "from": "Room", "from_script": "rooms", "to": "ChatRoom" }] },
  { "tag": "v4", "new_sqlite_classes": ["Order"], "deleted_classes": ["Counter"], "given_classes": ["Purchase"] }
]
"#
    );
    // wrangler knows nothing of classes that were given away.
    assert!(project.get(WRANGLER).contains(
        r#"  "migrations": [
    { "tag": "v1", "new_sqlite_classes": ["Counter", "Order"] },
    { "tag": "v2", "renamed_classes": [{ "from": "Order", "to": "Purchase" }] },
    { "tag": "v3", "transferred_classes": [{ "from": "Room", "from_script": "rooms", "to": "ChatRoom" }] },
    { "tag": "v4", "new_sqlite_classes": ["Order"], "deleted_classes": ["Counter"] }
  ]
"#
    ));
    project.run(exports![ChatRoom Order], "check").unwrap();
}

#[test]
fn a_class_that_is_gone_is_never_deleted_unsaid() {
    let project = Project::new();
    project.run(exports![Counter Order], "write").unwrap();
    let before = (project.get(HISTORY), project.get(WRANGLER));
    for command in ["check", "write"] {
        assert_eq!(
            project.run(exports![Counter], command).unwrap_err(),
            "class Order is not exported any more; say what became of its objects: `write --rename Order=NEW`, \
             `--give Order` (another Worker has taken them over) or `--delete Order` (their data is destroyed)"
        );
    }
    // Nor where its name is only spelled anew.
    let renamed = project.run(exports![Counter Purchase], "write");
    assert!(
        renamed
            .unwrap_err()
            .starts_with("class Order is not exported any more")
    );
    assert_eq!((project.get(HISTORY), project.get(WRANGLER)), before);
}

#[test]
fn a_new_class_is_missed_by_the_check() {
    let project = Project::new();
    project.run(exports![Counter], "write").unwrap();
    assert_eq!(
        project.run(exports![Counter Order], "check").unwrap_err(),
        "dokit.migrations.json does not know class Order; `write` mends it"
    );
}

#[test]
fn what_is_said_of_classes_that_are_not_there_is_refused() {
    let project = Project::new();
    project.run(exports![Counter], "write").unwrap();
    for (said, why) in [
        ("--delete Room", "deletes class Room, which is not there"),
        ("--give Room", "gives class Room, which is not there"),
        (
            "--rename Room=Counter",
            "renames class Room, which is not there",
        ),
        (
            "--take rooms/Room=Counter",
            "creates class Counter, which is there already",
        ),
    ] {
        let error = project.run(exports![Counter], &format!("write {said}"));
        assert_eq!(error.unwrap_err(), format!("migration \"v2\" {why}"));
    }
    // A class cannot be renamed to one that does not exist in the code.
    let error = project.run(exports![Purchase], "write --rename Counter=Order");
    assert!(
        error
            .unwrap_err()
            .starts_with("class Order is not exported any more")
    );
    assert!(!project.get(HISTORY).contains("v2"));
}

#[test]
fn a_history_that_was_edited_is_refused_by_check_and_write() {
    let project = Project::new();
    project.run(exports![Counter], "write").unwrap();
    project.run(exports![Counter Order], "write").unwrap();
    let history = project.get(HISTORY);
    let rewritten = "migration \"v2\" of wrangler.jsonc is not the one that dokit.migrations.json has in its \
                     place; one of the files was edited, and has to be restored";

    // The newest is dropped, its class with it: as if nobody had ever deployed it.
    project.put(
        HISTORY,
        r#"[{ "tag": "v1", "new_sqlite_classes": ["Counter"] }]"#,
    );
    for command in ["check", "write"] {
        assert_eq!(
            project.run(exports![Counter], command).unwrap_err(),
            rewritten
        );
    }
    // One is done in another way, which ends in the same classes.
    let other = history.replace("[\"Order\"]", "[\"Order\"], \"deleted_classes\": []");
    project.put(HISTORY, &other);
    project.run(exports![Counter Order], "check").unwrap();
    let other = r#"[
        { "tag": "v1", "new_sqlite_classes": ["Counter"] },
        { "tag": "v2", "transferred_classes": [{ "from": "Order", "from_script": "a", "to": "Order" }] }
    ]"#;
    project.put(HISTORY, other);
    for command in ["check", "write"] {
        assert_eq!(
            project.run(exports![Counter Order], command).unwrap_err(),
            rewritten
        );
    }
    // It has another tag, as when it was generated anew.
    project.put(HISTORY, &history.replace("v2", "v20261121"));
    for command in ["check", "write"] {
        assert_eq!(
            project.run(exports![Counter Order], command).unwrap_err(),
            rewritten
        );
    }
    project.put(HISTORY, &history);
    project.run(exports![Counter Order], "check").unwrap();
}

#[test]
fn migrations_that_were_edited_in_wrangler_jsonc_are_refused() {
    let project = Project::new();
    project.run(exports![Counter Order], "write").unwrap();
    let wrangler = project.get(WRANGLER);
    let edited = wrangler.replace(
        r#"["Counter", "Order"]"#,
        r#"["Order", "Counter", "Other"]"#,
    );
    project.put(WRANGLER, &edited);
    for command in ["check", "write"] {
        let error = project.run(exports![Counter Order], command).unwrap_err();
        assert!(
            error.starts_with("migration \"v1\" of wrangler.jsonc is not the one"),
            "{error}"
        );
    }
    assert_eq!(project.get(WRANGLER), edited);
    // One that is missing there is what a `write` that broke off leaves.
    let wrangler = wrangler.replace(
        r#"    { "tag": "v1", "new_sqlite_classes": ["Counter", "Order"] }"#,
        "",
    );
    project.put(WRANGLER, &wrangler);
    assert_eq!(
        project.run(exports![Counter Order], "check").unwrap_err(),
        "wrangler.jsonc lacks migration: \"v1\" creates Counter, creates Order; `write` mends it"
    );
    project.run(exports![Counter Order], "write").unwrap();
    project.run(exports![Counter Order], "check").unwrap();
}

#[test]
fn a_history_that_the_platform_would_refuse_is_refused() {
    let project = Project::new();
    for (history, why) in [
        (
            r#"{ "tag": "v1", "new_sqlite_classes": ["Counter"] }, { "tag": "v1" }"#,
            "migration \"v1\" is there twice",
        ),
        (
            r#"{ "tag": "v1", "new_sqlite_classes": ["Counter"] }, { "tag": "v2", "new_sqlite_classes": ["Counter"] }"#,
            "migration \"v2\" creates class Counter, which is there already",
        ),
        (
            r#"{ "tag": "v1", "renamed_classes": [{ "from": "Order", "to": "Counter" }] }"#,
            "migration \"v1\" renames class Order, which is not there",
        ),
        (
            r#"{ "tag": "v1", "deleted_classes": ["Counter"] }"#,
            "migration \"v1\" deletes class Counter, which is not there",
        ),
        (
            r#"{ "tag": "v1", "new_classes": ["Order"] }, { "tag": "v2", "renamed_classes": [{ "from": "Order", "to": "Counter" }] }"#,
            "dokit.migrations.json has class Counter with key-value storage (`new_classes`), and only SQLite \
             storage is served",
        ),
        (
            r#"{ "tag": "v1", "new_sql_classes": ["Counter"] }"#,
            "dokit.migrations.json unknown field `new_sql_classes`, expected one of `tag`, \
             `new_sqlite_classes`, `new_classes`, `renamed_classes`, `deleted_classes`, \
             `transferred_classes`, `given_classes`, `data_lost_in` at line 1 column 33",
        ),
    ] {
        project.put(HISTORY, &format!("[{history}]"));
        for command in ["check", "write"] {
            assert_eq!(project.run(exports![Counter], command).unwrap_err(), why);
        }
    }
}

#[test]
fn a_protected_stage_refuses_a_deletion_until_somebody_says_that_it_may() {
    let project = Project::new();
    project.run(exports![Counter Order], "write").unwrap();
    project
        .run(exports![Counter], "write --delete Order")
        .unwrap();
    project.run(exports![Counter], "check").unwrap();
    let refused = |stage: &str| {
        let refused = project.run(exports![Counter], &format!("check --stage {stage}"));
        assert_eq!(
            refused.unwrap_err(),
            format!(
                "migration \"v2\" destroys all objects of class Order, and nobody has said that this may happen in \
                 {stage}; `write --delete Order --data-lost-in {stage}` says it"
            )
        );
    };
    refused("production");
    refused("staging");
    let said = project.run(
        exports![Counter],
        "write --delete Order --data-lost-in production",
    );
    assert_eq!(
        said.unwrap(),
        "dokit.migrations.json: \"v2\" may destroy the data of Order in production"
    );
    project
        .run(exports![Counter], "check --stage production")
        .unwrap();
    refused("staging");
    assert_eq!(
        project.get(HISTORY),
        r#"[
  { "tag": "v1", "new_sqlite_classes": ["Counter", "Order"] },
  { "tag": "v2", "deleted_classes": ["Order"], "data_lost_in": { "Order": ["production"] } }
]
"#
    );
    // It was said of one deletion, not of all.
    project.run(exports![Counter ChatRoom], "write").unwrap();
    project
        .run(exports![Counter], "write --delete ChatRoom")
        .unwrap();
    let refused = project.run(exports![Counter], "check --stage production");
    assert!(
        refused
            .unwrap_err()
            .starts_with("migration \"v4\" destroys all objects of class ChatRoom")
    );
}

#[test]
fn a_deletion_can_be_said_and_allowed_at_once() {
    let project = Project::new();
    project.run(exports![Counter Order], "write").unwrap();
    let said = "write --delete Order --data-lost-in production --data-lost-in staging";
    project.run(exports![Counter], said).unwrap();
    project
        .run(
            exports![Counter],
            "check --stage production --stage staging",
        )
        .unwrap();
    let error = project.run(exports![Counter], "write --data-lost-in staging");
    assert_eq!(
        error.unwrap_err(),
        "--data-lost-in wants --delete CLASS beside it: whose data?"
    );
}

#[test]
fn what_a_worker_deployed_before_dokit_says_of_its_past_becomes_the_history() {
    let wrangler = r#"{
  "name": "shop",
  "migrations": [
    { "tag": "first", "new_classes": ["Cache"] },
    { "tag": "second", "new_sqlite_classes": ["Counter"], "deleted_classes": ["Cache"] }
  ]
}
"#;
    let project = Project::with(wrangler);
    project.run(exports![Counter Order], "write").unwrap();
    assert_eq!(
        project.get(HISTORY),
        r#"[
  { "tag": "first", "new_classes": ["Cache"] },
  { "tag": "second", "new_sqlite_classes": ["Counter"], "deleted_classes": ["Cache"] },
  { "tag": "v3", "new_sqlite_classes": ["Order"] }
]
"#
    );
    project.run(exports![Counter Order], "check").unwrap();
}

#[test]
fn two_classes_of_one_namespace_are_refused() {
    let error = Project::new().run(exports![Counter Counter], "write");
    assert_eq!(
        error.unwrap_err(),
        "classes Counter and Counter would both be bound as COUNTER"
    );
}
