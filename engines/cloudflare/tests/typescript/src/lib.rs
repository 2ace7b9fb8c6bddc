//! The tally of `tally.js` in Rust: the same methods, under the same names, over the same stored data; and
//! an object that calls a tally, whichever of the two it is.

mod suite;

use dokit::{
    Alarm, Context, DurableObject, Error, Result,
    alarms::ActionKey,
    durable_object,
    object::Storage,
    rpc,
    storage::{Schema, TypedStorage},
};
use serde::{Deserialize, Serialize};

/// What `tally.js` can be asked.
#[rpc(rename_all = "camelCase")]
pub trait TallyApi {
    async fn increment(&mut self, amount: i64) -> Result<i64>;
    async fn get_count(&self) -> Result<i64>;
    async fn reset(&mut self) -> Result<()>;
    /// Stores a value of each kind.
    async fn fill(&mut self) -> Result<()>;
    /// Reads them, whoever stored them.
    async fn kinds(&self) -> Result<Kinds>;
    /// Stores the name of an action and sets the alarm, which counts 100.
    async fn remind(&mut self, in_millis: u64) -> Result<()>;
    /// What JavaScript's tally does not have.
    async fn missing(&self) -> Result<()>;
    /// Reads what JavaScript stored that has no JSON.
    async fn odd(&self, key: String) -> Result<String>;
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Kinds {
    text: String,
    number: f64,
    flag: bool,
    nothing: Option<String>,
    list: Vec<u32>,
    metadata: Metadata,
    /// A `Date`, as its ISO 8601 text.
    date: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    owner: String,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Schema)]
#[schema(rename_all = "camelCase")]
struct Stored {
    count: i64,
    text: String,
    number: f64,
    flag: bool,
    nothing: Option<String>,
    list: Vec<u32>,
    metadata: Metadata,
    date: String,
    map: String,
    bytes: String,
    big: String,
    not_a_number: f64,
    nested: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Action {
    CountHundred,
}

const ACTION: ActionKey<Action> = ActionKey::new();

pub struct Tally {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Tally {
    type Api = TallyApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        let now = self.ctx.now();
        let run = ACTION.handle(self.storage.store_mut(), now, async |txn, action| {
            let Action::CountHundred = action;
            let mut storage = TypedStorage::<Stored, _>::new(txn);
            let count = storage.get(Stored::COUNT).await?.unwrap_or(0) + 100;
            Ok(storage.put(Stored::COUNT, &count).await?)
        });
        let _handled = run.await?;
        Ok(())
    }
}

impl TallyApi for Tally {
    async fn increment(&mut self, amount: i64) -> Result<i64> {
        let count = self.get_count().await? + amount;
        self.storage.put(Stored::COUNT, &count).await?;
        Ok(count)
    }

    async fn get_count(&self) -> Result<i64> {
        Ok(self.storage.get(Stored::COUNT).await?.unwrap_or(0))
    }

    async fn reset(&mut self) -> Result<()> {
        self.storage.delete(Stored::COUNT).await?;
        Ok(())
    }

    async fn fill(&mut self) -> Result<()> {
        let storage = &mut self.storage;
        storage.put(Stored::TEXT, &"from rust".to_owned()).await?;
        storage.put(Stored::NUMBER, &0.1).await?;
        storage.put(Stored::FLAG, &true).await?;
        storage.put(Stored::NOTHING, &None).await?;
        storage.put(Stored::LIST, &vec![1, 2, 3]).await?;
        let owner = "ada".to_owned();
        let tags = vec!["a".to_owned()];
        let metadata = Metadata { owner, tags };
        storage.put(Stored::METADATA, &metadata).await?;
        let date = "2026-11-21T12:00:00.000Z".to_owned();
        storage.put(Stored::DATE, &date).await?;
        Ok(())
    }

