//! `dokit-client` at both ends: a Durable Object of the `worker` crate that serves typed calls, and the
//! Worker that makes them.
//!
//! ```sh
//! curl -d '["lost cities", 5]' http://127.0.0.1:8787/scores/ada/add    # 5
//! curl -d '["lost cities", 2]' http://127.0.0.1:8787/scores/ada/add    # 7
//! curl                         http://127.0.0.1:8787/scores/ada        # {"lost cities":7}
//! ```

use std::collections::BTreeMap;

use dokit_client::{Namespace, RpcError, rpc};
use dokit_cloudflare::{BoundNamespace, ObjectStore, serve};
use dokit_storage::{Schema, TypedStorage};
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

use crate::told;

/// What the object can be asked. It gives `ScoresApiClient` and `ScoresApiServer`.
#[rpc]
pub trait ScoresApi {
    async fn add(&mut self, game: String, points: u32) -> Result<u32, ScoresError>;
    async fn all(&self) -> Result<BTreeMap<String, u32>, ScoresError>;
}

#[derive(Debug, thiserror::Error, RpcError)]
pub enum ScoresError {
    /// 409 `too_many`, with the details `{"game": ..}`.
    #[error("the points of {game:?} do not fit in 32 bits")]
    #[rpc(status = 409)]
    TooMany { game: String },
    /// 500 `internal`: the cause is for the log.
    #[error("use the storage")]
    #[rpc(internal)]
    Storage(#[from] dokit_storage::Error),
}

#[derive(Schema)]
struct Stored {
    points: BTreeMap<String, u32>,
}

struct Player {
    storage: TypedStorage<Stored, ObjectStore>,
}

impl ScoresApi for Player {
    async fn add(&mut self, game: String, points: u32) -> Result<u32, ScoresError> {
        let mut all = self.all().await?;
        let sum = all.entry(game.clone()).or_default();
        *sum = sum
            .checked_add(points)
            .ok_or(ScoresError::TooMany { game })?;
        let sum = *sum;
        self.storage.put(Stored::POINTS, &all).await?;
        Ok(sum)
    }

    async fn all(&self) -> Result<BTreeMap<String, u32>, ScoresError> {
        Ok(self.storage.get(Stored::POINTS).await?.unwrap_or_default())
    }
}

/// The class, which the platform knows.
#[durable_object(fetch)]
pub struct Scores {
    store: ObjectStore,
}

impl DurableObject for Scores {
    fn new(state: State, _: Env) -> Self {
        let (store, _) = ObjectStore::of(state);
        Self { store }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let storage = TypedStorage::new(self.store.clone());
        serve(ScoresApiServer, &mut Player { storage }, request).await
    }
}

/// A call from the Worker: the scores of one player.
pub async fn show(env: &Env, player: &str) -> Result<Response> {
    let players = BoundNamespace::new(env.durable_object("SCORES")?);
    let scores = ScoresApiClient::new(players.get_by_name(player));
    Response::from_json(&scores.all().await.map_err(told)?)
}
