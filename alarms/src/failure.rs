//! What an action says when it fails.

use std::{error::Error as StdError, time::Duration};

use crate::error::cut;

/// The longest text of an error that is kept, in bytes.
const LONGEST_TEXT: usize = 1024;

/// Why an action failed, as text, and whether it is worth another try.
///
/// Every error becomes one by `?`, and so do `String` and `&str`. It keeps the error's text
/// followed by its causes', cut at 1,024 bytes, since that is all that can be stored.
///
/// ```
/// use dokit_alarms::Failure;
///
/// let parsed: Result<u32, Failure> = "x".parse::<u32>().map_err(Failure::from);
/// assert_eq!(parsed.unwrap_err().text(), "invalid digit found in string");
/// let failure = Failure::give_up("the customer is gone");
/// assert_eq!(failure.text(), "the customer is gone");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    text: String,
    pub(crate) advice: Advice,
}

/// What to do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Advice {
    Retry,
    RetryAfter(Duration),
    GiveUp,
}

impl Failure {
    /// A failure that another try cannot mend: the job is dead at once.
    pub fn give_up(error: impl Into<Box<dyn StdError>>) -> Self {
        Self::new(error.into().as_ref(), Advice::GiveUp)
    }

    /// A failure after which the next try, if one is left, comes after `delay` instead of the usual
    /// time.
    pub fn retry_after(delay: Duration, error: impl Into<Box<dyn StdError>>) -> Self {
        Self::new(error.into().as_ref(), Advice::RetryAfter(delay))
    }

    /// What went wrong.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn new(error: &dyn StdError, advice: Advice) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let next = error.to_string();
            // Many errors print their causes themselves.
            if !text.ends_with(&next) {
                text = format!("{text}: {next}");
            }
            cause = error.source();
        }
        Self {
            text: cut(&text, LONGEST_TEXT),
            advice,
        }
    }
}

impl<E: Into<Box<dyn StdError>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(error.into().as_ref(), Advice::Retry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_causes_follow_the_error_once() {
        let inner = dokit_storage::Error::engine("commit", "disk full");
        assert_eq!(
            Failure::from(inner).text(),
            "commit in the store: disk full"
        );
        let printed = crate::Error::Storage(dokit_storage::Error::engine("read", "gone"));
        assert_eq!(Failure::from(printed).text(), "read in the store: gone");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let failure = Failure::from("\u{e9}".repeat(2000));
        assert!(failure.text().len() <= LONGEST_TEXT + 3);
        assert!(failure.text().ends_with("..."));
    }
}
