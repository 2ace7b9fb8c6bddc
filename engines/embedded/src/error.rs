use std::{error::Error, io, net::SocketAddr, path::PathBuf, sync::Arc};

use dokit_object::engine::InvalidNamespace;

/// Why a host could not start or listen. The data is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No object type was registered.
    #[error("no object type is registered")]
    NoObjects,
    /// A namespace that could not stand in an address.
    #[error(transparent)]
    InvalidNamespace(#[from] InvalidNamespace),
    /// Two object types of one namespace.
    #[error("two object types have the namespace {namespace:?}")]
    DuplicateNamespace {
        /// The namespace.
        namespace: &'static str,
    },
    /// The data folder cannot be made or used.
    #[error("open the data folder {path:?}")]
    DataFolder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another host has the data folder open, in this process or another.
    #[error("the data folder {path:?} is in use by another host")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The database cannot be opened, or is not one.
    #[error("open the database {path:?}")]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: DatabaseError,
    },
    /// The file is a database of something else.
    #[error("{path:?} is not a dokit database")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The database was written by a newer release. It is left as it is.
    #[error("{path:?} has format {found}; this release reads up to {supported}")]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: i64,
        /// The newest format this release knows.
        supported: i64,
    },
    /// The address cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The address can be reached from other machines, and nobody is asked who they are.
    #[error(
        "{address} can be reached from other machines: ask for a token (Builder::token) or check requests \
         (Builder::check), or say that anyone may call (Builder::allow_anyone)"
    )]
    Unguarded {
        /// The address.
        address: SocketAddr,
    },
    /// The administration address can be reached from other machines, and no token is asked for.
    #[error(
        "the administration address {address} can be reached from other machines: ask for a token \
         (Builder::admin_token)"
    )]
    UnguardedAdmin {
        /// The address.
        address: SocketAddr,
    },
    /// An origin that no browser would send.
    #[error(
        "invalid origin {origin:?}: a scheme, a host and perhaps a port, such as \"https://app.example\""
    )]
    InvalidOrigin {
        /// The origin.
        origin: String,
    },
}

/// What SQLite said. One failure can concern all commits of a group, so it can be cloned.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub struct DatabaseError {
    text: Arc<str>,
}

impl DatabaseError {
    pub(crate) fn new(text: impl Into<Arc<str>>) -> Self {
        Self { text: text.into() }
    }

    /// With the text of its source, since this has none.
    pub(crate) fn of(error: &dyn Error) -> Self {
        Self::new(with_source(error))
    }

    // Not a `From`: SQLite's types stay out of our public signatures.
    pub(crate) fn sqlite(error: &rusqlite::Error) -> Self {
        Self::new(error.to_string())
    }
}

/// The text of an error and that of its source, for a log.
pub(crate) fn with_source(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
