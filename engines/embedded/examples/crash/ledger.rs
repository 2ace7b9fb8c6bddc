//! An object whose calls write several keys each, and rows where it has SQL, that have to agree; and what has
//! to be true of it.

use std::collections::BTreeMap;

use dokit_client::rpc;
use dokit_object::{Context, DurableObject, Error, Result, Storage, Stub, durable_object};
use dokit_storage::{Family, Key, ListOptions, Schema, TypedStorage, sql::Sql};
use serde::{Deserialize, Serialize};

use crate::effects::{Doubts, Effects};

#[rpc]
pub(crate) trait LedgerApi {
    /// Adds a line, and gives its place: 1 for the first.
    async fn add(&mut self, op: u64, amount: u64) -> Result<u64>;
    /// The same in a transaction, after one that is rolled back.
    async fn add_in_transaction(&mut self, op: u64, amount: u64) -> Result<u64>;
    /// Adds a line, and fails, after an early commit of `kept` where it is told to.
    async fn add_and_fail(&mut self, op: u64, keep: bool) -> Result<()>;
    /// Adds a line, and panics.
    async fn add_and_panic(&mut self, op: u64) -> Result<()>;
    /// Has another ledger receive, and says that it was sent: after that, or also before.
    async fn send(&mut self, op: u64, to: String, early: bool) -> Result<()>;
    /// Hands the same over, to be done after the commit.
    async fn send_later(&mut self, op: u64, to: String) -> Result<()>;
    /// Counts how often this came.
    async fn receive(&mut self, op: u64) -> Result<()>;
    /// How many lines there are.
    async fn count(&self) -> Result<u64>;
    /// The same, in a call that runs alone.
    async fn count_alone(&mut self) -> Result<u64>;
    /// Everything.
    async fn book(&self) -> Result<Book>;
}

#[derive(Schema)]
struct Stored {
    count: u64,
    total: u64,
    #[schema(prefix = "line:")]
    lines: Family<Line>,
    #[schema(prefix = "kept:")]
    kept: Family<()>,
    /// Whether it was received.
    #[schema(prefix = "sent:")]
    sent: Family<bool>,
    /// How often.
    #[schema(prefix = "received:")]
    received: Family<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    amount: u64,
    place: u64,
}

/// What is stored, by the numbers of the calls that wrote it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Book {
    count: u64,
    total: u64,
    lines: BTreeMap<u64, Line>,
    kept: BTreeMap<u64, ()>,
    pub(crate) sent: BTreeMap<u64, bool>,
    pub(crate) received: BTreeMap<u64, u64>,
    rows: Option<Vec<(u64, u64)>>,
}

/// One with SQL writes each line as a row too. Its name ends in `r`.
pub(crate) struct Ledger<const ROWS: bool> {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
    rows: Option<Sql>,
    /// Beside the stored one, so that memory and disk can be compared.
    count: u64,
}

#[durable_object]
impl DurableObject for Ledger<false> {
    const NAMESPACE: &'static str = "ledger";

    type Api = LedgerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        Self::open(ctx, None).await
    }
}

#[durable_object]
impl DurableObject for Ledger<true> {
    const NAMESPACE: &'static str = "row-ledger";
    const SQL: bool = true;

    type Api = LedgerApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let rows = ctx.sql()?;
        rows.migrate(&[("lines", TABLE)])?;
        Self::open(ctx, Some(rows)).await
    }
}

const TABLE: &str = "CREATE TABLE lines (op INTEGER PRIMARY KEY, amount INTEGER NOT NULL)";

/// The ledger of a name, from inside.
pub(crate) fn ledger(ctx: &Context, name: &str) -> LedgerApiClient<Stub> {
    LedgerApiClient::new(stub(ctx, name))
}

fn stub(ctx: &Context, name: &str) -> Stub {
    let namespace = if has_rows(name) {
        ctx.namespace::<Ledger<true>>()
    } else {
        ctx.namespace::<Ledger<false>>()
    };
    namespace.get_by_name(name)
}

pub(crate) fn has_rows(name: &str) -> bool {
    name.ends_with('r')
}

