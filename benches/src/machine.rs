//! How quiet the machine was: what the disk and the processors could do beside each run, and what
//! other processes took of them.

use std::{
    fs::{self, File},
    hint::black_box,
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::{Result, measured::Spread};

/// What stood around one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conditions {
    /// How often a second the disk synced 4 KiB, right before.
    pub(crate) syncs_per_second: f64,
    /// Processors that the server used, and that the load generator did. Not a number where the
    /// machine does not tell.
    pub(crate) server_cpu: f64,
    pub(crate) own_cpu: f64,
    /// Whether others used more than [`OTHERS`], or the probes were slower than they had been by
    /// more than [`SLOWER`].
    pub(crate) noisy: bool,
}

/// In processors.
const OTHERS: f64 = 0.3;

/// The disk's probe and the processors' against the best of this run of the program.
const SLOWER: f64 = 1.5;

/// Linux counts the time of processes in hundredths of a second, whatever its own timer does.
const TICKS_PER_SECOND: f64 = 100.0;

/// The machine, as far as it is known by now.
#[derive(Debug)]
pub(crate) struct Machine {
    folder: PathBuf,
    probe: Duration,
    best_syncs: f64,
    best_spin: Duration,
    runs: u32,
    noisy_runs: u32,
}

impl Machine {
    /// Looks at the disk that `folder` is on, for `probe` before each run.
    pub(crate) fn new(folder: &Path, probe: Duration) -> Result<Self> {
        let mut machine = Self {
            folder: folder.to_owned(),
            probe,
            best_syncs: 0.0,
            best_spin: Duration::MAX,
            runs: 0,
            noisy_runs: 0,
        };
        // What is usual here, before anything is judged by it.
        for _ in 0..5 {
            machine.probes()?;
        }
        Ok(machine)
    }

    /// One sentence on the machine.
    pub(crate) fn describe(&self) -> String {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!(
            "{cores} processors, {} {}, {} on the disk measured; its 4 KiB fdatasync {:.0}/s at best, \
             a fixed piece of work on each processor {:.1} ms at best.",
            std::env::consts::OS,
            kernel.trim(),
            file_system(&self.folder),
            self.best_syncs,
            self.best_spin.as_secs_f64() * 1e3,
        )
    }

    /// Does the work between two looks at the machine. `server` is the process that is measured;
    /// none where it is a child that ends within the work, or this one.
    pub(crate) fn during<T>(
        &mut self,
        server: Option<u32>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<(T, Conditions)> {
        let (syncs_per_second, slow) = self.probes()?;
        let before = Used::now(server);
        let start = Instant::now();
        let done = work()?;
        let took = start.elapsed().as_secs_f64();
        let after = Used::now(server);
        let used = |of: fn(&Used) -> f64| match (&before, &after) {
            (Some(before), Some(after)) => {
                (of(after) - of(before)).max(0.0) / TICKS_PER_SECOND / took
            }
            _ => f64::NAN,
        };
        let server_cpu = used(|used| used.server);
        let own_cpu = used(|used| used.own);
        // What the two processes did is in the whole.
        let others = used(|used| used.whole) - server_cpu - own_cpu;
        let noisy = slow || others > OTHERS;
        self.runs += 1;
        self.noisy_runs += u32::from(noisy);
        let conditions = Conditions {
            syncs_per_second,
            server_cpu,
            own_cpu,
            noisy,
        };
        Ok((done, conditions))
    }

    /// What to know before one believes the figures; nothing where the machine was quiet.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.noisy_runs > 0).then(|| {
            format!(
                "WARNING: {} of {} runs were disturbed: other processes used more than {OTHERS} of a \
                 processor, or the disk or the processors were {SLOWER} times slower than at their best. \
                 Ratios of disturbed runs say little; run it again on a quiet machine.",
                self.noisy_runs, self.runs
            )
        })
    }

    /// The disk's syncs a second, and whether it or the processors were slow just now.
    fn probes(&mut self) -> Result<(f64, bool)> {
        let syncs = syncs(&self.folder, self.probe)?;
        let spin = spin();
        self.best_syncs = self.best_syncs.max(syncs);
        self.best_spin = self.best_spin.min(spin);
        let slow = syncs * SLOWER < self.best_syncs || spin > self.best_spin.mul_f64(SLOWER);
        Ok((syncs, slow))
    }
}

/// How often a second the disk syncs 4 KiB that are written over: the median, so that one long sync
/// does not pass for a slow disk.
fn syncs(folder: &Path, span: Duration) -> Result<f64> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    file.write_all(&vec![1; 1024 * 1024])?;
    file.sync_all()?;
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < span || times.len() < 5 {
        let at = Instant::now();
        file.seek(SeekFrom::Start(times.len() as u64 % 256 * 4096))?;
        file.write_all(&[2; 4096])?;
        file.sync_data()?;
        times.push(at.elapsed().as_secs_f64());
    }
    fs::remove_file(path)?;
    Ok(1.0 / times.into_iter().collect::<Spread>().median())
}

/// How long a fixed piece of work takes on every processor at once, the slowest.
fn spin() -> Duration {
    let work = || {
        let start = Instant::now();
        let mut state = 1_u64;
        for _ in 0..10_000_000 {
            state = black_box(
                state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
        }
        start.elapsed()
    };
    let processors = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
        let times = workers.into_iter().filter_map(|worker| worker.join().ok());
        times.max().unwrap_or_default()
    })
}

/// Processor time so far, in ticks.
struct Used {
    /// Of everybody.
    whole: f64,
    /// Of this process and of its children that have ended.
    own: f64,
    server: f64,
}

impl Used {
    /// None where the machine does not tell.
    fn now(server: Option<u32>) -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let mut fields = stat.lines().next()?.split_whitespace().skip(1);
        // User, nice and system. Interrupts are left out: the network's are our own.
        let whole = fields
            .by_ref()
            .take(3)
            .map_while(|ticks| ticks.parse::<f64>().ok());
        Some(Self {
            whole: whole.sum(),
            own: process("self", 4)?,
            server: match server {
                Some(server) => process(&server.to_string(), 2)?,
                None => 0.0,
            },
        })
    }
}

/// The first of the four times that Linux keeps of a process: its own in user and system mode, and
/// those of its children.
fn process(process: &str, times: usize) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks = fields.split(' ').skip(11).take(times);
    Some(ticks.map_while(|ticks| ticks.parse::<f64>().ok()).sum())
}

/// What a process has in memory, in bytes.
pub(crate) fn resident_memory(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// How many files a process has open.
pub(crate) fn open_files(process: &str) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{process}/fd")).ok()?.count())
}

/// The file system that a folder is on.
fn file_system(folder: &Path) -> String {
    let found = || {
        let folder = folder.canonicalize().ok()?;
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let mount = |line: &str| {
            let mut fields = line.split(' ').skip(1);
            Some((PathBuf::from(fields.next()?), fields.next()?.to_owned()))
        };
        let mounts = mounts.lines().filter_map(mount);
        let above = mounts.filter(|(at, _)| folder.starts_with(at));
        let (_, kind) = above.max_by_key(|(at, _)| at.components().count())?;
        Some(kind)
    };
    found().unwrap_or_else(|| "an unknown file system".to_owned())
}
