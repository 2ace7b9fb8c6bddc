//! An object whose alarms keep a record of what became of each; and what has to be true of it.

use std::collections::BTreeMap;

use dokit_client::rpc;
use dokit_object::{Alarm, Context, DurableObject, Error, Result, Storage, durable_object};
use dokit_storage::{Family, ListOptions, Schema, Timestamp, TypedStorage};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    effects::{Doubts, Effects},
    ledger::{self, by_number, planned},
};

/// What an alarm does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Deed {
    /// Fires this often, a millisecond apart.
    Fire { times: u32 },
    /// Fires once, when it has failed once.
    FailFirst,
    /// Fires once, after it has called a ledger.
    Tell { ledger: String },
    /// Fires once, after an early commit.
    CommitEarly,
}

impl Deed {
    fn times(&self) -> u32 {
        match self {
            Self::Fire { times } => *times,
            Self::FailFirst | Self::Tell { .. } | Self::CommitEarly => 1,
        }
    }
}

#[rpc]
pub(crate) trait ClockworkApi {
    /// Sets the alarm, in place of one that is set.
    async fn set(&mut self, op: u64, in_millis: i64, deed: Deed) -> Result<()>;
    /// Removes the alarm, if there is one.
    async fn cancel(&mut self, op: u64) -> Result<()>;
    /// Everything.
    async fn record(&self) -> Result<Record>;
}

/// An alarm that is set.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Planned {
    op: u64,
    at: Timestamp,
    deed: Deed,
    /// How often it will still fire.
    left: u32,
}

#[derive(Schema)]
struct Stored {
    planned: Planned,
    /// What has gone wrong.
    wrong: String,
    #[schema(prefix = "set:")]
    set: Family<Deed>,
    #[schema(prefix = "cancel:")]
    cancels: Family<()>,
    #[schema(prefix = "fired:")]
    fired: Family<u32>,
    /// How often it would have fired, had it not been replaced or removed.
    #[schema(prefix = "dropped:")]
    dropped: Family<u32>,
    #[schema(prefix = "early:")]
    early: Family<()>,
}

/// What is stored, by the numbers of the calls that set the alarms.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    planned: Option<Planned>,
    alarm: Option<Timestamp>,
    now: Timestamp,
    wrong: Option<String>,
    pub(crate) set: BTreeMap<u64, Deed>,
    cancels: BTreeMap<u64, ()>,
    pub(crate) fired: BTreeMap<u64, u32>,
    dropped: BTreeMap<u64, u32>,
    early: BTreeMap<u64, ()>,
    failed_alarm: bool,
}

impl Record {
    pub(crate) fn alarm_is_due(&self) -> bool {
        self.alarm.is_some_and(|at| at <= self.now)
    }
}

pub(crate) struct Clockwork {
    ctx: Context,
    storage: TypedStorage<Stored, Storage>,
}

#[durable_object]
impl DurableObject for Clockwork {
    type Api = ClockworkApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        let Some(planned) = self.storage.get(Stored::PLANNED).await? else {
            let wrong = format!("the alarm of {} fired, which is not set", alarm.scheduled);
            return Ok(self.storage.put(Stored::WRONG, &wrong).await?);
        };
        if self.ctx.now() < planned.at {
            let wrong = format!("the alarm of {} fired before its time", planned.op);
            self.storage.put(Stored::WRONG, &wrong).await?;
        }
        self.fire(alarm, planned).await
    }
}

impl Clockwork {
    async fn fire(&mut self, alarm: Alarm, planned: Planned) -> Result<()> {
        match &planned.deed {
            Deed::Fire { .. } | Deed::FailFirst => {}
            Deed::Tell { ledger } => {
                let ledger = ledger::ledger(&self.ctx, ledger);
                if let Err(error) = ledger.receive(planned.op).await {
                    return Err(Error::new(502, "not_received", error.to_string()));
                }
            }
            Deed::CommitEarly => {
                self.storage.put(Stored::EARLY.key(planned.op), &()).await?;
                self.ctx.commit().await?;
            }
        }
        let key = Stored::FIRED.key(planned.op);
        let times = self.storage.get(key.clone()).await?.unwrap_or(0) + 1;
        self.storage.put(key, &times).await?;
        if planned.deed == Deed::FailFirst && alarm.retry_count == 0 {
            return Err(self::planned());
        }
        if planned.left == 1 {
            self.storage.delete(Stored::PLANNED).await?;
            return Ok(());
        }
        let at = Timestamp::from_millis(self.ctx.now().as_millis() + 1);
        let left = planned.left - 1;
        let planned = Planned {
            at,
            left,
            ..planned
        };
        self.storage.put(Stored::PLANNED, &planned).await?;
        Ok(self.storage.set_alarm(at).await?)
    }

