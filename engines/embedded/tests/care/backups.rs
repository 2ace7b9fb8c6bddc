//! Data folders, backed up and restored.

use std::{fs, time::Duration};

use dokit_embedded::BackupError;
use dokit_object::testing::ManualClock;
use tempfile::tempdir;

use crate::{account, ledger, start};

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
