//! The Worker's configuration, made of the types that `export!` lists.

mod command;
mod error;
mod history;
mod jsonc;
mod workerd;
mod wrangler;

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use self::{
    history::{History, Migration},
    workerd::Local,
    wrangler::Wrangler,
};
use crate::binding_name;

pub use self::error::ConfigurationError;

const HISTORY: &str = "dokit.migrations.json";
const WRANGLER: &str = "wrangler.jsonc";

/// What `wrangler.jsonc` has to say of the object types that a crate exports, and what became of those
/// it exported before.
///
/// [`export!`](crate::export) defines `pub fn configuration() -> Configuration` beside the types, on every
/// target but wasm. A program of the crate, `src/config.rs`, carries out [its command line](Self::run):
///
/// ```ignore
/// // Not imported: a library that can be is compiled without link-time optimization.
/// #[path = "lib.rs"]
/// mod worker;
///
/// fn main() -> std::process::ExitCode {
///     worker::configuration().run()
/// }
/// ```
///
/// and a test finds what disagrees: `configuration().check().unwrap()`.
///
/// # The two files
///
/// Both are in the crate's folder and belong into its repository.
///
/// `wrangler.jsonc` is the user's. Of it dokit looks after the elements of `durable_objects.bindings`, there
/// and in each environment of `env`, and after `migrations`; whatever else is in it, comments included, is
/// left as it is. Bindings to other Workers' classes (those with a `script_name`) are kept.
///
/// `dokit.migrations.json` is the history of the classes: the list of migrations in wrangler's own
/// notation, to which `write` appends and in which nothing else is ever changed. Each migration in
/// `wrangler.jsonc` has to be the one of that place in the history: where one of the two was edited, `check`
/// and `write` refuse both. Two facts in it are dokit's own: `given_classes`, whose objects another Worker has taken
/// over, and `data_lost_in`, the stages for which somebody has said that a deletion may go there.
///
/// A class that is new to the history is a new class with SQLite storage. One that is no longer exported is
/// never deleted for that: `write` refuses until it is told what became of it.
///
/// Source of the rules: <https://developers.cloudflare.com/durable-objects/reference/durable-object-class-migrations-legacy/>.
#[derive(Debug)]
pub struct Configuration {
    package: String,
    folder: PathBuf,
    classes: Vec<Class>,
}

/// An exported class.
#[derive(Clone, Debug)]
struct Class {
    name: String,
    namespace: String,
    binding: String,
}

/// What somebody says became of classes.
#[derive(Debug, Default)]
struct Said {
    /// Without a tag and without new classes.
    changes: Migration,
    /// The stages in which the data of the deleted classes may be lost.
    data_lost_in: Vec<String>,
}