impl<const ROWS: bool> Ledger<ROWS> {
    async fn open(ctx: Context, rows: Option<Sql>) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        let count = storage.get(Stored::COUNT).await?.unwrap_or(0);
        Ok(Self {
            ctx,
            storage,
            rows,
            count,
        })
    }

    fn row(&self, op: u64, amount: u64) -> Result<()> {
        if let Some(rows) = &self.rows {
            rows.exec("INSERT INTO lines VALUES (?, ?)", (op, amount))?;
        }
        Ok(())
    }

    /// Three keys, in three writes of one call.
    async fn line(&mut self, op: u64, amount: u64) -> Result<u64> {
        let place = self.count().await? + 1;
        self.storage.put(Stored::COUNT, &place).await?;
        let total = self.storage.get(Stored::TOTAL).await?.unwrap_or(0) + amount;
        let line = Line { amount, place };
        self.storage.put(Stored::LINES.key(op), &line).await?;
        self.row(op, amount)?;
        self.storage.put(Stored::TOTAL, &total).await?;
        self.count = place;
        Ok(place)
    }

    async fn family<V>(&self, family: Family<V, Stored>) -> Result<BTreeMap<u64, V>>
    where
        V: serde::de::DeserializeOwned,
    {
        let listed = self.storage.list_family(family, ListOptions::new()).await?;
        by_number(listed)
    }
}

/// The members of a family whose names are numbers.
pub(crate) fn by_number<V>(members: Vec<(String, V)>) -> Result<BTreeMap<u64, V>> {
    let parse = |(name, value): (String, V)| match name.parse() {
        Ok(op) => Ok((op, value)),
        Err(_) => Err(Error::new(500, "not_a_number", name)),
    };
    members.into_iter().map(parse).collect()
}

pub(crate) fn planned() -> Error {
    Error::new(418, "planned", "planned failure")
}

impl<const ROWS: bool> LedgerApi for Ledger<ROWS> {
    async fn add(&mut self, op: u64, amount: u64) -> Result<u64> {
        self.line(op, amount).await
    }

    async fn add_in_transaction(&mut self, op: u64, amount: u64) -> Result<u64> {
        let never: Result<()> = self
            .storage
            .transaction(async |txn| {
                txn.put(Stored::COUNT, &0).await?;
                txn.put(Stored::KEPT.key(op), &()).await?;
                Err(planned())
            })
            .await;
        if never.is_ok() {
            return Err(Error::new(500, "kept", "a transaction was not rolled back"));
        }
        let place = self
            .storage
            .transaction(async |txn| {
                let place = txn.get(Stored::COUNT).await?.unwrap_or(0) + 1;
                let total = txn.get(Stored::TOTAL).await?.unwrap_or(0) + amount;
                txn.put(Stored::COUNT, &place).await?;
                txn.put(Stored::TOTAL, &total).await?;
                let line = Line { amount, place };
                txn.put(Stored::LINES.key(op), &line).await?;
                Ok::<_, Error>(place)
            })
            .await?;
        self.row(op, amount)?;
        self.count = place;
        Ok(place)
    }

    async fn add_and_fail(&mut self, op: u64, keep: bool) -> Result<()> {
        if keep {
            self.storage.put(Stored::KEPT.key(op), &()).await?;
            self.ctx.commit().await?;
        }
        self.line(op, 1).await?;
        Err(planned())
    }

    async fn add_and_panic(&mut self, op: u64) -> Result<()> {
        self.line(op, 1).await?;
        panic!("planned panic");
    }

    async fn send(&mut self, op: u64, to: String, early: bool) -> Result<()> {
        if early {
            self.storage.put(Stored::SENT.key(op), &false).await?;
            self.ctx.commit().await?;
        }
        if let Err(error) = ledger(&self.ctx, &to).receive(op).await {
            return Err(Error::new(502, "not_received", error.to_string()));
        }
        Ok(self.storage.put(Stored::SENT.key(op), &true).await?)
    }

    async fn send_later(&mut self, op: u64, to: String) -> Result<()> {
        self.storage.put(Stored::SENT.key(op), &true).await?;
        let to = stub(&self.ctx, &to);
        let receive = async |to| LedgerApiClient::new(to).receive(op).await;
        self.ctx.after_commit(&to, receive).await
    }

