//! What became of the classes so far: a list that only grows.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use super::{Class, ConfigurationError, HISTORY, Said, jsonc, malformed};

/// One entry, in wrangler's notation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Migration {
    pub(super) tag: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) new_sqlite_classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) new_classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) renamed_classes: Vec<Rename>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) deleted_classes: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) transferred_classes: Vec<Transfer>,
    /// Ours: classes whose objects another Worker has taken over by a transfer of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) given_classes: Vec<String>,
    /// Ours: for each deleted class the stages in which it may lose its data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) data_lost_in: BTreeMap<String, BTreeSet<String>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rename {
    pub(super) from: String,
    pub(super) to: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Transfer {
    pub(super) from: String,
    pub(super) from_script: String,
    pub(super) to: String,
}

impl Migration {
    /// Whether it does nothing.
    pub(super) fn is_empty(&self) -> bool {
        let only_tag = Self {
            tag: self.tag.clone(),
            ..Self::default()
        };
        *self == only_tag
    }

    /// What it does, in a few words.
    pub(super) fn summary(&self) -> String {
        let mut parts = Vec::new();
        let deleted = self.deleted_classes.iter();
        parts.extend(deleted.map(|class| format!("deletes {class} with all its data")));
        let given = self.given_classes.iter();
        parts.extend(given.map(|class| format!("{class} was given away")));
        let renamed = self.renamed_classes.iter();
        parts.extend(renamed.map(|renamed| format!("renames {} to {}", renamed.from, renamed.to)));
        let transferred = self.transferred_classes.iter();
        parts.extend(transferred.map(|taken| {
            let Transfer {
                from,
                from_script,
                to,
            } = taken;
            format!("takes {from} of {from_script} over as {to}")
        }));
        let new = self.new_sqlite_classes.iter();
        parts.extend(new.map(|class| format!("creates {class}")));
        format!("\"{}\" {}", self.tag, parts.join(", "))
    }

    /// As wrangler takes it.
    fn for_wrangler(&self) -> Self {
        Self {
            given_classes: Vec::new(),
            data_lost_in: BTreeMap::new(),
            ..self.clone()
        }
    }

    fn impossible(&self, reason: String) -> ConfigurationError {
        let tag = self.tag.clone();
        ConfigurationError::Impossible { tag, reason }
    }

    /// What it does to the classes there are, in wrangler's order; to each whether it has SQLite storage.
    fn apply(&self, classes: &mut BTreeMap<String, bool>) -> Result<(), ConfigurationError> {
        for (does, gone) in [
            ("deletes", &self.deleted_classes),
            ("gives", &self.given_classes),
        ] {
            for class in gone {
                if classes.remove(class).is_none() {
                    return Err(
                        self.impossible(format!("{does} class {class}, which is not there"))
                    );
                }
            }
        }
        for Rename { from, to } in &self.renamed_classes {
            let Some(sqlite) = classes.remove(from) else {
                return Err(self.impossible(format!("renames class {from}, which is not there")));
            };
            self.create(classes, to, sqlite)?;
        }
        for Transfer { to, .. } in &self.transferred_classes {
            self.create(classes, to, true)?;
        }
        for class in &self.new_classes {
            self.create(classes, class, false)?;
        }
        for class in &self.new_sqlite_classes {
            self.create(classes, class, true)?;
        }
        Ok(())
    }

    fn create(
        &self,
        classes: &mut BTreeMap<String, bool>,
        class: &str,
        sqlite: bool,
    ) -> Result<(), ConfigurationError> {
        match classes.insert(class.to_owned(), sqlite) {
            Some(_) => {
                Err(self.impossible(format!("creates class {class}, which is there already")))
            }
            None => Ok(()),
        }
    }
}

/// All migrations, the oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct History {
    migrations: Vec<Migration>,
}

impl History {
    pub(super) fn new(migrations: Vec<Migration>) -> Self {
        Self { migrations }
    }

    pub(super) fn parse(text: &str) -> Result<Self, ConfigurationError> {
        let migrations =
            serde_json::from_str(text).map_err(|error| malformed(HISTORY, error.to_string()))?;
        Ok(Self { migrations })
    }

