//! The suite of all stores, over `ObjectStore`, in a Durable Object of the `worker` crate.

use dokit::storage::{Batch, Store};
use dokit_cloudflare::ObjectStore;
use dokit_conformance::store;
use worker::{DurableObject, Env, Request, Response, Result, State, durable_object};

/// Runs the suite when it is asked for anything. A case that fails panics, and then nothing is answered.
#[durable_object(alarm)]
pub struct Suite {
    store: ObjectStore,
}

impl DurableObject for Suite {
    fn new(state: State, _: Env) -> Self {
        let (store, _) = ObjectStore::of(state);
        Self { store }
    }

    async fn fetch(&self, _: Request) -> Result<Response> {
        store::run_all_one_by_one(async || {
            let mut store = self.store.clone();
            let mut everything = Batch::new();
            everything.delete_all();
            let emptied = store.commit(everything).await;
            emptied.map(|()| store).expect("a store can be emptied")
        })
        .await;
        Response::ok("every promise is kept")
    }

    async fn alarm(&self) -> Result<Response> {
        Response::error("the suite's alarms are far away", 500)
    }
}