    async fn receive(&mut self, op: u64) -> Result<()> {
        let key: Key<Stored, u64> = Stored::RECEIVED.key(op);
        let times = self.storage.get(key.clone()).await?.unwrap_or(0) + 1;
        Ok(self.storage.put(key, &times).await?)
    }

    async fn count(&self) -> Result<u64> {
        let stored = self.storage.get(Stored::COUNT).await?.unwrap_or(0);
        if stored == self.count {
            Ok(stored)
        } else {
            let text = format!("{stored} is stored, {} in memory", self.count);
            Err(Error::new(500, "memory_differs", text))
        }
    }

    async fn count_alone(&mut self) -> Result<u64> {
        self.count().await
    }

    async fn book(&self) -> Result<Book> {
        Ok(Book {
            count: self.count().await?,
            total: self.storage.get(Stored::TOTAL).await?.unwrap_or(0),
            lines: self.family(Stored::LINES).await?,
            kept: self.family(Stored::KEPT).await?,
            sent: self.family(Stored::SENT).await?,
            received: self.family(Stored::RECEIVED).await?,
            rows: match &self.rows {
                Some(rows) => Some(
                    rows.exec("SELECT op, amount FROM lines ORDER BY op", ())?
                        .to_vec()?,
                ),
                None => None,
            },
        })
    }
}

/// What the campaign knows of one ledger.
#[derive(Debug, Default)]
pub(crate) struct Model {
    lines: Effects,
    kept: Effects,
    pub(crate) sent: Effects,
    amounts: BTreeMap<u64, u64>,
    /// What callers were answered.
    places: BTreeMap<u64, u64>,
    /// The largest count that anybody was told.
    seen: u64,
}

impl Model {
    pub(crate) fn add_sent(&mut self, op: u64, amount: u64) {
        self.lines.sent(op);
        self.amounts.insert(op, amount);
    }

    pub(crate) fn added(&mut self, op: u64, place: u64) -> Result<(), String> {
        self.lines.happened(op);
        self.saw(place);
        match self.places.insert(op, place) {
            Some(before) if before != place => Err(format!(
                "call {op} was answered {before} and, with its idempotency key, {place}"
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn failing_sent(&mut self, op: u64, keep: bool) {
        self.lines.never(op);
        if keep {
            self.kept.sent(op);
        }
    }

    pub(crate) fn failed(&mut self, op: u64, kept: bool) {
        if kept {
            self.kept.happened(op);
        }
    }

    pub(crate) fn saw(&mut self, count: u64) {
        self.seen = self.seen.max(count);
    }

    pub(crate) fn check(&mut self, book: &Book, doubts: &mut Doubts) -> Result<(), String> {
        self.lines.check("line", book.lines.keys(), doubts)?;
        self.kept.check("early commit", book.kept.keys(), doubts)?;
        self.sent.check("sent", book.sent.keys(), doubts)?;
        if book.count < self.seen {
            return Err(format!(
                "the count went back: {} was told, {} is there",
                self.seen, book.count
            ));
        }
        let total: u64 = book.lines.values().map(|line| line.amount).sum();
        if total != book.total {
            return Err(format!(
                "torn: the lines add up to {total}, not {}",
                book.total
            ));
        }
        let lines = book.lines.iter().map(|(op, line)| (*op, line.amount));
        if let Some(rows) = &book.rows
            && !lines.eq(rows.iter().copied())
        {
            let lines = book.lines.len();
            return Err(format!(
                "torn: {lines} lines are not the {} rows",
                rows.len()
            ));
        }
        let mut places: Vec<u64> = book.lines.values().map(|line| line.place).collect();
        places.sort_unstable();
        if !places.iter().copied().eq(1..=book.count) {
            let wrong = (1..).zip(&places).find(|(place, found)| place != *found);
            return Err(format!(
                "torn: the count is {}, with {} lines; wrong are from the place {wrong:?}",
                book.count,
                places.len()
            ));
        }
        for (op, line) in &book.lines {
            let told = self.places.get(op);
            if told.is_some_and(|told| *told != line.place) || self.amounts[op] != line.amount {
                return Err(format!(
                    "line {op} is {line:?}, and its caller was told {told:?}"
                ));
            }
        }
        Ok(())
    }
}
