//! Objects, listed, exported and imported.

use std::{io, pin::pin, time::Duration};

use dokit_embedded::{Existing, ExportError, ImportError};
use dokit_object::testing::ManualClock;
use rusqlite::Connection;
use tempfile::tempdir;
use tokio::time;

use crate::{Account, Note, account, clock_time, export, id, import, start};

#[tokio::test]
async fn objects_are_listed_a_page_at_a_time_with_their_names_and_alarms() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    for number in 0..25 {
        let account = account(&host, &number.to_string());
        account.deposit(number + 1).await.unwrap();
        if number == 3 {
            account.add_interest().await.unwrap();
        }
    }
    let closed = account(&host, "closed");
    closed.deposit(1).await.unwrap();
    closed.close().await.unwrap();

    let mut found = Vec::new();
    loop {
        let after = found
            .last()
            .map(|last: &dokit_embedded::Listed| last.id.clone());
        let page = host.list::<Account>(after.as_ref(), 10).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 10);
        found.extend(page);
    }
    let mut names: Vec<u64> = found
        .iter()
        .map(|one| one.id.name().unwrap().parse().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, (0..25).collect::<Vec<_>>());
    let with_alarm: Vec<_> = found.iter().filter(|one| one.alarm.is_some()).collect();
    assert_eq!(with_alarm.len(), 1);
    assert_eq!(with_alarm[0].id.name(), Some("3"));
    assert!(host.list::<Note>(None, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_export_is_json_lines_and_makes_another_object_the_same() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    let ann = account(&host, "ann");
    ann.deposit(u64::MAX).await.unwrap();
    ann.add_interest().await.unwrap();
    for (key, text) in [
        ("float", "3.1144007459127454e-109"),
        ("line\nend", "\"a\\nb\""),
        ("no json", "never {"),
        ("wide", "{\"a\": [1, 2]}"),
    ] {
        ann.put_raw(key.to_owned(), text.to_owned()).await.unwrap();
    }
    let lines = export(&host, "ann").await;
    let at = clock_time(&clock) + 3_600_000;
    assert_eq!(
        lines,
        format!(
            r#"{{"object":{{"format":1,"namespace":"account","id":"{id}","name":"ann"}}}}
{{"entry":{{"key":"balance","value":18446744073709551615}}}}
{{"entry":{{"key":"float","value":3.1144007459127454e-109}}}}
{{"entry":{{"key":"line\nend","value":"a\nb"}}}}
{{"text":{{"key":"no json","value":"never {{"}}}}
{{"entry":{{"key":"wide","value":{{"a": [1, 2]}}}}}}
{{"alarm":{at}}}
{{"end":{{"lines":7}}}}
"#,
            id = id("ann")
        )
    );

    import(&host, "copy", Existing::Refuse, &lines)
        .await
        .unwrap();
    let copy = account(&host, "copy");
    assert_eq!(copy.balance().await.unwrap(), u64::MAX);
    assert_eq!(
        copy.get_raw("no json".to_owned()).await.unwrap().unwrap(),
        "never {"
    );
    let renamed = lines.replace(&id("ann").to_string(), &id("copy").to_string());
    assert_eq!(
        export(&host, "copy").await,
        renamed.replace("\"ann\"", "\"copy\"")
    );
}

#[tokio::test]
async fn an_import_replaces_an_object_that_is_awake_only_where_it_is_told_to() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    let ann = account(&host, "ann");
    ann.deposit(5).await.unwrap();
    let lines = export(&host, "ann").await;
    ann.deposit(5).await.unwrap();
    ann.put_raw("later".to_owned(), "1".to_owned())
        .await
        .unwrap();

    let refused = import(&host, "ann", Existing::Refuse, &lines)
        .await
        .unwrap_err();
    assert!(matches!(refused, ImportError::NotEmpty { .. }), "{refused}");
    assert_eq!(ann.balance().await.unwrap(), 10);

    import(&host, "ann", Existing::Replace, &lines)
        .await
        .unwrap();
    assert_eq!(ann.balance().await.unwrap(), 5);
    assert_eq!(ann.get_raw("later".to_owned()).await.unwrap(), None);
}

