//! `wrangler.jsonc`, which is the user's, and the parts of it that have to fit the code.

use std::{collections::BTreeMap, ops::Range};

use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};

use super::{
    Class, ConfigurationError, WRANGLER,
    history::{History, Migration},
    jsonc::{self, Members},
    malformed,
};

/// The newest date that the engine was tried with. It says which changes of the platform are in force:
/// <https://developers.cloudflare.com/workers/configuration/compatibility-dates/>.
pub(super) const COMPATIBILITY_DATE: &str = "2026-08-01";

pub(super) struct Wrangler {
    text: String,
    /// The same without comments.
    plain: String,
}

/// What a local run takes from the file.
#[derive(Default, Deserialize)]
pub(super) struct Settings {
    pub(super) main: Option<String>,
    pub(super) compatibility_date: Option<String>,
    #[serde(default)]
    pub(super) compatibility_flags: Vec<String>,
    #[serde(default)]
    pub(super) vars: BTreeMap<String, Value>,
}

/// A change of the file, and why it is made, as the end of a sentence that begins with its name.
pub(super) struct Edit {
    at: Range<usize>,
    text: String,
    pub(super) why: String,
}

#[derive(Deserialize, Serialize)]
struct Binding {
    name: String,
    class_name: String,
    #[serde(skip_serializing)]
    script_name: Option<String>,
}

impl Binding {
    fn of(class: &Class) -> String {
        jsonc::line(&Self {
            name: class.binding.clone(),
            class_name: class.name.clone(),
            script_name: None,
        })
    }
}

impl Wrangler {
    pub(super) fn parse(text: String) -> Result<Self, ConfigurationError> {
        let plain = jsonc::plain(&text);
        let own = Self { text, plain };
        if own.root()?.0.is_empty() {
            return Err(malformed(
                WRANGLER,
                "is empty; without it `write` makes a whole one",
            ));
        }
        Ok(own)
    }

