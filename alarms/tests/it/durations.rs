use std::time::Duration;

use dokit_alarms::{DurationError, Error, When, format_duration, parse_duration};
use dokit_storage::Timestamp;
use proptest::prelude::*;

use crate::world::START;

#[test]
fn durations_that_parse() {
    for (text, millis) in [
        ("30s", 30_000),
        ("5m", 300_000),
        ("1h", 3_600_000),
        ("2d", 172_800_000),
        ("1w", 604_800_000),
        ("500ms", 500),
        ("1h 30m", 5_400_000),
        ("1h30m", 5_400_000),
        ("1d12h", 129_600_000),
        (" 5 m ", 300_000),
        ("007s", 7_000),
        ("1.5h", 5_400_000),
        ("90 minutes", 5_400_000),
        ("30m 1h", 5_400_000),
        ("0h 1s", 1_000),
        ("79989d", 6_911_049_600_000),
        ("PT5M", 300_000),
        ("PT1H30M", 5_400_000),
        ("P1DT12H", 129_600_000),
        ("P2W", 1_209_600_000),
        ("PT0.5S", 500),
        ("PT36H", 129_600_000),
        (" P1D ", 86_400_000),
    ] {
        let parsed = parse_duration(text);
        assert_eq!(parsed, Ok(Duration::from_millis(millis)), "{text:?}");
    }
    assert_eq!(parse_duration("3us"), Ok(Duration::from_micros(3)));
    assert_eq!(parse_duration("3ns"), Ok(Duration::from_nanos(3)));
}

#[test]
fn what_is_no_duration_says_why() {
    let input = "invalid duration";
    for (text, error) in [
        (
            "",
            "a duration is empty; write one such as \"30s\", \"5m\" or \"1h 30m\"".to_owned(),
        ),
        (
            " \n",
            "a duration is empty; write one such as \"30s\", \"5m\" or \"1h 30m\"".to_owned(),
        ),
        (
            "abc",
            format!("{input} \"abc\": expected a number at \"abc\", as in \"30s\" or \"1h 30m\""),
        ),
        (
            "-5m",
            format!("{input} \"-5m\": expected a number at \"-5m\", as in \"30s\" or \"1h 30m\""),
        ),
        (
            "+5m",
            format!("{input} \"+5m\": expected a number at \"+5m\", as in \"30s\" or \"1h 30m\""),
        ),
        (
            "P5M",
            format!(
                "{input} \"P5M\": \"M\" is a month or a year, of no fixed length; write days (d), or minutes (m)"
            ),
        ),
        (
            "PT0S",
            format!("{input} \"PT0S\": it must be longer than nothing"),
        ),
        (
            "P80000D",
            format!("{input} \"P80000D\": longer than 219 years"),
        ),
        (
            "5m and 3s",
            format!(
                "{input} \"5m and 3s\": expected a number at \"and 3s\", as in \"30s\" or \"1h 30m\""
            ),
        ),
        (
            ".5h",
            format!("{input} \".5h\": expected a number at \".5h\", as in \"30s\" or \"1h 30m\""),
        ),
        (
            "100",
            format!("{input} \"100\": 100 of what? write a unit: 100s, 100m, 100h"),
        ),
        (
            "0",
            format!("{input} \"0\": 0 of what? write a unit: 0s, 0m, 0h"),
        ),
        (
            "1 0s",
            format!("{input} \"1 0s\": 1 of what? write a unit: 1s, 1m, 1h"),
        ),
        (
            "5h 3",
            format!("{input} \"5h 3\": 3 of what? write a unit: 3s, 3m, 3h"),
        ),
        (
            "0s",
            format!("{input} \"0s\": it must be longer than nothing"),
        ),
        (
            "5M",
            format!(
                "{input} \"5M\": \"M\" is a month or a year, of no fixed length; write days (d), or minutes (m)"
            ),
        ),
        (
            "1 month",
            format!(
                "{input} \"1 month\": \"month\" is a month or a year, of no fixed length; write days (d), or minutes (m)"
            ),
        ),
        (
            "2y",
            format!(
                "{input} \"2y\": \"y\" is a month or a year, of no fixed length; write days (d), or minutes (m)"
            ),
        ),
        (
            "5m5m",
            format!("{input} \"5m5m\": the unit \"m\" is given twice"),
        ),
        (
            "1h 2s 1hr",
            format!("{input} \"1h 2s 1hr\": the unit \"hr\" is given twice"),
        ),
        (
            "1H",
            format!("{input} \"1H\": unknown unit \"H\"; known units: ns, us, ms, s, m, h, d, w"),
        ),
        (
            "5 %",
            format!("{input} \"5 %\": unknown unit \"%\"; known units: ns, us, ms, s, m, h, d, w"),
        ),
        (
            "5\u{b5}s",
            format!(
                "{input} \"5\u{b5}s\": unknown unit \"\u{b5}\"; known units: ns, us, ms, s, m, h, d, w"
            ),
        ),
        ("1.h", format!("{input} \"1.h\": unusable number \"1.\"")),
        (
            "1.2.3h",
            format!("{input} \"1.2.3h\": unusable number \"1.2.3\""),
        ),
        (
            "1234567890123s",
            format!("{input} \"1234567890123s\": unusable number \"1234567890123\""),
        ),
        (
            "0.5ns",
            format!("{input} \"0.5ns\": the fraction is finer than can be counted"),
        ),
        (
            "79990d",
            format!("{input} \"79990d\": longer than 219 years"),
        ),
        (
            "999999999999w",
            format!("{input} \"999999999999w\": longer than 219 years"),
        ),
        (
            "18446744073709551615s 1000000000ns",
            format!(
                "{input} \"18446744073709551615s 1000000000ns\": unusable number \"18446744073709551615\""
            ),
        ),
    ] {
        assert_eq!(
            parse_duration(text).unwrap_err().to_string(),
            error,
            "{text:?}"
        );
    }
}

