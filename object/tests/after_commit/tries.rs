//! What is handed over, how often a call is tried, and when that is the last try.

use std::borrow::Cow;

use dokit_storage::Store;

use crate::both;

#[test]
fn calls_are_made_in_order_also_when_the_first_is_tried_again() {
    both(async |kit| {
        kit.depot("d").refuse(503).await.unwrap();
        kit.order("d", &["a", "b"]).await;
        kit.order("e", &["c"]).await;
        kit.host.settle().await;
        kit.order("d", &["d"]).await;
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, [""; 0]);
        assert_eq!(
            kit.depot("d").tries().await.unwrap().len(),
            1,
            "the others wait"
        );
        assert_eq!(kit.items("e").await, ["c"], "another object does not");
        kit.depot("d").refuse(0).await.unwrap();
        kit.host.crash();
        kit.host.advance("3s").await;
        assert_eq!(kit.items("d").await, ["a", "b", "d"]);
        assert_eq!(kit.shop().undelivered().await.unwrap(), []);
    });
}

#[test]
fn many_calls_to_many_objects_are_all_made() {
    both(async |kit| {
        let items: Vec<String> = (0..100).map(|item| format!("{item}")).collect();
        let items: Vec<&str> = items.iter().map(String::as_str).collect();
        kit.order("d", &items).await;
        for depot in 0..100 {
            kit.order(&format!("depot-{depot}"), &["x"]).await;
        }
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, items);
        for depot in 0..100 {
            assert_eq!(kit.items(&format!("depot-{depot}")).await, ["x"]);
        }
        // Nothing is left to do, nor to wake for.
        assert_eq!(kit.disk().alarm().await.unwrap(), None);
    });
}

#[test]
fn a_call_whose_tries_are_used_up_is_kept_and_the_next_is_made() {
    both(async |kit| {
        kit.depot("d").refuse(500).await.unwrap();
        kit.order("d", &["a", "b"]).await;
        kit.host.advance("12h").await;
        let tries = kit.depot("d").tries().await.unwrap();
        assert_eq!(tries.len(), 32);
        let waits: Vec<u64> = tries[..16]
            .windows(2)
            .map(|pair| pair[1].saturating_duration_since(pair[0]).as_secs())
            .collect();
        for (at, wait) in waits.iter().enumerate() {
            let base = (2 << at.min(20)).min(3600);
            assert!((base..=base * 5 / 4).contains(wait), "{waits:?}");
        }
        let error = "closed (500): the depot is closed".to_owned();
        assert_eq!(
            kit.shop().undelivered().await.unwrap(),
            [
                (1, "d [\"a\"]".to_owned(), 16, error.clone()),
                (2, "d [\"b\"]".to_owned(), 16, error)
            ]
        );
        kit.depot("d").refuse(0).await.unwrap();
        kit.order("d", &["c"]).await;
        assert!(kit.shop().revive(2).await.unwrap());
        assert!(!kit.shop().revive(2).await.unwrap());
        assert!(kit.shop().forget(1).await.unwrap());
        kit.host.crash();
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, ["c", "b"]);
        assert_eq!(kit.shop().undelivered().await.unwrap(), []);
    });
}

#[test]
fn a_refusal_is_final_unless_it_says_not_now() {
    both(async |kit| {
        for (status, is_final) in [(404, true), (409, true), (408, false), (429, false)] {
            let depot = format!("depot-{status}");
            kit.depot(&depot).refuse(status).await.unwrap();
            kit.order(&depot, &["x"]).await;
            kit.host.settle().await;
            let undelivered = kit.shop().undelivered().await.unwrap();
            let kept = undelivered.iter().any(|dead| dead.1.starts_with(&depot));
            assert_eq!(kept, is_final, "{status}");
        }
    });
}

#[test]
fn a_call_that_is_handed_over_twice_with_a_key_of_the_users_own_runs_once() {
    both(async |kit| {
        for (key, item) in [("1", "a"), ("1", "a"), ("2", "a"), ("1", "b")] {
            let shop = kit.shop();
            shop.order_once(key.to_owned(), item.to_owned())
                .await
                .unwrap();
            kit.host.settle().await;
        }
        assert_eq!(kit.items("d").await, ["a", "a"]);
        // The same key for another call is a mistake, and told.
        let undelivered = kit.shop().undelivered().await.unwrap();
        assert_eq!(undelivered.len(), 1);
        assert_eq!(undelivered[0].1, "d [\"b\"]");
    });
}

#[test]
fn what_becomes_of_a_call_is_not_taken_for_that_of_another_which_has_its_number_since() {
    both(async |kit| {
        kit.order("d", &["begin anew"]).await;
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, ["begin anew"]);
        assert_eq!(kit.items("e").await, ["new"]);
    });
}

#[test]
fn what_cannot_be_handed_over_fails_the_call() {
    both(async |kit| {
        for (how, status, code) in [
            ("name", 500, "internal"),
            ("size", 413, "value_too_large"),
            ("none", 500, "internal"),
            ("two", 500, "internal"),
        ] {
            let failed = kit.shop().order_badly(how.to_owned()).await.unwrap_err();
            assert_eq!(
                (failed.status(), failed.code().as_deref()),
                (Some(status), Some(code))
            );
        }
        let failed = kit.shop().order_while_reading().await.unwrap_err();
        assert_eq!(failed.code().as_deref(), Some("internal"));
        let failed = kit.shop().write("__outbox".to_owned()).await.unwrap_err();
        assert_eq!(failed.code().as_deref(), Some("internal"));
        kit.host.advance("1h").await;
        assert_eq!(kit.items("d").await, [""; 0]);
        kit.depot("d").refuse(503).await.unwrap();
        let many: Vec<String> = (0..1000).map(|item| format!("{item}")).collect();
        kit.shop().order("d".to_owned(), many).await.unwrap();
        let more = vec!["one more".to_owned()];
        let full = kit.shop().order("d".to_owned(), more).await.unwrap_err();
        assert_eq!(full.code().as_deref(), Some("outbox_full"));
    });
}

#[test]
fn where_too_many_could_not_be_delivered_no_more_are_taken_until_one_is_forgotten_or_revived() {
    both(async |kit| {
        let depots: Vec<String> = (0..64).map(|depot| format!("depot-{depot}")).collect();
        for depot in &depots {
            kit.depot(depot).refuse(404).await.unwrap();
        }
        let mut handed = 0;
        while handed < 1000 {
            for depot in depots.iter().take(1000 - handed) {
                kit.order(depot, &["x"]).await;
                handed += 1;
            }
            kit.host.settle().await;
        }
        assert_eq!(kit.shop().undelivered().await.unwrap().len(), 1000);
        let more = async || {
            let shop = kit.shop();
            let more = shop.order("d".to_owned(), vec!["y".to_owned()]);
            more.await
                .map_err(|error| error.code().map(Cow::into_owned))
        };
        let full = Err(Some("outbox_full".to_owned()));
        assert_eq!(more().await, full);
        kit.host.crash();
        assert_eq!(more().await, full);
        assert!(kit.shop().forget(1).await.unwrap());
        more().await.unwrap();
        // What died meanwhile took the place.
        kit.order("depot-1", &["x"]).await;
        kit.host.settle().await;
        assert_eq!(more().await, full);
        kit.depot("depot-1").refuse(0).await.unwrap();
        assert!(kit.shop().revive(2).await.unwrap());
        more().await.unwrap();
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, ["y", "y"]);
        assert_eq!(kit.items("depot-1").await, ["x"]);
    });
}