    fn root(&self) -> Result<Members<'_>, ConfigurationError> {
        Members::read(&self.plain).map_err(|error| malformed(WRANGLER, error.to_string()))
    }

    pub(super) fn settings(&self) -> Result<Settings, ConfigurationError> {
        serde_json::from_str(&self.plain).map_err(|error| malformed(WRANGLER, error.to_string()))
    }

    /// The migrations that are in it.
    pub(super) fn migrations(&self) -> Result<Vec<Migration>, ConfigurationError> {
        match get(&self.root()?, "migrations")? {
            Some(list) => read_migrations(list),
            None => Ok(Vec::new()),
        }
    }

    /// What has to be changed, so that it fits the code and the history.
    ///
    /// Its migrations may lack the newest of the history's, and are otherwise refused.
    pub(super) fn edits(
        &self,
        classes: &[Class],
        history: &History,
    ) -> Result<Vec<Edit>, ConfigurationError> {
        let root = self.root()?;
        let migrations = history.for_wrangler();
        let mut edits = Vec::new();
        self.edit_scope("", self.plain.trim(), classes, &migrations, &mut edits)?;
        if let Some(environments) = get(&root, "env")? {
            for (name, environment) in members(environments)?.0 {
                let scope = format!(" in environment {name}");
                self.edit_scope(&scope, environment, classes, &migrations, &mut edits)?;
            }
        }
        Ok(edits)
    }

    /// The text with edits made to it.
    pub(super) fn edited(&self, mut edits: Vec<Edit>) -> String {
        let mut text = self.text.clone();
        edits.sort_by_key(|edit| edit.at.start);
        for edit in edits.into_iter().rev() {
            text.replace_range(edit.at, &edit.text);
        }
        text
    }

    fn edit_scope(
        &self,
        scope: &str,
        object: &str,
        classes: &[Class],
        migrations: &[Migration],
        edits: &mut Vec<Edit>,
    ) -> Result<(), ConfigurationError> {
        let members = members(object)?;
        if get(&members, "exports")?.is_some() {
            // <https://developers.cloudflare.com/durable-objects/reference/durable-object-class-migrations-legacy/>
            let reason =
                format!("has `exports`{scope}, beside which wrangler takes no `migrations`");
            return Err(malformed(WRANGLER, reason));
        }
        self.edit_bindings(scope, object, &members, classes, edits)?;
        match get(&members, "migrations")? {
            Some(list) => {
                let there = read_migrations(list)?;
                let differs = |(index, migration)| migrations.get(index) != Some(migration);
                if let Some((_, migration)) = there.iter().enumerate().find(|it| differs(*it)) {
                    let tag = migration.tag.clone();
                    return Err(ConfigurationError::Rewritten { tag });
                }
                if let Some(first) = migrations.get(there.len()) {
                    let at = jsonc::position(list, &self.plain);
                    let text = self.migrations_text(migrations, self.indentation_at(at.start));
                    let why = format!("lacks migration{scope}: {}", first.summary());
                    edits.push(Edit { at, text, why });
                }
            }
            // An environment has those of the whole file.
            None if !scope.is_empty() => {}
            None => {
                if let Some(first) = migrations.first() {
                    let why = format!("lacks migration: {}", first.summary());
                    edits.push(self.insertion(
                        object,
                        &members,
                        "migrations",
                        why,
                        |indentation| self.migrations_text(migrations, indentation),
                    ));
                }
            }
        }
        Ok(())
    }

    fn edit_bindings(
        &self,
        scope: &str,
        object: &str,
        members: &Members<'_>,
        classes: &[Class],
        edits: &mut Vec<Edit>,
    ) -> Result<(), ConfigurationError> {
        let durable = get(members, "durable_objects")?;
        let inner = durable.map(self::members).transpose()?;
        let list = inner.as_ref().map(|inner| get(inner, "bindings"));
        let list = list.transpose()?.flatten();
        let there: Vec<&RawValue> = match list {
            Some(list) => serde_json::from_str(list)
                .map_err(|error| malformed(WRANGLER, jsonc::reason(&error)))?,
            None => Vec::new(),
        };

        // What is there and ours comes first in our order, what is there and the user's after it.
        let (mut bound, mut kept, mut why) = (Vec::new(), Vec::new(), None);
        for text in there {
            let binding: Binding = serde_json::from_str(text.get()).map_err(|error| {
                malformed(
                    WRANGLER,
                    format!("has a binding {text}: {}", jsonc::reason(&error)),
                )
            })?;
            let Binding {
                name,
                class_name,
                script_name,
            } = &binding;
            let ours = classes.iter().find(|class| class.binding == *name);
            let right = ours.is_none_or(|class| class.name == *class_name && script_name.is_none());
            let exported = classes.iter().any(|class| class.name == *class_name);
            if !right || (script_name.is_none() && !exported) {
                let leads = script_name
                    .as_deref()
                    .map_or_else(String::new, |script| format!(" of {script}"));
                why.get_or_insert(format!("binds {name} to class {class_name}{leads}{scope}"));
            } else if let Some(class) = ours {
                bound.push(&class.name);
            } else {
                kept.push(text.get().to_owned());
            }
        }
        if let Some(class) = classes.iter().find(|class| !bound.contains(&&class.name)) {
            let Class { name, binding, .. } = class;
            why.get_or_insert(format!("does not bind {binding} to class {name}{scope}"));
        }
        let Some(why) = why else {
            return Ok(());
        };

        let elements: Vec<_> = classes.iter().map(Binding::of).chain(kept).collect();
        let step = self.step();
        let bindings = |indentation: &str| jsonc::list(&elements, indentation, step);
        edits.push(match (durable, &inner, list) {
            (_, _, Some(list)) => {
                let at = jsonc::position(list, &self.plain);
                let text = bindings(self.indentation_at(at.start));
                Edit { at, text, why }
            }
            (Some(durable), Some(inner), None) => {
                self.insertion(durable, inner, "bindings", why, bindings)
            }
            _ => self.insertion(object, members, "durable_objects", why, |indentation| {
                let deeper = format!("{indentation}{step}");
                let bindings = bindings(&deeper);
                format!("{{\n{deeper}\"bindings\": {bindings}\n{indentation}}}")
            }),
        });
        Ok(())
    }

    /// A new member, after the last one there is.
    fn insertion(
        &self,
        object: &str,
        members: &Members<'_>,
        name: &str,
        why: String,
        value: impl FnOnce(&str) -> String,
    ) -> Edit {
        let object = jsonc::position(object, &self.plain);
        let (at, text) = match members.0.last() {
            Some((_, last)) => {
                let last = jsonc::position(last, &self.plain);
                // That of the member, not of the last line of its value, which may be deeper.
                let indentation = self.indentation_at(last.start);
                let value = value(indentation);
                (last.end, format!(",\n{indentation}\"{name}\": {value}"))
            }
            None => {
                let outer = self.indentation_at(object.start);
                let indentation = format!("{outer}{}", self.step());
                let value = value(&indentation);
                let text = format!("\n{indentation}\"{name}\": {value}\n{outer}");
                (object.start + 1, text)
            }
        };
        let at = at..at;
        Edit { at, text, why }
    }

    fn migrations_text(&self, migrations: &[Migration], indentation: &str) -> String {
        let migrations: Vec<_> = migrations.iter().map(jsonc::line).collect();
        jsonc::list(&migrations, indentation, self.step())
    }

    fn indentation_at(&self, at: usize) -> &str {
        jsonc::indentation(&self.text, at)
    }

    /// By how much its lines are indented a level.
    fn step(&self) -> &str {
        let first = self.root().ok().and_then(|root| Some(root.0.first()?.1));
        let step =
            first.map(|first| self.indentation_at(jsonc::position(first, &self.plain).start));
        step.filter(|step| !step.is_empty()).unwrap_or("  ")
    }
}

/// A whole file, for a crate that has none.
pub(super) fn new_file(package: &str, classes: &[Class], history: &History) -> String {
    // Names of Workers have no `_`.
    let name = package.to_ascii_lowercase().replace('_', "-");
    let bindings: Vec<_> = classes.iter().map(Binding::of).collect();
    let bindings = jsonc::list(&bindings, "    ", "  ");
    let migrations: Vec<_> = history.for_wrangler().iter().map(jsonc::line).collect();
    let migrations = jsonc::list(&migrations, "  ", "  ");
    format!(
        r#"{{
  "name": "{name}",
  "main": "build/index.js",
  "compatibility_date": "{COMPATIBILITY_DATE}",
  "build": {{ "command": "worker-build --release" }},
  "durable_objects": {{
    "bindings": {bindings}
  }},
  "migrations": {migrations}
}}
"#
    )
}

fn members(object: &str) -> Result<Members<'_>, ConfigurationError> {
    Members::read(object).map_err(|error| malformed(WRANGLER, jsonc::reason(&error)))
}

fn get<'a>(members: &Members<'a>, name: &str) -> Result<Option<&'a str>, ConfigurationError> {
    members
        .get(name)
        .map_err(|reason| malformed(WRANGLER, reason))
}

fn read_migrations(list: &str) -> Result<Vec<Migration>, ConfigurationError> {
    serde_json::from_str(list).map_err(|error| {
        let reason = jsonc::reason(&error);
        malformed(
            WRANGLER,
            format!("has `migrations` that cannot be read: {reason}"),
        )
    })
}
