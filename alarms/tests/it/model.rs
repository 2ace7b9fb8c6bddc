//! Random lives of an object with crashes at any commit, against a model of what must be true: no job is lost, none
//! runs early, what an action writes is there exactly once, in the order of time, and the engine's
//! alarm always stands at the earliest job.

use std::collections::{BTreeMap, BTreeSet};

use dokit_alarms::{Alarms, Due, Failure, Retries};
use dokit_storage::{Faults, Memory, Store, Timestamp, Transaction};
use futures_executor::block_on;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use crate::world::{START, log, log_of};

const LEAST: i64 = 100;
const TRIES: u32 = 3;
const JOBS: Alarms<Kind> = Alarms::new()
    .retries(Retries::new().tries(TRIES))
    .most_per_wake(6);

/// What a job does when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Kind {
    Succeed,
    /// Fails this many tries, then succeeds.
    FailFirst(u32),
    /// Schedules a job `child` so many milliseconds ahead.
    Schedule(u16),
    /// Cancels a job.
    Cancel(u8),
}

#[derive(Clone, Debug)]
enum Op {
    Schedule(u16, Kind),
    ScheduleAs(u8, u16, Kind),
    Every(u8, u16, Kind),
    Cancel(u8),
    /// Time goes by, and the engine wakes the object if its alarm is due.
    Advance(u16),
    /// The engine wakes the object for no reason.
    Wake,
}

/// Which commit of an operation fails, and whether it takes effect all the same.
type Fault = Option<(u64, bool)>;

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        3 => Just(Kind::Succeed),
        2 => (1..=TRIES).prop_map(Kind::FailFirst),
        1 => (0..5_000_u16).prop_map(Kind::Schedule),
        1 => (0..4_u8).prop_map(Kind::Cancel),
    ]
}

