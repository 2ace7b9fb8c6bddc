//! The preferences as a process, over HTTP; and transfers against a model, by the test kit.

#[path = "../../examples/preferences.rs"]
#[expect(unreachable_pub, reason = "the example, without its main")]
mod example;

use std::collections::BTreeMap;

use crate::support::{Server, awake_and_asleep};
use dokit::{
    client::CallError,
    object::testing::{TestHost, block_on},
};
use example::{PointsError, Preferences, PreferencesApiClient};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::tempdir;

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("preferences", |server| {
        server.play_header(include_str!("../../examples/preferences.rs"));
    });
}

#[test]
fn preferences_are_set_listed_page_by_page_and_cleared() {
    awake_and_asleep("preferences", |server| {
        let ada = |method: &str, body: Value| {
            server.post(&format!("/preferences/ada/{method}"), &body.to_string())
        };
        for number in 0..230 {
            let set = ada("set", json!([format!("a.{number:03}"), number]));
            assert_eq!(set, (200, Value::Null));
        }
        for value in [json!(false), json!(""), json!([null]), json!(u64::MAX)] {
            assert_eq!(ada("set", json!(["b", value])).0, 200);
            assert_eq!(ada("get", json!(["b"])), (200, value));
        }
        let mut found = Vec::new();
        let mut after = Value::Null;
        loop {
            let (_, page) = ada("list", json!(["a.", after]));
            let names: Vec<_> = page.as_object().unwrap().keys().cloned().collect();
            let Some(last) = names.last() else { break };
            assert!(names.len() <= 100);
            after = json!(last);
            found.extend(names);
        }
        let all: Vec<_> = (0..230).map(|number| format!("a.{number:03}")).collect();
        assert_eq!(found, all);

        assert_eq!(ada("remove", json!(["a.000"])), (200, json!(true)));
        assert_eq!(ada("remove", json!(["a.000"])), (200, json!(false)));
        assert_eq!(ada("deposit", json!(["cash", 5])), (200, json!(5)));
        assert_eq!(ada("clear", json!(["a."])), (200, json!(229)));
        let rest = json!({"b": u64::MAX});
        assert_eq!(ada("list", json!([])), (200, rest));
        assert_eq!(ada("clear", json!([])), (200, json!(1)));
        assert_eq!(ada("clear", json!([])), (200, json!(0)));
        assert_eq!(ada("balances", json!([])), (200, json!({"cash": 5})));
    });
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_reason() {
    awake_and_asleep("preferences", |server| {
        let set = |name: &str, value: Value| {
            let body = json!([name, value]).to_string();
            let (status, told) = server.post("/preferences/ada/set", &body);
            (status, told["code"].as_str().unwrap_or("").to_owned())
        };
        assert_eq!(set("theme", json!("dark")).0, 200);
        let refused = |status, code: &str| (status, code.to_owned());
        assert_eq!(set("theme", Value::Null), refused(400, "invalid_value"));
        let long_name = "n".repeat(2_048);
        assert_eq!(set(&long_name, json!(1)), refused(400, "invalid_key"));
        let large = json!("v".repeat(200_000));
        assert_eq!(set("theme", large), refused(413, "value_too_large"));
        let got = server.post("/preferences/ada/get", r#"["theme"]"#);
        assert_eq!(got, (200, json!("dark")));
    });
}

#[test]
fn a_transfer_moves_all_or_nothing() {
    awake_and_asleep("preferences", |server| {
        let ada = |method: &str, body: Value| {
            server.post(&format!("/preferences/ada/{method}"), &body.to_string())
        };
        assert_eq!(ada("deposit", json!(["cash", 100])), (200, json!(100)));
        let (status, told) = ada("transfer", json!(["cash", "savings", 101]));
        let details = json!({"account": "cash", "balance": 100, "points": 101});
        assert_eq!(
            (status, &told["code"], &told["details"]),
            (409, &json!("overdraft"), &details)
        );
        // Taken from the one before the other is found to be full.
        let most = u64::MAX;
        assert_eq!(ada("deposit", json!(["full", most])), (200, json!(most)));
        let (status, told) = ada("transfer", json!(["cash", "full", 1]));
        assert_eq!((status, &told["code"]), (409, &json!("too_many")));
        let (status, told) = ada("transfer", json!(["cash", "savings", -50]));
        assert_eq!((status, &told["code"]), (400, &json!("invalid_arguments")));
        let balances = json!({"cash": 100, "full": most});
        assert_eq!(ada("balances", json!([])), (200, balances));

        assert_eq!(ada("transfer", json!(["cash", "cash", 60])).0, 200);
        assert_eq!(ada("transfer", json!(["cash", "savings", 60])).0, 200);
        let balances = json!({"cash": 40, "full": most, "savings": 60});
        assert_eq!(ada("balances", json!([])), (200, balances));
    });
}

#[test]
fn kill_9_takes_nothing_back() {
    let data = tempdir().unwrap();
    let server = Server::start("preferences", data.path(), &[]);
    server.post("/preferences/ada/set", r#"["theme", "dark"]"#);
    server.post("/preferences/ada/deposit", r#"["cash", 3]"#);
    server.post("/preferences/ada/transfer", r#"["cash", "savings", 2]"#);
    server.kill();
    let server = Server::start("preferences", data.path(), &[]);
    let got = server.post("/preferences/ada/get", r#"["theme"]"#);
    assert_eq!(got, (200, json!("dark")));
    let balances = server.post("/preferences/ada/balances", "[]");
    assert_eq!(balances, (200, json!({"cash": 1, "savings": 2})));
}

proptest! {
    #[test]
    fn transfers_between_any_accounts_keep_the_sum(
        transfers in prop::collection::vec((0..3_usize, 0..3_usize, 0..80_u64, any::<bool>()), 1..30),
    ) {
        block_on(async {
            let names = ["a", "b", "c"];
            let host = TestHost::new().object::<Preferences>();
            let namespace = host.namespace::<Preferences>();
            let ada = PreferencesApiClient::new(namespace.get_by_name("ada"));
            let mut model = BTreeMap::new();
            for (name, points) in [("a", 100), ("b", 50)] {
                ada.deposit(name.to_owned(), points).await.unwrap();
                model.insert(name.to_owned(), points);
            }
            for (from, to, points, crash) in transfers {
                let (from, to) = (names[from].to_owned(), names[to].to_owned());
                let balance = model.get(&from).copied().unwrap_or(0);
                match ada.transfer(from.clone(), to.clone(), points).await {
                    Ok(()) => {
                        prop_assert!(balance >= points);
                        *model.entry(from).or_default() -= points;
                        *model.entry(to).or_default() += points;
                    }
                    Err(CallError::Object(PointsError::Overdraft { .. })) => {
                        prop_assert!(balance < points);
                    }
                    Err(error) => panic!("{error}"),
                }
                if crash {
                    host.crash();
                }
                prop_assert_eq!(&ada.balances().await.unwrap(), &model);
                prop_assert_eq!(model.values().sum::<u64>(), 150);
            }
            Ok(())
        })?;
    }
}
