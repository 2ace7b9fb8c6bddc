//! `dokit-storage` in a Durable Object of the `worker` crate: the visits of a site, in all and by page.
//!
//! ```sh
//! curl -X POST http://127.0.0.1:8787/visits/example.org/about    # {"total":1,"page":1}
//! curl -X POST http://127.0.0.1:8787/visits/example.org/about    # {"total":2,"page":2}
//! curl         http://127.0.0.1:8787/visits/example.org          # {"total":2,"pages":{"about":2}}
//! ```

use std::collections::BTreeMap;

use dokit_cloudflare::ObjectStore;
use dokit_storage::{Family, ListOptions, Schema, TypedStorage};
use serde::Serialize;
use worker::{DurableObject, Env, Method, Request, Response, Result, State, durable_object};

use crate::told;

#[derive(Schema)]
struct Stored {
    total: u64,
    #[schema(prefix = "page:")]
    pages: Family<u64>,
}

#[derive(Serialize)]
struct Visit {
    total: u64,
    page: u64,
}

#[derive(Serialize)]
struct Summary {
    total: u64,
    pages: BTreeMap<String, u64>,
}

#[durable_object(fetch)]
pub struct Visits {
    store: ObjectStore,
}

impl DurableObject for Visits {
    fn new(state: State, _: Env) -> Self {
        let (store, _) = ObjectStore::of(state);
        Self { store }
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let mut storage = TypedStorage::<Stored, _>::new(self.store.clone());
        let page = request.path();
        let page = page.trim_start_matches('/');
        if request.method() == Method::Post {
            Response::from_json(&visit(&mut storage, page).await.map_err(told)?)
        } else {
            Response::from_json(&summary(&storage).await.map_err(told)?)
        }
    }
}

/// Counts a visit: both numbers, or neither. No other request of the object runs in between, since all
/// that is waited for is its storage.
async fn visit(
    storage: &mut TypedStorage<Stored, ObjectStore>,
    page: &str,
) -> dokit_storage::Result<Visit> {
    let page = Stored::PAGES.key(page);
    storage
        .transaction(async |txn| {
            let total = txn.get(Stored::TOTAL).await?.unwrap_or(0) + 1;
            let of_page = txn.get(page.clone()).await?.unwrap_or(0) + 1;
            txn.put(Stored::TOTAL, &total).await?;
            txn.put(page, &of_page).await?;
            Ok(Visit {
                total,
                page: of_page,
            })
        })
        .await
}

async fn summary(storage: &TypedStorage<Stored, ObjectStore>) -> dokit_storage::Result<Summary> {
    let pages = storage
        .list_family(Stored::PAGES, ListOptions::new())
        .await?;
    Ok(Summary {
        total: storage.get(Stored::TOTAL).await?.unwrap_or(0),
        pages: pages.into_iter().collect(),
    })
}
