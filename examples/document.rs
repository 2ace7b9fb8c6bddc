//! A document that several people edit at once: every change makes a version, one that is made to an older
//! version is answered with what has changed, and the history is in SQL.
//!
//! ```sh
//! cargo run --example document
//! curl -d '[{"base":0,"author":"ann","operations":[{"type":"insert","at":0,"text":"Hello"}]}]' http://127.0.0.1:8787/document/plan/edit    # {"version":1,"content":"Hello"}
//! curl -d '[{"base":1,"author":"bob","operations":[{"type":"insert","at":5,"text":", all"},{"type":"delete","at":0,"count":1},{"type":"insert","at":0,"text":"h"}]}]' http://127.0.0.1:8787/document/plan/edit    # {"version":2,"content":"hello, all"}
//! curl -d '[{"base":1,"author":"ann","operations":[]}]' http://127.0.0.1:8787/document/plan/edit    # 409, with version 2
//! curl http://127.0.0.1:8787/document/plan    # {"version":2,"content":"hello, all"}
//! curl -d '[10]' http://127.0.0.1:8787/document/plan/get_history
//! ```
//!
//! A program connects to `/document/plan/websocket`. It is sent `document` first, and then `edited` for each
//! change, its own too; it sends `{"type":"edit","base":2,"author":"ann","operations":[..]}`. What is refused
//! is answered as over HTTP, by `{"error":..,"code":..,"details":..}`; the details of a `conflict` have the
//! document as it is now, so that the program can make its change to that.

use dokit::{
    Context, DurableObject, Error, Request, Response, Result, RpcError, durable_object,
    object::{Message, WebSocket, json_response},
    rpc,
    storage::{
        Timestamp,
        sql::{Sql, SqlError},
    },
};
use serde::{Deserialize, Serialize};

/// How many versions are kept, and how many of them the history shows unless it is asked for more.
const KEPT: u64 = 100;
const SHOWN: u64 = 10;

/// In characters.
const LONGEST: usize = 10_000;
const LONGEST_AUTHOR: usize = 100;

const MIGRATIONS: [(&str, &str); 1] = [(
    "history",
    "CREATE TABLE history (
        version INTEGER PRIMARY KEY,
        content TEXT NOT NULL,
        author TEXT NOT NULL,
        at INTEGER NOT NULL
    ) STRICT",
)];

/// A change of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// The version that was changed.
    pub base: u64,
    /// Who did it. It is taken on trust.
    pub author: String,
    /// What was done, one thing after the other.
    pub operations: Vec<Operation>,
}

/// One thing that is done to a text. Places and lengths are in characters (Unicode scalar values, which
/// JavaScript counts by `[...text].length`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Operation {
    /// Puts a text in.
    Insert {
        /// How many characters are before it.
        at: u32,
        /// The text.
        text: String,
    },
    /// Takes characters out.
    Delete {
        /// How many characters are before them.
        at: u32,
        /// How many they are.
        count: u32,
    },
}

/// The document as it is now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Content {
    /// 0 for the empty one that it begins with, and 1 more after each change.
    pub version: u64,
    /// The text.
    pub content: String,
}

/// A version of the document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub version: u64,
    /// The text as it was then.
    pub content: String,
    /// Who made it.
    pub author: String,
    /// When, in milliseconds since 1970.
    pub at: Timestamp,
}

/// Why an edit is refused.
#[derive(Debug, thiserror::Error, RpcError)]
pub enum EditError {
    /// Somebody else was faster.
    #[error("the edit is of version {base}, the document is at version {version}")]
    #[rpc(status = 409)]
    Conflict {
        /// The version that was changed.
        base: u64,
        /// The version that the document is at.
        version: u64,
        /// The text as it is now.
        content: String,
    },
    /// An operation is not within the text, as it is when its turn comes.
    #[error("operation {operation} ends at character {end}, the text has {length}")]
    #[rpc(status = 400)]
    OutOfRange {
        /// Which one, from 0.
        operation: usize,
        /// Where it would end, in characters.
        end: usize,
        /// How many characters there are.
        length: usize,
    },
    /// The text would be too long.
    #[error("the text would have {length} characters; the limit is {limit}")]
    #[rpc(status = 413)]
    TooLong {
        /// How long, in characters.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Whatever else fails.
    #[error(transparent)]
    #[rpc(transparent)]
    Other(#[from] Error),
}

impl From<SqlError> for EditError {
    fn from(error: SqlError) -> Self {
        Self::Other(error.into())
    }
}

/// What a document can be asked.
#[rpc]
pub trait DocumentApi {
    /// Changes the document, and answers it as it is then.
    async fn edit(&mut self, edit: Edit) -> Result<Content, EditError>;
    /// The document as it is now.
    async fn get_content(&self) -> Result<Content>;
    /// The latest versions, newest first: 10, or as many as are asked for and kept.
    async fn get_history(&self, limit: Option<u64>) -> Result<Vec<Version>>;
}

/// What is sent to the document.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Asked {
    Edit(Edit),
}

/// What the document sends.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    /// The first of all.
    Document(Content),
    /// Somebody has made this version, from the one before it.
    Edited {
        version: u64,
        author: &'a str,
        operations: &'a [Operation],
    },
}

