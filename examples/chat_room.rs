//! A chat room: sockets that stay open while the room sleeps, a history, and a page to chat in.
//!
//! ```sh
//! cargo run --example chat_room    # open http://127.0.0.1:8787/chat-room/lobby in two tabs
//! curl -d '["bot","hello"]' http://127.0.0.1:8787/chat-room/lobby/say
//! curl -d '[10]' http://127.0.0.1:8787/chat-room/lobby/get_recent_messages
//! curl -d '[]' http://127.0.0.1:8787/chat-room/lobby/get_online_users    # []
//! ```
//!
//! A program connects to `/chat-room/lobby/websocket?name=ann`. It sends `{"type":"message","text":"hello"}`,
//! or `{"type":"whisper","to":"bob","text":"psst"}`; it is sent `history` first, and then `message`,
//! `whisper`, `join`, `leave` and `error`. Every message has a number, so it can see that none is missing.
//! Names are taken on trust: who asks people who they are does so in `Builder::check`, or before.

use std::{borrow::Cow, collections::BTreeSet};

use dokit::{
    Context, DurableObject, Error, Request, Response, Result, durable_object,
    object::{Close, Message, Storage, WebSocket},
    rpc,
    storage::{Family, ListOptions, Schema, Timestamp, TypedStorage},
};
use serde::{Deserialize, Serialize};

/// The page to chat in.
const PAGE: &str = include_str!("chat_room.html");

/// How many messages are kept, and how many of them who joins is shown.
const KEPT: u64 = 100;
const SHOWN: usize = 50;

/// In characters.
const LONGEST_NAME: usize = 32;
const LONGEST_TEXT: usize = 2_000;

/// What a room can be asked without a socket.
#[rpc]
pub trait ChatRoomApi {
    /// Says something to everybody in the room, and answers the message as it is kept.
    async fn say(&mut self, name: String, text: String) -> Result<ChatMessage>;
    /// Who is in the room, each once.
    async fn get_online_users(&self) -> Result<BTreeSet<String>>;
    /// The last messages, oldest first: 50, or as many as are asked for and kept.
    async fn get_recent_messages(&self, limit: Option<usize>) -> Result<Vec<ChatMessage>>;
}

/// Something that was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// 1 for the first message of the room, and so on without a gap.
    pub id: u64,
    /// Who said it.
    pub name: String,
    /// What was said.
    pub text: String,
    /// When, in milliseconds since 1970.
    pub at: Timestamp,
}

/// What is sent to the room.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Asked {
    Message { text: String },
    Whisper { to: String, text: String },
}

/// What the room sends.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Told<'a> {
    /// The first of all.
    History {
        messages: Vec<ChatMessage>,
        online: BTreeSet<String>,
    },
    Message(&'a ChatMessage),
    /// To all sockets of two people.
    Whisper {
        name: &'a str,
        to: &'a str,
        text: &'a str,
        at: Timestamp,
    },
    Join {
        name: &'a str,
        at: Timestamp,
    },
    Leave {
        name: &'a str,
        at: Timestamp,
    },
    /// To who sent what cannot be done.
    Error {
        code: &'a str,
        error: String,
    },
}

#[derive(Schema)]
struct ChatSchema {
    /// The number of the last message.
    last: u64,
    /// Each message under a key of its own: what one writes does not touch another's.
    #[schema(prefix = "message:")]
    messages: Family<ChatMessage>,
}

pub(crate) struct ChatRoom {
    ctx: Context,
    storage: TypedStorage<ChatSchema, Storage>,
}

#[durable_object]
impl DurableObject for ChatRoom {
    type Api = ChatRoomApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        // A page asks whether the connection still stands; the room sleeps on.
        ctx.set_auto_response("ping", "pong")?;
        let storage = TypedStorage::new(ctx.storage());
        Ok(Self { ctx, storage })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        match (request.method().as_str(), request.uri().path()) {
            ("GET", "/") => page(),
            ("GET", "/websocket") => self.join(&request).await,
            (verb, path) => {
                let message = format!("{verb} {path} is nothing that a chat room answers");
                Err(Error::new(404, "not_found", message))
            }
        }
    }

    async fn websocket_message(&mut self, socket: &WebSocket, message: Message) -> Result<()> {
        // Before anything is written: an answered error is a call that succeeds.
        let asked = match self.read(&message) {
            Ok(asked) => asked,
            Err(refused) => {
                let code = refused.code();
                let error = refused.to_string();
                return socket.send_json(&Told::Error { code, error });
            }
        };
        let name = name_of(socket);
        match asked {
            Asked::Message { text } => {
                self.say(name.to_owned(), text).await?;
            }
            Asked::Whisper { to, text } => {
                let at = self.ctx.now();
                let (to, text) = (&*to, &*text);
                for tag in BTreeSet::from([name, to]) {
                    let told = Told::Whisper { name, to, text, at };
                    self.ctx.broadcast().tagged(tag).send_json(&told)?;
                }
            }
        }
        Ok(())
    }

    async fn websocket_close(&mut self, socket: &WebSocket, _: Close) -> Result<()> {
        let name = name_of(socket);
        // Who has another tab open is still here.
        if self.ctx.websockets_with_tag(name).is_empty() {
            let at = self.ctx.now();
            self.ctx.broadcast().send_json(&Told::Leave { name, at })?;
        }
        Ok(())
    }
}

