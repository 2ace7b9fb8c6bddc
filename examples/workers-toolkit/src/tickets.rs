//! `dokit-fsm` in a Durable Object of the `worker` crate: the life of a ticket, in storage.
//!
//! ```sh
//! curl         http://127.0.0.1:8787/tickets/7             # {"state":"open","next":["assign"],"history":[]}
//! curl -X POST http://127.0.0.1:8787/tickets/7/assign      # "assigned"
//! curl -X POST http://127.0.0.1:8787/tickets/7/assign      # 409: state "assigned" does not handle event ..
//! curl -X POST http://127.0.0.1:8787/tickets/7/resolve     # "resolved"
//! ```

use dokit_cloudflare::{ObjectStore, now};
use dokit_fsm::{HistoryEntry, SendError, machine};
use serde::{Deserialize, Serialize};
use worker::{DurableObject, Env, Method, Request, Response, Result, State, durable_object};

use crate::told;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    Open,
    Assigned,
    Resolved,
}

pub enum TicketEvent {
    Assign,
    Resolve,
    Reopen,
}

machine! {
    /// The life of a ticket.
    TICKET: TicketState, TicketEvent {
        Open     => { Assign => Assigned }
        Assigned => { Resolve => Resolved }
        Resolved => { Reopen => Open }
    }
}

#[derive(Serialize)]
struct Shown {
    state: TicketState,
    next: Vec<&'static str>,
    history: Vec<HistoryEntry>,
}

#[durable_object(fetch)]
pub struct Tickets {
    store: ObjectStore,
}

impl DurableObject for Tickets {
    fn new(state: State, _: Env) -> Self {
        let (store, _) = ObjectStore::of(state);
        Self { store }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let mut store = self.store.clone();
        let ticket = TICKET.persisted();
        if request.method() != Method::Post {
            return Response::from_json(&Shown {
                state: ticket.state(&store).await.map_err(told)?,
                next: ticket.valid_events(&store).await.map_err(told)?,
                history: ticket.history(&store).await.map_err(told)?,
            });
        }
        let path = request.path();
        let Some(event) = event(path.trim_start_matches('/')) else {
            return Response::error("there is no such event", 404);
        };
        // The state, the history and what a hook writes are one commit.
        match ticket.send(&mut store, now(), &event).await {
            Ok(state) => Response::from_json(&state),
            Err(refused @ SendError::Invalid(_)) => Response::error(refused.to_string(), 409),
            Err(error) => Err(told(error)),
        }
    }
}

fn event(name: &str) -> Option<TicketEvent> {
    match name {
        "assign" => Some(TicketEvent::Assign),
        "resolve" => Some(TicketEvent::Resolve),
        "reopen" => Some(TicketEvent::Reopen),
        _ => None,
    }
}
