use std::ops::{Bound, Range};

use crate::{Error, Result};

/// Which keys to list, and how.
///
/// | option | default |
/// |---|---|
/// | [`start`](Self::start), inclusive | the first key |
/// | [`start_after`](Self::start_after), exclusive | none; not together with `start` |
/// | [`end`](Self::end), exclusive | past the last key |
/// | [`prefix`](Self::prefix) | any |
/// | [`limit`](Self::limit) | all; zero is refused |
/// | [`reverse`](Self::reverse) | ascending |
///
/// Keys are in the order of their UTF-8 bytes. All conditions hold at once; `limit` counts after
/// `reverse`, so `reverse().limit(1)` is the last key.
///
/// ```
/// use dokit_storage::ListOptions;
///
/// let newest = ListOptions::new().prefix("event:").reverse().limit(10);
/// # let _ = newest;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ListOptions {
    start: Option<String>,
    start_after: Option<String>,
    end: Option<String>,
    prefix: Option<String>,
    limit: Option<usize>,
    reverse: bool,
}

impl ListOptions {
    /// Every key, ascending.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only keys from this one on.
    pub fn start(mut self, key: impl Into<String>) -> Self {
        self.start = Some(key.into());
        self
    }

    /// Only keys after this one: the way to read on where a page ended.
    pub fn start_after(mut self, key: impl Into<String>) -> Self {
        self.start_after = Some(key.into());
        self
    }

    /// Only keys before this one.
    pub fn end(mut self, key: impl Into<String>) -> Self {
        self.end = Some(key.into());
        self
    }

    /// Only keys that begin so.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// At most this many.
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Descending instead of ascending.
    pub fn reverse(mut self) -> Self {
        self.reverse = true;
        self
    }

    /// Puts `prefix` before every key of these options, so that they speak of keys within it.
    pub(crate) fn within(self, prefix: &str) -> Self {
        let inside = |key: String| format!("{prefix}{key}");
        Self {
            start: self.start.map(inside),
            start_after: self.start_after.map(inside),
            end: self.end.map(inside),
            prefix: Some(inside(self.prefix.unwrap_or_default())),
            limit: self.limit,
            reverse: self.reverse,
        }
    }

    /// The one range of keys that these options mean.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidList`] when `start` and `start_after` are both given, or `limit` is zero.
    pub fn to_range(&self) -> Result<KeyRange> {
        if self.start.is_some() && self.start_after.is_some() {
            return Err(Error::InvalidList {
                reason: "start and start_after exclude each other",
            });
        }
        if self.limit == Some(0) {
            return Err(Error::InvalidList {
                reason: "limit must be positive",
            });
        }
        let mut start = self.start.clone().unwrap_or_default();
        if let Some(after) = &self.start_after {
            // No string lies between a key and the key followed by NUL.
            start = format!("{after}\0");
        }
        let mut end = self.end.clone();
        if let Some(prefix) = &self.prefix {
            if *prefix > start {
                start.clone_from(prefix);
            }
            if let Some(past) = past_prefix(prefix)
                && end.as_ref().is_none_or(|end| past < *end)
            {
                end = Some(past);
            }
        }
        Ok(KeyRange {
            start,
            end,
            limit: self.limit,
            reverse: self.reverse,
        })
    }
}

/// The first string after all that begin with `prefix`; none where they go on to the end. The order
/// of UTF-8 bytes is the order of code points, so the last code point is raised by one.
fn past_prefix(prefix: &str) -> Option<String> {
    let mut past = prefix.to_owned();
    while let Some(last) = past.pop() {
        let next = match last {
            '\u{D7FF}' => Some('\u{E000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            past.push(next);
            return Some(past);
        }
    }
    None
}

/// Where the library's own keys stand: all that begin with `__`.
const LIBRARY_KEYS: Range<&str> = "__".."_`";

/// One range of keys, as a [`Store`](crate::Store) lists it: [`ListOptions`] with everything worked
/// out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyRange {
    /// The first key that may be listed, inclusive; empty is the first of all.
    pub start: String,
    /// The end of the range, exclusive; none is past the last key. It may lie before `start`: then
    /// the range is empty.
    pub end: Option<String>,
    /// How many to list at most, counted in the order asked for.
    pub limit: Option<usize>,
    /// Descending instead of ascending.
    pub reverse: bool,
}

impl KeyRange {
    /// Whether no key can lie in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }

    /// The parts of this range before and after the library's own keys, which begin with `__`, in
    /// the order asked for. The limit is that of the whole.
    pub(crate) fn around_library_keys(&self) -> impl Iterator<Item = Self> {
        let mut before = self.clone();
        if before
            .end
            .as_deref()
            .is_none_or(|end| end > LIBRARY_KEYS.start)
        {
            before.end = Some(LIBRARY_KEYS.start.to_owned());
        }
        let mut after = self.clone();
        if after.start.as_str() < LIBRARY_KEYS.end {
            LIBRARY_KEYS.end.clone_into(&mut after.start);
        }
        let parts = if self.reverse {
            [after, before]
        } else {
            [before, after]
        };
        parts.into_iter().filter(|part| !part.is_empty())
    }

    /// Whether a key is between its bounds.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.start.as_str() <= key && self.end.as_deref().is_none_or(|end| key < end)
    }

    /// The bounds for a `BTreeMap`; an empty range gives bounds that hold nothing and never panic.
    pub(crate) fn bounds(&self) -> (Bound<&str>, Bound<&str>) {
        let start = self.start.as_str();
        match &self.end {
            _ if self.is_empty() => (Bound::Included(start), Bound::Excluded(start)),
            Some(end) => (Bound::Included(start), Bound::Excluded(end)),
            None => (Bound::Included(start), Bound::Unbounded),
        }
    }

    /// Sorts, reverses and cuts ascending items as this range asks.
    pub(crate) fn arrange<I: DoubleEndedIterator>(&self, ascending: I) -> Vec<I::Item> {
        let limit = self.limit.unwrap_or(usize::MAX);
        if self.reverse {
            ascending.rev().take(limit).collect()
        } else {
            ascending.take(limit).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_code_point() {
        assert_eq!(past_prefix("a").as_deref(), Some("b"));
        assert_eq!(past_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(past_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(past_prefix("\u{10FFFF}"), None);
        assert_eq!(past_prefix(""), None);
    }

    #[test]
    fn a_range_contains_what_lies_between_its_bounds() {
        let mut range = KeyRange::default();
        assert!(range.contains(""));
        range.start = "b".to_owned();
        range.end = Some("d".to_owned());
        let found: Vec<_> = ["a", "b", "cc", "d"]
            .into_iter()
            .filter(|key| range.contains(key))
            .collect();
        assert_eq!(found, ["b", "cc"]);
        range.end = Some("a".to_owned());
        assert!(!range.contains("b"));
    }

    #[test]
    fn contradicting_options_are_refused() {
        let both = ListOptions::new().start("a").start_after("b").to_range();
        assert_eq!(
            both.unwrap_err().to_string(),
            "invalid list options: start and start_after exclude each other"
        );
        assert!(ListOptions::new().limit(0).to_range().is_err());
    }

    #[test]
    fn the_library_keys_end_where_their_prefix_does() {
        assert_eq!(
            past_prefix(LIBRARY_KEYS.start).as_deref(),
            Some(LIBRARY_KEYS.end)
        );
        let inside = ListOptions::new().prefix("__fsm").to_range().unwrap();
        assert_eq!(inside.around_library_keys().count(), 0);
        let beside = ListOptions::new().prefix("user:").to_range().unwrap();
        assert!(beside.around_library_keys().eq([beside.clone()]));
    }
}
