//! A call is made once, wherever it was interrupted.

use dokit_object::Clock;
use dokit_storage::{Store, Timestamp};

use crate::both;

/// What the receiver answered is lost, and the call is made again: it runs once.
#[test]
fn a_call_whose_answer_was_lost_runs_once() {
    both(async |kit| {
        kit.order("d", &["a", "b"]).await;
        // The next commit, which takes note of what is on its way, is written; what became of it is not.
        kit.disk().fail_commits_from(2);
        kit.host.settle().await;
        assert_eq!(kit.items("d").await, ["a", "b"]);
        let again = kit.disk().alarm().await.unwrap().unwrap();
        let now = kit.host.clock().now();
        assert_eq!(again.saturating_duration_since(now).as_secs(), 60);
        kit.disk().heal();
        kit.order("d", &["c"]).await;
        kit.host.settle().await;
        assert_eq!(
            kit.items("d").await,
            ["a", "b"],
            "it may still be on its way"
        );
        kit.host.advance("2m").await;
        assert_eq!(kit.items("d").await, ["a", "b", "c"]);
        assert_eq!(kit.disk().alarm().await.unwrap(), None);
    });
}

/// Nothing that is on its way outlives a crash, so none of it is waited for.
#[test]
fn a_call_that_was_on_its_way_at_a_crash_is_made_again_at_once() {
    for alarm in [None, Some(30_000), Some(0)] {
        both(async |kit| {
            kit.order("d", &["a", "b"]).await;
            // What is on its way is written, and what became of it not.
            kit.disk().fail_commits_from(2);
            kit.host.settle().await;
            kit.disk().heal();
            let start = kit.host.clock().now().as_millis();
            if let Some(alarm) = alarm {
                kit.shop().set_alarm(alarm).await.unwrap();
            }
            kit.host.crash();
            kit.host.settle().await;
            assert_eq!(kit.items("d").await, ["a", "b"]);
            // The alarm's handler fails the first time.
            let next = alarm.map(|alarm| start + alarm.max(2000));
            let set = kit.disk().alarm().await.unwrap();
            let slack = |at: Timestamp| at.as_millis() - next.unwrap();
            assert_eq!(set.is_some(), alarm.is_some(), "{set:?}");
            assert!(
                set.is_none_or(|at| (0..1000).contains(&slack(at))),
                "{set:?}"
            );
            kit.host.advance("1m").await;
            let rung = usize::from(alarm.is_some());
            assert_eq!(kit.shop().rung().await.unwrap().len(), rung);
        });
    }
}

#[test]
fn a_call_that_waits_for_its_next_try_waits_after_a_crash_too() {
    both(async |kit| {
        kit.depot("d").refuse(503).await.unwrap();
        kit.order("d", &["a"]).await;
        kit.host.settle().await;
        kit.host.crash();
        kit.host.settle().await;
        kit.order("e", &["b"]).await;
        kit.host.settle().await;
        assert_eq!(kit.depot("d").tries().await.unwrap().len(), 1);
        kit.host.advance("3s").await;
        assert_eq!(kit.depot("d").tries().await.unwrap().len(), 2);
    });
}

/// At every commit of the sender there may be a crash.
#[test]
fn wherever_the_disk_breaks_every_call_is_made_once_in_order() {
    for broken in 1..12 {
        both(async |kit| {
            kit.depot("e").refuse(429).await.unwrap();
            kit.disk().fail_commit(broken);
            let mut ordered = Vec::new();
            for item in ["a", "b", "c", "d"] {
                let items = vec![item.to_owned()];
                let shop = kit.shop();
                if shop.order("d".to_owned(), items.clone()).await.is_ok() {
                    ordered.push(item);
                }
                // It does not stand in the way.
                let _ = shop.order("e".to_owned(), items).await;
                kit.host.settle().await;
                kit.host.crash();
            }
            kit.host.advance("10m").await;
            assert_eq!(kit.items("d").await, ordered, "commit {broken} failed");
        });
    }
}
