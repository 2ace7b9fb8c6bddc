use std::{io, path::PathBuf};

/// Why a configuration is not that of the code, or could not be made so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// A file is not that of the code; `write` would make it so.
    #[error("{file} {how}; `write` mends it")]
    Disagrees {
        /// Its name.
        file: &'static str,
        /// What it does or lacks, as the end of a sentence.
        how: String,
    },
    /// A class that has objects is not exported any more, and nobody has said what became of it.
    #[error(
        "class {class} is not exported any more; say what became of its objects: `write --rename {class}=NEW`, \
         `--give {class}` (another Worker has taken them over) or `--delete {class}` (their data is destroyed)"
    )]
    Unexplained {
        /// Its name.
        class: String,
    },
    /// What is in `wrangler.jsonc` is not what is in `dokit.migrations.json`, so that one of the two was
    /// changed after it was written. Restore it: what was deployed cannot be taken back.
    #[error(
        "migration \"{tag}\" of wrangler.jsonc is not the one that dokit.migrations.json has in its place; \
         one of the files was edited, and has to be restored"
    )]
    Rewritten {
        /// The tag that is in `wrangler.jsonc`.
        tag: String,
    },
    /// A migration that the platform would refuse.
    #[error("migration \"{tag}\" {reason}")]
    Impossible {
        /// Its tag.
        tag: String,
        /// What it does, as the end of a sentence.
        reason: String,
    },
    /// A deletion that nobody has said is wanted in a protected stage.
    #[error(
        "migration \"{tag}\" destroys all objects of class {class}, and nobody has said that this may happen in \
         {stage}; `write --delete {class} --data-lost-in {stage}` says it"
    )]
    DataLoss {
        /// The migration.
        tag: String,
        /// The deleted class.
        class: String,
        /// The protected stage.
        stage: String,
    },
    /// A file that is not what it should be.
    #[error("{file} {reason}")]
    Malformed {
        /// Its name.
        file: &'static str,
        /// What is wrong, as the end of a sentence.
        reason: String,
    },
    /// wrangler would read another file than `wrangler.jsonc`, or that one instead of the user's.
    #[error(
        "there is a {name}; dokit keeps the configuration in wrangler.jsonc, beside which wrangler reads no other: move what it says there"
    )]
    OtherFile {
        /// Its name.
        name: &'static str,
    },
    /// Two exported classes have one namespace.
    #[error("classes {} and {} would both be bound as {binding}", classes[0], classes[1])]
    SameBinding {
        /// Their names.
        classes: [String; 2],
        /// Their binding.
        binding: String,
    },
    /// A file could not be read.
    #[error("failed to read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The command line is not one of those that [`run`](super::Configuration::run) takes.
    #[error("{reason}")]
    Usage {
        /// What is wrong with it.
        reason: String,
    },
}
