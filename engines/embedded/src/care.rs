//! What an operator does with the data: look what is there, take one object out and put it in again,
//! and back up the whole store while it serves.
//!
//! All of it reads over connections of its own, each in one read transaction, so that it sees one
//! moment and keeps nobody waiting.

mod backup;
mod export;
mod import;
mod line;
mod list;

pub use backup::BackupError;
pub use export::ExportError;
pub use import::{Existing, ImportError};
pub(crate) use import::{Exported, Import};
pub use list::Listed;
