//! What a host counts, and its text for Prometheus (the text format 0.0.4).

mod text;

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dokit_client::ErrorReply;
use dokit_object::engine::{Call, Delivered, ObjectType};
use tokio::time::Instant;

pub(crate) use text::{Label, Text};

/// How many codes of errors of one kind are told apart. The codes of an object's own are for its author
/// to choose, and are not to fill the memory.
const CODES: usize = 64;

/// For how long a failed commit is held against the disk, where none has succeeded since. Not for ever: a
/// host to which nobody sends calls any more could not show that all is well again.
const HELD_AGAINST: Duration = Duration::from_secs(10);

/// In microseconds.
const DURATIONS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// In microseconds too; alarms may have waited for as long as the host was away.
const DELAYS: &[u64] = &[
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    86_400_000_000,
];

const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// All that a host counts as it goes. What it merely has, such as objects in memory, is asked for when
/// somebody reads the text.
#[derive(Debug)]
pub(crate) struct Metrics {
    namespaces: BTreeMap<&'static str, Vec<(&'static str, Arc<Calls>)>>,
    /// Calls that were refused before they reached an object.
    refused: Codes,
    /// How many calls waited for the object when one more came.
    queues: Histogram,
    commits: Histogram,
    groups: Histogram,
    failed_commits: AtomicU64,
    disk: Mutex<Disk>,
    alarm_delays: Histogram,
    alarms_given_up: AtomicU64,
    /// Calls that were handed to `after_commit`: those made, and tries that failed.
    deliveries: [AtomicU64; 2],
    pub(crate) connections: Connections,
}

/// The calls of one method.
#[derive(Debug)]
pub(crate) struct Calls {
    durations: Histogram,
    errors: Codes,
}

/// What becomes of connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    pub(crate) accepted: AtomicU64,
    /// How often all places were taken.
    pub(crate) full: AtomicU64,
    /// Those whose other end was too slow.
    pub(crate) cut_off: AtomicU64,
}

/// Whether the disk takes what it is given.
#[derive(Debug, Default)]
struct Disk {
    failed_at: Option<Instant>,
}

impl Disk {
    fn is_broken(&self, now: Instant) -> bool {
        let ago = |failed_at| now.saturating_duration_since(failed_at);
        self.failed_at.is_some_and(|at| ago(at) < HELD_AGAINST)
    }
}

/// What a call is that is of no method. No method has such a name.
const FETCH: &str = "(fetch)";
const ALARM: &str = "(alarm)";
const DELIVERED: &str = "(delivered)";
const WEBSOCKET: &str = "(websocket)";

/// The method of a call, or what it is else.
pub(crate) fn method_of(call: &Call) -> &'static str {
    match call {
        Call::Rpc(call) => call.method.name(),
        Call::Fetch(_) => FETCH,
        Call::Alarm => ALARM,
        Call::Delivered(_) => DELIVERED,
        Call::Socket(_) => WEBSOCKET,
    }
}

