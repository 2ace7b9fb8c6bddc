//! What an operator does with the data: list, export, import, back up, restore.

#![expect(clippy::unwrap_used, reason = "a test's way to fail is to panic")]

use std::{
    fs,
    io::{self, Cursor},
    path::Path,
    sync::mpsc,
    time::Duration,
};

use dokit_client::{ObjectId, rpc};
use dokit_embedded::{BackupError, Existing, ExportError, Host, ImportError};
use dokit_object::{
    Alarm, Context, DurableObject, Result, Storage, durable_object, testing::ManualClock,
};
use dokit_storage::{Batch, Schema, Store, TypedStorage, sql::Sql};
use tempfile::tempdir;
use tokio::sync::oneshot;

#[rpc]
trait AccountApi {
    async fn deposit(&mut self, amount: u64) -> Result<u64>;
    async fn balance(&self) -> Result<u64>;
    /// Puts text under a key as it is, whether or not it is JSON.
    async fn put_raw(&mut self, key: String, text: String) -> Result<()>;
    async fn get_raw(&self, key: String) -> Result<Option<String>>;
    async fn close(&mut self) -> Result<()>;
    /// Adds interest of 1 in an hour.
    async fn add_interest(&mut self) -> Result<()>;
}

#[derive(Schema)]
struct Stored {
    balance: u64,
}

struct Account {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Account {
    type Api = AccountApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.deposit(1).await?;
        Ok(())
    }
}

impl AccountApi for Account {
    async fn deposit(&mut self, amount: u64) -> Result<u64> {
        let balance = self.balance().await? + amount;
        self.storage.put(Stored::BALANCE, &balance).await?;
        Ok(balance)
    }

    async fn balance(&self) -> Result<u64> {
        Ok(self.storage.get(Stored::BALANCE).await?.unwrap_or(0))
    }

    async fn put_raw(&mut self, key: String, text: String) -> Result<()> {
        let mut batch = Batch::new();
        batch.put(key, text);
        self.ctx.storage().commit(batch).await?;
        Ok(())
    }

    async fn get_raw(&self, key: String) -> Result<Option<String>> {
        Ok(self.ctx.storage().get(&key).await?)
    }

    async fn close(&mut self) -> Result<()> {
        self.storage.delete_all().await?;
        Ok(())
    }

    async fn add_interest(&mut self) -> Result<()> {
        let at = self.ctx.now().saturating_add(Duration::from_secs(3600));
        self.storage.set_alarm(at).await?;
        Ok(())
    }
}

#[rpc]
trait LedgerApi {
    async fn book(&mut self, amount: i64) -> Result<i64>;
    async fn total(&self) -> Result<i64>;
    async fn book_in_an_hour(&mut self) -> Result<()>;
}

/// An object with tables.
struct Ledger {
    ctx: Context,
    sql: Sql,
}

#[durable_object]
impl DurableObject for Ledger {
    const SQL: bool = true;
    type Api = LedgerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        let table = "CREATE TABLE entries (amount INTEGER NOT NULL, note, paper BLOB)";
        sql.migrate(&[("entries", table)])?;
        Ok(Self { ctx, sql })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.book(1000).await?;
        Ok(())
    }
}

impl LedgerApi for Ledger {
    async fn book(&mut self, amount: i64) -> Result<i64> {
        let entry = "INSERT INTO entries VALUES (?, ?, ?)";
        self.sql
            .exec(entry, (amount, "it's 1.0", [0_u8, 255].as_slice()))?;
        let mut batch = Batch::new();
        batch.put("last", amount.to_string());
        self.ctx.storage().commit(batch).await?;
        self.total().await
    }

    async fn total(&self) -> Result<i64> {
        let total = "SELECT coalesce(sum(amount), 0) FROM entries";
        Ok(self.sql.exec(total, ())?.one()?)
    }

    async fn book_in_an_hour(&mut self) -> Result<()> {
        let at = self.ctx.now().saturating_add(Duration::from_secs(3600));
        let mut batch = Batch::new();
        batch.set_alarm(at);
        self.ctx.storage().commit(batch).await?;
        Ok(())
    }
}

/// Another type, whose exports are not of accounts.
struct Note;

#[durable_object]
impl DurableObject for Note {
    async fn new(_: Context) -> Result<Self> {
        Ok(Self)
    }
}

fn start(data: &Path, clock: &ManualClock) -> Host {
    let host = Host::builder().data(data).clock(clock.clone());
    let host = host.object::<Account>().object::<Ledger>();
    host.object::<Note>().start().unwrap()
}

fn account(host: &Host, name: &str) -> AccountApiClient<dokit_object::Stub> {
    AccountApiClient::new(host.namespace::<Account>().get_by_name(name))
}

fn ledger(host: &Host, name: &str) -> LedgerApiClient<dokit_object::Stub> {
    LedgerApiClient::new(host.namespace::<Ledger>().get_by_name(name))
}

fn id(name: &str) -> ObjectId {
    ObjectId::from_name(Account::NAMESPACE, name)
}

async fn export(host: &Host, name: &str) -> String {
    let lines = host.export::<Account, _>(&id(name), Vec::new()).await;
    String::from_utf8(lines.unwrap()).unwrap()
}