    /// The names of the classes that there are after all migrations.
    pub(super) fn classes(&self) -> Result<BTreeSet<String>, ConfigurationError> {
        let mut tags = BTreeSet::new();
        let mut classes = BTreeMap::new();
        for migration in &self.migrations {
            if !tags.insert(&migration.tag) {
                return Err(migration.impossible("is there twice".to_owned()));
            }
            migration.apply(&mut classes)?;
        }
        // Its storage cannot be changed, and this engine stores in SQLite.
        if let Some((class, _)) = classes.iter().find(|(_, sqlite)| !**sqlite) {
            let reason = format!(
                "has class {class} with key-value storage (`new_classes`), and only SQLite storage is served"
            );
            return Err(malformed(HISTORY, reason));
        }
        Ok(classes.into_keys().collect())
    }

    /// The migrations as wrangler has to be given them.
    pub(super) fn for_wrangler(&self) -> Vec<Migration> {
        let migrations = self.migrations.iter().map(Migration::for_wrangler);
        migrations
            .filter(|migration| !migration.is_empty())
            .collect()
    }

    /// The migration from here to the exported classes: what somebody said, and a new class for whatever is
    /// then still missing.
    pub(super) fn next(
        &self,
        said: &Said,
        exported: &[Class],
    ) -> Result<Migration, ConfigurationError> {
        let mut known = self.classes()?;
        let mut next = said.changes.clone();
        next.tag = self.next_tag();
        // What is deleted already is not deleted again: it is only allowed in one more stage.
        next.deleted_classes.retain(|class| {
            said.data_lost_in.is_empty() || known.contains(class) || !self.deleted(class)
        });
        let mut classes = known.iter().map(|class| (class.clone(), true)).collect();
        next.apply(&mut classes)?;
        known = classes.into_keys().collect();
        let new = exported.iter().filter(|class| !known.contains(&class.name));
        next.new_sqlite_classes = new.map(|class| class.name.clone()).collect();
        Ok(next)
    }

    pub(super) fn append(&mut self, migration: Migration) {
        self.migrations.push(migration);
    }

    fn deleted(&self, class: &String) -> bool {
        let mut migrations = self.migrations.iter();
        migrations.any(|migration| migration.deleted_classes.contains(class))
    }

    fn next_tag(&self) -> String {
        let mut number = self.migrations.len();
        loop {
            number += 1;
            let tag = format!("v{number}");
            if self.migrations.iter().all(|migration| migration.tag != tag) {
                return tag;
            }
        }
    }

    /// Notes in which stages deleted classes may lose their data, and tells what is new of it.
    pub(super) fn confirm(&mut self, said: &Said) -> Vec<String> {
        let mut done = Vec::new();
        for migration in &mut self.migrations {
            for class in &said.changes.deleted_classes {
                if !migration.deleted_classes.contains(class) {
                    continue;
                }
                for stage in &said.data_lost_in {
                    let stages = migration.data_lost_in.entry(class.clone()).or_default();
                    if stages.insert(stage.clone()) {
                        let tag = &migration.tag;
                        done.push(format!(
                            "{HISTORY}: \"{tag}\" may destroy the data of {class} in {stage}"
                        ));
                    }
                }
            }
        }
        done
    }

    /// Refuses what would destroy data in a stage where nobody has said that it may.
    pub(super) fn protect(&self, stage: &str) -> Result<(), ConfigurationError> {
        for migration in &self.migrations {
            for class in &migration.deleted_classes {
                let stages = migration.data_lost_in.get(class);
                if !stages.is_some_and(|stages| stages.contains(stage)) {
                    return Err(ConfigurationError::DataLoss {
                        tag: migration.tag.clone(),
                        class: class.clone(),
                        stage: stage.to_owned(),
                    });
                }
            }
        }
        Ok(())
    }
}

/// As it stands in its file: a line each, so that a new one is a new line.
impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let migrations: Vec<_> = self.migrations.iter().map(jsonc::line).collect();
        writeln!(f, "{}", jsonc::list(&migrations, "", "  "))
    }
}
