#![doc = include_str!("../README.md")]

mod project;

use std::{path::PathBuf, process::ExitCode};

use project::Project;

const USAGE: &str = "\
dokit new FOLDER [--dokit CHECKOUT]

Makes a project with one durable object, its test, and a program that serves it.

  --dokit CHECKOUT    the dokit to use, in place of the one on GitHub";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (folder, dokit) = match arguments[..] {
        ["new", folder] if !folder.starts_with('-') => (folder, None),
        ["new", folder, "--dokit", dokit] | ["new", "--dokit", dokit, folder] => {
            (folder, Some(PathBuf::from(dokit)))
        }
        ["--help" | "-h" | "help"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match (Project { folder, dokit }).make() {
        Ok(()) => {
            println!("made {folder}; next:\n\n  cd {folder}\n  cargo test\n  cargo run");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
