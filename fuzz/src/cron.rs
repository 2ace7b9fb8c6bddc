use dokit_alarms::{Alarms, Error};
use dokit_storage::{Memory, Store, Timestamp};
use futures_executor::block_on;

const JOBS: Alarms<String> = Alarms::new();

/// A cron expression, and on the second line a time zone.
pub fn cron(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (expression, zone) = text.split_once('\n').unwrap_or((&text, "UTC"));
    let now = Timestamp::from_millis(1_795_231_096_429);
    let mut store = Memory::new();
    let action = String::new();
    block_on(async {
        match JOBS
            .cron(&mut store, now, "id", expression, zone, &action)
            .await
        {
            Ok(first) => {
                assert!(
                    first > now && first <= Timestamp::LAST,
                    "{text:?} at {first}"
                );
                assert_eq!(store.alarm().await.unwrap(), Some(first));
                // A run that is due sets the next, later one, or ends the series.
                let report = JOBS
                    .run_due(&mut store, first, async |_, _| Ok(()))
                    .await
                    .unwrap();
                assert_eq!(report.ran.len(), 1, "{text:?}");
                assert!(report.next.is_none_or(|next| next > first), "{text:?}");
            }
            Err(Error::InvalidCron { .. }) => assert_eq!(store.alarm().await.unwrap(), None),
            Err(error) => panic!("{text:?}: {error}"),
        }
    });
}
