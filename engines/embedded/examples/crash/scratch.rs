//! An object that is filled and emptied whole, with an alarm now and then; and what has to be true of it.

use dokit_client::rpc;
use dokit_object::{Alarm, Context, DurableObject, Result, Storage, durable_object};
use dokit_storage::{Family, ListOptions, Schema, Timestamp, TypedStorage};
use serde::{Deserialize, Serialize};

use crate::effects::Doubts;

/// How the object is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Filling {
    /// The call.
    pub(crate) op: u64,
    pub(crate) items: u64,
    /// The length of an item, in bytes.
    pub(crate) bytes: usize,
    /// In how many milliseconds the alarm rings, where there is one.
    pub(crate) alarm: Option<u32>,
}

#[rpc]
pub(crate) trait ScratchApi {
    /// Puts a filling in place of all there was: item by item, or after it has deleted everything.
    async fn fill(&mut self, filling: Filling, wipe: bool) -> Result<()>;
    /// Deletes everything.
    async fn wipe(&mut self) -> Result<()>;
    /// Everything.
    async fn contents(&self) -> Result<Contents>;
}

#[derive(Schema)]
struct Stored {
    filling: Filling,
    /// The filling whose alarm rang.
    rang: u64,
    #[schema(prefix = "item:")]
    items: Family<Item>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Item {
    op: u64,
    padding: String,
}

/// What is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Contents {
    filling: Option<Filling>,
    rang: Option<u64>,
    /// The call that wrote each item, and its length.
    items: Vec<(u64, usize)>,
    alarm: Option<Timestamp>,
    now: Timestamp,
}

impl Contents {
    pub(crate) fn alarm_is_due(&self) -> bool {
        self.alarm.is_some_and(|at| at <= self.now)
    }
}

pub(crate) struct Scratch {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Scratch {
    type Api = ScratchApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        let filling = self.storage.get(Stored::FILLING).await?;
        let op = filling.map_or(0, |filling| filling.op);
        Ok(self.storage.put(Stored::RANG, &op).await?)
    }
}

impl ScratchApi for Scratch {
    async fn fill(&mut self, filling: Filling, wipe: bool) -> Result<()> {
        if wipe {
            self.storage.delete_all().await?;
        } else {
            let items = self.storage.list_family(Stored::ITEMS, ListOptions::new());
            let items = items.await?.into_iter().map(|(name, _)| name);
            let items = items.map(|name| Stored::ITEMS.key(name));
            self.storage.delete_many(items).await?;
            self.storage.delete(Stored::RANG).await?;
            self.storage.delete_alarm().await?;
        }
        self.storage.put(Stored::FILLING, &filling).await?;
        let item = Item {
            op: filling.op,
            padding: "x".repeat(filling.bytes),
        };
        for number in 0..filling.items {
            self.storage.put(Stored::ITEMS.key(number), &item).await?;
        }
        if let Some(millis) = filling.alarm {
            let at = Timestamp::from_millis(self.ctx.now().as_millis() + i64::from(millis));
            self.storage.set_alarm(at).await?;
        }
        Ok(())
    }

    async fn wipe(&mut self) -> Result<()> {
        Ok(self.storage.delete_all().await?)
    }

    async fn contents(&self) -> Result<Contents> {
        let items = self.storage.list_family(Stored::ITEMS, ListOptions::new());
        let items = items.await?.into_iter();
        Ok(Contents {
            filling: self.storage.get(Stored::FILLING).await?,
            rang: self.storage.get(Stored::RANG).await?,
            items: items
                .map(|(_, item)| (item.op, item.padding.len()))
                .collect(),
            alarm: self.storage.alarm().await?,
            now: self.ctx.now(),
        })
    }
}

/// What the campaign knows of one such object, which has one caller.
#[derive(Debug, Default)]
pub(crate) struct Model {
    filling: Option<Filling>,
    /// What it may be in place of that, where a call was sent and not answered.
    next: Option<Filling>,
    in_doubt: bool,
}

impl Model {
    pub(crate) fn sent(&mut self, filling: Option<Filling>) {
        self.next = filling;
        self.in_doubt = true;
    }

    pub(crate) fn answered(&mut self) {
        self.filling = self.next;
        self.in_doubt = false;
    }

    /// Compares with what is there after a crash, when all alarms have had the time to ring.
    pub(crate) fn check(&mut self, found: &Contents, doubts: &mut Doubts) -> Result<(), String> {
        if std::mem::take(&mut self.in_doubt) {
            if found.filling == self.next {
                doubts.happened += 1;
                self.filling = self.next;
            } else {
                doubts.never += 1;
            }
        }
        if found.filling != self.filling {
            return Err(format!(
                "{:?} was answered, {:?} is there",
                self.filling, found.filling
            ));
        }
        let expected = self.filling.map_or_else(Vec::new, |filling| {
            (0..filling.items)
                .map(|_| (filling.op, filling.bytes))
                .collect()
        });
        if found.items != expected {
            return Err(format!("torn: {:?} with {:?}", self.filling, found.items));
        }
        let rings = self.filling.filter(|filling| filling.alarm.is_some());
        let rings = rings.map(|filling| filling.op);
        if found.rang != rings || found.alarm.is_some() {
            return Err(format!(
                "the alarm of {rings:?} should have rung, that of {:?} has; the next is {:?}",
                found.rang, found.alarm
            ));
        }
        Ok(())
    }
}
