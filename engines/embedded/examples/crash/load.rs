//! What is asked of a server until it is killed, and what is known of that afterwards.

use std::{
    collections::BTreeMap,
    fmt::Display,
    mem,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use dokit_client::{CallError, HttpNamespace, HttpStub, InvalidAddress, Namespace as _, Retry};
use dokit_object::{DurableObject, Error};

use crate::{
    clockwork::{self, Clockwork, ClockworkApiClient, Deed},
    ledger::{self, Ledger, LedgerApiClient},
    random::Random,
    scratch::{self, Filling, Scratch, ScratchApiClient},
};

/// How many callers there may be beside each other: with one, two or a few the engine goes other ways than
/// with many. Each has a scratch object of its own.
const CALLERS: [usize; 6] = [1, 2, 4, 24, 24, 24];

/// Those of which every caller has much to do with.
const HOT_LEDGERS: u64 = 4;
const LEDGERS: u64 = 150;
const CLOCKWORKS: u64 = 30;

/// The longest time that an alarm is set ahead. The clock goes on by more at each start.
const LONGEST_ALARM_MILLIS: u64 = 120_000;

/// The objects of one server.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    ledgers: HttpNamespace,
    row_ledgers: HttpNamespace,
    scratches: HttpNamespace,
    clockworks: HttpNamespace,
}

impl Objects {
    pub(crate) fn at(base: &str) -> Result<Self, InvalidAddress> {
        Ok(Self {
            ledgers: HttpNamespace::new(base, Ledger::<false>::NAMESPACE)?,
            row_ledgers: HttpNamespace::new(base, Ledger::<true>::NAMESPACE)?,
            scratches: HttpNamespace::new(base, Scratch::NAMESPACE)?,
            clockworks: HttpNamespace::new(base, Clockwork::NAMESPACE)?,
        })
    }

    pub(crate) fn ledger(&self, name: &str) -> LedgerApiClient<HttpStub> {
        let namespace = if ledger::has_rows(name) {
            &self.row_ledgers
        } else {
            &self.ledgers
        };
        LedgerApiClient::new(namespace.get_by_name(name)).with_retry(Retry::never())
    }

    pub(crate) fn scratch(&self, name: &str) -> ScratchApiClient<HttpStub> {
        ScratchApiClient::new(self.scratches.get_by_name(name)).with_retry(Retry::never())
    }

    pub(crate) fn clockwork(&self, name: &str) -> ClockworkApiClient<HttpStub> {
        ClockworkApiClient::new(self.clockworks.get_by_name(name)).with_retry(Retry::never())
    }
}

/// What the campaign knows, by the names of the objects.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) ledgers: BTreeMap<String, ledger::Model>,
    pub(crate) scratches: BTreeMap<String, scratch::Model>,
    pub(crate) clockworks: BTreeMap<String, clockwork::Model>,
    pub(crate) sends: Vec<Sending>,
    /// Calls with an idempotency key that have not been answered.
    once: Vec<Once>,
    /// What should not have happened.
    pub(crate) wrong: Option<String>,
}

/// A call from one ledger to another.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) op: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) way: Way,
    pub(crate) answered: bool,
}

/// How it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// In the middle of the call that makes it.
    Plain,
    /// The same after an early commit.
    Early,
    /// After the commit.
    Later,
}

#[derive(Clone, Debug)]
struct Once {
    op: u64,
    ledger: String,
    amount: u64,
}

impl Known {
    pub(crate) fn ledger(&mut self, name: &str) -> &mut ledger::Model {
        self.ledgers.entry(name.to_owned()).or_default()
    }

    fn scratch(&mut self, name: &str) -> &mut scratch::Model {
        self.scratches.entry(name.to_owned()).or_default()
    }

    fn clockwork(&mut self, name: &str) -> &mut clockwork::Model {
        self.clockworks.entry(name.to_owned()).or_default()
    }
}

/// What all callers share.
#[derive(Debug, Default)]
pub(crate) struct World {
    known: Mutex<Known>,
    calls: AtomicU64,
    answered: AtomicU64,
    /// Whether the server is being killed, or told to stop.
    ending: AtomicBool,
}

/// What a load is like.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// What the names of its objects begin with.
    pub(crate) generation: String,
    /// Whether it is to write as much as it can.
    pub(crate) heavy: bool,
}

/// Why a caller goes no further: the server has ended, or it should not have answered so.
struct Stopped;

