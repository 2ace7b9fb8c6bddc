//! When a job runs again, and what becomes of runs that were missed.

use std::time::Duration;

use dokit_storage::Timestamp;
use serde::{Deserialize, Serialize};

/// The most runs that are made up for.
const MOST_RUNS: u32 = 100;

/// How a recurring job recurs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Repeat {
    /// At a fixed interval, counted from when it was scheduled. A run that is late or fails does
    /// not move the later ones.
    Every(Duration),
    /// By a cron expression.
    Cron {
        /// The expression, with five, six (seconds first) or seven (years last) fields.
        expression: String,
        /// The IANA name of the time zone.
        zone: String,
    },
}

/// What happens to the runs of a recurring job that were missed, because nothing ran at their time.
///
/// A run that failed and is tried again is not a missed one: it is tried as
/// [`Retries`](crate::Retries) say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
#[non_exhaustive]
pub enum Missed {
    /// One run makes up for all of them.
    #[default]
    RunOnce,
    /// The latest is run if it is late by no more than `grace`; the others are not run at all.
    Skip {
        /// How late a run may be.
        grace: Duration,
    },
    /// Each is run, the earliest first, but no more than the last `at_most`, and never more than
    /// 100.
    RunAll {
        /// How many to run; zero counts as one.
        at_most: u32,
    },
}

/// What to do with a recurring job that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Run it for `planned`.
    Run {
        planned: Timestamp,
        next: Option<Timestamp>,
    },
    /// Its time is too long past.
    Skip { next: Option<Timestamp> },
}

impl Repeat {
    /// What to do at `now` with the run planned for `planned`. `retry` is one that failed before.
    /// The error says why no next run can be worked out.
    pub(crate) fn turn(
        &self,
        missed: Missed,
        planned: Timestamp,
        now: Timestamp,
        retry: bool,
    ) -> Result<Turn, String> {
        if !(Timestamp::EPOCH..=Timestamp::LAST).contains(&planned) {
            return Err(format!("it is planned for {planned}, when no alarm can be"));
        }
        if planned > now {
            // Brought forward by a revival: the planned run is still to come.
            let next = Some(planned);
            return Ok(Turn::Run { planned: now, next });
        }
        let following = self.after(planned, planned)?;
        if following.is_none_or(|following| following > now) {
            return Ok(match missed {
                Missed::Skip { grace } if !retry && is_late(planned, now, grace) => {
                    Turn::Skip { next: following }
                }
                _ => Turn::Run {
                    planned,
                    next: following,
                },
            });
        }
        Ok(match missed {
            Missed::RunOnce => Turn::Run {
                planned,
                next: self.after(planned, now)?,
            },
            Missed::Skip { .. } if retry => Turn::Run {
                planned,
                next: self.after(planned, now)?,
            },
            Missed::Skip { grace } => {
                let planned = self.nth_last(planned, now, 1)?;
                let next = self.after(planned, now)?;
                if is_late(planned, now, grace) {
                    Turn::Skip { next }
                } else {
                    Turn::Run { planned, next }
                }
            }
            Missed::RunAll { at_most } => {
                let planned = if retry {
                    planned
                } else {
                    self.nth_last(planned, now, at_most.clamp(1, MOST_RUNS))?
                };
                let next = self.after(planned, planned)?;
                Turn::Run { planned, next }
            }
        })
    }

    /// The first run after `moment`, where `planned` is some run; `None` where there is no more.
    fn after(&self, planned: Timestamp, moment: Timestamp) -> Result<Option<Timestamp>, String> {
        let next = match self {
            Self::Every(interval) => {
                let step = step(*interval);
                let since = moment.as_millis() - planned.as_millis();
                let steps = since.div_euclid(step) + 1;
                steps
                    .checked_mul(step)
                    .and_then(|add| planned.as_millis().checked_add(add))
                    .map(Timestamp::from_millis)
            }
            #[cfg(feature = "cron")]
            Self::Cron { expression, zone } => crate::cron::after(expression, zone, moment)?,
            #[cfg(not(feature = "cron"))]
            Self::Cron { .. } => {
                return Err("cron schedules need the feature cron of dokit-alarms".to_owned());
            }
        };
        Ok(next.filter(|next| *next <= Timestamp::LAST))
    }

