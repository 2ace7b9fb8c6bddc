use std::time::Duration;

use dokit_alarms::{format_duration, parse_duration};

/// The longest that is promised to be taken: 219 years.
const LONGEST: Duration = Duration::from_secs(220 * 366 * 86_400);

/// The text of a duration.
pub fn durations(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse_duration(&text) {
        Ok(duration) => {
            assert!(!duration.is_zero() && duration < LONGEST, "{text:?}");
            assert!(text.len() <= 64, "{text:?}");
            // In ISO 8601, `M` after the `T` is minutes.
            let minutes = text.trim_ascii().starts_with('P') && text.contains('T');
            for refused in ["M", "month", "y", "-", "+"] {
                // "day" and the like are longer names of units that are taken.
                let hidden =
                    (refused == "y" && text.contains("day")) || (refused == "M" && minutes);
                assert!(hidden || !text.contains(refused), "{text:?} has {refused}");
            }
            let written = format_duration(duration);
            assert_eq!(
                parse_duration(&written),
                Ok(duration),
                "{text:?} as {written:?}"
            );
        }
        Err(error) => {
            let told = error.to_string();
            assert!(
                told.starts_with(|first: char| first.is_lowercase()) && told.len() < 700,
                "{told}"
            );
        }
    }
}
