//! The object that the suite drives: each method asks one promise.

use std::{
    collections::BTreeMap,
    future::{pending, poll_fn},
    sync::Mutex,
    task::{Poll, Waker},
};

use dokit_client::rpc;
use dokit_object::{
    Alarm, Context, DurableObject, Error, Request, Response, Result, State, durable_object,
};
use dokit_storage::{Batch, KeyRange, Store, Timestamp};
use serde::{Deserialize, Serialize};

/// A run of the probe's alarm, as it remembers it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fired {
    /// What the alarm was set for.
    pub scheduled: Timestamp,
    /// When it ran.
    pub at: Timestamp,
    /// How often it had failed before.
    pub retry_count: u32,
}

/// Values of every kind that JavaScript's numbers and maps would bend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kinds {
    /// Beyond 2^53.
    pub big: u64,
    /// Below -2^53.
    pub small: i64,
    /// A float with a fraction.
    pub float: f64,
    /// A map that is not a struct.
    pub map: BTreeMap<String, u32>,
    /// A missing value that is there.
    pub none: Option<String>,
    /// Text outside ASCII.
    pub text: String,
    /// Bytes.
    pub bytes: Vec<u8>,
}

/// What the suite asks of the probe.
#[rpc]
pub trait ProbeApi {
    /// Writes a value.
    async fn put(&mut self, key: String, value: u64) -> Result<(), Error>;
    /// Writes several values.
    async fn put_all(&mut self, values: BTreeMap<String, u64>) -> Result<(), Error>;
    /// Reads a value.
    async fn get(&self, key: String) -> Result<Option<u64>, Error>;
    /// Lists all keys of a prefix.
    async fn keys(&self, prefix: String) -> Result<Vec<String>, Error>;
    /// Reads, lets others run, writes the sum.
    async fn increment(&mut self, by: u64) -> Result<u64, Error>;
    /// Writes a value and fails.
    async fn put_then_fail(&mut self, key: String, value: u64) -> Result<(), Error>;
    /// Writes a value and panics.
    async fn put_then_panic(&mut self, key: String, value: u64) -> Result<(), Error>;
    /// Writes a value, commits, writes another and fails.
    async fn commit_then_fail(&mut self, early: String, late: String) -> Result<(), Error>;
    /// Tries to write where only reading is allowed.
    async fn write_while_reading(&self, key: String) -> Result<(), Error>;
    /// Deletes everything.
    async fn delete_all(&mut self) -> Result<(), Error>;
    /// Gives back what it was given, through storage.
    async fn keep(&mut self, kinds: Kinds) -> Result<Kinds, Error>;
    /// Sets a field that is not in storage, and fails where it is told to.
    async fn remember(&mut self, value: u64, fail: bool) -> Result<(), Error>;
    /// The field that is not in storage, and the number in storage it should agree with.
    async fn remembered(&self) -> Result<(u64, u64), Error>;
    /// Adds to the typed state, of at most four numbers, and then ends well, or as told: `fail`, `panic`,
    /// or `commit`, which makes the state durable, adds the number again and fails.
    async fn add_to_state(&mut self, number: u64, end: String) -> Result<(), Error>;
    /// The numbers in the typed state.
    async fn numbers(&self) -> Result<Vec<u64>, Error>;
    /// Hands over a call of `add_to_state` of another probe for each number, and fails where it is told to.
    async fn add_later(&mut self, name: String, numbers: Vec<u64>, fail: bool)
    -> Result<(), Error>;
    /// Hands over a call of `add_to_state` to each of these probes, at once.
    async fn add_to_each_later(&mut self, names: Vec<String>, number: u64) -> Result<(), Error>;
    /// The errors of the calls that could not be delivered.
    async fn undelivered(&self) -> Result<Vec<String>, Error>;
    /// Returns once `parties` calls of it run at once.
    async fn meet(&self, parties: usize) -> Result<(), Error>;
    /// The name by which it is addressed, and its id.
    async fn identity(&self) -> Result<(Option<String>, String), Error>;
    /// The trace that the call belongs to.
    async fn trace(&self) -> Result<Option<String>, Error>;
    /// The same, and that of a call which this one makes to another probe.
    async fn traces(&mut self, name: String) -> Result<[Option<String>; 2], Error>;
    /// Sets the alarm, some milliseconds from now, to fail its first tries.
    async fn set_alarm(&mut self, in_millis: i64, failures: u32) -> Result<Timestamp, Error>;
    /// The same, but its first tries panic.
    async fn set_panicking_alarm(
        &mut self,
        in_millis: i64,
        panics: u32,
    ) -> Result<Timestamp, Error>;
    /// Writes a value, has the probe `witness` count, and never ends. With `early` it writes that before, and
    /// commits.
    async fn hang(&mut self, early: Option<String>, late: String) -> Result<(), Error>;
    /// Sets the alarm, which never ends until the probe `witness` has counted more than so often.
    async fn hang_later(&mut self, in_millis: i64, runs: u64) -> Result<Timestamp, Error>;
    /// From now on it wakes only while the probe `gate` holds no `closed`.
    async fn wake_by_the_gate(&mut self) -> Result<(), Error>;
    /// Writes its name at another probe, and returns once `parties` have.
    async fn sign_and_wait(&mut self, register: String, parties: usize) -> Result<(), Error>;
    /// Hands over a call of `sign_and_wait` to each of these probes.
    async fn meet_later(&mut self, names: Vec<String>, register: String) -> Result<(), Error>;
    /// Sets the alarm and fails.
    async fn set_alarm_then_fail(&mut self, in_millis: i64) -> Result<(), Error>;
    /// Removes the alarm.
    async fn delete_alarm(&mut self) -> Result<(), Error>;
    /// The time of the alarm.
    async fn alarm_time(&self) -> Result<Option<Timestamp>, Error>;
    /// The runs of the alarm that succeeded.
    async fn fired(&self) -> Result<Vec<Fired>, Error>;
    /// How often an alarm that was given up was tried.
    async fn given_up(&self) -> Result<Option<u32>, Error>;
    /// Has another probe call the next, and so on: "done" from the last, or the code of what stopped it.
    async fn call_along(&mut self, names: Vec<String>) -> Result<String, Error>;
    /// Calls another probe.
    async fn increment_other(&mut self, name: String, by: u64) -> Result<u64, Error>;
}

