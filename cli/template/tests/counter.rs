//! The counter on a host in memory: no server, and time passes when the test says so.

use dokit::object::testing::{TestHost, block_on};
use my_objects::{Counter, CounterApiClient};

#[test]
fn what_was_answered_is_there_after_a_crash() {
    let host = TestHost::new().object::<Counter>();
    let counter = CounterApiClient::new(host.namespace::<Counter>().get_by_name("global"));
    block_on(async {
        assert_eq!(counter.increment(5).await.unwrap(), 5);
        host.crash();
        assert_eq!(counter.increment(1).await.unwrap(), 6);
    });
}

#[test]
fn a_counter_starts_again_when_its_time_is_over_also_while_it_sleeps() {
    let host = TestHost::new().object::<Counter>();
    let counter = CounterApiClient::new(host.namespace::<Counter>().get_by_name("global"));
    block_on(async {
        counter.increment(5).await.unwrap();
        counter.reset_in("1h".to_owned()).await.unwrap();
        host.advance("59m 59s").await;
        assert_eq!(counter.get_count().await.unwrap(), 5);
        host.sleep();
        host.advance("1s").await;
        assert_eq!(counter.get_count().await.unwrap(), 0);
    });
}

#[test]
fn a_count_that_does_not_fit_is_refused_and_changes_nothing() {
    let host = TestHost::new().object::<Counter>();
    let counter = CounterApiClient::new(host.namespace::<Counter>().get_by_name("global"));
    block_on(async {
        counter.increment(u64::MAX).await.unwrap();
        let refused = counter.increment(1).await.unwrap_err();
        assert_eq!(refused.code().unwrap(), "too_many");
        assert_eq!(counter.get_count().await.unwrap(), u64::MAX);
    });
}
