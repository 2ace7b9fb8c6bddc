//! Objects that have tables, exported and imported.

use std::{
    io::{self, Cursor},
    sync::mpsc,
    time::Duration,
};

use dokit_embedded::{Existing, Host, ImportError};
use dokit_object::{Result, testing::ManualClock};
use tempfile::tempdir;
use tokio::sync::oneshot;

use crate::{Ledger, clock_time, import, ledger, start};

async fn export_ledger(host: &Host, name: &str) -> String {
    let id = host.namespace::<Ledger>().id_from_name(name);
    let lines = host.export::<Ledger, _>(&id, Vec::new()).await;
    String::from_utf8(lines.unwrap()).unwrap()
}

async fn import_ledger(
    host: &Host,
    name: &str,
    existing: Existing,
    lines: String,
) -> Result<(), ImportError> {
    let id = host.namespace::<Ledger>().id_from_name(name);
    let lines = Cursor::new(lines);
    host.import::<Ledger, _>(&id, existing, lines).await
}

#[tokio::test]
async fn tables_are_exported_and_imported_with_keys_and_alarm() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    let ann = ledger(&host, "ann");
    ann.book(i64::MAX - 5000).await.unwrap();
    ann.book(-7).await.unwrap();
    ann.book_in_an_hour().await.unwrap();
    let listed = host.list::<Ledger>(None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].id.name(), Some("ann"));
    assert!(listed[0].alarm.is_some());

    let lines = export_ledger(&host, "ann").await;
    let rest: Vec<_> = lines.lines().skip(1).collect();
    let alarm = format!(r#"{{"alarm":{}}}"#, clock_time(&clock) + 3_600_000);
    assert_eq!(
        rest[..3],
        [
            r#"{"entry":{"key":"last","value":-7}}"#,
            &alarm,
            r#"{"sql":"CREATE TABLE entries (amount INTEGER NOT NULL, note, paper BLOB)"}"#,
        ]
    );
    let rows = r#"{"rows":{"table":"entries","columns":["rowid","amount","note","paper"]}}"#;
    let row = r#"{"row":[1,9223372036854770807,"it's 1.0",{"blob":"00ff"}]}"#;
    assert!(rest.contains(&rows) && rest.contains(&row), "{lines}");

    let copied = import_ledger(&host, "copy", Existing::Refuse, lines.clone());
    copied.await.unwrap();
    let copy = ledger(&host, "copy");
    assert_eq!(copy.total().await.unwrap(), i64::MAX - 5007);
    clock.advance(Duration::from_secs(3600));
    host.alarms_settled().await;
    assert_eq!(copy.total().await.unwrap(), i64::MAX - 4007);

    // An object that is awake, its tables and its alarm.
    let refused = import_ledger(&host, "ann", Existing::Refuse, lines.clone()).await;
    assert!(matches!(refused.unwrap_err(), ImportError::NotEmpty { .. }));
    assert_eq!(ann.book(-10).await.unwrap(), i64::MAX - 4017);
    let replaced = import_ledger(&host, "ann", Existing::Replace, lines);
    replaced.await.unwrap();
    // Its alarm has fallen due since it was exported.
    host.alarms_settled().await;
    assert_eq!(ann.total().await.unwrap(), i64::MAX - 4007);
}

/// Halts at the first row that is written to it, until it is told to go on.
struct Halting {
    written: Vec<u8>,
    halt: Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>,
}

impl io::Write for Halting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        let written = String::from_utf8_lossy(&self.written);
        if written.contains("\"row\"")
            && let Some((halts, go_on)) = self.halt.take()
        {
            halts.send(()).unwrap();
            go_on.recv().unwrap();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_object_with_tables_is_exported_as_of_one_moment_and_serves_on_meanwhile() {
    let data = tempdir().unwrap();
    let host = start(data.path(), &ManualClock::new());
    let ann = ledger(&host, "ann");
    ann.book(1).await.unwrap();
    let ((halts, halted), (go_on, told)) = (oneshot::channel(), mpsc::channel());
    let to = Halting {
        written: Vec::new(),
        halt: Some((halts, told)),
    };
    let id = host.namespace::<Ledger>().id_from_name("ann");
    let export = host.export::<Ledger, _>(&id, to);
    let serving = async {
        halted.await.unwrap();
        let booked = ann.book(2).await;
        go_on.send(()).unwrap();
        booked
    };
    let (exported, booked) = tokio::join!(export, serving);
    assert_eq!(booked.unwrap(), 3);
    let exported = String::from_utf8(exported.unwrap().written).unwrap();
    assert_eq!(exported.matches("it's 1.0").count(), 1, "{exported}");
}

#[tokio::test]
async fn tables_that_cannot_be_made_leave_the_object_as_it_was() {
    let data = tempdir().unwrap();
    let host = start(data.path(), &ManualClock::new());
    let ann = ledger(&host, "ann");
    ann.book(5).await.unwrap();
    let lines = export_ledger(&host, "ann").await;
    for (bad, reason) in [
        (lines.replace("[1,5,", "[1,null,"), "constraint: NOT NULL"),
        (
            lines.replace(
                "CREATE TABLE entries",
                "ATTACH 'x' AS y; CREATE TABLE entries",
            ),
            "ATTACH",
        ),
        (
            lines.replace("00ff", "00f"),
            "a blob is pairs of hexadecimal digits",
        ),
        (
            lines.replace("\"table\":\"entries\"", "\"table\":\"_dokit_keys\""),
            "refused",
        ),
    ] {
        let refused = import_ledger(&host, "ann", Existing::Replace, bad).await;
        let refused = refused.unwrap_err();
        let source = std::error::Error::source(&refused).map(ToString::to_string);
        let text = format!("{refused}: {}", source.unwrap_or_default());
        assert!(text.contains(reason), "{text}");
        assert_eq!(ann.total().await.unwrap(), 5);
    }
    let account = lines.replace("\"ledger\"", "\"account\"");
    let refused = import(&host, "ann", Existing::Refuse, &account)
        .await
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("objects of \"account\" have no sql"),
        "{refused}"
    );
}

#[tokio::test]
async fn an_import_that_does_not_end_is_given_up_and_the_object_serves_on() {
    let data = tempdir().unwrap();
    let host = start(data.path(), &ManualClock::new());
    ledger(&host, "ann").book(5).await.unwrap();
    let lines = export_ledger(&host, "ann").await;
    host.shutdown().await;

    let host = Host::builder().data(data.path()).object::<Ledger>();
    let host = host.longest_deadline(Duration::from_millis(300)).start();
    let host = host.unwrap();
    let endless = "CREATE TABLE endless AS WITH RECURSIVE n (i) AS \
                   (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i < 0; CREATE TABLE entries";
    let lines = lines.replace("CREATE TABLE entries", endless);
    // On a machine that stands still it is late before it has begun, and so is a call.
    let refused = loop {
        let import = import_ledger(&host, "ann", Existing::Replace, lines.clone());
        match import.await.unwrap_err() {
            ImportError::Store(late) if late.code() == "deadline_exceeded" => {}
            refused => break refused,
        }
    };
    assert!(matches!(refused, ImportError::Sql(_)), "{refused:?}");
    let ann = ledger(&host, "ann").with_idempotency_key("once");
    let booked = loop {
        match ann.book(1).await {
            Err(late) if late.is_timeout() => {}
            booked => break booked,
        }
    };
    assert_eq!(booked.unwrap(), 6);
}