#[tokio::test]
async fn an_import_that_is_on_its_way_to_the_disk_is_waited_for() {
    let data = tempdir().unwrap();
    let host = start(data.path(), &ManualClock::new());
    account(&host, "ann").deposit(5).await.unwrap();
    let lines = export(&host, "ann").await;
    let disk = Connection::open(data.path().join("objects.sqlite")).unwrap();
    disk.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut import = pin!(import(&host, "ben", Existing::Refuse, &lines));
    // Longer than it may take till then.
    time::pause();
    let early = time::timeout(Duration::from_secs(3600), &mut import).await;
    time::resume();
    assert!(early.is_err(), "{early:?}, but it can still be stored");
    disk.execute_batch("COMMIT").unwrap();
    import.await.unwrap();
    assert_eq!(account(&host, "ben").balance().await.unwrap(), 5);
}

#[tokio::test]
async fn an_imported_alarm_fires() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    let ann = account(&host, "ann");
    ann.deposit(5).await.unwrap();
    ann.add_interest().await.unwrap();
    let lines = export(&host, "ann").await;
    import(&host, "ben", Existing::Refuse, &lines)
        .await
        .unwrap();
    clock.advance(Duration::from_secs(3600));
    host.alarms_settled().await;
    assert_eq!(account(&host, "ben").balance().await.unwrap(), 6);
}

#[tokio::test]
async fn an_export_that_is_damaged_is_refused_and_names_the_line() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    let ann = account(&host, "ann");
    ann.deposit(5).await.unwrap();
    ann.put_raw("b".to_owned(), "1".to_owned()).await.unwrap();
    let lines = export(&host, "ann").await;
    let without = |gone: usize| -> String {
        let kept = lines
            .lines()
            .enumerate()
            .filter(|(number, _)| *number != gone);
        kept.map(|(_, line)| format!("{line}\n")).collect()
    };
    let damaged = [
        (String::new(), "the export ends without its last line"),
        (without(3), "the export ends without its last line"),
        (
            without(0),
            "line 1 of the export: an export begins with its object",
        ),
        (
            without(1),
            "line 3 of the export: it says that 3 lines came before it, but 2 did",
        ),
        (
            format!("{lines}{lines}"),
            "line 5 of the export: the export has ended before it",
        ),
        (
            lines.replacen("\"b\"", "\"balance\"", 1),
            "line 3 of the export: key \"balance\" comes a second time",
        ),
        (
            lines.replacen("\"b\"", "\"\"", 1),
            "line 2 of the export: invalid key \"\": it is empty",
        ),
        (
            lines.replace("\"format\":1", "\"format\":2"),
            "the export has format 2; this release reads up to 1",
        ),
        (
            lines.replace("\"account\"", "\"note\""),
            "the export is of an object of \"note\", not of \"account\"",
        ),
        (
            lines.replace("{\"end\"", "{\"alarm\":0}\n{\"end\""),
            "line 4 of the export: invalid alarm time",
        ),
        (
            lines.replace("\"value\":5", "\"value\":five"),
            "line 3 of the export: expected",
        ),
    ];
    for (damaged, reason) in damaged {
        let refused = import(&host, "ben", Existing::Refuse, &damaged)
            .await
            .unwrap_err();
        assert!(refused.to_string().starts_with(reason), "{refused}");
        assert_eq!(account(&host, "ben").balance().await.unwrap(), 0);
    }
}

/// Has no room after some bytes.
struct Full(usize);

impl io::Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.min(bytes.len()) {
            0 => Err(io::ErrorKind::StorageFull.into()),
            taken => {
                self.0 -= taken;
                Ok(taken)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_export_that_cannot_be_written_or_has_nothing_in_it_is_an_error() {
    let data = tempdir().unwrap();
    let host = start(data.path(), &ManualClock::new());
    account(&host, "ann").deposit(5).await.unwrap();
    let full = host.export::<Account, _>(&id("ann"), Full(100)).await;
    assert!(matches!(full.err().unwrap(), ExportError::Write(_)));
    for nobody in ["nobody", "looked at"] {
        account(&host, nobody).balance().await.unwrap();
        let nothing = host.export::<Account, _>(&id(nobody), Vec::new()).await;
        assert!(matches!(
            nothing.unwrap_err(),
            ExportError::NothingStored { .. }
        ));
    }
}
