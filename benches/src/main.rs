#![doc = include_str!("../README.md")]
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark measures time, runs callers beside each other and has no clock to be given"
)]

mod arguments;
mod at_rest;
mod child;
mod growth;
mod in_process;
mod load;
mod machine;
mod measured;
mod objects;
mod over_http;
mod peer;
mod report;
mod tasks;

use std::{env, fs, path::Path, process::ExitCode};

use arguments::{Arguments, Section, USAGE};
use machine::Machine;
use report::Targets;

/// Whatever went wrong: it ends the program, which tells it.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let mut arguments = env::args();
    let _program = arguments.next();
    let done = match arguments.next() {
        Some(word) if word == "child" => child_process(arguments),
        Some(word) if word == "--help" => {
            print!("{USAGE}");
            Ok(())
        }
        first => Arguments::parse(first.into_iter().chain(arguments)).and_then(|it| bench(&it)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// On a runtime as a server of our users has it.
fn child_process(arguments: env::Args) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(child::run(arguments))
}

fn bench(arguments: &Arguments) -> Result<()> {
    fs::create_dir_all(&arguments.folder)?;
    let data = arguments
        .folder
        .join(format!("data-{}", std::process::id()));
    fs::create_dir(&data)?;
    let done = sections(arguments, &data);
    // Whether it went well or not.
    let removed = fs::remove_dir_all(&data);
    done?;
    Ok(removed?)
}

fn sections(arguments: &Arguments, data: &Path) -> Result<()> {
    let mut machine = Machine::new(&arguments.folder, arguments.span / 10)?;
    let mut targets = Targets::default();
    let Arguments { rounds, span, .. } = arguments;
    println!("{}", machine.describe());
    println!(
        "Medians of {rounds} rounds (least-most), {span:?} a run; workerd and axum in turns with dokit."
    );
    let quick = arguments.quick || cfg!(debug_assertions);
    if quick {
        println!(
            "This is a quick run or not a release build: its figures say nothing about speed."
        );
    }
    for section in &arguments.sections {
        // A store each, and nothing left of the one before.
        let data = data.join(format!("{section:?}"));
        fs::create_dir(&data)?;
        match section {
            Section::Http => over_http::measure(arguments, &mut machine, &mut targets, &data),
            Section::Process => in_process::measure(arguments, &mut machine, &data),
            Section::Rest => at_rest::measure(arguments, &mut machine, &mut targets, &data),
            Section::Objects => growth::objects(arguments, &mut machine, &mut targets, &data),
            Section::Values => growth::values(arguments, &mut machine, &data),
        }?;
        fs::remove_dir_all(&data)?;
    }
    let warning = machine.warning();
    targets.print(match &warning {
        _ if quick => Some("a quick run"),
        Some(_) => Some("disturbed"),
        None => None,
    });
    if let Some(warning) = warning {
        println!("\n{warning}");
    }
    Ok(())
}