fn op() -> impl Strategy<Value = (Op, Fault)> {
    let delay = 0..5_000_u16;
    let op = prop_oneof![
        1 => (delay.clone(), kind()).prop_map(|(delay, kind)| Op::Schedule(delay, kind)),
        1 => (0..4_u8, delay, kind()).prop_map(|(id, delay, kind)| Op::ScheduleAs(id, delay, kind)),
        1 => (0..4_u8, 1..4_u16, kind()).prop_map(|(id, step, kind)| Op::Every(id, step * 700, kind)),
        1 => (0..4_u8).prop_map(Op::Cancel),
        4 => (0..9_000_u16).prop_map(Op::Advance),
        1 => Just(Op::Wake),
    ];
    let fault = prop_oneof![
        2 => Just(None),
        1 => (1..5_u64, any::<bool>()).prop_map(Some),
    ];
    (op, fault)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Job {
    at: i64,
    planned: i64,
    failed: u32,
    kind: Kind,
    every: Option<i64>,
}

#[derive(Debug)]
struct World {
    disk: Memory,
    store: Faults<Memory>,
    now: i64,
    // The model.
    jobs: BTreeMap<String, Job>,
    dead: BTreeSet<String>,
    log: Vec<String>,
    made: u32,
    quiet_until: i64,
}

fn line(id: &str, planned: Timestamp, attempt: u32) -> String {
    format!("{id} of {} at try {attempt}", planned.as_millis())
}

fn name(id: u8) -> String {
    format!("job {id}")
}

async fn act<T: Store>(
    txn: &mut Transaction<'_, T>,
    now: Timestamp,
    due: Due<Kind>,
) -> Result<(), Failure> {
    assert!(due.planned <= now, "{due:?} is early at {now}");
    log(txn, &line(&due.id, due.planned, due.attempt)).await?;
    match due.action {
        Kind::Succeed => {}
        Kind::FailFirst(tries) if due.attempt > tries => {}
        Kind::FailFirst(_) => return Err("not yet".into()),
        Kind::Schedule(delay) => {
            let at = ahead(now, i64::from(delay));
            JOBS.schedule_as(txn, now, "child", at, &Kind::Succeed)
                .await?;
        }
        Kind::Cancel(id) => {
            JOBS.cancel(txn, &name(id)).await?;
        }
    }
    Ok(())
}

fn ahead(now: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(now.as_millis() + millis)
}

impl World {
    fn new() -> Self {
        let disk = Memory::new();
        Self {
            store: Faults::new(disk.clone()),
            disk,
            now: START.as_millis(),
            jobs: BTreeMap::new(),
            dead: BTreeSet::new(),
            log: Vec::new(),
            made: 0,
            quiet_until: 0,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now)
    }

    fn apply(&mut self, op: &Op, fault: Fault) {
        let now = self.now();
        match fault {
            Some((nth, true)) => self.store.lose_commit_answer(nth),
            Some((nth, false)) => self.store.fail_commit(nth),
            None => {}
        }
        // One commit: it took effect unless it failed before it did.
        let happened = |failed: bool| !failed || fault == Some((1, true));
        match op {
            Op::Schedule(delay, kind) => {
                let at = ahead(now, i64::from(*delay));
                let result = block_on(JOBS.schedule(&mut self.store, now, at, kind));
                if happened(result.is_err()) {
                    self.made += 1;
                    let id = format!("#{:08}", self.made);
                    assert!(result.is_err() || result.unwrap() == id);
                    self.insert(&id, at, *kind, None);
                }
            }
            Op::ScheduleAs(id, delay, kind) => {
                let at = ahead(now, i64::from(*delay));
                let id = name(*id);
                let result = block_on(JOBS.schedule_as(&mut self.store, now, &id, at, kind));
                if happened(result.is_err()) {
                    self.insert(&id, at, *kind, None);
                }
            }
            Op::Every(id, step, kind) => {
                let id = name(*id);
                let step = i64::from(*step);
                let interval = std::time::Duration::from_millis(step.unsigned_abs());
                let result = block_on(JOBS.every(&mut self.store, now, &id, interval, kind));
                if happened(result.is_err()) {
                    match self.jobs.get_mut(&id) {
                        Some(job) if job.every == Some(step) => job.kind = *kind,
                        _ => self.insert(&id, ahead(now, step), *kind, Some(step)),
                    }
                }
            }
            Op::Cancel(id) => {
                let result = block_on(JOBS.cancel(&mut self.store, &name(*id)));
                if happened(result.is_err()) {
                    let existed = self.jobs.remove(&name(*id)).is_some();
                    assert!(result.is_err() || result.unwrap() == existed);
                }
            }
            Op::Advance(millis) => {
                self.now += i64::from(*millis);
                let alarm = block_on(self.disk.alarm()).unwrap();
                if alarm.is_some_and(|at| at.as_millis() <= self.now) {
                    self.wake(fault);
                }
            }
            Op::Wake => self.wake(fault),
        }
        self.store.heal();
        self.check();
    }

    fn insert(&mut self, id: &str, at: Timestamp, kind: Kind, every: Option<i64>) {
        let at = at.as_millis();
        let job = Job {
            at,
            planned: at,
            failed: 0,
            kind,
            every,
        };
        self.jobs.insert(id.to_owned(), job);
    }

    fn wake(&mut self, fault: Fault) {
        let now = self.now();
        let before = self.store.commits();
        let result = block_on(JOBS.run_due(&mut self.store, now, async |txn, due| {
            act(txn, now, due).await
        }));
        let tried = self.store.commits() - before;
        // Each job is one commit, and a commit that failed was the last.
        let failed_before = result.is_err() && !matches!(fault, Some((_, true)));
        let durable = tried - u64::from(failed_before);
        for _ in 0..durable {
            self.step();
        }
        if let Ok(report) = result {
            assert_eq!(report.ran.len() as u64, durable);
            let left = self.earliest().is_some_and(|at| at <= self.now);
            assert_eq!(report.more, left, "{report:?}");
            assert!(!left || durable == 6);
            assert_eq!(report.next, block_on(self.disk.alarm()).unwrap());
        }
    }

    fn earliest(&self) -> Option<i64> {
        self.jobs.values().map(|job| job.at).min()
    }

    /// The model runs the job that must be next.
    fn step(&mut self) {
        let now = self.now;
        self.quiet_until = now + LEAST;
        let next = self.jobs.iter().min_by_key(|(id, job)| (job.at, *id));
        let (id, job) = next
            .map(|(id, job)| (id.clone(), job.clone()))
            .expect("no job is due");
        assert!(job.at <= now, "{id} ran early");
        let attempt = job.failed + 1;
        let succeeds = !matches!(job.kind, Kind::FailFirst(tries) if attempt <= tries);
        let series = job.every.map(|step| {
            let at = job.planned + ((now - job.planned) / step + 1) * step;
            Job {
                at,
                planned: at,
                failed: 0,
                ..job.clone()
            }
        });
        self.jobs.remove(&id);
        if succeeds || attempt == TRIES {
            self.jobs.extend(series.map(|job| (id.clone(), job)));
        }
        if succeeds {
            self.log
                .push(line(&id, Timestamp::from_millis(job.planned), attempt));
            match job.kind {
                Kind::Schedule(delay) => {
                    let at = ahead(self.now(), i64::from(delay));
                    self.insert("child", at, Kind::Succeed, None);
                }
                Kind::Cancel(other) => {
                    self.jobs.remove(&name(other));
                }
                Kind::Succeed | Kind::FailFirst(_) => {}
            }
        } else if attempt == TRIES {
            self.dead.insert(id);
        } else {
            // When exactly is the library's to say, within bounds.
            let plain = 1_000 << attempt;
            let found = block_on(JOBS.get(&self.disk, &id)).unwrap();
            let at = found.map_or(now + plain, |job| job.at().as_millis());
            assert!(
                (now + plain..=now + plain + plain / 4).contains(&at),
                "{id}: {at}"
            );
            let failed = attempt;
            self.jobs.insert(id, Job { at, failed, ..job });
        }
    }

    fn check(&self) {
        let jobs = block_on(JOBS.list(&self.disk)).unwrap();
        let stored: BTreeMap<String, Job> = jobs
            .iter()
            .map(|job| {
                let every = job.repeat().map(|repeat| match repeat {
                    dokit_alarms::Repeat::Every(step) => i64::try_from(step.as_millis()).unwrap(),
                    other => panic!("{other:?}"),
                });
                let model = Job {
                    at: job.at().as_millis(),
                    planned: job.planned().as_millis(),
                    failed: job.failed(),
                    kind: job.action().unwrap(),
                    every,
                };
                (job.id().to_owned(), model)
            })
            .collect();
        assert_eq!(stored, self.jobs, "jobs");
        assert_eq!(stored.len(), jobs.len(), "a job is there twice");
        let dead: BTreeSet<String> = block_on(JOBS.dead(&self.disk))
            .unwrap()
            .iter()
            .map(|job| job.id().to_owned())
            .collect();
        assert_eq!(dead, self.dead, "dead jobs");
        assert_eq!(block_on(log_of(&self.disk)), self.log, "what actions wrote");
        let alarm = block_on(self.disk.alarm()).unwrap();
        let earliest = self.earliest().map(|at| at.max(self.quiet_until));
        assert_eq!(
            alarm.map(Timestamp::as_millis),
            earliest,
            "the engine's alarm"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_random_life_with_crashes_goes_as_the_model_says(
        ops in proptest::collection::vec(op(), 1..60)
    ) {
        let mut world = World::new();
        for (op, fault) in &ops {
            world.apply(op, *fault);
        }
        // Nothing fails any more: all that is not a series comes to its end.
        for id in 0..4 {
            world.apply(&Op::Cancel(id), None);
        }
        for _ in 0..500 {
            let Some(alarm) = block_on(world.disk.alarm()).unwrap() else { break };
            world.now = world.now.max(alarm.as_millis());
            world.apply(&Op::Wake, None);
        }
        prop_assert!(world.jobs.is_empty());
    }
}
