//! The session as a process, over HTTP; and its end, by the test kit's clock.

#[path = "../../examples/session.rs"]
#[expect(unreachable_pub, reason = "the example, without its main")]
mod example;

use crate::support::{Server, awake_and_asleep};
use dokit::{
    client::CallError,
    object::testing::{TestHost, block_on},
    storage::{ListOptions, Store},
};
use example::{Session, SessionApiClient, SessionError};
use serde_json::{Value, json};
use tempfile::tempdir;

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("session", |server| {
        server.play_header(include_str!("../../examples/session.rs"));
    });
}

#[test]
fn a_session_keeps_what_is_put_there_until_its_user_signs_out() {
    awake_and_asleep("session", |server| {
        let call = |session: &str, method: &str, body: Value| {
            server.post(&format!("/session/{session}/{method}"), &body.to_string())
        };
        for (method, body) in [
            ("get", json!([])),
            ("touch", json!([])),
            ("set", json!(["a", 1])),
        ] {
            let (status, told) = call("one", method, body);
            assert_eq!((status, &told["code"]), (401, &json!("not_signed_in")));
        }
        let (status, signed_in) = call("one", "sign_in", json!(["ada", "10m"]));
        assert_eq!((status, &signed_in["user"]), (200, &json!("ada")));
        assert_eq!(signed_in["timeToLive"], 600_000);
        assert_eq!(call("one", "set", json!(["n", u64::MAX])).0, 200);
        let (_, set) = call("one", "set", json!(["list", [1, null]]));
        assert!(set["expiresAt"].as_i64() >= signed_in["expiresAt"].as_i64());
        let data = json!({"list": [1, null], "n": u64::MAX});
        assert_eq!(call("one", "get", json!([])).1["data"], data);
        let (_, taken) = call("one", "set", json!(["n", null]));
        assert_eq!(taken["data"], json!({"list": [1, null]}));
        assert_eq!(call("two", "get", json!([])).0, 401);

        // Another user of the same browser finds nothing of the first.
        let (_, bob) = call("one", "sign_in", json!(["bob"]));
        assert_eq!((&bob["user"], &bob["data"]), (&json!("bob"), &json!({})));
        assert_eq!(bob["timeToLive"], 1_800_000);
        assert_eq!(call("one", "sign_out", json!([])), (200, Value::Null));
        assert_eq!(call("one", "sign_out", json!([])), (200, Value::Null));
        assert_eq!(call("one", "get", json!([])).0, 401);
    });
}

#[test]
fn what_the_state_does_not_allow_is_refused_and_changes_nothing() {
    awake_and_asleep("session", |server| {
        let call = |method: &str, body: Value| {
            let (status, told) = server.post(&format!("/session/s/{method}"), &body.to_string());
            (status, told["code"].as_str().unwrap_or_default().to_owned())
        };
        let refused = |status, code: &str| (status, code.to_owned());
        for (body, code) in [
            (json!([" "]), "invalid_state"),
            (json!(["ada", "0s"]), "invalid_duration"),
            (json!(["ada", "soon"]), "invalid_duration"),
            (json!(["ada", "218y"]), "invalid_duration"),
            (json!(["ada", "79000d"]), "invalid_alarm"),
            (json!([7]), "invalid_arguments"),
        ] {
            assert_eq!(call("sign_in", body), refused(400, code));
            assert_eq!(call("get", json!([])), refused(401, "not_signed_in"));
        }
        assert_eq!(call("sign_in", json!(["ada"])).0, 200);
        for number in 0..50 {
            let name = format!("name {number}");
            assert_eq!(call("set", json!([name, number])).0, 200);
        }
        let one_more = call("set", json!(["one more", 1]));
        assert_eq!(one_more, refused(400, "invalid_state"));
        let large = call("set", json!(["name 0", "v".repeat(200_000)]));
        assert_eq!(large, refused(413, "value_too_large"));
        let (_, session) = server.post("/session/s/get", "[]");
        let data = session["data"].as_object().unwrap();
        assert_eq!((data.len(), &data["name 0"]), (50, &json!(0)));
    });
}

#[test]
fn kill_9_signs_nobody_out() {
    let data = tempdir().unwrap();
    let server = Server::start("session", data.path(), &[]);
    server.post("/session/s/sign_in", r#"["ada"]"#);
    let (_, before) = server.post("/session/s/set", r#"["theme", "dark"]"#);
    server.kill();
    let server = Server::start("session", data.path(), &[]);
    assert_eq!(server.post("/session/s/get", "[]"), (200, before));
}

#[test]
fn a_session_ends_to_the_millisecond_unless_it_is_used() {
    for asleep in [false, true] {
        block_on(async {
            let host = TestHost::new().object::<Session>();
            let session = SessionApiClient::new(host.namespace::<Session>().get_by_name("s"));
            let pass = async |time: &str| {
                host.advance(time).await;
                if asleep {
                    host.sleep();
                }
            };
            let ten = Some("10m".to_owned());
            session.sign_in("ada".to_owned(), ten).await.unwrap();
            pass("9m").await;
            session.touch().await.unwrap();
            pass("9m").await;
            session.set("n".to_owned(), json!(1)).await.unwrap();
            pass("9m 59s 999ms").await;
            // A look does not make it last longer.
            assert_eq!(session.get().await.unwrap().data["n"], 1);
            pass("1ms").await;
            let refused = session.get().await.unwrap_err();
            let CallError::Object(SessionError::NotSignedIn) = refused else {
                panic!("{refused}");
            };
        });
    }
}

#[test]
fn nothing_is_left_of_a_session_that_ended_while_its_object_slept_or_nothing_ran() {
    for crash in [false, true] {
        block_on(async {
            let host = TestHost::new().object::<Session>();
            let namespace = host.namespace::<Session>();
            let session = SessionApiClient::new(namespace.get_by_name("s"));
            let disk = host.disk::<Session>(&namespace.id_from_name("s"));
            let all = ListOptions::new().to_range().unwrap();
            session.sign_in("ada".to_owned(), None).await.unwrap();
            if crash {
                host.crash();
            } else {
                host.sleep();
            }
            host.advance("29m").await;
            assert_eq!(disk.list(&all).await.unwrap().len(), 1);
            host.advance("1m").await;
            assert_eq!(disk.list(&all).await.unwrap(), []);
            assert_eq!(disk.alarm().await.unwrap(), None);
        });
    }
}

#[test]
fn an_alarm_that_is_late_ends_no_session_that_began_meanwhile() {
    block_on(async {
        let host = TestHost::new().object::<Session>();
        let session = SessionApiClient::new(host.namespace::<Session>().get_by_name("s"));
        session.sign_in("ada".to_owned(), None).await.unwrap();
        // Time passes, and before the alarm has run the user comes again.
        host.clock()
            .advance(std::time::Duration::from_secs(31 * 60));
        assert!(session.get().await.is_err());
        session.sign_in("bob".to_owned(), None).await.unwrap();
        host.settle().await;
        assert_eq!(session.get().await.unwrap().user, "bob");
    });
}