impl World {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("no caller has panicked")
    }

    /// How many calls were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn has_gone_wrong(&self) -> bool {
        self.known().wrong.is_some()
    }

    /// From now on callers are not surprised when nothing answers.
    pub(crate) fn end(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    fn op(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What was answered; or else, where that is to be expected, the end.
    fn answer<R>(&self, answer: Result<R, CallError<Error>>) -> Result<R, Stopped> {
        match answer {
            Ok(answer) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                Ok(answer)
            }
            Err(error) => Err(self.stopped(&error)),
        }
    }

    /// The same for a call that is to answer an error of this code.
    fn failure(&self, answer: Result<(), CallError<Error>>, code: &str) -> Result<(), Stopped> {
        match answer {
            Err(error) if error.code().as_deref() == Some(code) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Ok(()) => Err(self.wrong(format!("a call that fails was answered, not {code}"))),
            Err(error) => Err(self.stopped(&error)),
        }
    }

    fn stopped(&self, error: &CallError<Error>) -> Stopped {
        // A server that is told to stop lets no call half through, but for what it has called.
        let ending = self.ending.load(Ordering::SeqCst);
        if !ending {
            return self.wrong(format!(
                "a call failed before the server was killed: {error}"
            ));
        }
        Stopped
    }

    fn wrong(&self, what: impl Display) -> Stopped {
        self.known().wrong.get_or_insert_with(|| what.to_string());
        Stopped
    }
}

/// Runs callers until the server ends.
pub(crate) async fn run(world: &Arc<World>, objects: &Objects, load: &Load, random: &mut Random) {
    world.ending.store(false, Ordering::SeqCst);
    let callers: Vec<_> = (0..CALLERS[random.index(CALLERS.len())])
        .map(|number| {
            let caller = Callers {
                world: Arc::clone(world),
                objects: objects.clone(),
                load: load.clone(),
                random: random.fork(),
                scratch: format!("{}-{number}", load.generation),
            };
            #[expect(clippy::disallowed_methods, reason = "callers run beside each other")]
            tokio::spawn(caller.run())
        })
        .collect();
    for caller in callers {
        if let Err(panicked) = caller.await {
            world.wrong(panicked);
        }
    }
}

/// Sends again the calls with an idempotency key that were not answered before the last end.
pub(crate) async fn send_again(world: &World, objects: &Objects) -> Result<(), String> {
    let again = mem::take(&mut world.known().once);
    for Once { op, ledger, amount } in again {
        let client = objects.ledger(&ledger).with_idempotency_key(op.to_string());
        let place = client
            .add(op, amount)
            .await
            .map_err(|error| error.to_string())?;
        world.known().ledger(&ledger).added(op, place)?;
        // It is remembered for a day, of which little has gone.
        let same = client
            .add(op, amount)
            .await
            .map_err(|error| error.to_string())?;
        world.known().ledger(&ledger).added(op, same)?;
    }
    Ok(())
}

/// One caller.
struct Callers {
    world: Arc<World>,
    objects: Objects,
    load: Load,
    random: Random,
    scratch: String,
}

impl Callers {
    async fn run(mut self) {
        while let Ok(()) = self.call().await {}
    }

    fn hot_or_cold(&mut self) -> String {
        let number = if self.random.percent(60) {
            self.random.below(HOT_LEDGERS)
        } else {
            self.random.below(LEDGERS)
        };
        self.ledger_name(number)
    }

    /// Every fourth has rows.
    fn ledger_name(&self, number: u64) -> String {
        let rows = if number % 4 == 3 { "r" } else { "" };
        format!("{}-{number}{rows}", self.load.generation)
    }

    async fn call(&mut self) -> Result<(), Stopped> {
        if self.load.heavy && self.random.percent(50) {
            return self.fill(100, 4000).await;
        }
        let name = self.hot_or_cold();
        match self.random.below(100) {
            0..40 => self.add(&name).await,
            40..46 => self.add_in_transaction(&name).await,
            46..54 => self.add_once(&name).await,
            54..60 => self.fail(&name).await,
            60..66 => self.count(&name).await,
            66..76 => self.send(name).await,
            76..88 => self.alarm().await,
            _ => self.fill(20, 300).await,
        }
    }

    async fn add(&mut self, name: &str) -> Result<(), Stopped> {
        let (op, amount) = (self.world.op(), self.random.below(1000));
        self.world.known().ledger(name).add_sent(op, amount);
        let answer = self.objects.ledger(name).add(op, amount).await;
        self.added(name, op, answer)
    }

    async fn add_in_transaction(&mut self, name: &str) -> Result<(), Stopped> {
        let (op, amount) = (self.world.op(), self.random.below(1000));
        self.world.known().ledger(name).add_sent(op, amount);
        let ledger = self.objects.ledger(name);
        let answer = ledger.add_in_transaction(op, amount).await;
        self.added(name, op, answer)
    }

    async fn add_once(&mut self, name: &str) -> Result<(), Stopped> {
        let (op, amount) = (self.world.op(), self.random.below(1000));
        {
            let mut known = self.world.known();
            known.ledger(name).add_sent(op, amount);
            known.once.push(Once {
                op,
                ledger: name.to_owned(),
                amount,
            });
        }
        let ledger = self
            .objects
            .ledger(name)
            .with_idempotency_key(op.to_string());
        let answer = ledger.add(op, amount).await;
        self.added(name, op, answer)?;
        self.world.known().once.retain(|once| once.op != op);
        if self.random.percent(30) {
            let answer = ledger.add(op, amount).await;
            return self.added(name, op, answer);
        }
        Ok(())
    }

