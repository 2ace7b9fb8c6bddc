//! Moves what was committed from the write-ahead log into the database, beside the writer.
//!
//! A commit that had to do this itself would take ten times as long as the others. Only the last step, after
//! which the log begins anew, needs that nothing is written meanwhile: then the writer does what is left,
//! which is little.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;

use crate::database::BUSY;

/// After how many bytes written the log is looked at. Each time syncs the database, which keeps commits
/// waiting: where 100,000 objects write, a third of this makes the slowest hundredth of them half as slow
/// again. But a commit is slower as long as the log has not begun anew for the first time, and where it is long.
const EVERY: usize = 24 * 1024 * 1024;

/// With how many pages (16 MiB) the log has to begin anew when it is looked at, and with how many times that
/// the writer has to see to it at once, however much is left. What opens the store after a crash reads all of
/// them.
const LONG: u32 = 8_192;
const TOO_LONG: u32 = 4;

/// How long the writer waits for those who read from the log right then. One who reads for long, such as a
/// backup, is not waited for: the log goes on growing until later.
const PATIENCE: Duration = Duration::from_millis(5);

/// How many pages the writer may be asked to move, and how often that is tried to be reached.
const NEAR: u32 = 256;
const PASSES: usize = 4;

/// What each batch takes in the log beside its bytes: the page that it is on.
const PAGE: usize = 2048;

/// How the writer and the thread that moves pages talk about the log.
#[derive(Debug)]
pub(crate) struct Log {
    every: usize,
    long: u32,
    state: Mutex<State>,
    changed: Condvar,
    asked: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// Written since it was looked at last.
    bytes: usize,
    stopped: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self::new(EVERY, LONG)
    }
}

impl Log {
    pub(crate) fn new(every: usize, long: u32) -> Self {
        Self {
            every,
            long,
            // What an earlier process has left in the log is moved at once, also when each of them is
            // killed before it has written that much.
            state: Mutex::new(State {
                bytes: every,
                stopped: false,
            }),
            changed: Condvar::new(),
            asked: AtomicBool::new(false),
        }
    }

    /// The writer has written parts of so many objects, of so many bytes together.
    pub(crate) fn grew(&self, parts: usize, bytes: usize) {
        let mut state = self.state();
        let before = state.bytes;
        state.bytes += parts * PAGE + bytes;
        if before < self.every && state.bytes >= self.every {
            self.changed.notify_one();
        }
    }

    /// Whether the writer is to call [`finish`](Self::finish) before it writes again.
    pub(crate) fn waits_for_writer(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Moves what is left, so that the next commit begins the log anew.
    pub(crate) fn finish(&self, writer: &Connection) {
        self.asked.store(false, Ordering::Relaxed);
        let _ = writer.busy_timeout(PATIENCE);
        let _ = Pass::run(writer, "RESTART");
        let _ = writer.busy_timeout(BUSY);
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_one();
    }

    /// Returns when the log has grown; whether the thread goes on.
    fn wait(&self) -> bool {
        let mut state = self.state();
        while state.bytes < self.every && !state.stopped {
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
        state.bytes = 0;
        !state.stopped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread.
pub(crate) fn run(connection: &Connection, log: &Log) {
    while log.wait() {
        let mut pass = Pass::run(connection, "PASSIVE");
        for _ in 1..PASSES {
            match pass {
                Some(Pass { pages, left })
                    if pages >= log.long
                        && pages < log.long.saturating_mul(TOO_LONG)
                        && left > NEAR =>
                {
                    // The writer has gone on, but not as far as the last time.
                    pass = Pass::run(connection, "PASSIVE");
                }
                _ => break,
            }
        }
        if pass.is_some_and(|pass| pass.pages >= log.long) {
            log.asked.store(true, Ordering::Relaxed);
        }
    }
}

/// What one checkpoint found.
#[derive(Clone, Copy)]
struct Pass {
    /// How long the log is.
    pages: u32,
    /// How much of it is not in the database yet.
    left: u32,
}

impl Pass {
    /// Moves what can be moved beside those who read, and has it synced: `PASSIVE` while others may write,
    /// `RESTART` so that the next to write begins the log anew.
    fn run(connection: &Connection, mode: &'static str) -> Option<Self> {
        let pragma = format!("PRAGMA wal_checkpoint({mode})");
        let found = connection.query_row(&pragma, [], |row| {
            let (pages, moved): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok((pages, moved))
        });
        match found {
            Ok((pages, moved)) => {
                let count = |pages: i64| u32::try_from(pages.max(0)).unwrap_or(u32::MAX);
                Some(Self {
                    pages: count(pages),
                    left: count(pages - moved),
                })
            }
            Err(error) => {
                // Nothing is lost: it is in the log, which only grows until this succeeds.
                tracing::error!("move the log into the database: {error}");
                None
            }
        }
    }
}
