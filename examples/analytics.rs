//! Events and their counts, by name and over time, in a SQL database of the object's own: its tables are made
//! and changed by migrations, and what is older than 30 days is deleted by an alarm.
//!
//! ```sh
//! cargo run --example analytics                                                      # listens, and then:
//! curl -d '["page_view", {"path": "/"}]' http://127.0.0.1:8787/analytics/site/track_event    # null
//! curl -d '["sign_up"]' http://127.0.0.1:8787/analytics/site/track_event             # null
//! curl -d '["page_view"]' http://127.0.0.1:8787/analytics/site/track_event           # null
//! curl -d '[]' http://127.0.0.1:8787/analytics/site/get_event_counts                 # {"page_view":2,"sign_up":1}
//! curl -d '[]' http://127.0.0.1:8787/analytics/site/get_recent_events                # the latest first
//! curl -d '["page_view", "hour"]' http://127.0.0.1:8787/analytics/site/get_timeline  # how many in each hour
//! ```

use std::{collections::BTreeMap, time::Duration};

use dokit::{
    Alarm, Context, DurableObject, Error, Result, durable_object, rpc,
    storage::{Store, Timestamp, sql::Sql},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How long events are kept, and how long after each clearing the next is.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const PAUSE: Duration = Duration::from_secs(60 * 60);

/// How many rows an answer has.
const USUAL: u32 = 100;
const MOST: u32 = 1_000;

/// Add to the end, and leave what was once released as it is.
const MIGRATIONS: [(&str, &str); 2] = [
    (
        "events",
        "CREATE TABLE events (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL,
            properties TEXT NOT NULL,
            at INTEGER NOT NULL
        ) STRICT",
    ),
    (
        "events by time, and by name and time",
        "CREATE INDEX events_by_time ON events (at);
         CREATE INDEX events_by_name ON events (name, at)",
    ),
];

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What.
    pub name: String,
    /// What else is to be known of it.
    pub properties: Map<String, Value>,
    /// When, in milliseconds since 1970.
    pub at: Timestamp,
}

/// A length of time that events are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// From full hour to full hour.
    Hour,
    /// From midnight to midnight, in UTC.
    Day,
}

/// How many events there were in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// When the step began, in milliseconds since 1970.
    pub start: Timestamp,
    /// How many.
    pub count: u64,
}

/// What can be told and asked. Where `since` is left out, all that is kept counts.
#[rpc]
pub trait AnalyticsApi {
    /// Takes note of an event. Its name has 1 to 100 characters.
    async fn track_event(
        &mut self,
        name: String,
        properties: Option<Map<String, Value>>,
    ) -> Result<()>;
    /// The latest events, the last one first: 100, or as many as are asked for, up to 1,000.
    async fn get_recent_events(&self, limit: Option<u32>) -> Result<Vec<Event>>;
    /// How many events of each name there were.
    async fn get_event_counts(&self, since: Option<Timestamp>) -> Result<BTreeMap<String, u64>>;
    /// How many events of one name there were in each hour or day, the earliest first; steps without any are
    /// left out.
    async fn get_timeline(
        &self,
        name: String,
        step: Step,
        since: Option<Timestamp>,
    ) -> Result<Vec<Bucket>>;
}

pub(crate) struct Analytics {
    ctx: Context,
    sql: Sql,
}

#[durable_object]
impl DurableObject for Analytics {
    const SQL: bool = true;
    type Api = AnalyticsApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&MIGRATIONS)?;
        Ok(Self { ctx, sql })
    }

    /// Deletes what is too old. While anything is left the next alarm is when the oldest of it is.
    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        let now = self.ctx.now();
        let delete = "DELETE FROM events WHERE at <= ?";
        self.sql.exec(delete, (now.saturating_sub(KEPT),))?;
        let oldest = self.sql.exec("SELECT min(at) FROM events", ())?.one()?;
        if let Some(oldest) = oldest {
            let next = Timestamp::saturating_add(oldest, KEPT);
            let next = next.max(now.saturating_add(PAUSE));
            self.ctx.storage().set_alarm(next).await?;
        }
        Ok(())
    }
}

impl AnalyticsApi for Analytics {
    async fn track_event(
        &mut self,
        name: String,
        properties: Option<Map<String, Value>>,
    ) -> Result<()> {
        let length = name.chars().count();
        if !(1..=100).contains(&length) {
            let message = format!("the name of an event has 1 to 100 characters, not {length}");
            return Err(Error::new(400, "invalid_name_of_event", message));
        }
        let properties = Value::from(properties.unwrap_or_default()).to_string();
        let now = self.ctx.now();
        self.sql.exec(
            "INSERT INTO events (name, properties, at) VALUES (?, ?, ?)",
            (name, properties, now),
        )?;
        let mut storage = self.ctx.storage();
        if storage.alarm().await?.is_none() {
            storage.set_alarm(now.saturating_add(KEPT)).await?;
        }
        Ok(())
    }

    async fn get_recent_events(&self, limit: Option<u32>) -> Result<Vec<Event>> {
        let limit = limit.unwrap_or(USUAL);
        if !(1..=MOST).contains(&limit) {
            let message = format!("a limit is from 1 to {MOST}, not {limit}");
            return Err(Error::new(400, "invalid_limit", message));
        }
        let select = "SELECT name, properties, at FROM events ORDER BY at DESC, id DESC LIMIT ?";
        let rows = self.sql.exec(select, (limit,))?;
        rows.rows()
            .map(|row| {
                let (name, properties, at): (String, String, Timestamp) = row?;
                let properties = serde_json::from_str(&properties).map_err(Error::internal)?;
                Ok(Event {
                    name,
                    properties,
                    at,
                })
            })
            .collect()
    }

    async fn get_event_counts(&self, since: Option<Timestamp>) -> Result<BTreeMap<String, u64>> {
        let since = since.unwrap_or(Timestamp::EPOCH);
        let select = "SELECT name, count(*) FROM events WHERE at >= ? GROUP BY name";
        let counts: Vec<(String, u64)> = self.sql.exec(select, (since,))?.to_vec()?;
        Ok(counts.into_iter().collect())
    }

    async fn get_timeline(
        &self,
        name: String,
        step: Step,
        since: Option<Timestamp>,
    ) -> Result<Vec<Bucket>> {
        let since = since.unwrap_or(Timestamp::EPOCH);
        let millis = match step {
            Step::Hour => 60 * 60 * 1_000,
            Step::Day => 24 * 60 * 60 * 1_000,
        };
        let select = "SELECT at - at % ? AS start, count(*) AS count FROM events
            WHERE name = ? AND at >= ? GROUP BY start ORDER BY start";
        Ok(self.sql.exec(select, (millis, name, since))?.to_vec()?)
    }
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<Analytics>();
    serve::main("analytics", host, include_str!("analytics.rs"))
}
