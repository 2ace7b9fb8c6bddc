//! The analytics as a process, over HTTP; and counts over days and weeks, by the test kit's clock.

#[path = "../../examples/analytics.rs"]
#[expect(unreachable_pub, reason = "the example, without its main")]
mod example;

use crate::support::{Server, awake_and_asleep};
use dokit::{
    object::testing::{TestHost, block_on},
    storage::{Store, Timestamp},
};
use example::{Analytics, AnalyticsApiClient, Step};
use serde_json::{Value, json};
use tempfile::tempdir;

const HOUR: i64 = 60 * 60 * 1_000;

#[test]
fn its_header_says_what_it_does() {
    awake_and_asleep("analytics", |server| {
        server.play_header(include_str!("../../examples/analytics.rs"));
    });
}

#[test]
fn events_are_listed_with_what_is_known_of_them_and_counted_by_name() {
    awake_and_asleep("analytics", |server| {
        let site = |method: &str, body: Value| {
            server.post(&format!("/analytics/site/{method}"), &body.to_string())
        };
        assert_eq!(site("get_event_counts", json!([])), (200, json!({})));
        assert_eq!(site("get_recent_events", json!([])), (200, json!([])));
        let name = "it's \"quoted\"; DROP TABLE events --";
        let properties = json!({"n": u64::MAX, "list": [1, null], "text": "\u{1F600}"});
        for body in [
            json!([name, properties]),
            json!([name]),
            json!(["other", {}]),
        ] {
            assert_eq!(site("track_event", body), (200, Value::Null));
        }
        let (_, events) = site("get_recent_events", json!([2]));
        assert_eq!(events.as_array().unwrap().len(), 2);
        assert_eq!(
            (&events[0]["name"], &events[1]["name"]),
            (&json!("other"), &json!(name))
        );
        let (_, events) = site("get_recent_events", json!([]));
        assert_eq!(
            (&events[2]["name"], &events[2]["properties"]),
            (&json!(name), &properties)
        );
        assert_eq!(
            site("get_event_counts", json!([])),
            (200, json!({name: 2, "other": 1}))
        );
        let since = events[0]["at"].as_i64().unwrap() + 1;
        assert_eq!(site("get_event_counts", json!([since])), (200, json!({})));
        let (_, timeline) = site("get_timeline", json!([name, "hour"]));
        let timeline = timeline.as_array().unwrap();
        let counted: u64 = timeline
            .iter()
            .map(|hour| hour["count"].as_u64().unwrap())
            .sum();
        assert_eq!(counted, 2);
        for hour in timeline {
            assert_eq!(hour["start"].as_i64().unwrap() % HOUR, 0);
        }
    });
}

#[test]
fn what_is_no_event_and_no_question_is_refused() {
    awake_and_asleep("analytics", |server| {
        for (method, body, code) in [
            ("track_event", json!([""]), "invalid_name_of_event"),
            (
                "track_event",
                json!(["n".repeat(101)]),
                "invalid_name_of_event",
            ),
            ("track_event", json!(["n", []]), "invalid_arguments"),
            ("track_event", json!(["n", "text"]), "invalid_arguments"),
            ("track_event", json!([]), "invalid_arguments"),
            ("get_recent_events", json!([0]), "invalid_limit"),
            ("get_recent_events", json!([1001]), "invalid_limit"),
            ("get_recent_events", json!([-1]), "invalid_arguments"),
            ("get_timeline", json!(["n", "week"]), "invalid_arguments"),
            ("get_timeline", json!(["n"]), "invalid_arguments"),
        ] {
            let path = format!("/analytics/site/{method}");
            let (status, told) = server.post(&path, &body.to_string());
            assert_eq!((status, &told["code"]), (400, &json!(code)), "{body}");
        }
        let counts = server.post("/analytics/site/get_event_counts", "[]");
        assert_eq!(counts, (200, json!({})));
    });
}

#[test]
fn kill_9_loses_no_event_that_was_answered() {
    let data = tempdir().unwrap();
    let mut server = Server::start("analytics", data.path(), &[]);
    for round in 1..=3 {
        for _ in 0..5 {
            let tracked = server.post("/analytics/site/track_event", r#"["event"]"#);
            assert_eq!(tracked.0, 200);
        }
        server.kill();
        server = Server::start("analytics", data.path(), &[]);
        let counts = server.post("/analytics/site/get_event_counts", "[]");
        assert_eq!(counts, (200, json!({"event": round * 5})));
    }
}

#[test]
fn events_are_counted_in_the_hour_and_the_day_in_which_they_came() {
    for asleep in [false, true] {
        block_on(async {
            let host = TestHost::new().object::<Analytics>();
            let midnight = Timestamp::from_millis(20_000 * 24 * HOUR);
            host.clock().set(midnight);
            let site = AnalyticsApiClient::new(host.namespace::<Analytics>().get_by_name("site"));
            for pause in ["1ms", "59m 59s 998ms", "1ms", "22h", "59m 59s 999ms", "1ms"] {
                host.advance(pause).await;
                if asleep {
                    host.sleep();
                }
                site.track_event("event".to_owned(), None).await.unwrap();
            }
            let counted = async |step: Step, since: Option<Timestamp>| {
                let timeline = site.get_timeline("event".to_owned(), step, since).await;
                let timeline = timeline.unwrap().into_iter();
                timeline
                    .map(|bucket| {
                        let start = bucket.start.as_millis() - midnight.as_millis();
                        (start / HOUR, bucket.count)
                    })
                    .collect::<Vec<_>>()
            };
            let hours = [(0, 2), (1, 1), (23, 2), (24, 1)];
            assert_eq!(counted(Step::Hour, None).await, hours);
            assert_eq!(counted(Step::Day, None).await, [(0, 5), (24, 1)]);
            let since = Timestamp::from_millis(midnight.as_millis() + HOUR);
            assert_eq!(counted(Step::Hour, Some(since)).await, hours[1..]);
            let other = site.get_timeline("other".to_owned(), Step::Day, None).await;
            assert_eq!(other.unwrap(), []);
        });
    }
}

#[test]
fn events_are_deleted_after_30_days_and_then_the_object_rests() {
    for crash in [false, true] {
        block_on(async {
            let host = TestHost::new().object::<Analytics>();
            let namespace = host.namespace::<Analytics>();
            let site = AnalyticsApiClient::new(namespace.get_by_name("site"));
            let disk = host.disk::<Analytics>(&namespace.id_from_name("site"));
            let pass = async |time: &str| {
                if crash {
                    host.crash();
                } else {
                    host.sleep();
                }
                host.advance(time).await;
                let counts = site.get_event_counts(None).await.unwrap();
                counts.values().sum::<u64>()
            };
            site.track_event("a".to_owned(), None).await.unwrap();
            pass("10m").await;
            site.track_event("b".to_owned(), None).await.unwrap();
            pass("1d").await;
            site.track_event("c".to_owned(), None).await.unwrap();
            assert_eq!(pass("28d 23h 49m").await, 3);
            assert_eq!(pass("1m").await, 2);
            // Events that come close together are deleted together.
            assert_eq!(pass("59m").await, 2);
            assert_eq!(pass("1m").await, 1);
            assert_eq!(pass("1d").await, 0);
            assert_eq!(disk.alarm().await.unwrap(), None);

            site.track_event("later".to_owned(), None).await.unwrap();
            assert_eq!(pass("29d").await, 1);
            assert_eq!(pass("1d").await, 0);
        });
    }
}
