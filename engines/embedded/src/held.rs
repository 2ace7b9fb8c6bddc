//! Which alarms are not to be started though the database says that they are due: those that run, and
//! those that could not be run and wait.

use std::{collections::HashMap, time::Duration};

use dokit_storage::Timestamp;

use crate::database::Object;

/// How many alarms run at once at most.
pub(crate) const AT_ONCE: usize = 256;

/// How long an alarm that could not be run is held back at most.
const LONGEST_HOLD: Duration = Duration::from_secs(1024);

#[derive(Debug, Default)]
pub(crate) struct Held {
    running: HashMap<Object, Running>,
    waiting: HashMap<Object, Waiting>,
    /// Some that are due were not started, because enough run.
    more: bool,
}

#[derive(Debug)]
struct Running {
    at: Timestamp,
    /// Its answer is there; what becomes of the alarm is being looked up.
    answered: bool,
    /// Another alarm of the object was found to be due meanwhile.
    again: bool,
}

/// The alarm of `at` could not be run, nor that be recorded: the disk failed, or the queue was full.
#[derive(Debug)]
struct Waiting {
    at: Timestamp,
    failures: u32,
    until: Timestamp,
}

/// What becomes of an alarm that is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It runs from now on. So often it could not be run before.
    Now { failures: u32 },
    /// It has to wait until then.
    Not { before: Timestamp },
    /// The end of what runs will have it looked at again.
    Later,
}

impl Held {
    /// Begins a look at what is due: how many alarms it has to find, so that it finds all that can be
    /// started, and whether there are more. What has waited in vain, because its alarm is no more, is forgotten.
    pub(crate) fn look(&mut self, now: Timestamp) -> usize {
        let (since, until) = (
            now.saturating_sub(LONGEST_HOLD),
            now.saturating_add(LONGEST_HOLD),
        );
        // A clock that was set back does not make them wait longer.
        self.waiting
            .retain(|_, waiting| since < waiting.until && waiting.until <= until);
        self.more = false;
        AT_ONCE + self.running.len() + self.waiting.len() + 1
    }

    /// The alarm of `at` is due at `now`.
    pub(crate) fn start(&mut self, object: Object, at: Timestamp, now: Timestamp) -> Start {
        if let Some(running) = self.running.get_mut(&object) {
            running.again |= running.answered || running.at != at;
            return Start::Later;
        }
        let waiting = self.waiting.get(&object).filter(|held| held.at == at);
        if let Some(waiting) = waiting.filter(|held| held.until > now) {
            return Start::Not {
                before: waiting.until,
            };
        }
        if self.running.len() >= AT_ONCE {
            self.more = true;
            return Start::Later;
        }
        let failures = waiting.map_or(0, |held| held.failures);
        self.waiting.remove(&object);
        let running = Running {
            at,
            answered: false,
            again: false,
        };
        self.running.insert(object, running);
        Start::Now { failures }
    }

    /// What runs has been answered; what it leaves is looked up after this.
    pub(crate) fn answered(&mut self, object: Object) {
        if let Some(running) = self.running.get_mut(&object) {
            running.answered = true;
        }
    }

    /// What ran is done. Whether one has to look at what is due again.
    pub(crate) fn end(&mut self, object: Object) -> bool {
        let ended = self.running.remove(&object);
        ended.is_some_and(|ended| ended.again)
            || self.running.is_empty()
            || self.more && self.running.len() <= AT_ONCE / 2
    }

    /// What is done is due all the same, so often in a row before: it has to wait. One that `ran` was set
    /// to the very same time anew. That may be right, once.
    pub(crate) fn hold_back(
        &mut self,
        object: Object,
        at: Timestamp,
        failures: u32,
        ran: bool,
        now: Timestamp,
    ) {
        let wait = if ran && failures == 0 {
            Duration::ZERO
        } else {
            Duration::from_secs(1 << failures.min(10))
        };
        let waiting = Waiting {
            at,
            failures: failures.saturating_add(1),
            until: now.saturating_add(wait),
        };
        self.waiting.insert(object, waiting);
    }

