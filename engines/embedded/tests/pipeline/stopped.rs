//! The end of a host: a shutdown, or a kill.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use dokit_embedded::Host;
use futures_util::{FutureExt, future::join_all};
use tempfile::tempdir;
use tokio::task::{spawn, yield_now};

use crate::{Disk, counter, send_adds, start};

#[tokio::test]
async fn a_shutdown_waits_for_the_answers_that_are_held() {
    waits_for_what_is_held("held", |_| {}).await;
}

#[tokio::test]
async fn a_shutdown_that_was_given_up_is_no_reason_for_the_next_to_hurry() {
    waits_for_what_is_held("held again", |host| {
        assert!(host.shutdown().now_or_never().is_none());
    })
    .await;
}

/// Shuts a host down whose disk takes its time, after something else was done to it.
async fn waits_for_what_is_held(name: &str, before: impl FnOnce(&Host)) {
    let data = tempdir().unwrap();
    let host = start(data.path());
    let disk = Disk::of(data.path());
    let counter = counter(&host, name);
    disk.hold();
    let sent = send_adds(&counter, name, 10).await;
    before(&host);
    let closing = spawn({
        let host = host.clone();
        async move { host.shutdown().await }
    });
    for _ in 0..100 {
        yield_now().await;
    }
    assert!(!closing.is_finished());
    disk.release();
    for (n, call) in (1..).zip(sent) {
        assert_eq!(call.await.unwrap().unwrap(), (n, n));
    }
    closing.await.unwrap();
}

/// The process that the test below kills: it never ends by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is run by the test that kills it"]
async fn adds_until_it_is_killed() {
    let data = env::var_os("DOKIT_TEST_DATA").expect("the test that kills it says where");
    let host = start(Path::new(&data));
    let callers = (0..16_usize).map(|caller| {
        let counter = counter(&host, &format!("victim {}", caller % 3));
        spawn(async move {
            loop {
                let (memory, stored) = counter.add().await.unwrap();
                assert_eq!(memory, stored);
                // In one piece, so that lines of callers do not mix.
                println!("\nadded {} {stored}", caller % 3);
            }
        })
    });
    join_all(callers).await;
}

#[tokio::test]
async fn nothing_that_was_answered_is_lost_when_the_process_is_killed() {
    let data = tempdir().unwrap();
    let mut told = [0; 3];
    for round in 1..=5 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "stopped::adds_until_it_is_killed",
                "--ignored",
                "--nocapture",
            ])
            .env("DOKIT_TEST_DATA", data.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = |line: &str| {
            let Some(("added", rest)) = line.split_once(' ') else {
                return false;
            };
            // The last line may be cut off.
            if let Some((object, count)) = rest.split_once(' ')
                && let (Ok(object), Ok(count)) = (object.parse::<usize>(), count.parse::<u32>())
            {
                told[object] = told[object].max(count);
            }
            true
        };
        let mut answers = 0;
        while answers < 300 * round {
            let line = lines.next().expect("it runs until it is killed").unwrap();
            answers += usize::from(read(&line));
        }
        child.kill().unwrap();
        lines.map_while(std::result::Result::ok).for_each(|line| {
            read(&line);
        });
        child.wait().unwrap();

        let host = start(data.path());
        for (object, told) in told.iter().enumerate() {
            let stored = counter(&host, &format!("victim {object}")).get().await;
            let stored = stored.unwrap();
            assert!(stored >= *told, "{told} was answered, {stored} is there");
        }
        host.shutdown().await;
    }
}
