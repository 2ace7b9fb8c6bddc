//! The command line.

use std::{collections::BTreeMap, env, error::Error, process::ExitCode};

use serde_json::Value;

use super::{
    Configuration, ConfigurationError, Said,
    history::{Rename, Transfer},
    workerd::Local,
};

const USAGE: &str = "\
check [--stage STAGE]      whether wrangler.jsonc and dokit.migrations.json are those of the code;
                           with a stage also whether nothing unsaid would destroy data there
write                      makes them those of the code; what became of classes that are gone:
  --rename OLD=NEW             the objects of OLD are now those of NEW
  --delete CLASS               the objects of CLASS are destroyed with their data
    --data-lost-in STAGE       and that may also happen in the protected stage STAGE
  --give CLASS                 another Worker has taken the objects of CLASS over
  --take SCRIPT/OLD=NEW        takes the objects of class OLD of the Worker SCRIPT over as NEW
workerd --data DIR         prints a configuration for workerd, to run the objects without wrangler
  --addr HOST:PORT             where it is to listen; 127.0.0.1:8787 if not given
  --main FILE                  the entry module; `main` of wrangler.jsonc if not given
  --var NAME=VALUE             a variable, beside the `vars` of wrangler.jsonc";

impl Configuration {
    /// Carries out this process's command line: the whole of a program that checks and writes the
    /// configuration.
    ///
    /// ```text
    /// config check [--stage STAGE]
    /// config write [--rename OLD=NEW] [--delete CLASS [--data-lost-in STAGE]] [--give CLASS] [--take SCRIPT/OLD=NEW]
    /// config workerd --data DIR [--addr HOST:PORT] [--main FILE] [--var NAME=VALUE]
    /// ```
    ///
    /// `check` and `write` tell what they found and did. `workerd` prints a configuration for workerd
    /// itself, with the settings `main`, `compatibility_date`, `compatibility_flags` and `vars` of `wrangler.jsonc`
    /// where there is one; objects get the ids there that the embedded engine gives them.
    ///
    /// What fails is told on standard error, and the exit code is 1 then.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        match self.command(env::args().skip(1)) {
            Ok(said) => {
                println!("{}", said.trim_end());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("error: {error}");
                let mut cause = error.source();
                while let Some(error) = cause {
                    eprintln!("  because: {error}");
                    cause = error.source();
                }
                ExitCode::FAILURE
            }
        }
    }

    /// Carries out a command line and gives what is to be printed.
    pub(super) fn command(
        &self,
        mut arguments: impl Iterator<Item = String>,
    ) -> Result<String, ConfigurationError> {
        let command = arguments.next();
        let options = options(arguments)?;
        match command.as_deref() {
            Some("check") => {
                let mut stages = Vec::new();
                for (option, value) in options {
                    match &*option {
                        "--stage" => stages.push(value),
                        _ => return Err(unknown(&option)),
                    }
                }
                self.check()?;
                stages
                    .iter()
                    .try_for_each(|stage| self.check_stage(stage))?;
                Ok("the configuration is that of the code".to_owned())
            }
            Some("write") => {
                let done = self.write(&said(options)?)?;
                Ok(if done.is_empty() {
                    "the configuration is that of the code: nothing was written".to_owned()
                } else {
                    done.join("\n")
                })
            }
            Some("workerd") => self.workerd(local(options)?),
            Some("--help" | "-h" | "help") => Ok(USAGE.to_owned()),
            other => Err(usage(match other {
                Some(other) => format!("unknown command {other}; there are:\n{USAGE}"),
                None => format!("no command was given; there are:\n{USAGE}"),
            })),
        }
    }
}

fn said(options: Vec<(String, String)>) -> Result<Said, ConfigurationError> {
    let mut said = Said::default();
    for (option, value) in options {
        let changes = &mut said.changes;
        match &*option {
            "--rename" => {
                let (from, to) = pair(&option, &value, "OLD=NEW")?;
                changes.renamed_classes.push(Rename { from, to });
            }
            "--take" => {
                let (whose, to) = pair(&option, &value, "SCRIPT/OLD=NEW")?;
                let Some((from_script, from)) = whose.split_once('/') else {
                    return Err(usage(format!("--take wants SCRIPT/OLD=NEW, not {value}")));
                };
                changes.transferred_classes.push(Transfer {
                    from: from.to_owned(),
                    from_script: from_script.to_owned(),
                    to,
                });
            }
            "--delete" => changes.deleted_classes.push(value),
            "--give" => changes.given_classes.push(value),
            "--data-lost-in" => said.data_lost_in.push(value),
            _ => return Err(unknown(&option)),
        }
    }
    if !said.data_lost_in.is_empty() && said.changes.deleted_classes.is_empty() {
        let reason = "--data-lost-in wants --delete CLASS beside it: whose data?";
        return Err(usage(reason.to_owned()));
    }
    Ok(said)
}

fn local(options: Vec<(String, String)>) -> Result<Local, ConfigurationError> {
    let mut local = Local::default();
    let (mut address, mut data, mut variables) = (None, None, BTreeMap::new());
    for (option, value) in options {
        match &*option {
            "--addr" => address = Some(value),
            "--data" => data = Some(value),
            "--main" => local.main = Some(value.into()),
            "--var" => {
                let (name, value) = pair(&option, &value, "NAME=VALUE")?;
                variables.insert(name, Value::String(value));
            }
            _ => return Err(unknown(&option)),
        }
    }
    let Some(data) = data else {
        return Err(usage(
            "where are the objects stored? give --data DIR".to_owned(),
        ));
    };
    local.data = data.into();
    local.address = address.unwrap_or_else(|| "127.0.0.1:8787".to_owned());
    local.variables = variables;
    Ok(local)
}

/// Options that each have a value.
fn options(
    mut arguments: impl Iterator<Item = String>,
) -> Result<Vec<(String, String)>, ConfigurationError> {
    let mut options = Vec::new();
    while let Some(option) = arguments.next() {
        let Some(value) = arguments.next() else {
            return Err(usage(format!("{option} wants a value")));
        };
        options.push((option, value));
    }
    Ok(options)
}

fn pair(option: &str, value: &str, form: &str) -> Result<(String, String), ConfigurationError> {
    match value.split_once('=') {
        Some((left, right)) => Ok((left.to_owned(), right.to_owned())),
        None => Err(usage(format!("{option} wants {form}, not {value}"))),
    }
}

fn unknown(option: &str) -> ConfigurationError {
    usage(format!("unknown option {option}; there are:\n{USAGE}"))
}

fn usage(reason: String) -> ConfigurationError {
    ConfigurationError::Usage { reason }
}