impl Configuration {
    /// That of a crate whose classes are not those of [`export!`](crate::export), but written with the `worker` crate:
    /// each with the name that leads to its binding ([`binding_name`](crate::binding_name)). `package` is the
    /// name that a Worker without a `wrangler.jsonc` gets, `folder` is where the files are.
    ///
    /// ```
    /// let configuration = dokit_cloudflare::Configuration::new(
    ///     env!("CARGO_PKG_NAME"),
    ///     env!("CARGO_MANIFEST_DIR"),
    ///     [("Counter", "counter"), ("ChatRoom", "chat-room")],
    /// );
    /// ```
    #[must_use]
    pub fn new<'a>(
        package: &str,
        folder: impl Into<PathBuf>,
        classes: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let classes = classes.into_iter().map(|(name, namespace)| Class {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            binding: binding_name(namespace),
        });
        Self {
            package: package.to_owned(),
            folder: folder.into(),
            classes: classes.collect(),
        }
    }

    /// Whether `dokit.migrations.json` and `wrangler.jsonc` are those of the code.
    ///
    /// # Errors
    ///
    /// The first thing that is not so.
    pub fn check(&self) -> Result<(), ConfigurationError> {
        self.checked().map(drop)
    }

    /// As [`check`](Self::check), before a deployment to a stage whose data is to be protected.
    ///
    /// # Errors
    ///
    /// Also [`ConfigurationError::DataLoss`]: a class was deleted, which would destroy all its objects there,
    /// and nobody has said that this is wanted in this stage (`write --delete CLASS --data-lost-in STAGE`).
    pub fn check_stage(&self, stage: &str) -> Result<(), ConfigurationError> {
        self.checked()?.protect(stage)
    }

    fn checked(&self) -> Result<History, ConfigurationError> {
        let classes = self.classes()?;
        let wrangler = self.wrangler()?;
        let Some(history) = self.history()? else {
            return Err(disagrees(HISTORY, "is not there"));
        };
        let known = history.classes()?;
        for class in classes {
            if !known.contains(&class.name) {
                let how = format!("does not know class {}", class.name);
                return Err(disagrees(HISTORY, how));
            }
        }
        explained(known, classes)?;
        let Some(wrangler) = wrangler else {
            return Err(disagrees(WRANGLER, "is not there"));
        };
        match wrangler.edits(classes, &history)?.into_iter().next() {
            Some(edit) => Err(disagrees(WRANGLER, edit.why)),
            None => Ok(history),
        }
    }

    /// Makes both files those of the code, and tells what was done, a line each.
    fn write(&self, said: &Said) -> Result<Vec<String>, ConfigurationError> {
        let classes = self.classes()?;
        let wrangler = self.wrangler()?;
        let mut history = match (self.history()?, &wrangler) {
            (Some(history), _) => history,
            // A Worker that has been deployed without dokit: what it says of its past is believed.
            (None, Some(wrangler)) => History::new(wrangler.migrations()?),
            (None, None) => History::default(),
        };
        // Before anything is written: what has been deployed has to be what is recorded.
        if let Some(wrangler) = &wrangler {
            wrangler.edits(classes, &history)?;
        }
        let before = history.clone();
        let mut done = Vec::new();

        let migration = history.next(said, classes)?;
        if !migration.is_empty() {
            done.push(format!("{HISTORY}: {}", migration.summary()));
            history.append(migration);
        }
        explained(history.classes()?, classes)?;
        done.extend(history.confirm(said));

        let (text, mended) = match wrangler {
            Some(wrangler) => {
                let edits = wrangler.edits(classes, &history)?;
                let why: Vec<_> = edits.iter().map(|edit| edit.why.clone()).collect();
                (wrangler.edited(edits), why)
            }
            None => (
                wrangler::new_file(&self.package, classes, &history),
                vec!["was not there".to_owned()],
            ),
        };
        if history != before || !self.folder.join(HISTORY).exists() {
            self.save(HISTORY, &history.to_string())?;
        }
        if !mended.is_empty() {
            self.save(WRANGLER, &text)?;
        }
        done.extend(mended.iter().map(|why| format!("{WRANGLER} {why}: done")));
        Ok(done)
    }

    /// A configuration for workerd itself.
    fn workerd(&self, mut local: Local) -> Result<String, ConfigurationError> {
        let classes = self.classes()?;
        if let Some(wrangler) = self.wrangler()? {
            local.fill(&self.folder, wrangler.settings()?);
        }
        local.render(classes)
    }

    /// The classes, each with a namespace of its own.
    fn classes(&self) -> Result<&[Class], ConfigurationError> {
        for (index, class) in self.classes.iter().enumerate() {
            let mut before = self.classes[..index].iter();
            if let Some(other) = before.find(|other| other.binding == class.binding) {
                return Err(ConfigurationError::SameBinding {
                    classes: [other.name.clone(), class.name.clone()],
                    binding: class.binding.clone(),
                });
            }
        }
        Ok(&self.classes)
    }

    fn history(&self) -> Result<Option<History>, ConfigurationError> {
        let text = self.read(HISTORY)?;
        text.map(|text| History::parse(&text)).transpose()
    }

    fn wrangler(&self) -> Result<Option<Wrangler>, ConfigurationError> {
        // wrangler takes the first of wrangler.json, .jsonc and .toml: ours would hide one, or be hidden.
        for other in ["wrangler.json", "wrangler.toml"] {
            if self.folder.join(other).exists() {
                return Err(ConfigurationError::OtherFile { name: other });
            }
        }
        let text = self.read(WRANGLER)?;
        text.map(Wrangler::parse).transpose()
    }

    fn read(&self, name: &str) -> Result<Option<String>, ConfigurationError> {
        let path = self.folder.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ConfigurationError::Read { path, source }),
        }
    }

    fn save(&self, name: &str, text: &str) -> Result<(), ConfigurationError> {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|source| ConfigurationError::Write { path, source })
    }
}

/// Refuses to guess what became of a class that is no longer exported.
fn explained(known: BTreeSet<String>, classes: &[Class]) -> Result<(), ConfigurationError> {
    let gone = |class: &String| !classes.iter().any(|exported| exported.name == *class);
    match known.into_iter().find(gone) {
        Some(class) => Err(ConfigurationError::Unexplained { class }),
        None => Ok(()),
    }
}

fn disagrees(file: &'static str, how: impl Into<String>) -> ConfigurationError {
    let how = how.into();
    ConfigurationError::Disagrees { file, how }
}

fn malformed(file: &'static str, reason: impl Into<String>) -> ConfigurationError {
    let reason = reason.into();
    ConfigurationError::Malformed { file, reason }
}

/// All files in a folder and below it, by their paths in it, in order.
fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(folder.join(&inner))? {
            let entry = entry?;
            let path = inner.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests;