pub(crate) struct Document {
    ctx: Context,
    sql: Sql,
}

#[durable_object]
impl DurableObject for Document {
    const SQL: bool = true;

    type Api = DocumentApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        let sql = ctx.sql()?;
        sql.migrate(&MIGRATIONS)?;
        Ok(Self { ctx, sql })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method().as_str(), request.uri().path()) {
            ("GET", "/") => json_response(200, &self.get_content().await?),
            ("GET", "/websocket") => {
                let socket = self.ctx.accept_websocket(&request, &[])?;
                socket.send_json(&Told::Document(self.get_content().await?))?;
                Ok(socket.into_response())
            }
            (verb, path) => {
                let message = format!("{verb} {path} is nothing that a document answers");
                Err(Error::new(404, "not_found", message))
            }
        }
    }

    async fn websocket_message(&mut self, socket: &WebSocket, message: Message) -> Result<()> {
        let edited = match message.parse_json() {
            Ok(Asked::Edit(edit)) => self.edit(edit).await,
            Err(refused) => Err(refused.into()),
        };
        let Err(refused) = edited else {
            return Ok(());
        };
        let refused = refused.to_reply();
        if refused.status >= 500 {
            // Nothing of the call may remain, and nothing does where it fails.
            return Err(refused.into());
        }
        socket.send(refused.to_body())
    }
}

impl DocumentApi for Document {
    async fn edit(&mut self, edit: Edit) -> Result<Content, EditError> {
        let Content { version, content } = self.get_content().await?;
        let Edit {
            base,
            author,
            operations,
        } = edit;
        if base != version {
            return Err(EditError::Conflict {
                base,
                version,
                content,
            });
        }
        if author.chars().count() > LONGEST_AUTHOR {
            let message = format!("the author's name is over {LONGEST_AUTHOR} characters long");
            return Err(Error::new(400, "bad_author", message).into());
        }
        let content = apply(&content, &operations)?;
        let version = version + 1;
        let row = (version, &content, &author, self.ctx.now());
        self.sql.exec(
            "INSERT INTO history (version, content, author, at) VALUES (?, ?, ?, ?)",
            row,
        )?;
        let old = (version.saturating_sub(KEPT),);
        self.sql
            .exec("DELETE FROM history WHERE version <= ?", old)?;
        self.ctx.broadcast().send_json(&Told::Edited {
            version,
            author: &author,
            operations: &operations,
        })?;
        Ok(Content { version, content })
    }

    async fn get_content(&self) -> Result<Content> {
        let newest = "SELECT version, content FROM history ORDER BY version DESC LIMIT 1";
        let content = self.sql.exec(newest, ())?.next().transpose()?;
        Ok(content.unwrap_or_default())
    }

    async fn get_history(&self, limit: Option<u64>) -> Result<Vec<Version>> {
        let newest =
            "SELECT version, content, author, at FROM history ORDER BY version DESC LIMIT ?";
        let limit = limit.unwrap_or(SHOWN).min(KEPT);
        Ok(self.sql.exec(newest, (limit,))?.to_vec()?)
    }
}

/// The text after these operations.
fn apply(text: &str, operations: &[Operation]) -> Result<String, EditError> {
    let mut text: Vec<char> = text.chars().collect();
    for (number, operation) in operations.iter().enumerate() {
        let (at, count, new) = match operation {
            Operation::Insert { at, text } => (*at, 0, text.as_str()),
            Operation::Delete { at, count } => (*at, *count, ""),
        };
        let range = at as usize..(at as usize).saturating_add(count as usize);
        let (end, length) = (range.end, text.len());
        if end > length {
            let operation = number;
            return Err(EditError::OutOfRange {
                operation,
                end,
                length,
            });
        }
        text.splice(range, new.chars());
        let (length, limit) = (text.len(), LONGEST);
        if length > limit {
            return Err(EditError::TooLong { length, limit });
        }
    }
    Ok(text.into_iter().collect())
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<Document>();
    serve::main("document", host, include_str!("document.rs"))
}