    async fn kinds(&self) -> Result<Kinds> {
        let storage = &self.storage;
        let missing = || Error::new(404, "missing", "nothing was stored");
        Ok(Kinds {
            text: storage.get(Stored::TEXT).await?.ok_or_else(missing)?,
            number: storage.get(Stored::NUMBER).await?.ok_or_else(missing)?,
            flag: storage.get(Stored::FLAG).await?.ok_or_else(missing)?,
            nothing: storage.get(Stored::NOTHING).await?.ok_or_else(missing)?,
            list: storage.get(Stored::LIST).await?.ok_or_else(missing)?,
            metadata: storage.get(Stored::METADATA).await?.ok_or_else(missing)?,
            date: storage.get(Stored::DATE).await?.ok_or_else(missing)?,
        })
    }

    async fn remind(&mut self, in_millis: u64) -> Result<()> {
        let now = self.ctx.now();
        let wait = std::time::Duration::from_millis(in_millis);
        let store = self.storage.store_mut();
        ACTION
            .schedule(store, now, wait, &Action::CountHundred)
            .await?;
        Ok(())
    }

    async fn missing(&self) -> Result<()> {
        Err(Error::new(404, "not_there", "rust does not have it either"))
    }

    async fn odd(&self, key: String) -> Result<String> {
        // What cannot be read is an error that says why; here the caller is told it.
        let read = match &*key {
            "map" => self.storage.get(Stored::MAP).await,
            "bytes" => self.storage.get(Stored::BYTES).await,
            "big" => self.storage.get(Stored::BIG).await,
            "nested" => self.storage.get(Stored::NESTED).await,
            _ => (self.storage.get(Stored::NOT_A_NUMBER).await)
                .map(|number| number.map(|number| number.to_string())),
        };
        Ok(match read {
            Ok(value) => format!("read {value:?}"),
            Err(error) => {
                let cause = std::error::Error::source(&error);
                format!(
                    "{error}: {}",
                    cause.map(ToString::to_string).unwrap_or_default()
                )
            }
        })
    }
}

/// Calls a tally by the client that `#[rpc]` makes.
#[rpc(rename_all = "camelCase")]
pub trait CallerApi {
    /// Resets it, counts up by each of these, and answers each count and the last.
    async fn count_up(&mut self, name: String, amounts: Vec<i64>) -> Result<Vec<i64>>;
    /// What its kinds are, read and written again.
    async fn kinds_of(&mut self, name: String) -> Result<Kinds>;
    /// Calls what neither tally can do, and answers the status, the code and the text.
    async fn fail(&mut self, name: String) -> Result<(u16, String, String)>;
}

pub struct Caller {
    ctx: Context,
}

impl Caller {
    fn tally(&self, name: &str) -> TallyApiClient<dokit::object::Stub> {
        TallyApiClient::new(self.ctx.namespace::<Tally>().get_by_name(name))
    }
}

#[durable_object]
impl DurableObject for Caller {
    type Api = CallerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }
}

impl CallerApi for Caller {
    async fn count_up(&mut self, name: String, amounts: Vec<i64>) -> Result<Vec<i64>> {
        let tally = self.tally(&name);
        tally.reset().await.map_err(Error::internal)?;
        let mut counts = Vec::new();
        for amount in amounts {
            counts.push(tally.increment(amount).await.map_err(Error::internal)?);
        }
        counts.push(tally.get_count().await.map_err(Error::internal)?);
        Ok(counts)
    }

    async fn kinds_of(&mut self, name: String) -> Result<Kinds> {
        let tally = self.tally(&name);
        tally.fill().await.map_err(Error::internal)?;
        tally.kinds().await.map_err(Error::internal)
    }

    async fn fail(&mut self, name: String) -> Result<(u16, String, String)> {
        let tally = self.tally(&name);
        match tally.missing().await {
            Ok(()) => Ok((200, String::new(), String::new())),
            Err(error) => {
                let status = error.status().unwrap_or(0);
                let code = error.code().unwrap_or_default().into_owned();
                Ok((status, code, error.to_string()))
            }
        }
    }
}

dokit_cloudflare::export!(Tally, Caller);
