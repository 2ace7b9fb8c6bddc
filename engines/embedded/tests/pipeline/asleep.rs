//! Objects that leave memory while calls come, and one that falls apart as it does.

use std::time::Duration;

use dokit_embedded::Host;
use tempfile::tempdir;
use tokio::task::{spawn, yield_now};

use crate::{Counter, Disk, code, counter, seen, send_adds, start};

#[tokio::test]
async fn an_object_told_to_sleep_keeps_what_is_on_its_way() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "sleepy";
    let counter = counter(&host, name);
    disk.hold();
    let mut sent = send_adds(&counter, name, 3).await;
    host.sleep().await;
    sent.extend(send_adds(&counter, name, 3).await);
    disk.release();
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
}

#[tokio::test]
async fn an_object_whose_destructor_panics_loses_nothing_that_is_on_its_way() {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let name = "falls apart";
    let counter = counter(&host, name);
    disk.hold();
    let mut sent = send_adds(&counter, name, 5).await;
    let falling = spawn({
        let counter = counter.clone();
        async move { code(&counter.fall_apart().await.unwrap_err()) }
    });
    sent.extend(send_adds(&counter, name, 5).await);
    assert_eq!((seen(name).woken, seen(name).alive), (2, 1));
    disk.release();
    assert_eq!(falling.await.unwrap(), "planned");
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_objects_fall_asleep_no_call_is_lost_and_none_lives_twice() {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Counter>();
    let host = host.sleep_after(Duration::ZERO).start().unwrap();
    let name = |object: usize| format!("drowsy {object}");
    let callers: Vec<_> = (0..16)
        .map(|caller| {
            let host = host.clone();
            spawn(async move {
                for turn in 0..300 {
                    // Sometimes many call one object, sometimes each its own.
                    let object = if turn % 3 == 0 { 0 } else { caller % 5 };
                    let counter = counter(&host, &name(object));
                    match turn % 4 {
                        0 => drop(counter.get().await.unwrap()),
                        1 => drop(
                            counter
                                .add_and_fail()
                                .await
                                .unwrap_err()
                                .into_object()
                                .unwrap(),
                        ),
                        _ => drop(counter.add().await.unwrap()),
                    }
                    if turn % 50 == 0 {
                        host.sleep().await;
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let mut count = 0;
    for object in 0..5 {
        count += counter(&host, &name(object)).get().await.unwrap();
    }
    assert_eq!(count, 16 * 150);
    for object in 0..5 {
        while seen(&name(object)).alive > 0 {
            yield_now().await;
        }
    }
}

#[tokio::test]
async fn an_object_stays_awake_as_long_as_the_host_says() {
    let data = tempdir().unwrap();
    let host = Host::builder().data(data.path()).object::<Counter>();
    let host = host.sleep_after(Duration::from_secs(3600)).start().unwrap();
    let counter = counter(&host, "wide awake");
    for n in 1..=20 {
        assert_eq!(counter.add().await.unwrap(), (n, n));
        for _ in 0..50 {
            yield_now().await;
        }
    }
    assert_eq!(seen("wide awake").woken, 1);
}
