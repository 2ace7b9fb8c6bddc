//! The rate limiter as a process, over HTTP; and its window, by the test kit's clock.

#[path = "../../examples/rate_limiter.rs"]
#[expect(unreachable_pub, reason = "the example, without its main")]
mod example;

use crate::support::{Server, at_once, awake_and_asleep};
use dokit::{
    Request,
    client::CallError,
    object::testing::{TestHost, block_on},
    storage::{ListOptions, Store},
};
use example::{RateLimiter, RateLimiterApiClient, Verdict};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::tempdir;

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("rate_limiter", |server| {
        server.play_header(include_str!("../../examples/rate_limiter.rs"));
    });
}

#[test]
fn a_client_has_its_limit_and_is_then_told_when_to_come_again() {
    awake_and_asleep("rate_limiter", |server| {
        let check = || server.send("POST", "/rate-limiter/ada?limit=2&window=1h", &[], "");
        let first = check();
        assert_eq!((first.status, &first.json()["remaining"]), (200, &json!(1)));
        let second = check();
        assert_eq!(
            (second.status, &second.json()["remaining"]),
            (200, &json!(0))
        );
        let refused = check();
        let reset_at = first.json()["resetAt"].clone();
        let expected = json!({"allowed": false, "remaining": 0, "resetAt": reset_at});
        assert_eq!((refused.status, refused.json()), (429, expected));
        let pause: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3600).contains(&pause), "{pause}");

        let (status, same) = server.post("/rate-limiter/ada/check", r#"[2, "1h"]"#);
        assert_eq!((status, same), (200, refused.json()));
        let (_, more) = server.post("/rate-limiter/ada/check", r#"[3, "1h"]"#);
        assert_eq!(more["allowed"], true);
        let (_, other) = server.post("/rate-limiter/bob/check", r#"[2, "1h"]"#);
        assert_eq!(other["allowed"], true);
        let reset = server.post("/rate-limiter/ada/reset", "[]");
        assert_eq!(reset, (200, Value::Null));
        assert_eq!(check().json()["remaining"], 1);
    });
}

#[test]
fn of_many_requests_at_once_the_limit_and_no_more_go_on() {
    awake_and_asleep("rate_limiter", |server| {
        let path = "/rate-limiter/ada?limit=20&window=1h";
        let go_on = || {
            let tries = (0..10).map(|_| server.send("POST", path, &[], "").status);
            tries.filter(|status| *status == 200).count()
        };
        assert_eq!(at_once(go_on).into_iter().sum::<usize>(), 20);
    });
}

#[test]
fn limits_and_windows_that_limit_nothing_are_refused_and_count_nothing() {
    awake_and_asleep("rate_limiter", |server| {
        for (query, code) in [
            ("limit=abc", "invalid_limit"),
            ("limit=", "invalid_limit"),
            ("limit=0", "invalid_limit"),
            ("limit=-1", "invalid_limit"),
            ("limit=1.5", "invalid_limit"),
            ("limit=1001", "invalid_limit"),
            ("limit=99999999999", "invalid_limit"),
            ("window=abc", "invalid_window"),
            ("window=60000", "invalid_window"),
            ("window=0s", "invalid_window"),
            ("window=32d", "invalid_window"),
        ] {
            let path = format!("/rate-limiter/ada?{query}");
            let refused = server.send("POST", &path, &[], "");
            let told = refused.json();
            assert_eq!(
                (refused.status, &told["code"]),
                (400, &json!(code)),
                "{query}"
            );
        }
        for (arguments, code) in [
            (r#"[0, "1m"]"#, "invalid_limit"),
            (r#"["abc", "1m"]"#, "invalid_arguments"),
            (r#"[5, 60]"#, "invalid_arguments"),
            (r#"[5]"#, "invalid_arguments"),
            (r#"[5, "soon"]"#, "invalid_window"),
        ] {
            let (status, told) = server.post("/rate-limiter/ada/check", arguments);
            assert_eq!((status, &told["code"]), (400, &json!(code)), "{arguments}");
        }
        let get = server.send("GET", "/rate-limiter/ada", &[], "");
        assert_eq!(get.status, 404);
        let (_, first) = server.post("/rate-limiter/ada/check", r#"[10, "1m"]"#);
        assert_eq!(first["remaining"], 9);
    });
}

#[test]
fn kill_9_lets_nobody_in_anew() {
    let data = tempdir().unwrap();
    let server = Server::start("rate_limiter", data.path(), &[]);
    let (_, first) = server.post("/rate-limiter/ada/check", r#"[1, "1h"]"#);
    assert_eq!(first["allowed"], true);
    server.kill();
    let server = Server::start("rate_limiter", data.path(), &[]);
    let (_, second) = server.post("/rate-limiter/ada/check", r#"[1, "1h"]"#);
    assert_eq!(
        second,
        json!({"allowed": false, "remaining": 0, "resetAt": first["resetAt"]})
    );
}

#[test]
fn a_request_leaves_its_window_to_the_millisecond() {
    block_on(async {
        let host = TestHost::new().object::<RateLimiter>();
        let ada = RateLimiterApiClient::new(host.namespace::<RateLimiter>().get_by_name("ada"));
        let check = || ada.check(2, "1m".to_owned());
        let first = check().await.unwrap();
        host.advance("20s").await;
        assert_eq!(check().await.unwrap().reset_at, first.reset_at);
        host.advance("39s 999ms").await;
        let refused = check().await.unwrap();
        let expected = Verdict {
            allowed: false,
            remaining: 0,
            reset_at: first.reset_at,
        };
        assert_eq!(refused, expected);
        let path = "http://host/rate-limiter/ada?limit=2&window=1m";
        let mut request = Request::new("".into());
        *request.method_mut() = "POST".parse().unwrap();
        *request.uri_mut() = path.parse().unwrap();
        let answer = host.handle(request).await;
        assert_eq!(answer.headers()["retry-after"], "1");
        host.advance("1ms").await;
        let third = check().await.unwrap();
        assert!(third.allowed && third.remaining == 0);
        assert_eq!(
            third
                .reset_at
                .saturating_duration_since(first.reset_at)
                .as_secs(),
            20
        );
    });
}

#[test]
fn nothing_is_kept_of_a_client_that_does_not_come_back() {
    block_on(async {
        let host = TestHost::new().object::<RateLimiter>();
        let namespace = host.namespace::<RateLimiter>();
        let ada = RateLimiterApiClient::new(namespace.get_by_name("ada"));
        let disk = host.disk::<RateLimiter>(&namespace.id_from_name("ada"));
        for _ in 0..5 {
            ada.check(3, "1m".to_owned()).await.unwrap();
            host.advance("10s").await;
        }
        let all = ListOptions::new().to_range().unwrap();
        assert_eq!(disk.list(&all).await.unwrap().len(), 1);
        host.sleep();
        host.advance("1m").await;
        assert_eq!(disk.list(&all).await.unwrap(), []);
        assert_eq!(disk.alarm().await.unwrap(), None);
    });
}

proptest! {
    /// Against a plain list of the times that were let in.
    #[test]
    fn no_window_lets_more_in_than_its_limit_and_none_refuses_before(
        limit in 1..5_u32,
        pauses in prop::collection::vec((0..70_u64, any::<bool>()), 1..40),
    ) {
        block_on(async {
            let host = TestHost::new().object::<RateLimiter>();
            let ada = RateLimiterApiClient::new(host.namespace::<RateLimiter>().get_by_name("ada"));
            let mut counted: Vec<u64> = Vec::new();
            let mut now = 0;
            for (pause, sleep) in pauses {
                if sleep {
                    host.sleep();
                }
                if pause > 0 {
                    host.advance(&format!("{pause}s")).await;
                }
                now += pause;
                let verdict = ada.check(limit, "1m".to_owned()).await.unwrap();
                counted.retain(|at| at + 60 > now);
                prop_assert_eq!(verdict.allowed, counted.len() < limit as usize);
                if verdict.allowed {
                    counted.push(now);
                }
                prop_assert_eq!(verdict.remaining, limit as usize - counted.len());
            }
            Ok(())
        })?;
    }
}

#[test]
fn errors_cross_to_a_typed_client() {
    let host = TestHost::new().object::<RateLimiter>();
    let ada = RateLimiterApiClient::new(host.namespace::<RateLimiter>().get_by_name("ada"));
    let refused = block_on(ada.check(0, "1m".to_owned())).unwrap_err();
    let CallError::Object(error) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        error.to_string(),
        "a limit is a number from 1 to 1000, not 0"
    );
}
