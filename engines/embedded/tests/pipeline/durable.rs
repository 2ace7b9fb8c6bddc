//! What is answered, and when: not before it is durable, and in the order of the calls.

use std::time::Duration;

use dokit_embedded::Host;
use futures_util::{FutureExt, future::join_all};
use tempfile::tempdir;
use tokio::task::{JoinHandle, spawn, yield_now};

use crate::{Counter, Disk, code, counter, ran, seen, send_adds, start};

#[tokio::test]
async fn calls_run_on_while_the_disk_is_busy_and_no_answer_leaves_before_it_is_durable() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "busy disk";
    let counter = counter(&host, name);

    disk.hold();
    // Also of an object that has no row yet.
    let mut sent = send_adds(&counter, name, 50).await;
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(sent.iter().all(|call| !call.is_finished()));
    disk.release();

    let last = sent.pop().unwrap().await.unwrap().unwrap();
    assert_eq!(last, (50, 50));
    assert_eq!(disk.largest_count(), 50);
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
}

#[tokio::test]
async fn answers_leave_in_the_order_of_the_calls() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "order";
    let counter = counter(&host, name);

    disk.hold();
    let mut calls: Vec<_> = (0..50)
        .map(|_| {
            let counter = counter.clone();
            async move { counter.add().await.unwrap() }.boxed()
        })
        .collect();
    // A call is in its object's queue once it was polled.
    for call in &mut calls {
        assert_eq!(call.as_mut().now_or_never(), None);
    }
    ran(name, 50).await;
    disk.release();
    let last = calls.pop().unwrap().await;
    assert_eq!(last, (50, 50));
    for (n, call) in (1..).zip(calls) {
        assert_eq!(call.now_or_never(), Some((n, n)), "it was overtaken");
    }
}

#[tokio::test]
async fn more_calls_than_may_be_on_their_way_wait_for_the_disk() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "many";
    let counter = counter(&host, name);
    disk.hold();
    let calls: Vec<_> = (0..300)
        .map(|_| {
            let counter = counter.clone();
            spawn(async move { counter.add().await.unwrap() })
        })
        .collect();
    ran(name, 64).await;
    for _ in 0..1000 {
        yield_now().await;
    }
    assert_eq!(seen(name).ran, 64, "the bound of what is on its way");
    disk.release();
    for (n, call) in (1..).zip(calls) {
        assert_eq!(call.await.unwrap(), (n, n));
    }
}

#[tokio::test]
async fn a_host_with_too_many_bytes_on_their_way_takes_no_more_writes_and_reads_on() {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Counter>();
    let host = host.waiting_bytes(100).start().unwrap();
    let disk = Disk::of(data.path());
    let (name, other_name) = ("heavy", "light");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    disk.hold();
    // A key of five bytes and a count.
    let mut sent = Vec::new();
    for _ in 0..16 {
        sent.extend(send_adds(&counter, name, 1).await);
    }
    let error = other.add().await.unwrap_err();
    assert!(error.is_overloaded() && !error.may_have_run(), "{error}");
    assert_eq!(other.get().await.unwrap(), 0);
    disk.release();
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
    while let Err(error) = other.add().await {
        assert!(error.is_overloaded(), "{error}");
    }
}

#[tokio::test]
async fn what_was_read_of_writes_on_their_way_is_answered_when_they_are_durable() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "reads";
    let counter = counter(&host, name);
    counter.add().await.unwrap();

    for broken in [false, true] {
        disk.hold();
        let before = seen(name).ran;
        let added = send_adds(&counter, name, 1).await.pop().unwrap();
        let failing = spawn({
            let counter = counter.clone();
            async move { code(&counter.add_and_fail().await.unwrap_err()) }
        });
        let reads: Vec<JoinHandle<Result<u32, String>>> = [true, false, false]
            .into_iter()
            .map(|alone| {
                let counter = counter.clone();
                spawn(async move {
                    let answer = if alone {
                        counter.look().await
                    } else {
                        counter.get().await
                    };
                    answer.map_err(|error| code(&error))
                })
            })
            .collect();
        ran(name, before + 5).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert!(!added.is_finished() && !failing.is_finished());
        assert!(reads.iter().all(|read| !read.is_finished()));
        if broken {
            disk.release_broken(3);
        } else {
            disk.release();
        }
        let expected = if broken {
            Err("commit_failed".to_owned())
        } else {
            Ok(2)
        };
        assert_eq!(added.await.unwrap().map(|(_, count)| count), expected);
        for read in reads {
            assert_eq!(read.await.unwrap(), expected);
        }
        let failed = if broken { "commit_failed" } else { "planned" };
        assert_eq!(failing.await.unwrap(), failed);
        assert_eq!(counter.get().await.unwrap(), 2);
    }
}

