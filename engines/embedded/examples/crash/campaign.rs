//! Rounds of load, each ended by `kill -9`, and what has to hold after each.

use std::{
    error::Error,
    fmt::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    check,
    effects::Doubts,
    load::{self, Load, Objects, World},
    power::{Lost, Power},
    process::{Process, Program, pause, wait_for_write},
    random::Random,
    server::Orders,
};

/// How far the clock goes on at each start: all alarms but those that were tried again are due then.
const AHEAD: Duration = Duration::from_secs(600);

/// For how many rounds the same objects are used.
const GENERATION: u32 = 8;

/// What a campaign is to do.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: u32,
    pub(crate) seed: u64,
    /// A folder that is empty.
    pub(crate) data: PathBuf,
    /// How many calls are answered at least before a load ends.
    pub(crate) least_answers: u64,
    /// How long a load lasts at most after that.
    pub(crate) longest_load: Duration,
    /// The moments of the first rounds, before random ones.
    pub(crate) moments: Vec<Moment>,
    /// What is done to the data folder after the last kill, to see that it is noticed.
    pub(crate) tamper: Option<Tamper>,
}

/// Changes something, or says why it could not.
pub(crate) type Tamper = fn(&Path) -> Result<(), String>;

/// When a server is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Load,
    /// When the write-ahead log is being moved into the database.
    Checkpoint,
    /// Under load, and then some times more while it starts, on what it left.
    StartUp,
    /// While it finishes after it was told to stop.
    ShutDown,
    /// Not at all: it stops in good order.
    Never,
    /// Under load, and with it the power fails. It needs `strace`.
    PowerCut,
}

impl Moment {
    const ALL: [Self; 6] = [
        Self::Load,
        Self::Checkpoint,
        Self::StartUp,
        Self::ShutDown,
        Self::Never,
        Self::PowerCut,
    ];

    fn any(random: &mut Random) -> Self {
        match random.below(100) {
            0..45 => Self::Load,
            45..60 => Self::Checkpoint,
            60..78 => Self::StartUp,
            78..95 => Self::ShutDown,
            _ => Self::Never,
        }
    }
}

/// What a campaign did.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    ends: Vec<Moment>,
    pub(crate) answered: u64,
    doubts: Doubts,
    pub(crate) kills: u32,
    lost: Lost,
    /// The most that was in the write-ahead log at a kill, in bytes.
    longest_log: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ends = String::new();
        for moment in Moment::ALL {
            let times = self.ends.iter().filter(|end| **end == moment).count();
            write!(
                ends,
                "{}{moment:?} {times}",
                if ends.is_empty() { "" } else { ", " }
            )?;
        }
        writeln!(
            f,
            "{} rounds ({ends}), {} kills",
            self.ends.len(),
            self.kills
        )?;
        writeln!(
            f,
            "{} calls answered, none lost; of those in doubt {} had happened, whole, and {} had not",
            self.answered, self.doubts.happened, self.doubts.never
        )?;
        if self.lost.pending > 0 {
            let Lost { pending, kept } = self.lost;
            writeln!(
                f,
                "of {pending} writes that were not synced when the power failed {kept} were kept"
            )?;
        }
        write!(
            f,
            "up to {} KiB in the write-ahead log at a kill",
            self.longest_log / 1024
        )
    }
}

/// Runs a campaign.
///
/// # Errors
///
/// What did not hold, with the round.
pub(crate) async fn run(plan: &Plan, program: Program<'_>) -> Result<Summary, Box<dyn Error>> {
    let mut random = Random::new(plan.seed);
    let world = Arc::new(World::default());
    let mut summary = Summary::default();
    for round in 0..plan.rounds {
        let known = plan.moments.get(usize::try_from(round)?).copied();
        let moment = known.unwrap_or_else(|| Moment::any(&mut random));
        let round = Round {
            number: round,
            moment,
            orders: orders(plan, round, &mut random),
            plan,
            world: &world,
        };
        let ran = round.run(program, &mut random, &mut summary).await;
        ran.map_err(|error| format!("round {} ({moment:?}): {error}", round.number))?;
        summary.ends.push(moment);
    }
    if let Some(tamper) = plan.tamper {
        tamper(&plan.data)?;
    }
    // Twice, and what was tried again the first time has fired too.
    for after in [plan.rounds, plan.rounds + 1] {
        let orders = orders(plan, after, &mut random);
        let looked = look(plan, &orders, program, &world, &mut summary.doubts).await;
        looked.map_err(|error| format!("at the end: {error}"))?;
    }
    summary.answered = world.answered();
    Ok(summary)
}