/// The object that the suite drives, with keys alone.
pub type Probe = AnyProbe<false>;

/// The same with a SQL database, which changes nothing that can be asked of its keys.
pub type SqlProbe = AnyProbe<true>;

/// The object that the suite drives, of either kind.
#[derive(Debug)]
pub struct AnyProbe<const SQL: bool> {
    ctx: Context,
    remembered: u64,
    state: State<Vec<u64>>,
    /// Those that have come to the meeting.
    meeting: Mutex<Vec<Waker>>,
}

const FAILURES: &str = "alarm:failures";
const PANICS: &str = "alarm:panics";
const HANGS: &str = "alarm:hangs";
const GATED: &str = "gated";
const FIRED: &str = "alarm:fired:";
const REMEMBERED: &str = "remembered";

#[durable_object(state = state)]
impl<const SQL: bool> DurableObject for AnyProbe<SQL> {
    const NAMESPACE: &'static str = if SQL { "sql-probe" } else { "probe" };
    const SQL: bool = SQL;

    type Api = ProbeApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let remembered = read(&ctx, REMEMBERED).await?.unwrap_or(0);
        if read(&ctx, GATED).await?.is_some() {
            let gate = ProbeApiClient::new(ctx.namespace::<Self>().get_by_name("gate"));
            let closed = gate.get("closed".to_owned()).await;
            if closed.map_err(Error::internal)?.is_some() {
                return Err(Error::new(503, "planned", "the gate is closed"));
            }
        }
        let state = ctx
            .state(Vec::new)
            .check(|numbers| at_most_four(numbers))
            .load()
            .await?;
        Ok(Self {
            ctx,
            remembered,
            state,
            meeting: Mutex::default(),
        })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let told = format!(
            "{} {} {}",
            request.method(),
            request.uri(),
            String::from_utf8_lossy(request.body())
        );
        let mut response = Response::new(told.into());
        if request.uri().path() == "/teapot" {
            *response.status_mut() = http::StatusCode::IM_A_TEAPOT;
        }
        Ok(response)
    }

    async fn alarm(&mut self, alarm: Alarm) -> Result<()> {
        let fired = Fired {
            scheduled: alarm.scheduled,
            at: self.ctx.now(),
            retry_count: alarm.retry_count,
        };
        let past = self.fired().await?.len();
        let mut batch = Batch::new();
        batch.put(format!("{FIRED}{past:04}"), json(&fired)?);
        self.ctx.storage().commit(batch).await?;
        if let Some(hangs) = read(&self.ctx, HANGS).await?
            && self.increment_other("witness".to_owned(), 1).await? <= hangs
        {
            pending::<()>().await;
        }
        let panics = read(&self.ctx, PANICS).await?.unwrap_or(0);
        assert!(u64::from(alarm.retry_count) >= panics, "planned panic");
        let failures = read(&self.ctx, FAILURES).await?.unwrap_or(0);
        if u64::from(alarm.retry_count) < failures {
            return Err(Error::new(500, "planned", "planned failure of the alarm"));
        }
        Ok(())
    }
}

