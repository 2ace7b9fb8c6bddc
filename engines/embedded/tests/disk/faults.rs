//! Syncs and reads that fail, in a process of its own whose calls to the system a library comes before. The
//! library is C, which whoever builds SQLite can compile.

use std::{fs, path::Path, process::Command};

use dokit_embedded::StartError;
use dokit_object::DurableObject;
use tempfile::{TempDir, tempdir};

use super::{
    ITEMS, SqlVault, Vault, child, code, damaged, in_the_database, in_the_log, line, one, open,
    say, told_where, whole_calls,
};

const SYNC: &str = "fail-sync";
const READ: &str = "fail-read";

#[tokio::test]
#[ignore = "is run by the test below, where syncs can be made to fail"]
async fn adds_while_syncs_fail() {
    adds_while_syncs_of_it_fail::<Vault>(true).await;
    // Its log is opened anew, and what is not known to be durable is not told.
    adds_while_syncs_of_it_fail::<SqlVault>(false).await;
    say("done");
}

async fn adds_while_syncs_of_it_fail<T: DurableObject>(is_read: bool) {
    let fault = told_where().join(SYNC);
    let host = open(&told_where()).unwrap();
    let (this, other) = (one::<T>(&host, "this"), one::<T>(&host, "other"));
    for count in 1..=3 {
        assert_eq!(this.add(100).await.unwrap(), count);
    }
    assert_eq!(other.add(1).await.unwrap(), 1);
    fs::write(&fault, "").unwrap();
    let refused = this.add(100).await.unwrap_err();
    assert_eq!(code(&refused), "commit_failed");
    assert!(host.metrics().contains("\ndokit_commits_failed_total 1\n"));
    for _ in 0..3 {
        match this.count().await {
            Ok(count) => assert!(is_read && count == 3),
            Err(error) => assert!(!is_read && code(&error) == "internal", "{error}"),
        }
        let refused = this.add(100).await.unwrap_err();
        let expected = if is_read { "commit_failed" } else { "internal" };
        assert_eq!(code(&refused), expected);
        assert_eq!(other.count().await.unwrap(), 1);
    }
    fs::remove_file(&fault).unwrap();
    // One that was written and not synced may have become durable.
    let there = this.count().await.unwrap();
    assert!(there == 3 || !is_read && there == 4, "{there}");
    assert_eq!(this.add(100).await.unwrap(), there + 1);
    assert_eq!(other.add(1).await.unwrap(), 2);
    host.shutdown().await;
    drop((this, other, host));
    let host = open(&told_where()).unwrap();
    let count = one::<T>(&host, "this").count().await;
    assert_eq!(count.unwrap(), there + 1);
    assert_eq!(one::<T>(&host, "other").count().await.unwrap(), 2);
    host.shutdown().await;
}

#[tokio::test]
#[ignore = "is run by the test below, where syncs can be made to fail"]
async fn starts_where_syncs_fail() {
    let fault = told_where().join(SYNC);
    fs::write(&fault, "").unwrap();
    let refused = open(&told_where()).unwrap_err();
    assert!(matches!(refused, StartError::Database { .. }), "{refused}");
    fs::remove_file(&fault).unwrap();
    assert_eq!(whole_calls(&told_where()).await, 4);
    say("done");
}

/// How many objects there are to be read.
const OBJECTS: u32 = 50;

#[tokio::test]
#[ignore = "is run by the test below, where reads can be made to fail"]
async fn reads_while_reads_fail() {
    let fault = told_where().join(READ);
    let host = open(&told_where()).unwrap();
    let rows = one::<SqlVault>(&host, "rows");
    fs::write(&fault, "").unwrap();
    assert!(damaged(&host, OBJECTS).await > OBJECTS / 2);
    assert_eq!(code(&rows.count().await.unwrap_err()), "internal");
    // Who cannot read does not write either.
    let refused = one::<Vault>(&host, "7").add(1).await;
    assert_eq!(code(&refused.unwrap_err()), "internal");
    let second = open(&told_where());
    assert!(matches!(second, Err(StartError::InUse { .. })));
    fs::remove_file(&fault).unwrap();
    assert_eq!(damaged(&host, OBJECTS).await, 0);
    assert_eq!(rows.count().await.unwrap(), 1);
    assert_eq!(one::<Vault>(&host, "7").add(1).await.unwrap(), ITEMS + 1);
    host.shutdown().await;
    drop((rows, host));

    fs::write(&fault, "").unwrap();
    let refused = open(&told_where()).unwrap_err();
    assert!(matches!(refused, StartError::Database { .. }), "{refused}");
    fs::remove_file(&fault).unwrap();
    open(&told_where()).unwrap().shutdown().await;
    say("done");
}

/// Runs one of those tests on this data.
fn run(test: &str, data: &Path) {
    let folder = tempdir().unwrap();
    let library = folder.path().join("faults.so");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk/faults.c");
    let mut compile = Command::new(compiler);
    compile.args(["-shared", "-fPIC", "-o"]).arg(&library);
    let compiled = compile.arg(source).arg("-ldl").status();
    assert!(compiled.unwrap().success(), "{compile:?}");
    // As the system tells it of an open file.
    let data = fs::canonicalize(data).unwrap();
    let setting = format!("export LD_PRELOAD='{}';", library.display());
    let mut child = child(&setting, &format!("faults::{test}"), &data)
        .spawn()
        .unwrap();
    line(&mut child, "done");
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_cannot_be_synced_is_not_answered() {
    run("adds_while_syncs_fail", tempdir().unwrap().path());
}

/// It may not be durable yet: the process before may have been killed before it had synced that.
#[tokio::test]
async fn what_a_killed_process_left_in_the_log_is_synced_before_anybody_sees_it() {
    let left = in_the_log(4).await.restore();
    run("starts_where_syncs_fail", left.path());
}

#[tokio::test]
async fn what_cannot_be_read_is_told_of_and_never_taken_for_missing() {
    let data: TempDir = in_the_database(OBJECTS).await.restore();
    let host = open(data.path()).unwrap();
    one::<SqlVault>(&host, "rows").add(1).await.unwrap();
    host.shutdown().await;
    drop(host);
    run("reads_while_reads_fail", data.path());
}