/// Looks at everything that any round has left.
async fn look(
    plan: &Plan,
    orders: &Orders,
    program: Program<'_>,
    world: &World,
    doubts: &mut Doubts,
) -> Result<(), Box<dyn Error>> {
    let mut process = Process::start(program, orders)?;
    let objects = Objects::at(&process.address()?)?;
    load::send_again(world, &objects).await?;
    for generation in 0..plan.rounds.div_ceil(GENERATION) {
        let generation = generation.to_string();
        check::objects(world, &objects, &generation, &mut process, doubts).await?;
    }
    check::databases(&plan.data, true)?;
    Ok(process.stop(None)?)
}

fn orders(plan: &Plan, round: u32, random: &mut Random) -> Orders {
    Orders {
        data: plan.data.clone(),
        ahead: AHEAD * round,
        sleep_after: [0, 5, 10_000].map(Duration::from_millis)
            [usize::from(random.percent(66)) + usize::from(random.percent(50))],
    }
}

#[derive(Debug)]
struct Round<'a> {
    number: u32,
    moment: Moment,
    orders: Orders,
    plan: &'a Plan,
    world: &'a Arc<World>,
}

impl Round<'_> {
    async fn run(
        &self,
        program: Program<'_>,
        random: &mut Random,
        summary: &mut Summary,
    ) -> Result<(), Box<dyn Error>> {
        let Self { world, plan, .. } = *self;
        let power = match self.moment {
            Moment::PowerCut => Some(Power::watch(&plan.data)?),
            _ => None,
        };
        let mut process = match &power {
            Some(power) => Process::start_traced(program, &self.orders, power)?,
            None => Process::start(program, &self.orders)?,
        };
        let objects = Objects::at(&process.address()?)?;
        load::send_again(world, &objects).await?;
        let generation = (self.number / GENERATION).to_string();
        let doubts = &mut summary.doubts;
        check::objects(world, &objects, &generation, &mut process, doubts).await?;
        check::databases(&plan.data, false)?;

        let load = Load {
            generation,
            heavy: match self.moment {
                Moment::Checkpoint => true,
                // Now and then, so that one falls into a checkpoint.
                Moment::PowerCut => random.percent(50),
                _ => false,
            },
        };
        let span = random.up_to(plan.longest_load);
        let soon = random.up_to(Duration::from_millis(20));
        let run = load::run(world, &objects, &load, random);
        let end = self.end(process, span, soon);
        let (end, ()) = futures_util::future::join(end, run).await;
        summary.longest_log = summary.longest_log.max(end?);
        if let Some(wrong) = world.known().wrong.take() {
            return Err(wrong.into());
        }
        if let Some(power) = power {
            let lost = power.cut(&plan.data, random)?;
            summary.lost.pending += lost.pending;
            summary.lost.kept += lost.kept;
        }
        let starts = match self.moment {
            Moment::StartUp => 1 + random.below(3),
            _ => 0,
        };
        for _ in 0..starts {
            let process = Process::start(program, &self.orders)?;
            pause(random.up_to(Duration::from_millis(40)));
            process.kill()?;
            summary.kills += 1;
        }
        summary.kills += u32::from(self.moment != Moment::Never);
        Ok(())
    }

    /// Ends the process, after this span of load, and gives the length of the log that it left.
    async fn end(
        &self,
        process: Process,
        span: Duration,
        soon: Duration,
    ) -> Result<u64, Box<dyn Error>> {
        let world = Arc::clone(self.world);
        let enough = world.answered() + self.plan.least_answers;
        let (data, moment) = (self.plan.data.clone(), self.moment);
        let end = move || -> std::io::Result<u64> {
            while world.answered() < enough && !world.has_gone_wrong() {
                pause(Duration::from_millis(1));
            }
            if moment == Moment::Checkpoint {
                wait_for_write(&data.join("objects.sqlite"), Duration::from_secs(20))?;
            } else {
                pause(span);
            }
            world.end();
            match moment {
                Moment::ShutDown => process.stop(Some(soon))?,
                Moment::Never => process.stop(None)?,
                Moment::Load | Moment::Checkpoint | Moment::StartUp | Moment::PowerCut => {
                    process.kill()?
                }
            }
            let log = data.join("objects.sqlite-wal").metadata();
            Ok(log.map_or(0, |log| log.len()))
        };
        Ok(tokio::task::spawn_blocking(end).await??)
    }
}