impl<const SQL: bool> ProbeApi for AnyProbe<SQL> {
    async fn put(&mut self, key: String, value: u64) -> Result<(), Error> {
        write(&self.ctx, &key, value).await
    }

    async fn put_all(&mut self, values: BTreeMap<String, u64>) -> Result<(), Error> {
        for (key, value) in values {
            write(&self.ctx, &key, value).await?;
            yield_now().await;
        }
        Ok(())
    }

    async fn get(&self, key: String) -> Result<Option<u64>, Error> {
        read(&self.ctx, &key).await
    }

    async fn keys(&self, prefix: String) -> Result<Vec<String>, Error> {
        let range: KeyRange = dokit_storage::ListOptions::new()
            .prefix(prefix)
            .to_range()?;
        let entries = self.ctx.storage().list(&range).await?;
        Ok(entries.into_iter().map(|(key, _)| key).collect())
    }

    async fn increment(&mut self, by: u64) -> Result<u64, Error> {
        let before: u64 = read(&self.ctx, "count").await?.unwrap_or(0);
        yield_now().await;
        let after = before + by;
        write(&self.ctx, "count", after).await?;
        Ok(after)
    }

    async fn put_then_fail(&mut self, key: String, value: u64) -> Result<(), Error> {
        write(&self.ctx, &key, value).await?;
        Err(Error::new(418, "planned", "planned failure").with_details(value))
    }

    async fn put_then_panic(&mut self, key: String, value: u64) -> Result<(), Error> {
        write(&self.ctx, &key, value).await?;
        panic!("planned panic");
    }

    async fn commit_then_fail(&mut self, early: String, late: String) -> Result<(), Error> {
        write(&self.ctx, &early, 1).await?;
        self.ctx.commit().await?;
        write(&self.ctx, &late, 1).await?;
        Err(Error::new(418, "planned", "planned failure"))
    }

    async fn write_while_reading(&self, key: String) -> Result<(), Error> {
        write(&self.ctx, &key, 1).await
    }

    async fn delete_all(&mut self) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.delete_all();
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn keep(&mut self, kinds: Kinds) -> Result<Kinds, Error> {
        let mut batch = Batch::new();
        batch.put("kinds", json(&kinds)?);
        self.ctx.storage().commit(batch).await?;
        let kept = self.ctx.storage().get("kinds").await?.unwrap_or_default();
        Ok(dokit_storage::decode("kinds", &kept)?)
    }

    async fn remember(&mut self, value: u64, fail: bool) -> Result<(), Error> {
        self.remembered = value;
        if fail {
            return Err(Error::new(418, "planned", "planned failure"));
        }
        write(&self.ctx, REMEMBERED, value).await
    }

    async fn remembered(&self) -> Result<(u64, u64), Error> {
        let stored = read(&self.ctx, REMEMBERED).await?.unwrap_or(0);
        Ok((self.remembered, stored))
    }

