//! `dokit-alarms` in a Durable Object of the `worker` crate: any number of reminders over its one alarm.
//!
//! ```sh
//! curl -d 'buy milk' 'http://127.0.0.1:8787/reminders/ada/milk?in=2s'    # due at .., in milliseconds
//! curl -d ''         'http://127.0.0.1:8787/reminders/ada/rent?in=30d'
//! curl                http://127.0.0.1:8787/reminders/ada                # {"waiting":["rent"],"sent":["buy milk"]}
//! ```

use dokit_alarms::{Alarms, Failure};
use dokit_cloudflare::{ObjectStore, now};
use dokit_storage::{Schema, Transaction, TypedStorage};
use serde::{Deserialize, Serialize};
use worker::{DurableObject, Env, Method, Request, Response, Result, State, durable_object};

use crate::told;

#[derive(Serialize, Deserialize)]
enum Reminder {
    Say(String),
}

const REMINDERS: Alarms<Reminder> = Alarms::new();

#[derive(Schema)]
struct Stored {
    sent: Vec<String>,
}

#[derive(Serialize)]
struct Shown {
    waiting: Vec<String>,
    sent: Vec<String>,
}

#[durable_object(alarm)]
pub struct Reminders {
    store: ObjectStore,
}

impl DurableObject for Reminders {
    fn new(state: State, _: Env) -> Self {
        let (store, _) = ObjectStore::of(state);
        Self { store }
    }

    async fn fetch(&self, mut request: Request) -> Result<Response> {
        let mut store = self.store.clone();
        if request.method() != Method::Post {
            let waiting = REMINDERS.list(&store).await.map_err(told)?;
            let waiting = waiting.iter().map(|job| job.id().to_owned()).collect();
            let storage = TypedStorage::<Stored, _>::new(store);
            let sent = storage
                .get(Stored::SENT)
                .await
                .map_err(told)?
                .unwrap_or_default();
            return Response::from_json(&Shown { waiting, sent });
        }
        let url = request.url()?;
        let wait = url.query_pairs().find(|(name, _)| name == "in");
        let wait = wait.map_or_else(|| "1h".into(), |(_, wait)| wait.into_owned());
        let id = url.path().trim_start_matches('/').to_owned();
        let reminder = Reminder::Say(request.text().await?);
        let due = REMINDERS
            .schedule_as(&mut store, now(), &id, &*wait, &reminder)
            .await;
        match due {
            Ok(due) => Response::ok(due.as_millis().to_string()),
            Err(error) => Response::error(told(error).to_string(), 400),
        }
    }

    /// The platform's one alarm. An error makes the platform try it again; a reminder that fails is tried
    /// again by `Alarms`, and does not stop the others.
    async fn alarm(&self) -> Result<Response> {
        let mut store = self.store.clone();
        let run = REMINDERS.run_due(&mut store, now(), async |txn, due| match due.action {
            Reminder::Say(text) => send(txn, text).await,
        });
        // It says what ran and what failed; a log could be told.
        let _report = run.await.map_err(told)?;
        Response::empty()
    }
}

/// What an action writes is one commit with the end of its job: it is sent once.
async fn send(txn: &mut Transaction<'_, ObjectStore>, text: String) -> Result<(), Failure> {
    let mut storage = TypedStorage::<Stored, _>::new(txn);
    let mut sent = storage.get(Stored::SENT).await?.unwrap_or_default();
    sent.push(text);
    Ok(storage.put(Stored::SENT, &sent).await?)
}