impl Metrics {
    pub(crate) fn new<'t>(types: impl IntoIterator<Item = &'t ObjectType>) -> Self {
        let namespaces = types.into_iter().map(|object_type| {
            let methods = object_type.methods().iter().map(|method| method.name());
            let all = methods.chain([FETCH, ALARM, DELIVERED, WEBSOCKET]);
            let calls = all.map(|method| (method, Arc::new(Calls::new())));
            (object_type.namespace(), calls.collect())
        });
        Self {
            namespaces: namespaces.collect(),
            refused: Codes::default(),
            queues: Histogram::new(SIZES),
            commits: Histogram::new(DURATIONS),
            groups: Histogram::new(SIZES),
            failed_commits: AtomicU64::new(0),
            disk: Mutex::default(),
            alarm_delays: Histogram::new(DELAYS),
            alarms_given_up: AtomicU64::new(0),
            deliveries: Default::default(),
            connections: Connections::default(),
        }
    }

    /// A call was refused before it reached an object.
    pub(crate) fn refused(&self, error: &ErrorReply) {
        self.refused.count(&error.code);
    }

    /// A call begins to wait, behind so many others.
    pub(crate) fn queued(&self, behind: usize) {
        self.queues.observe(behind.try_into().unwrap_or(u64::MAX));
    }

    /// The end of a call that begins now is counted.
    pub(crate) fn watch(&self, namespace: &str, method: &'static str) -> Option<Watch> {
        let methods = self.namespaces.get(namespace)?;
        let (_, calls) = methods.iter().find(|(name, _)| *name == method)?;
        Some(Watch {
            calls: Arc::clone(calls),
            started: Instant::now(),
            ended: false,
        })
    }

    /// Makes so many commits durable together; what `of_disk` says is that an error is the disk's, and not
    /// that of what was to be written.
    pub(crate) fn commit<R, E>(
        &self,
        commits: usize,
        of_disk: impl FnOnce(&E) -> bool,
        commit: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        if commits == 0 {
            return commit();
        }
        let span = tracing::debug_span!("dokit.commit", commits);
        let began = Instant::now();
        let committed = span.in_scope(commit);
        let disk_failed = committed.as_ref().err().is_some_and(of_disk);
        self.committed(commits, began.elapsed(), disk_failed);
        committed
    }

    fn committed(&self, commits: usize, took: Duration, disk_failed: bool) {
        self.groups.observe(commits.try_into().unwrap_or(u64::MAX));
        self.commits.observe_duration(took);
        let failed_at = disk_failed.then(Instant::now);
        if disk_failed {
            self.failed_commits.fetch_add(1, Ordering::Relaxed);
        }
        self.disk().failed_at = failed_at;
    }

    /// Whether the last commits could not be written.
    pub(crate) fn disk_is_broken(&self) -> bool {
        self.disk().is_broken(Instant::now())
    }

    /// An alarm was found to be due, for so long.
    pub(crate) fn alarm_fired(&self, late: Duration) {
        self.alarm_delays.observe_duration(late);
    }

    /// An alarm has failed for the last time.
    pub(crate) fn alarm_given_up(&self) {
        self.alarms_given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// It is known what became of calls that were handed to `after_commit`.
    pub(crate) fn delivered(&self, delivered: &Delivered) {
        let [made, failed] = &self.deliveries;
        made.fetch_add(delivered.made() as u64, Ordering::Relaxed);
        let tries = u64::from(delivered.failed().is_some());
        failed.fetch_add(tries, Ordering::Relaxed);
    }

    /// Writes what was counted.
    pub(crate) fn write(&self, text: &mut Text) {
        self.write_calls(text);
        self.write_histograms(text);
        let name = "dokit_deliveries_total";
        let help = "Calls handed to after_commit: made, and tries that failed.";
        text.family(name, "counter", help);
        for (result, count) in ["made", "failed"].iter().zip(&self.deliveries) {
            text.sample(name, &[("result", result)], count.load(Ordering::Relaxed));
        }
        self.write_counters(text);
    }

    fn write_calls(&self, text: &mut Text) {
        let each = || {
            self.namespaces.iter().flat_map(|(namespace, methods)| {
                let used = methods
                    .iter()
                    .filter(|(_, calls)| calls.durations.count() > 0);
                used.map(|(method, calls)| {
                    ([("namespace", *namespace), ("method", *method)], calls)
                })
            })
        };
        text.family(
            "dokit_calls_total",
            "counter",
            "Calls that were answered, by code; ok where it went well.",
        );
        for (of, calls) in each() {
            let errors = calls.errors.all();
            let failed: u64 = errors.iter().map(|(_, count)| count).sum();
            let [namespace, method] = of;
            let ok = ("ok".into(), calls.durations.count().saturating_sub(failed));
            for (code, count) in [ok].iter().chain(&errors) {
                let labels: [Label<'_>; 3] = [namespace, method, ("code", code)];
                text.sample("dokit_calls_total", &labels, *count);
            }
        }
        text.family(
            "dokit_call_duration_seconds",
            "histogram",
            "From a call's arrival to its answer.",
        );
        for (of, calls) in each() {
            text.histogram("dokit_call_duration_seconds", &of, &calls.durations, MICROS);
        }
        text.family(
            "dokit_calls_refused_total",
            "counter",
            "Calls that were refused before they reached an object, by code.",
        );
        for (code, count) in self.refused.all() {
            text.sample("dokit_calls_refused_total", &[("code", &code)], count);
        }
    }

    fn write_histograms(&self, text: &mut Text) {
        for (name, help, histogram, scale) in [
            (
                "dokit_queue_depth",
                "How many calls waited for an object when one more came.",
                &self.queues,
                1.0,
            ),
            (
                "dokit_commit_duration_seconds",
                "How long a group of commits took to be durable.",
                &self.commits,
                MICROS,
            ),
            (
                "dokit_commit_group_size",
                "How many commits were made durable together.",
                &self.groups,
                1.0,
            ),
            (
                "dokit_alarm_delay_seconds",
                "How long alarms were due when they were fired.",
                &self.alarm_delays,
                MICROS,
            ),
        ] {
            text.family(name, "histogram", help);
            text.histogram(name, &[], histogram, scale);
        }
    }

    fn write_counters(&self, text: &mut Text) {
        let connections = &self.connections;
        for (name, help, counter) in [
            (
                "dokit_commits_failed_total",
                "Groups of commits that the disk did not take.",
                &self.failed_commits,
            ),
            (
                "dokit_alarms_given_up_total",
                "Alarms that have failed for the last time.",
                &self.alarms_given_up,
            ),
            (
                "dokit_connections_accepted_total",
                "Connections that were accepted.",
                &connections.accepted,
            ),
            (
                "dokit_connections_full_total",
                "How often the next connection had to wait for another to end.",
                &connections.full,
            ),
            (
                "dokit_connections_cut_off_total",
                "Connections whose other end was too slow.",
                &connections.cut_off,
            ),
        ] {
            text.family(name, "counter", help);
            text.sample(name, &[], counter.load(Ordering::Relaxed));
        }
    }

    fn disk(&self) -> std::sync::MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call whose end is counted: with its code, or as abandoned where nobody waited for it.
#[derive(Debug)]
pub(crate) struct Watch {
    calls: Arc<Calls>,
    started: Instant,
    ended: bool,
}

impl Watch {
    pub(crate) fn ended(mut self, error: Option<&ErrorReply>) {
        self.ended = true;
        if let Some(error) = error {
            self.calls.errors.count(&error.code);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.ended {
            self.calls.errors.count("abandoned");
        }
        self.calls
            .durations
            .observe_duration(self.started.elapsed());
    }
}

impl Calls {
    fn new() -> Self {
        Self {
            durations: Histogram::new(DURATIONS),
            errors: Codes::default(),
        }
    }
}

/// Errors, by code. They are rare.
#[derive(Debug, Default)]
struct Codes(Mutex<BTreeMap<Cow<'static, str>, u64>>);

impl Codes {
    fn count(&self, code: &str) {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = codes.get_mut(code) {
            *count += 1;
            return;
        }
        let code = match codes.len() < CODES {
            true => Cow::Owned(code.to_owned()),
            false => Cow::Borrowed("other"),
        };
        *codes.entry(code).or_default() += 1;
    }

    fn all(&self) -> Vec<(Cow<'static, str>, u64)> {
        let codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        codes
            .iter()
            .map(|(code, count)| (code.clone(), *count))
            .collect()
    }
}

/// How many microseconds a second has.
const MICROS: f64 = 1e6;

/// How often a value was within each of some bounds.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what is over the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
        }
    }

    fn observe(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    fn observe_duration(&self, duration: Duration) {
        self.observe(duration.as_micros().try_into().unwrap_or(u64::MAX));
    }

    fn count(&self) -> u64 {
        self.counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_disk_is_held_against_it_for_a_while_or_until_a_commit_succeeds() {
        let now = Instant::now();
        let mut disk = Disk::default();
        assert!(!disk.is_broken(now));
        disk.failed_at = Some(now);
        assert!(disk.is_broken(now + HELD_AGAINST - Duration::from_millis(1)));
        assert!(!disk.is_broken(now + HELD_AGAINST));
        let metrics = Metrics::new([]);
        metrics.committed(1, Duration::ZERO, true);
        assert!(metrics.disk_is_broken());
        metrics.committed(1, Duration::ZERO, false);
        assert!(!metrics.disk_is_broken());
    }

    #[test]
    fn codes_without_end_do_not_fill_the_memory() {
        let codes = Codes::default();
        for code in 0..10_000 {
            codes.count(&code.to_string());
        }
        let all = codes.all();
        assert_eq!(all.len(), CODES + 1);
        let other = all.iter().find(|(code, _)| code == "other").unwrap();
        assert_eq!(other.1, 10_000 - CODES as u64);
    }

    #[test]
    fn a_value_at_a_bound_is_within_it() {
        let histogram = Histogram::new(&[1, 2]);
        for value in [0, 1, 2, 3, u64::MAX - 6] {
            histogram.observe(value);
        }
        let counts: Vec<_> = histogram
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        assert_eq!(counts, [2, 1, 2]);
    }
}
