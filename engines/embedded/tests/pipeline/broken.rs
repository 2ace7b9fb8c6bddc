//! Commits that fail: what fails with them, and what does not.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use dokit_embedded::Host;
use tempfile::tempdir;
use tokio::task::{spawn, yield_now};

use crate::{Client, Counter, Disk, code, counter, note, ran, seen, send_adds, start};

#[tokio::test]
async fn a_failed_commit_fails_those_that_depend_on_it_and_none_before() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let (name, other_name) = ("depends", "does not depend");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    counter.add().await.unwrap();

    disk.hold();
    let sent = send_adds(&counter, name, 20).await;
    let others = send_adds(&other, other_name, 5).await;
    // The commits of 2 to 9 can be written, the one of 10 cannot, and 11 to 21 are built on it.
    disk.release_broken(10);
    let mut answers = Vec::new();
    for call in sent {
        answers.push(call.await.unwrap());
    }
    let expected: Vec<_> = (2..=21)
        .map(|n| {
            if n < 10 {
                Ok((n, n))
            } else {
                Err("commit_failed".to_owned())
            }
        })
        .collect();
    assert_eq!(answers, expected);
    for (n, call) in (1..).zip(others) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n), "another object");
    }

    // What comes after starts from what is durable, in memory too.
    assert_eq!(counter.get().await.unwrap(), 9);
    assert_eq!(code(&counter.add().await.unwrap_err()), "commit_failed");
    disk.mend();
    assert_eq!(counter.add().await.unwrap(), (10, 10));
    host.shutdown().await;
    let host = start(data.path());
    assert_eq!(self::counter(&host, name).get().await.unwrap(), 10);
}

/// The writes of the later calls could be written by themselves, but must not be.
#[tokio::test]
async fn nothing_is_written_that_was_built_on_a_commit_that_failed() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let (name, other_name) = ("poisoned", "writer's last");
    let (counter, other) = (counter(&host, name), counter(&host, other_name));
    // The poison is the first of its group, in its middle, or alone.
    for before in [0, 1, 5] {
        disk.hold();
        let start = disk.largest_count();
        let good = send_adds(&counter, name, before).await;
        let ran_before = seen(name).ran;
        let poisoned = spawn({
            let counter = counter.clone();
            async move { code(&counter.add_poison().await.unwrap_err()) }
        });
        ran(name, ran_before + 1).await;
        let lost = send_adds(&counter, name, 10).await;
        disk.release_broken(1_000_000);
        assert_eq!(poisoned.await.unwrap(), "commit_failed");
        for call in good {
            call.await.unwrap().unwrap();
        }
        for call in lost {
            assert_eq!(call.await.unwrap().unwrap_err(), "commit_failed");
        }
        // The writer has come past all of them.
        other.add().await.unwrap();
        let left = start + u32::try_from(before).unwrap();
        assert_eq!(disk.largest_count(), left.max(other.get().await.unwrap()));
        assert_eq!(counter.get().await.unwrap(), left);
        disk.mend();
        assert_eq!(counter.add().await.unwrap(), (left + 1, left + 1));
    }
}

async fn add_and_read(counter: Client, name: &str, data: &Path, stop: &AtomicBool) -> Vec<u32> {
    let disk = Disk::of(data);
    let mut added = Vec::new();
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let answer = match turn % 8 {
            0 => counter.get().await,
            1 => counter.look().await,
            2 => {
                let error = code(&counter.add_and_fail().await.unwrap_err());
                assert!(["planned", "commit_failed"].contains(&&*error), "{error}");
                continue;
            }
            _ => match counter.add().await {
                Ok((memory, stored)) => {
                    assert_eq!(memory, stored, "memory and storage differ");
                    added.push(stored);
                    Ok(stored)
                }
                Err(error) => Err(error),
            },
        };
        match answer {
            Ok(count) => {
                let durable = disk.largest_count();
                assert!(
                    count <= durable,
                    "{count} was answered, {durable} is durable"
                );
            }
            Err(error) => {
                assert_eq!(code(&error), "commit_failed");
                note(name, |seen| seen.failed += 1);
            }
        }
    }
    added
}

async fn break_and_mend(sleep_after: Duration) {
    let data = tempdir().unwrap();
    let open = || {
        let host = Host::builder().data(data.path()).object::<Counter>();
        host.sleep_after(sleep_after).start().unwrap()
    };
    let host = open();
    let name = format!("campaign {sleep_after:?}");
    let counter = counter(&host, &name);
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (counter, stop) = (counter.clone(), Arc::clone(&stop));
            let (name, data) = (name.clone(), data.path().to_owned());
            spawn(async move { add_and_read(counter, &name, &data, &stop).await })
        })
        .collect();
    let disk = Disk::of(data.path());
    for round in 0..40 {
        let before = seen(&name);
        ran(&name, before.ran + 50 + round % 7).await;
        if round % 2 == 0 {
            disk.breaks(0);
        } else {
            disk.hold();
            for _ in 0..100 {
                yield_now().await;
            }
            disk.release_broken(0);
        }
        while seen(&name).failed < before.failed + 1 + round % 5 {
            yield_now().await;
        }
        disk.mend();
    }
    stop.store(true, Ordering::SeqCst);
    let mut added = Vec::new();
    for caller in callers {
        added.extend(caller.await.unwrap());
    }
    added.sort_unstable();
    let count = u32::try_from(added.len()).unwrap();
    assert_eq!(
        added,
        (1..=count).collect::<Vec<_>>(),
        "a gap, or one twice"
    );
    assert_eq!(
        disk.largest_count(),
        count,
        "what was answered is what is there"
    );
    host.shutdown().await;
    let host = open();
    assert_eq!(self::counter(&host, &name).get().await.unwrap(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_what_is_stored_however_often_the_disk_breaks() {
    break_and_mend(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_what_is_stored_though_the_object_falls_asleep_whenever_it_can() {
    break_and_mend(Duration::ZERO).await;
}
