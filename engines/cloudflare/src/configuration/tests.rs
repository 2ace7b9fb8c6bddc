//! The program that `export!` gives, at work on a project's files.

use std::fs;

use tempfile::TempDir;

use super::*;

type Exported = Vec<(&'static str, &'static str)>;

/// What a crate exports.
macro_rules! exports {
    ($($class:ident)*) => {
        vec![$((stringify!($class), namespace(stringify!($class)))),*]
    };
}

mod files;
mod migrations;

fn namespace(class: &str) -> &'static str {
    match class {
        "Counter" => "counter",
        "Order" => "order",
        "Purchase" => "purchase",
        "ChatRoom" => "chat-room",
        other => panic!("{other} is not in this crate"),
    }
}

/// A crate's folder, in which the code changes.
struct Project(TempDir);

impl Project {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn with(wrangler: &str) -> Self {
        let own = Self::new();
        own.put(WRANGLER, wrangler);
        own
    }

    /// What the program says to a command line, or its error's text.
    fn run(&self, exported: Exported, arguments: &str) -> Result<String, String> {
        let folder = self.0.path().to_str().unwrap();
        let configuration = Configuration::new("my_worker", folder, exported);
        let arguments = arguments.split_whitespace().map(str::to_owned);
        let said = configuration.command(arguments);
        said.map_err(|error| error.to_string())
    }

    fn put(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    fn get(&self, name: &str) -> String {
        fs::read_to_string(self.0.path().join(name)).unwrap()
    }
}