async fn import(
    host: &Host,
    name: &str,
    existing: Existing,
    lines: &str,
) -> Result<(), ImportError> {
    let lines = Cursor::new(lines.to_owned());
    host.import::<Account, _>(&id(name), existing, lines).await
}

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

fn clock_time(clock: &ManualClock) -> i64 {
    dokit_object::Clock::now(clock).as_millis()
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

#[tokio::test]
async fn a_backup_is_a_data_folder_as_of_one_moment_and_is_made_while_the_host_serves() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    // Two accounts whose sum is the same in every moment but between these two calls.
    let (ann, ben) = (account(&host, "ann"), account(&host, "ben"));
    ann.deposit(1000).await.unwrap();
    ann.add_interest().await.unwrap();
    let folder = data.path().join("backups/first");
    let backup = host.backup(&folder);
    let serving = async {
        for _ in 0..200 {
            ann.deposit(1).await.unwrap();
            ben.deposit(1).await.unwrap();
        }
    };
    let (made, ()) = tokio::join!(backup, serving);
    made.unwrap();
    let (ann_now, ben_now) = (ann.balance().await.unwrap(), ben.balance().await.unwrap());
    assert_eq!((ann_now, ben_now), (1200, 200));

    let restored = start(&folder, &clock);
    let (ann, ben) = (account(&restored, "ann"), account(&restored, "ben"));
    let (ann, ben) = (ann.balance().await.unwrap(), ben.balance().await.unwrap());
    assert!(
        ann - 1000 == ben || ann - 1000 == ben + 1,
        "{ann} and {ben} are of two moments"
    );
    clock.advance(Duration::from_secs(3600));
    restored.alarms_settled().await;
    let interest = account(&restored, "ann").balance().await.unwrap();
    assert_eq!(interest, ann + 1);
}

#[tokio::test]
async fn a_backup_overwrites_nothing_and_leaves_nothing_half_made() {
    let data = tempdir().unwrap();
    let host = start(data.path(), &ManualClock::new());
    account(&host, "ann").deposit(5).await.unwrap();
    let refused = host.backup(data.path()).await.unwrap_err();
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");

    let file = data.path().join("file");
    fs::write(&file, "not a folder").unwrap();
    let refused = host.backup(file.join("backup")).await.unwrap_err();
    assert!(matches!(refused, BackupError::Write { .. }), "{refused}");

    // What a crash left half made is in nobody's way.
    let folder = data.path().join("backup");
    fs::create_dir_all(data.path().join("backup.partial/old")).unwrap();
    host.backup(&folder).await.unwrap();
    assert!(!data.path().join("backup.partial").exists());
    let restored = start(&folder, &ManualClock::new());
    assert_eq!(account(&restored, "ann").balance().await.unwrap(), 5);
}

#[tokio::test]
async fn of_two_backups_into_one_folder_at_once_one_is_made() {
    let data = tempdir().unwrap();
    let host = start(data.path(), &ManualClock::new());
    for name in 0..100 {
        account(&host, &name.to_string()).deposit(5).await.unwrap();
    }
    for attempt in 0..10 {
        let folder = data.path().join(format!("backup {attempt}"));
        let (one, other) = tokio::join!(host.backup(&folder), host.backup(&folder));
        let refused = match (one, other) {
            (Ok(()), Err(refused)) | (Err(refused), Ok(())) => refused,
            both => panic!("{both:?}"),
        };
        assert!(matches!(refused, BackupError::Exists { .. }), "{refused:?}");
        let restored = start(&folder, &ManualClock::new());
        assert_eq!(account(&restored, "99").balance().await.unwrap(), 5);
    }
}

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

#[tokio::test]
async fn a_backup_has_the_tables_and_knows_when_their_alarms_are_due() {
    let data = tempdir().unwrap();
    let clock = ManualClock::new();
    let host = start(data.path(), &clock);
    for number in 0..20 {
        let ledger = ledger(&host, &number.to_string());
        ledger.book(number).await.unwrap();
        ledger.book_in_an_hour().await.unwrap();
    }
    let folder = data.path().join("backup");
    let backup = host.backup(&folder);
    let serving = async {
        for _ in 0..20 {
            for number in 0..5 {
                let ledger = ledger(&host, &number.to_string());
                ledger.book(1).await.unwrap();
            }
        }
    };
    let (made, ()) = tokio::join!(backup, serving);
    made.unwrap();
    host.shutdown().await;

    let restored = start(&folder, &clock);
    let mut before = Vec::new();
    for number in 0..20 {
        let total = ledger(&restored, &number.to_string())
            .total()
            .await
            .unwrap();
        assert!(total >= number, "{total} in {number}");
        before.push(total);
    }
    assert_eq!(before[5..], (5..20).collect::<Vec<_>>());
    clock.advance(Duration::from_secs(3600));
    restored.alarms_settled().await;
    for (number, before) in before.into_iter().enumerate() {
        let total = ledger(&restored, &number.to_string())
            .total()
            .await
            .unwrap();
        assert_eq!(total, before + 1000);
    }
}