impl ChatRoom {
    async fn join(&mut self, request: &Request) -> Result<Response> {
        let query = request.uri().query().unwrap_or_default();
        let mut query = form_urlencoded::parse(query.as_bytes());
        let name = query.find(|(key, _)| key == "name");
        let name = name.map_or(Cow::Borrowed("Anonymous"), |(_, name)| name);
        let name = checked("name", &name, LONGEST_NAME)?;

        let is_new = self.ctx.websockets_with_tag(name).is_empty();
        // The tag stays with the socket while the room sleeps.
        let socket = self.ctx.accept_websocket(request, &[name])?;
        socket.send_json(&Told::History {
            messages: self.get_recent_messages(None).await?,
            online: self.get_online_users().await?,
        })?;
        if is_new {
            let at = self.ctx.now();
            let others = self.ctx.broadcast().except(&socket);
            others.send_json(&Told::Join { name, at })?;
        }
        Ok(socket.into_response())
    }

    /// What a message asks, where that can be done.
    fn read(&self, message: &Message) -> Result<Asked> {
        let asked: Asked = message.parse_json()?;
        let (Asked::Message { text } | Asked::Whisper { text, .. }) = &asked;
        checked("text", text, LONGEST_TEXT)?;
        if let Asked::Whisper { to, .. } = &asked
            && self.ctx.websockets_with_tag(to).is_empty()
        {
            let message = format!("{to:?} is not in the room");
            return Err(Error::new(404, "nobody", message));
        }
        Ok(asked)
    }
}

impl ChatRoomApi for ChatRoom {
    async fn say(&mut self, name: String, text: String) -> Result<ChatMessage> {
        checked("name", &name, LONGEST_NAME)?;
        checked("text", &text, LONGEST_TEXT)?;
        let id = self.storage.get(ChatSchema::LAST).await?.unwrap_or(0) + 1;
        let at = self.ctx.now();
        let message = ChatMessage { id, name, text, at };
        self.storage.put(ChatSchema::LAST, &id).await?;
        let key = ChatSchema::MESSAGES.key(in_order(id));
        self.storage.put(key, &message).await?;
        if let Some(old) = id.checked_sub(KEPT) {
            let key = ChatSchema::MESSAGES.key(in_order(old));
            self.storage.delete(key).await?;
        }
        self.ctx.broadcast().send_json(&Told::Message(&message))?;
        Ok(message)
    }

    async fn get_online_users(&self) -> Result<BTreeSet<String>> {
        let sockets = self.ctx.websockets();
        Ok(sockets.iter().map(name_of).map(str::to_owned).collect())
    }

    async fn get_recent_messages(&self, limit: Option<usize>) -> Result<Vec<ChatMessage>> {
        let newest = ListOptions::new().reverse().limit(limit.unwrap_or(SHOWN));
        let messages = self.storage.list_family(ChatSchema::MESSAGES, newest);
        let messages = messages.await?.into_iter().rev();
        Ok(messages.map(|(_, message)| message).collect())
    }
}

fn page() -> Result<Response> {
    let mut response = Response::new(PAGE.into());
    let html = "text/html; charset=utf-8"
        .parse()
        .map_err(Error::internal)?;
    response.headers_mut().insert("content-type", html);
    Ok(response)
}

/// Whose socket it is.
fn name_of(socket: &WebSocket) -> &str {
    socket.tags().first().map_or("", String::as_str)
}

/// Numbers as texts that sort as the numbers do.
fn in_order(id: u64) -> String {
    format!("{id:020}")
}

/// Refuses what cannot be shown.
fn checked<'a>(what: &str, text: &'a str, longest: usize) -> Result<&'a str> {
    let length = text.chars().count();
    if length > longest || text.trim().is_empty() {
        let message =
            format!("the {what} has {length} characters; expected 1 to {longest}, not all blank");
        return Err(Error::new(400, format!("bad_{what}"), message));
    }
    Ok(text)
}

#[cfg(not(any(test, target_arch = "wasm32")))]
#[path = "support/serve.rs"]
mod serve;

#[cfg(not(any(test, target_arch = "wasm32")))]
fn main() -> std::process::ExitCode {
    let host = dokit::Host::builder().object::<ChatRoom>();
    serve::main("chat_room", host, include_str!("chat_room.rs"))
}