    async fn add_to_state(&mut self, number: u64, end: String) -> Result<(), Error> {
        self.state.push(number);
        yield_now().await;
        match &*end {
            "fail" => return Err(Error::new(418, "planned", "planned failure")),
            "panic" => panic!("planned panic"),
            "commit" => {
                self.state.save()?;
                self.ctx.commit().await?;
                self.state.push(number);
                return Err(Error::new(418, "planned", "planned failure"));
            }
            _ => {}
        }
        Ok(())
    }

    async fn numbers(&self) -> Result<Vec<u64>, Error> {
        Ok(self.state.clone())
    }

    async fn add_later(
        &mut self,
        name: String,
        numbers: Vec<u64>,
        fail: bool,
    ) -> Result<(), Error> {
        let other = self.ctx.namespace::<Self>().get_by_name(&name);
        for number in numbers {
            let call = async |other| {
                let other = ProbeApiClient::new(other);
                other.add_to_state(number, String::new()).await
            };
            self.ctx.after_commit(&other, call).await?;
        }
        match fail {
            true => Err(Error::new(418, "planned", "planned failure")),
            false => Ok(()),
        }
    }

    async fn add_to_each_later(&mut self, names: Vec<String>, number: u64) -> Result<(), Error> {
        for name in names {
            self.add_later(name, vec![number], false).await?;
        }
        Ok(())
    }

    async fn undelivered(&self) -> Result<Vec<String>, Error> {
        let undelivered = self.ctx.undelivered().await?;
        Ok(undelivered.into_iter().map(|call| call.error).collect())
    }

    async fn meet(&self, parties: usize) -> Result<(), Error> {
        let mut came = false;
        poll_fn(|task| {
            let mut meeting = self.meeting.lock().unwrap();
            if !came {
                came = true;
                meeting.push(task.waker().clone());
                meeting.iter().for_each(Waker::wake_by_ref);
            }
            match meeting.len() {
                those if those < parties => Poll::Pending,
                _ => Poll::Ready(()),
            }
        })
        .await;
        Ok(())
    }

    async fn identity(&self) -> Result<(Option<String>, String), Error> {
        let name = self.ctx.name().map(str::to_owned);
        Ok((name, self.ctx.id().to_string()))
    }

    async fn trace(&self) -> Result<Option<String>, Error> {
        Ok(self.ctx.traceparent())
    }

    async fn traces(&mut self, name: String) -> Result<[Option<String>; 2], Error> {
        let other = ProbeApiClient::new(self.ctx.namespace::<Self>().get_by_name(&name));
        let of_other = other.trace().await.map_err(Error::internal)?;
        Ok([self.ctx.traceparent(), of_other])
    }

    async fn set_alarm(&mut self, in_millis: i64, failures: u32) -> Result<Timestamp, Error> {
        let now = self.ctx.now();
        let at = Timestamp::from_millis(now.as_millis() + in_millis);
        let mut batch = Batch::new();
        batch.put(FAILURES, json(&failures)?);
        batch.set_alarm(at);
        self.ctx.storage().commit(batch).await?;
        Ok(at)
    }

    async fn set_panicking_alarm(
        &mut self,
        in_millis: i64,
        panics: u32,
    ) -> Result<Timestamp, Error> {
        write(&self.ctx, PANICS, panics.into()).await?;
        self.set_alarm(in_millis, 0).await
    }

    async fn hang(&mut self, early: Option<String>, late: String) -> Result<(), Error> {
        if let Some(early) = early {
            write(&self.ctx, &early, 1).await?;
            self.ctx.commit().await?;
        }
        write(&self.ctx, &late, 1).await?;
        self.increment_other("witness".to_owned(), 1).await?;
        pending().await
    }

    async fn hang_later(&mut self, in_millis: i64, runs: u64) -> Result<Timestamp, Error> {
        write(&self.ctx, HANGS, runs).await?;
        self.set_alarm(in_millis, 0).await
    }

    async fn wake_by_the_gate(&mut self) -> Result<(), Error> {
        write(&self.ctx, GATED, 1).await
    }