    /// The `nth` last run from `planned`, which is one, until `now`, both included; `planned` where
    /// there are fewer.
    fn nth_last(&self, planned: Timestamp, now: Timestamp, nth: u32) -> Result<Timestamp, String> {
        if let Self::Every(interval) = self {
            let step = step(*interval);
            let runs = (now.as_millis() - planned.as_millis()) / step + 1;
            let passed_over = (runs - i64::from(nth)).max(0);
            return Ok(Timestamp::from_millis(
                planned.as_millis() + passed_over * step,
            ));
        }
        // Cron runs can be walked forward only. Look back from now over a span that doubles until
        // it holds enough of them, so that a year of missed minutes is not walked through.
        let mut span = Duration::from_secs(60);
        loop {
            let start = now.saturating_sub(span).max(planned);
            let mut last = std::collections::VecDeque::new();
            if start == planned {
                last.push_back(planned);
            }
            let mut run = self.after(planned, start)?;
            while let Some(at) = run.filter(|at| *at <= now) {
                last.push_back(at);
                if last.len() > nth as usize {
                    last.pop_front();
                }
                run = self.after(planned, at)?;
            }
            if start == planned || last.len() >= nth as usize {
                return Ok(last.pop_front().unwrap_or(planned));
            }
            span = span.saturating_mul(2);
        }
    }
}

fn is_late(planned: Timestamp, now: Timestamp, grace: Duration) -> bool {
    now.saturating_duration_since(planned) > grace
}

/// The milliseconds of an interval, which was checked when it was scheduled.
fn step(interval: Duration) -> i64 {
    let millis = Timestamp::EPOCH.saturating_add(interval).as_millis();
    millis.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTELY: Repeat = Repeat::Every(Duration::from_secs(60));

    fn minute(minutes: i64) -> Timestamp {
        // Not on the minute: runs are counted from the first one.
        Timestamp::from_millis(7 + minutes * 60_000)
    }

    fn run(planned: i64, next: i64) -> Turn {
        Turn::Run {
            planned: minute(planned),
            next: Some(minute(next)),
        }
    }

    fn turn(missed: Missed, planned: i64, now: i64, retry: bool) -> Turn {
        let late = Timestamp::from_millis(minute(now).as_millis() + 500);
        MINUTELY.turn(missed, minute(planned), late, retry).unwrap()
    }

    #[test]
    fn a_run_in_time_plans_the_next_one_whatever_the_policy() {
        let skip = Missed::Skip {
            grace: Duration::from_secs(1),
        };
        for missed in [Missed::RunOnce, skip, Missed::RunAll { at_most: 3 }] {
            assert_eq!(turn(missed, 10, 10, false), run(10, 11));
        }
    }

    #[test]
    fn run_once_makes_up_for_all_missed_runs_with_one() {
        assert_eq!(turn(Missed::RunOnce, 10, 15, false), run(10, 16));
    }

    #[test]
    fn skip_runs_only_what_is_within_the_grace() {
        let grace = |millis| Missed::Skip {
            grace: Duration::from_millis(millis),
        };
        assert_eq!(turn(grace(500), 10, 15, false), run(15, 16));
        let next = Some(minute(16));
        assert_eq!(turn(grace(499), 10, 15, false), Turn::Skip { next });
        let next = Some(minute(11));
        assert_eq!(turn(grace(499), 10, 10, false), Turn::Skip { next });
        // A failed run is tried again however late.
        assert_eq!(turn(grace(499), 10, 15, true), run(10, 16));
    }

    #[test]
    fn run_all_runs_the_last_ones_one_after_another() {
        let all = |at_most| Missed::RunAll { at_most };
        assert_eq!(turn(all(3), 10, 15, false), run(13, 14));
        assert_eq!(turn(all(3), 13, 15, false), run(13, 14));
        assert_eq!(turn(all(0), 10, 15, false), run(15, 16));
        assert_eq!(turn(all(u32::MAX), 0, 500, false), run(401, 402));
        assert_eq!(turn(all(3), 10, 15, true), run(10, 11));
    }

    #[test]
    fn a_run_brought_forward_leaves_the_planned_one() {
        let early = MINUTELY.turn(Missed::RunOnce, minute(10), minute(3), false);
        assert_eq!(early.unwrap(), run(3, 10));
    }

    #[test]
    fn a_run_that_no_alarm_can_be_set_for_is_refused_whatever_the_policy() {
        for planned in [i64::MIN, -1, i64::MAX] {
            let planned = Timestamp::from_millis(planned);
            for missed in [Missed::RunOnce, Missed::RunAll { at_most: 2 }] {
                let refused = MINUTELY.turn(missed, planned, minute(10), false);
                assert!(refused.unwrap_err().contains(&planned.to_string()));
            }
        }
    }

    #[test]
    fn a_series_ends_at_the_last_moment() {
        let last = MINUTELY.turn(Missed::RunOnce, Timestamp::LAST, Timestamp::LAST, false);
        let planned = Timestamp::LAST;
        assert_eq!(
            last.unwrap(),
            Turn::Run {
                planned,
                next: None
            }
        );
    }
}