#[test]
fn what_only_begins_like_iso_8601_is_refused() {
    for text in [
        "P", "PT", "P1DT", "P1", "PT5", "P5m", "PT5m", "pt5m", "P-1D", "PT1M1H", "P1H", "PT1D",
        "PT1M1M", "PTM", "P1D 1H", "PT5M3s", "P1D2W", "PT1,5S", "P\u{e9}", "PTT1S", "PT1.S",
    ] {
        let error = parse_duration(text).unwrap_err();
        assert!(error.to_string().starts_with("invalid duration"), "{text}");
    }
    assert_eq!(
        parse_duration("PT5").unwrap_err().to_string(),
        "invalid duration \"PT5\": expected one of iso 8601, as in \"PT5M\" or \"P1DT12H\"; \
         or write \"5m\", \"1d 12h\""
    );
}

#[test]
fn ten_thousand_digits_are_refused_by_their_length() {
    let long = parse_duration(&"9".repeat(10_000)).unwrap_err();
    assert_eq!(
        long.to_string(),
        "a duration of 10000 bytes, starting with \"999999999999999999999999...\", is too long; the limit is 64"
    );
}

#[test]
fn a_moment_that_no_alarm_can_be_set_for_is_refused() {
    let resolve = |when: When| when.resolve(START);
    let after = Timestamp::from_millis(Timestamp::LAST.as_millis() + 1);
    for when in [
        When::at(Timestamp::EPOCH),
        When::at(Timestamp::from_millis(-1)),
        When::at(after),
        When::after(Duration::MAX),
    ] {
        let error = resolve(when).unwrap_err();
        assert!(matches!(error, Error::InvalidTime { .. }), "{error}");
    }
    assert_eq!(
        resolve(When::at(after)).unwrap_err().to_string(),
        "invalid alarm time 2189-01-01T00:00:00.001Z: an alarm is set for a moment after 1970-01-01 \
         and not after 2189-01-01"
    );
    assert_eq!(resolve(Timestamp::LAST.into()).unwrap(), Timestamp::LAST);
    assert_eq!(resolve(Duration::ZERO.into()).unwrap(), START);
    // A part of a millisecond is never cut off, so that nothing fires early.
    let soon = resolve("1ns".into()).unwrap();
    assert_eq!(soon.as_millis(), START.as_millis() + 1);
    let error = resolve("5M".into()).unwrap_err();
    assert!(matches!(
        error,
        Error::Duration(DurationError::CalendarUnit { .. })
    ));
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        let _ = parse_duration(&text);
    }

    #[test]
    fn no_text_that_looks_like_a_duration_panics(
        text in "( ?[0-9]{0,22}(\\.[0-9]{0,14})? ?(ns|us|ms|s|m|h|d|w|M|y|sec|x)?){0,6}"
    ) {
        if let Ok(duration) = parse_duration(&text) {
            prop_assert!(!duration.is_zero());
            prop_assert!(START.saturating_add(duration).as_millis() > START.as_millis());
        }
    }

    #[test]
    fn what_is_formatted_parses_back(nanos in 1..6_911_049_600_000_000_000_u64) {
        let duration = Duration::from_nanos(nanos);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }
}

proptest! {
    #[test]
    fn no_text_that_looks_like_iso_8601_panics(
        text in " ?P?([0-9]{0,14}[.]?[0-9]{0,10}[YMWDTHS]?){0,6}"
    ) {
        if let Ok(duration) = parse_duration(&text) {
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
    }
}

#[test]
fn formats_are_short() {
    for (millis, text) in [
        (0, "0s"),
        (500, "500ms"),
        (90_061_001, "1d 1h 1m 1s 1ms"),
        (604_800_000, "7d"),
    ] {
        assert_eq!(format_duration(Duration::from_millis(millis)), text);
    }
}
