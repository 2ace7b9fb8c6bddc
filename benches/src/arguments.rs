use std::{path::PathBuf, time::Duration};

use crate::Result;

pub(crate) const USAGE: &str = "\
what dokit costs, beside workerd, a bare HTTP server and the disk

usage: dokit-benches [table | growth] [options]

  table               each cost beside its peers' and its target (where nothing is said)
  growth              each cost from 1 to 100,000 objects, and from 100 B to 100 KB values

options:
  --only SECTION      table: http, process or rest; growth: objects or values; may be repeated
  --rounds N          runs of each, of which the median is told (3)
  --seconds S         how long a run is (3)
  --folder DIR        where the data is put, on the disk to measure (target/benches)
  --help              this text
  --quick             small and short, to see that it works: says nothing about speed
";

/// What is measured: one table of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Http,
    Process,
    Rest,
    Objects,
    Values,
}

impl Section {
    const TABLE: [(&'static str, Self); 3] = [
        ("http", Self::Http),
        ("process", Self::Process),
        ("rest", Self::Rest),
    ];
    const GROWTH: [(&'static str, Self); 2] =
        [("objects", Self::Objects), ("values", Self::Values)];
}

#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) sections: Vec<Section>,
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
    pub(crate) folder: PathBuf,
    pub(crate) quick: bool,
}

impl Arguments {
    /// # Errors
    ///
    /// When there is an argument that is not in [`USAGE`].
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut arguments = arguments.into_iter().peekable();
        let command = arguments.next_if(|word| !word.starts_with('-'));
        let known: &[(&str, Section)] = match command.as_deref() {
            None | Some("table") => &Section::TABLE,
            Some("growth") => &Section::GROWTH,
            Some(other) => return Err(format!("unknown command {other:?}\n\n{USAGE}").into()),
        };
        let (mut only, mut rounds, mut seconds) = (Vec::new(), None, None);
        let (mut folder, mut quick) = (PathBuf::from("target/benches"), false);
        while let Some(option) = arguments.next() {
            if option == "--quick" {
                quick = true;
                continue;
            }
            let mut value = || {
                let value = arguments.next();
                value.ok_or_else(|| format!("{option} wants a value\n\n{USAGE}"))
            };
            match option.as_str() {
                "--only" => {
                    let name = value()?;
                    let found = known.iter().find(|(known, _)| *known == name);
                    let (_, section) =
                        found.ok_or_else(|| format!("no section {name:?} here\n\n{USAGE}"))?;
                    only.push(*section);
                }
                "--rounds" => rounds = Some(value()?.parse::<usize>()?.max(1)),
                "--seconds" => seconds = Some(Duration::try_from_secs_f64(value()?.parse()?)?),
                "--folder" => folder = PathBuf::from(value()?),
                _ => return Err(format!("unknown option {option:?}\n\n{USAGE}").into()),
            }
        }
        if only.is_empty() {
            only = known.iter().map(|(_, section)| *section).collect();
        }
        let (usual_rounds, usual_span) = match quick {
            true => (1, Duration::from_millis(200)),
            false => (3, Duration::from_secs(3)),
        };
        Ok(Self {
            sections: only,
            rounds: rounds.unwrap_or(usual_rounds),
            span: seconds.unwrap_or(usual_span),
            folder,
            quick,
        })
    }

    /// How long each load runs before it is measured.
    pub(crate) fn warm_up(&self) -> Duration {
        self.span / 4
    }

    /// One of two sizes.
    pub(crate) fn size<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn without_arguments_the_whole_table_is_measured_in_three_rounds() {
        let found = parse("").unwrap();
        assert_eq!(found, parse("table --rounds 3 --seconds 3").unwrap());
        assert_eq!(
            found.sections,
            [Section::Http, Section::Process, Section::Rest]
        );
        assert_eq!((found.rounds, found.span), (3, Duration::from_secs(3)));
    }

    #[test]
    fn a_run_can_be_cut_short() {
        let found = parse("growth --only values --quick --rounds 2 --folder /d").unwrap();
        assert_eq!(found.sections, [Section::Values]);
        assert_eq!((found.rounds, found.size(7, 5)), (2, 5));
        assert_eq!(found.folder, PathBuf::from("/d"));
    }

    #[test]
    fn what_is_not_known_is_told_with_what_is() {
        for (line, says) in [
            ("tabel", "unknown command \"tabel\""),
            ("--fast", "unknown option \"--fast\""),
            ("growth --only http", "no section \"http\" here"),
            ("--rounds", "--rounds wants a value"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.starts_with(says) && error.contains(USAGE), "{error}");
        }
    }
}
