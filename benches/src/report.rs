//! What is printed: Markdown tables, and the targets with what was found of them.

use crate::measured::{Spread, number};

/// The head of a table.
pub(crate) fn head(title: &str, columns: &[&str]) {
    println!("\n## {title}\n");
    row(columns.iter().map(|column| (*column).to_owned()));
    row(columns.iter().map(|_| "---".to_owned()));
}

pub(crate) fn row(cells: impl IntoIterator<Item = String>) {
    let cells: Vec<_> = cells.into_iter().collect();
    println!("| {} |", cells.join(" | "));
}

/// What issue 3 of this project asks for, and how far it is met.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    targets: Vec<Target>,
}

#[derive(Debug)]
struct Target {
    what: String,
    bound: Bound,
    found: Spread,
}

/// What is asked for, and what is aimed at, which is harder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Bound {
    AtLeast(f64, f64),
    AtMost(f64, f64),
}

impl Bound {
    fn asked(self) -> (String, String) {
        let (sign, asked, aim) = match self {
            Self::AtLeast(asked, aim) => (">=", asked, aim),
            Self::AtMost(asked, aim) => ("<=", asked, aim),
        };
        let text = |value: f64| {
            let digits = if value.fract() == 0.0 { 0 } else { 1 };
            format!("{sign} {}", number(value, digits))
        };
        (text(asked), text(aim))
    }

    fn verdict(self, found: f64) -> &'static str {
        let (met, aim) = match self {
            Self::AtLeast(asked, aim) => (found >= asked, found >= aim),
            Self::AtMost(asked, aim) => (found <= asked, found <= aim),
        };
        match (met, aim) {
            // Not a number is neither.
            (false, _) => "missed",
            (true, false) => "met",
            (true, true) => "met, the aim too",
        }
    }
}

impl Targets {
    pub(crate) fn add(&mut self, what: impl Into<String>, bound: Bound, found: Spread) {
        let what = what.into();
        self.targets.push(Target { what, bound, found });
    }

    /// Prints them all, judged by their medians. `doubt` is why the verdicts say little, if they do.
    pub(crate) fn print(&self, doubt: Option<&str>) {
        if self.targets.is_empty() {
            return;
        }
        head("Targets", &["what", "asked", "aim", "measured", "verdict"]);
        for Target { what, bound, found } in &self.targets {
            let (asked, aim) = bound.asked();
            let verdict = bound.verdict(found.median());
            let verdict = match doubt {
                Some(doubt) => format!("{verdict} ({doubt})"),
                None => verdict.to_owned(),
            };
            row([what.clone(), asked, aim, found.text(2), verdict]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_missed_or_met_with_its_aim() {
        let times = Bound::AtLeast(15.0, 20.0);
        assert_eq!(times.verdict(14.9), "missed");
        assert_eq!(times.verdict(15.0), "met");
        assert_eq!(times.verdict(20.0), "met, the aim too");
        let share = Bound::AtMost(2.0, 1.5);
        assert_eq!(share.verdict(2.1), "missed");
        assert_eq!(share.verdict(2.0), "met");
        assert_eq!(share.verdict(1.5), "met, the aim too");
        assert_eq!(times.verdict(f64::NAN), "missed");
        assert_eq!(share.verdict(f64::NAN), "missed");
    }

    #[test]
    fn a_bound_is_told_as_it_was_asked() {
        let asked = Bound::AtLeast(0.5, 0.6).asked();
        assert_eq!(asked, (">= 0.5".to_owned(), ">= 0.6".to_owned()));
        let asked = Bound::AtMost(4096.0, 2048.0).asked();
        assert_eq!(asked, ("<= 4,096".to_owned(), "<= 2,048".to_owned()));
    }
}
