//! The preferences of a user, many keys under one prefix, and points that move from one account to another
//! in a transaction: nobody spends what is not there, and nothing is lost or made on the way.
//!
//! ```sh
//! cargo run --example preferences                                               # listens, and then:
//! curl -d '["editor.theme", "dark"]' http://127.0.0.1:8787/preferences/ada/set  # null
//! curl -d '["editor.tabs", {"width": 4}]' http://127.0.0.1:8787/preferences/ada/set
//! curl -d '["editor.theme"]' http://127.0.0.1:8787/preferences/ada/get          # "dark"
//! curl -d '["editor."]' http://127.0.0.1:8787/preferences/ada/list    # {"editor.tabs":{"width":4},"editor.theme":"dark"}
//! curl -d '["editor."]' http://127.0.0.1:8787/preferences/ada/clear             # 2
//! curl -d '["cash", 100]' http://127.0.0.1:8787/preferences/ada/deposit         # 100
//! curl -d '["cash", "savings", 30]' http://127.0.0.1:8787/preferences/ada/transfer   # null
//! curl -d '["cash", "savings", 71]' http://127.0.0.1:8787/preferences/ada/transfer   # 409, an overdraft
//! curl -d '[]' http://127.0.0.1:8787/preferences/ada/balances                   # {"cash":70,"savings":30}
//! ```

use std::collections::BTreeMap;

use dokit::{
    Context, DurableObject, Result, RpcError, durable_object,
    object::Storage,
    rpc,
    storage::{self, Family, ListOptions, Schema, TypedStorage},
};
use serde_json::Value;

/// How many preferences are listed or deleted at a time.
const PAGE: usize = 100;

/// What a user's preferences can be asked.
#[rpc]
pub trait PreferencesApi {
    /// Sets a preference to any JSON but null.
    async fn set(&mut self, name: String, value: Value) -> Result<()>;
    /// A preference; null where it is not set.
    async fn get(&self, name: String) -> Result<Option<Value>>;
    /// Preferences in the order of their names: those that begin with `prefix`, at most 100 after the one
    /// named `after`.
    async fn list(
        &self,
        prefix: Option<String>,
        after: Option<String>,
    ) -> Result<BTreeMap<String, Value>>;
    /// Deletes a preference, and says whether it was set.
    async fn remove(&mut self, name: String) -> Result<bool>;
    /// Deletes those whose names begin with `prefix`, or all, and says how many they were.
    async fn clear(&mut self, prefix: Option<String>) -> Result<usize>;

    /// Adds points to an account, and answers its balance.
    async fn deposit(&mut self, account: String, points: u64) -> Result<u64, PointsError>;
    /// Moves points between two accounts, or none where that cannot be.
    async fn transfer(&mut self, from: String, to: String, points: u64) -> Result<(), PointsError>;
    /// All accounts that ever had points.
    async fn balances(&self) -> Result<BTreeMap<String, u64>>;
}

/// Why points do not move.
#[derive(Debug, thiserror::Error, RpcError)]
pub enum PointsError {
    /// There are not as many.
    #[error("account {account:?} has {balance} points, which is less than {points}")]
    #[rpc(status = 409)]
    Overdraft {
        /// Where they were to be taken from.
        account: String,
        /// What it has.
        balance: u64,
        /// What was to be taken.
        points: u64,
    },
    /// There would be more than can be counted.
    #[error("account {account:?} has {balance} points and cannot take {points} more")]
    #[rpc(status = 409)]
    TooMany {
        /// Where they were to be added.
        account: String,
        /// What it has.
        balance: u64,
        /// What was to be added.
        points: u64,
    },
    /// All else.
    #[error(transparent)]
    #[rpc(transparent)]
    Dokit(#[from] dokit::Error),
}

impl From<storage::Error> for PointsError {
    fn from(error: storage::Error) -> Self {
        Self::Dokit(error.into())
    }
}

#[derive(Schema)]
struct User {
    #[schema(prefix = "pref:", check = not_null)]
    preferences: Family<Value>,
    #[schema(prefix = "points:")]
    points: Family<u64>,
}

fn not_null(value: &Value) -> Result<(), String> {
    match value {
        Value::Null => Err("null is what is not set; remove it instead".to_owned()),
        _ => Ok(()),
    }
}

pub(crate) struct Preferences {
    storage: TypedStorage<User, Storage>,
}

#[durable_object]
impl DurableObject for Preferences {
    type Api = PreferencesApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { storage })
    }
}

impl PreferencesApi for Preferences {
    async fn set(&mut self, name: String, value: Value) -> Result<()> {
        self.storage
            .put(User::PREFERENCES.key(name), &value)
            .await?;
        Ok(())
    }

    async fn get(&self, name: String) -> Result<Option<Value>> {
        Ok(self.storage.get(User::PREFERENCES.key(name)).await?)
    }

    async fn list(
        &self,
        prefix: Option<String>,
        after: Option<String>,
    ) -> Result<BTreeMap<String, Value>> {
        let mut page = ListOptions::new().limit(PAGE);
        if let Some(prefix) = prefix {
            page = page.prefix(prefix);
        }
        if let Some(after) = after {
            page = page.start_after(after);
        }
        let found = self.storage.list_family(User::PREFERENCES, page).await?;
        Ok(found.into_iter().collect())
    }

    async fn remove(&mut self, name: String) -> Result<bool> {
        Ok(self.storage.delete(User::PREFERENCES.key(name)).await?)
    }

    async fn clear(&mut self, prefix: Option<String>) -> Result<usize> {
        let mut cleared = 0;
        // However many pages there are, they go in one commit: that of this call.
        loop {
            let page = self.list(prefix.clone(), None).await?;
            if page.is_empty() {
                return Ok(cleared);
            }
            let keys = page.keys().map(|name| User::PREFERENCES.key(name));
            cleared += self.storage.delete_many(keys).await?;
        }
    }

    async fn deposit(&mut self, account: String, points: u64) -> Result<u64, PointsError> {
        let key = User::POINTS.key(&account);
        let balance = self.storage.get(key.clone()).await?.unwrap_or(0);
        let Some(sum) = balance.checked_add(points) else {
            return Err(PointsError::TooMany {
                account,
                balance,
                points,
            });
        };
        self.storage.put(key, &sum).await?;
        Ok(sum)
    }

    async fn transfer(&mut self, from: String, to: String, points: u64) -> Result<(), PointsError> {
        self.storage
            .transaction(async |txn| {
                let key = User::POINTS.key(&from);
                let balance = txn.get(key.clone()).await?.unwrap_or(0);
                let Some(left) = balance.checked_sub(points) else {
                    return Err(PointsError::Overdraft {
                        account: from,
                        balance,
                        points,
                    });
                };
                txn.put(key, &left).await?;
                // Read only now: whoever pays himself must not find what he had before.
                let key = User::POINTS.key(&to);
                let balance = txn.get(key.clone()).await?.unwrap_or(0);
                let Some(sum) = balance.checked_add(points) else {
                    // The points taken above are back where they were.
                    return Err(PointsError::TooMany {
                        account: to,
                        balance,
                        points,
                    });
                };
                txn.put(key, &sum).await?;
                Ok(())
            })
            .await
    }

    async fn balances(&self) -> Result<BTreeMap<String, u64>> {
        let all = self.storage.list_family(User::POINTS, ListOptions::new());
        Ok(all.await?.into_iter().collect())
    }
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<Preferences>();
    serve::main("preferences", host, include_str!("preferences.rs"))
}