    async fn sign_and_wait(&mut self, register: String, parties: usize) -> Result<(), Error> {
        let own = self.ctx.name().unwrap_or_default().to_owned();
        let register = self.ctx.namespace::<Self>().get_by_name(&register);
        let register = ProbeApiClient::new(register);
        let put = register.put(format!("signed:{own}"), 1).await;
        put.map_err(Error::internal)?;
        loop {
            let signed = register.keys("signed:".to_owned()).await;
            if signed.map_err(Error::internal)?.len() >= parties {
                return Ok(());
            }
            yield_now().await;
        }
    }

    async fn meet_later(&mut self, names: Vec<String>, register: String) -> Result<(), Error> {
        for name in &names {
            let other = self.ctx.namespace::<Self>().get_by_name(name);
            let call = async |other| {
                let other = ProbeApiClient::new(other);
                other.sign_and_wait(register.clone(), names.len()).await
            };
            self.ctx.after_commit(&other, call).await?;
        }
        Ok(())
    }

    async fn set_alarm_then_fail(&mut self, in_millis: i64) -> Result<(), Error> {
        self.set_alarm(in_millis, 0).await?;
        Err(Error::new(418, "planned", "planned failure"))
    }

    async fn delete_alarm(&mut self) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.delete_alarm();
        Ok(self.ctx.storage().commit(batch).await?)
    }

    async fn alarm_time(&self) -> Result<Option<Timestamp>, Error> {
        Ok(self.ctx.storage().alarm().await?)
    }

    async fn fired(&self) -> Result<Vec<Fired>, Error> {
        let range = dokit_storage::ListOptions::new().prefix(FIRED).to_range()?;
        let entries = self.ctx.storage().list(&range).await?;
        let decoded = entries
            .iter()
            .map(|(key, json)| dokit_storage::decode(key, json))
            .collect::<dokit_storage::Result<_>>();
        Ok(decoded?)
    }

    async fn given_up(&self) -> Result<Option<u32>, Error> {
        Ok(self.ctx.failed_alarm().await?.map(|failed| failed.tries))
    }

    async fn call_along(&mut self, mut names: Vec<String>) -> Result<String, Error> {
        if names.is_empty() {
            return Ok("done".to_owned());
        }
        let next = names.remove(0);
        let next = ProbeApiClient::new(self.ctx.namespace::<Self>().get_by_name(&next));
        match next.call_along(names).await {
            Ok(told) => Ok(told),
            Err(error) => Ok(error.code().unwrap_or_default().into_owned()),
        }
    }

    async fn increment_other(&mut self, name: String, by: u64) -> Result<u64, Error> {
        let other = ProbeApiClient::new(self.ctx.namespace::<Self>().get_by_name(&name));
        match other.increment(by).await {
            Ok(count) => Ok(count),
            Err(error) => Err(Error::internal(error)),
        }
    }
}

fn at_most_four(numbers: &[u64]) -> Result<(), String> {
    match numbers.len() {
        0..=4 => Ok(()),
        more => Err(format!("{more} numbers are more than 4")),
    }
}

async fn read(ctx: &Context, key: &str) -> Result<Option<u64>> {
    let json = ctx.storage().get(key).await?;
    let decoded = json
        .map(|json| dokit_storage::decode(key, &json))
        .transpose();
    Ok(decoded?)
}

async fn write(ctx: &Context, key: &str, value: u64) -> Result<()> {
    let mut batch = Batch::new();
    batch.put(key, json(&value)?);
    Ok(ctx.storage().commit(batch).await?)
}

fn json(value: &impl Serialize) -> Result<String> {
    Ok(dokit_storage::encode("a value of the probe", value)?)
}

/// Lets every other task run once.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|task| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// What the plain object can be asked.
#[rpc]
pub trait PlainApi {
    /// Answers `pong`.
    async fn ping(&self) -> Result<String, Error>;
}

/// An object that has methods, and neither `fetch` nor alarms.
#[derive(Debug)]
pub struct Plain;

#[durable_object]
impl DurableObject for Plain {
    type Api = PlainApiServer;

    async fn new(_: Context) -> Result<Self> {
        Ok(Self)
    }
}

impl PlainApi for Plain {
    async fn ping(&self) -> Result<String, Error> {
        Ok("pong".to_owned())
    }
}
