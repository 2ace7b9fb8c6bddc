//! When a cron expression is due next, in a time zone.

use std::str::FromStr;

use croner::{Cron, errors::CronError};
use dokit_storage::Timestamp;
use jiff::{Timestamp as Instant, tz::TimeZone};

use crate::{Error, Result, error::cut};

/// Longer expressions and zone names are refused unread.
const LONGEST: usize = 256;

/// The first run after `now` of a schedule that is new.
pub(crate) fn first(expression: &str, zone: &str, now: Timestamp) -> Result<Timestamp> {
    let invalid = |reason| Error::InvalidCron {
        expression: cut(expression, 64),
        zone: cut(zone, 64),
        reason,
    };
    if now < Timestamp::EPOCH || now > Timestamp::LAST {
        return Err(Error::InvalidTime { at: now });
    }
    let next = after(expression, zone, now).map_err(invalid)?;
    next.filter(|next| *next <= Timestamp::LAST)
        .ok_or_else(|| invalid("it never fires".to_owned()))
}

/// The first run after `moment`; `None` where there is none, or none that an alarm can be set for.
/// The error says what is wrong with the expression or the zone.
pub(crate) fn after(
    expression: &str,
    zone: &str,
    moment: Timestamp,
) -> Result<Option<Timestamp>, String> {
    if expression.len() > LONGEST || zone.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let cron = Cron::from_str(expression).map_err(|error| reason(&error))?;
    let zone = TimeZone::get(zone).map_err(|_| "unknown time zone".to_owned())?;
    // Runs are on whole seconds, and the search is exclusive: rounding down loses none and finds
    // none that is not later.
    let second = Instant::from_second(moment.as_millis().div_euclid(1000))
        .map_err(|_| format!("no calendar reaches {moment}"))?;
    match cron.find_next_occurrence(&second.to_zoned(zone), false) {
        Ok(next) => Ok(Some(Timestamp::from_millis(
            next.timestamp().as_millisecond(),
        ))),
        Err(CronError::TimeSearchLimitExceeded) => Ok(None),
        Err(error) => Err(reason(&error)),
    }
}

/// What croner says, in the form of our own texts.
fn reason(error: &CronError) -> String {
    let text = match error {
        CronError::EmptyPattern => "it is empty",
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text,
        other => return other.to_string(),
    };
    let mut letters = text.trim_end_matches('.').chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}
