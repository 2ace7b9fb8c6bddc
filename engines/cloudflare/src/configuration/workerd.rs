//! A configuration for workerd itself, which runs the objects without wrangler.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    Class, ConfigurationError, files_below,
    wrangler::{COMPATIBILITY_DATE, Settings},
};

/// What a local run is given.
#[derive(Debug, Default)]
pub(super) struct Local {
    pub(super) address: String,
    pub(super) data: PathBuf,
    /// The entry module; what is beside and below it are the other modules.
    pub(super) main: Option<PathBuf>,
    pub(super) variables: BTreeMap<String, Value>,
    compatibility_date: Option<String>,
    compatibility_flags: Vec<String>,
}

impl Local {
    /// Takes from `wrangler.jsonc` what was not given.
    pub(super) fn fill(&mut self, folder: &Path, settings: Settings) {
        let main = settings.main.map(|main| folder.join(main));
        self.main = self.main.take().or(main);
        for (name, value) in settings.vars {
            self.variables.entry(name).or_insert(value);
        }
        self.compatibility_date = settings.compatibility_date;
        self.compatibility_flags = settings.compatibility_flags;
    }

    pub(super) fn render(&self, classes: &[Class]) -> Result<String, ConfigurationError> {
        let Some(main) = &self.main else {
            let reason = "which module is the entry? give --main FILE".to_owned();
            return Err(ConfigurationError::Usage { reason });
        };
        let main = absolute(main)?;
        // Made by workerd neither, and an absolute path is one from wherever workerd is started.
        std::fs::create_dir_all(&self.data).map_err(|source| ConfigurationError::Write {
            path: self.data.clone(),
            source,
        })?;
        let data = absolute(&self.data)?;
        let date = self.compatibility_date.as_deref();
        let flags: Vec<_> = self
            .compatibility_flags
            .iter()
            .map(|flag| quoted(flag))
            .collect();

        let mut text = format!(
            r#"# Run as: workerd serve -I / THIS-FILE
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "objects", worker = .objects),
    (name = "disk", disk = (path = {}, writable = true)),
  ],
  sockets = [(name = "http", address = {}, http = (), service = "objects")],
);
const objects :Workerd.Worker = (
  compatibilityDate = {},
  compatibilityFlags = [{}],
  durableObjectStorage = (localDisk = "disk"),
  # With the namespace as its key, workerd gives an object the same id as the embedded engine does.
  durableObjectNamespaces = [
"#,
            quoted(&data.to_string_lossy()),
            quoted(&self.address),
            quoted(date.unwrap_or(COMPATIBILITY_DATE)),
            flags.join(", ")
        );
        for class in classes {
            let (name, key) = (quoted(&class.name), quoted(&class.namespace));
            let _ = writeln!(
                text,
                "    (className = {name}, uniqueKey = {key}, enableSql = true),"
            );
        }
        text += "  ],\n  bindings = [\n";
        for class in classes {
            let (binding, name) = (quoted(&class.binding), quoted(&class.name));
            let _ = writeln!(
                text,
                "    (name = {binding}, durableObjectNamespace = {name}),"
            );
        }
        for (name, value) in &self.variables {
            let (kind, value) = match value {
                Value::String(value) => ("text", quoted(value)),
                value => ("json", quoted(&value.to_string())),
            };
            let _ = writeln!(text, "    (name = {}, {kind} = {value}),", quoted(name));
        }
        text += "  ],\n  modules = [\n";
        for (name, path) in modules(&main)? {
            let kind = match path.extension() {
                Some(wasm) if wasm == "wasm" => "wasm",
                _ => "esModule",
            };
            let (name, path) = (quoted(&name), quoted(&path.to_string_lossy()));
            let _ = writeln!(text, "    (name = {name}, {kind} = embed {path}),");
        }
        text += "  ],\n);\n";
        Ok(text)
    }
}

/// The modules beside and below the entry, which comes first, by the names by which they import each other.
fn modules(main: &Path) -> Result<Vec<(String, PathBuf)>, ConfigurationError> {
    let folder = main.parent().unwrap_or(main);
    let files = files_below(folder).map_err(|source| ConfigurationError::Read {
        path: folder.to_owned(),
        source,
    })?;
    let module = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("js" | "mjs" | "wasm"))
    };
    let mut modules: Vec<_> = files
        .into_iter()
        .filter(module)
        .map(|path| (path.to_string_lossy().replace('\\', "/"), folder.join(path)))
        .collect();
    // Stable: the others stay in their order.
    modules.sort_by_key(|(_, path)| path != main);
    Ok(modules)
}

fn absolute(path: &Path) -> Result<PathBuf, ConfigurationError> {
    path.canonicalize()
        .map_err(|source| ConfigurationError::Read {
            path: path.to_owned(),
            source,
        })
}

/// A text in Cap'n Proto's notation, whose escapes are C's.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}