    pub(crate) fn nothing_runs(&self) -> bool {
        self.running.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000_000);

    fn seconds(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW.as_millis() + seconds * 1000)
    }

    fn go(held: &mut Held, object: Object, at: Timestamp, now: Timestamp) -> Start {
        held.look(now);
        held.start(object, at, now)
    }

    #[test]
    fn one_that_could_not_be_run_waits_longer_each_time_and_another_does_not() {
        let mut held = Held::default();
        let object = Object::of(1);
        let mut now = NOW;
        for failures in 0..15 {
            assert_eq!(go(&mut held, object, NOW, now), Start::Now { failures });
            held.hold_back(object, NOW, failures, false, now);
            assert!(held.end(object));
            let wait = 1 << failures.min(10);
            let before = Timestamp::from_millis(now.as_millis() + wait * 1000);
            assert_eq!(go(&mut held, object, NOW, now), Start::Not { before });
            now = before;
        }
        let (at, now) = (seconds(1), now);
        assert_eq!(go(&mut held, object, at, now), Start::Now { failures: 0 });
    }

    #[test]
    fn one_that_was_set_to_the_same_time_anew_runs_at_once_and_then_does_not_spin() {
        let mut held = Held::default();
        let object = Object::of(1);
        assert_eq!(go(&mut held, object, NOW, NOW), Start::Now { failures: 0 });
        held.hold_back(object, NOW, 0, true, NOW);
        held.end(object);
        assert_eq!(go(&mut held, object, NOW, NOW), Start::Now { failures: 1 });
        held.hold_back(object, NOW, 1, true, NOW);
        held.end(object);
        let before = seconds(2);
        assert_eq!(go(&mut held, object, NOW, NOW), Start::Not { before });
    }

    #[test]
    fn what_waits_for_an_alarm_that_is_no_more_is_forgotten() {
        let mut held = Held::default();
        for number in 0..1000 {
            held.hold_back(Object::of(number), NOW, 0, false, NOW);
        }
        assert_eq!(held.look(seconds(1000)), AT_ONCE + 1000 + 1);
        assert_eq!(held.look(seconds(1026)), AT_ONCE + 1);
        // Nor does it wait for a clock that was set back.
        held.hold_back(Object::of(1), NOW, 0, false, seconds(100_000));
        assert_eq!(
            go(&mut held, Object::of(1), NOW, NOW),
            Start::Now { failures: 0 }
        );
    }

    #[test]
    fn what_is_due_is_looked_at_again_when_half_of_what_ran_is_done_and_not_each_time() {
        let mut held = Held::default();
        let objects: Vec<_> = (0..=256).map(Object::of).collect();
        held.look(NOW);
        for object in &objects {
            held.start(*object, NOW, NOW);
        }
        let looks: Vec<_> = objects[..256]
            .iter()
            .map(|object| held.end(*object))
            .collect();
        let first = looks.iter().position(|look| *look);
        assert_eq!(first, Some(127));
        assert!(held.nothing_runs());

        held.look(NOW);
        for object in &objects[..100] {
            held.start(*object, NOW, NOW);
        }
        let looks = objects[..100].iter().filter(|object| held.end(**object));
        assert_eq!(looks.count(), 1, "all that is due was started");
    }

    #[test]
    fn an_alarm_that_is_due_while_another_of_its_object_runs_is_not_missed() {
        let mut held = Held::default();
        let [object, other] = [1, 2].map(Object::of);
        for (at, answered, again) in [
            (NOW, false, false),
            (seconds(-1), false, true),
            (NOW, true, true),
        ] {
            held.start(other, NOW, NOW);
            held.start(object, NOW, NOW);
            if answered {
                held.answered(object);
            }
            assert_eq!(held.start(object, at, NOW), Start::Later);
            assert_eq!(held.end(object), again);
            assert!(held.end(other));
        }
    }
}
