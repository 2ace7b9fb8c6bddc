//! A process of workerd, from when it listens.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// Starts workerd, which tells as JSON at which port it listens: `{"event":"listen","port":8787}`.
pub(crate) fn start(command: &mut Command) -> (Child, u16) {
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    let output = process.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut told).unwrap();
    let event: Value = serde_json::from_str(&told)
        .unwrap_or_else(|error| panic!("{command:?} said {told:?}: {error}"));
    let port = event["port"].as_u64().unwrap().try_into().unwrap();
    (process, port)
}