    /// Puts down what becomes of the alarm that is set, if one is.
    async fn drop_planned(&mut self) -> Result<()> {
        if let Some(planned) = self.storage.get(Stored::PLANNED).await? {
            let key = Stored::DROPPED.key(planned.op);
            self.storage.put(key, &planned.left).await?;
            self.storage.delete(Stored::PLANNED).await?;
        }
        Ok(())
    }

    async fn family<V: DeserializeOwned>(
        &self,
        family: Family<V, Stored>,
    ) -> Result<BTreeMap<u64, V>> {
        by_number(self.storage.list_family(family, ListOptions::new()).await?)
    }
}

impl ClockworkApi for Clockwork {
    async fn set(&mut self, op: u64, in_millis: i64, deed: Deed) -> Result<()> {
        self.drop_planned().await?;
        self.storage.put(Stored::SET.key(op), &deed).await?;
        let at = Timestamp::from_millis(self.ctx.now().as_millis() + in_millis);
        let left = deed.times();
        let planned = Planned { op, at, deed, left };
        self.storage.put(Stored::PLANNED, &planned).await?;
        Ok(self.storage.set_alarm(at).await?)
    }

    async fn cancel(&mut self, op: u64) -> Result<()> {
        self.drop_planned().await?;
        self.storage.put(Stored::CANCELS.key(op), &()).await?;
        Ok(self.storage.delete_alarm().await?)
    }

    async fn record(&self) -> Result<Record> {
        Ok(Record {
            planned: self.storage.get(Stored::PLANNED).await?,
            alarm: self.storage.alarm().await?,
            now: self.ctx.now(),
            wrong: self.storage.get(Stored::WRONG).await?,
            set: self.family(Stored::SET).await?,
            cancels: self.family(Stored::CANCELS).await?,
            fired: self.family(Stored::FIRED).await?,
            dropped: self.family(Stored::DROPPED).await?,
            early: self.family(Stored::EARLY).await?,
            failed_alarm: self.ctx.failed_alarm().await?.is_some(),
        })
    }
}

/// What the campaign knows of one such object.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) set: Effects,
    pub(crate) cancels: Effects,
}

impl Model {
    /// Compares with what is there after a crash, when all that is due has had the time to fire.
    pub(crate) fn check(&mut self, record: &Record, doubts: &mut Doubts) -> Result<(), String> {
        self.set.check("alarm", record.set.keys(), doubts)?;
        self.cancels
            .check("cancel", record.cancels.keys(), doubts)?;
        if let Some(wrong) = &record.wrong {
            return Err(wrong.clone());
        }
        if record.failed_alarm {
            return Err("an alarm was given up".to_owned());
        }
        let Record { planned, alarm, .. } = record;
        if planned.is_some() != alarm.is_some() {
            return Err(format!("forgotten: {planned:?} with the alarm {alarm:?}"));
        }
        // A failed one is tried again at another time than it was set for.
        let late = planned
            .as_ref()
            .filter(|planned| planned.deed != Deed::FailFirst);
        if let Some(late) = late.filter(|planned| planned.at <= record.now) {
            return Err(format!("late: at {} {late:?} has not fired", record.now));
        }
        for (op, deed) in &record.set {
            let fired = record.fired.get(op).copied().unwrap_or(0);
            let planned = planned.as_ref().filter(|planned| planned.op == *op);
            let left = planned.map_or(0, |planned| planned.left);
            let dropped = record.dropped.get(op).copied().unwrap_or(0);
            if fired + left + dropped != deed.times() {
                return Err(format!(
                    "alarm {op}, {deed:?}, fired {fired} times; {left} to come, {dropped} dropped"
                ));
            }
            if *deed == Deed::CommitEarly && fired > 0 && !record.early.contains_key(op) {
                return Err(format!("alarm {op} fired without its early commit"));
            }
        }
        Ok(())
    }
}