    fn added(
        &self,
        name: &str,
        op: u64,
        answer: Result<u64, CallError<Error>>,
    ) -> Result<(), Stopped> {
        let place = self.world.answer(answer)?;
        let added = self.world.known().ledger(name).added(op, place);
        added.map_err(|wrong| self.world.wrong(wrong))
    }

    async fn fail(&mut self, name: &str) -> Result<(), Stopped> {
        let (op, keep) = (self.world.op(), self.random.percent(50));
        let ledger = self.objects.ledger(name);
        self.world.known().ledger(name).failing_sent(op, keep);
        if !keep && self.random.percent(20) {
            return self
                .world
                .failure(ledger.add_and_panic(op).await, "internal");
        }
        let answer = ledger.add_and_fail(op, keep).await;
        self.world.failure(answer, "planned")?;
        self.world.known().ledger(name).failed(op, keep);
        Ok(())
    }

    async fn count(&mut self, name: &str) -> Result<(), Stopped> {
        let ledger = self.objects.ledger(name);
        let count = if self.random.percent(50) {
            ledger.count().await
        } else {
            ledger.count_alone().await
        };
        let count = self.world.answer(count)?;
        self.world.known().ledger(name).saw(count);
        Ok(())
    }

    async fn send(&mut self, from: String) -> Result<(), Stopped> {
        let number = self.random.below(LEDGERS);
        let to = self.ledger_name(number);
        let ways = [Way::Plain, Way::Early, Way::Later];
        let (op, way) = (self.world.op(), ways[self.random.index(ways.len())]);
        if from >= to && way != Way::Later {
            // Always upwards, so that no chain of calls comes back to where it began.
            return Ok(());
        }
        {
            let mut known = self.world.known();
            known.ledger(&from).sent.sent(op);
            known.ledger(&to);
            known.sends.push(Sending {
                op,
                from: from.clone(),
                to: to.clone(),
                way,
                answered: false,
            });
        }
        let ledger = self.objects.ledger(&from);
        let answer = match way {
            Way::Plain => ledger.send(op, to, false).await,
            Way::Early => ledger.send(op, to, true).await,
            Way::Later => ledger.send_later(op, to).await,
        };
        self.world.answer(answer)?;
        let mut known = self.world.known();
        known.ledger(&from).sent.happened(op);
        let sent = known.sends.iter_mut().rev().find(|send| send.op == op);
        if let Some(send) = sent {
            send.answered = true;
        }
        Ok(())
    }

    async fn alarm(&mut self) -> Result<(), Stopped> {
        let op = self.world.op();
        let number = self.random.below(CLOCKWORKS);
        let name = format!("{}-{number}", self.load.generation);
        let clockwork = self.objects.clockwork(&name);
        if self.random.percent(20) {
            self.world.known().clockwork(&name).cancels.sent(op);
            self.world.answer(clockwork.cancel(op).await)?;
            self.world.known().clockwork(&name).cancels.happened(op);
            return Ok(());
        }
        let longest = [1, 50, LONGEST_ALARM_MILLIS]
            [usize::from(self.random.percent(50)) + usize::from(self.random.percent(30))];
        let in_millis = self.random.below(longest).cast_signed();
        let deed = match self.random.below(10) {
            0..5 => Deed::Fire { times: 1 },
            5 => Deed::Fire { times: 5 },
            6 => Deed::FailFirst,
            7 => Deed::CommitEarly,
            _ => {
                let ledger = self.hot_or_cold();
                self.world.known().ledger(&ledger);
                Deed::Tell { ledger }
            }
        };
        self.world.known().clockwork(&name).set.sent(op);
        self.world
            .answer(clockwork.set(op, in_millis, deed).await)?;
        self.world.known().clockwork(&name).set.happened(op);
        Ok(())
    }

    async fn fill(&mut self, items: u64, bytes: usize) -> Result<(), Stopped> {
        let name = self.scratch.clone();
        let scratch = self.objects.scratch(&name);
        let answer = if self.random.percent(10) {
            self.world.known().scratch(&name).sent(None);
            scratch.wipe().await
        } else {
            let alarm = self
                .random
                .percent(30)
                .then(|| self.random.below(LONGEST_ALARM_MILLIS));
            let filling = Filling {
                op: self.world.op(),
                items: self.random.below(items + 1),
                bytes,
                alarm: alarm.and_then(|millis| u32::try_from(millis).ok()),
            };
            self.world.known().scratch(&name).sent(Some(filling));
            scratch.fill(filling, self.random.percent(30)).await
        };
        self.world.answer(answer)?;
        self.world.known().scratch(&name).answered();
        Ok(())
    }
}