#[tokio::test]
async fn a_read_of_what_is_durable_does_not_wait() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let (name, other_name) = ("durable", "on its way");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    counter.add().await.unwrap();
    disk.hold();
    let sent = send_adds(&other, other_name, 3).await;
    assert_eq!(counter.get().await.unwrap(), 1);
    assert_eq!(counter.look().await.unwrap(), 1);
    host.sleep().await;
    assert_eq!(counter.get().await.unwrap(), 1);
    assert!(sent.iter().all(|call| !call.is_finished()));
    disk.release();
    join_all(sent).await;
}

#[tokio::test]
async fn an_early_commit_waits_for_all_before_it() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "early";
    let counter = counter(&host, name);
    counter.add().await.unwrap();

    for (alone, broken) in [(true, false), (false, false), (true, true), (false, true)] {
        disk.hold();
        let added = send_adds(&counter, name, 1).await.pop().unwrap();
        let before = seen(name);
        let acting = spawn({
            let counter = counter.clone();
            async move {
                let acted = if alone {
                    counter.commit_and_act().await
                } else {
                    counter.look_and_act().await
                };
                acted.map_err(|error| code(&error))
            }
        });
        ran(name, before.ran + 1).await;
        for _ in 0..100 {
            yield_now().await;
        }
        assert_eq!(seen(name).acted, before.acted);
        if broken {
            disk.release_broken(0);
            assert_eq!(acting.await.unwrap(), Err("commit_failed".to_owned()));
            assert_eq!(seen(name).acted, before.acted, "it acted on what was lost");
            disk.mend();
        } else {
            disk.release();
            assert_eq!(acting.await.unwrap(), Ok(()));
            assert_eq!(seen(name).acted, before.acted + 1);
        }
        assert_eq!(added.await.unwrap().is_err(), broken);
    }
    assert_eq!(counter.add().await.unwrap(), (4, 4));
}

#[tokio::test]
async fn an_alarm_on_its_way_fires_when_it_is_durable_and_one_that_is_lost_does_not() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "alarm";
    let counter = counter(&host, name);
    for (broken, count) in [(false, 2), (true, 2), (false, 4)] {
        disk.hold();
        let before = seen(name).ran;
        let sent = send_adds(&counter, name, 1).await.pop().unwrap();
        let soon = spawn({
            let counter = counter.clone();
            async move { counter.add_soon().await.map_err(|error| code(&error)) }
        });
        ran(name, before + 2).await;
        host.alarms_settled().await;
        assert_eq!(seen(name).ran, before + 2, "it fired before it was durable");
        if broken {
            disk.release_broken(0);
        } else {
            disk.release();
        }
        assert_eq!(sent.await.unwrap().is_err(), broken);
        assert_eq!(soon.await.unwrap().is_err(), broken);
        if broken {
            disk.mend();
        }
        host.alarms_settled().await;
        assert_eq!(counter.get().await.unwrap(), count);
    }
}

#[tokio::test]
async fn a_caller_that_waits_no_longer_for_the_disk_is_told_so_and_the_call_stands() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "impatient";
    let counter = counter(&host, name);
    disk.hold();
    let impatient = counter.with_deadline(Duration::from_millis(50));
    let error = impatient.add().await.unwrap_err();
    assert_eq!(code(&error), "deadline_exceeded");
    assert!(error.may_have_run());
    disk.release();
    // One, unless the machine was so slow that it came too late to run at all.
    let stands = u32::try_from(seen(name).ran).unwrap();
    assert_eq!(counter.add().await.unwrap(), (stands + 1, stands + 1));
}
