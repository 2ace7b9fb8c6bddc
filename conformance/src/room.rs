//! The object that the socket cases drive.

use dokit_client::rpc;
use dokit_object::{
    Alarm, Close, Context, DurableObject, Error, Message, Request, Response, Result, WebSocket,
    WebSocketError, durable_object,
};
use dokit_storage::{Batch, KeyRange, ListOptions, Store, Timestamp};

/// What the suite asks of a room, beside what it sends through its sockets.
#[rpc]
pub trait RoomApi {
    /// The names of the sockets with a tag, or of all.
    async fn names(&self, tag: Option<String>) -> Result<Vec<String>, Error>;
    /// What the room was told of sockets that broke or ended, in order.
    async fn ends(&self) -> Result<Vec<String>, Error>;
    /// The number of messages that were counted.
    async fn counted(&self) -> Result<u64, Error>;
    /// How often the room woke.
    async fn wakes(&self) -> Result<u64, Error>;
    /// Counts, and sends a text to all; fails after that where it is told to.
    async fn say(&mut self, text: String, fail: bool) -> Result<usize, Error>;
    /// Sends the first text, commits, sends the second and fails.
    async fn say_and_commit_and_fail(&mut self, first: String, second: String)
    -> Result<(), Error>;
    /// Tries to send where only reading is allowed.
    async fn say_while_reading(&self) -> Result<(), Error>;
    /// Attaches so many letters to the first socket.
    async fn attach_letters(&mut self, letters: usize) -> Result<(), Error>;
    /// Attaches a name to every socket, and fails where it is told to.
    async fn rename(&mut self, name: String, fail: bool) -> Result<(), Error>;
    /// Sets the text that is answered with `pong`.
    async fn answer_automatically(&mut self, request: Option<String>) -> Result<(), Error>;
    /// When a socket was last answered automatically, by its name.
    async fn answered_at(&self, name: String) -> Result<Option<Timestamp>, Error>;
    /// Closes the socket of this name, and fails where it is told to.
    async fn close(&mut self, name: String, code: u16, fail: bool) -> Result<(), Error>;
    /// Has the alarm send a text to all.
    async fn say_at(&mut self, in_millis: i64) -> Result<(), Error>;
}

/// The object that the socket cases drive. A socket is opened at `/live?name=ann&tags=a,b`; each is
/// welcomed, and its name is its attachment. It answers `ping` with `pong` without waking.
#[derive(Debug)]
pub struct Room {
    ctx: Context,
}

const ENDS: &str = "end:";

#[durable_object]
impl DurableObject for Room {
    type Api = RoomApiServer;

    async fn new(ctx: Context) -> Result<Self> {
        ctx.set_auto_response("ping", "pong")?;
        let room = Self { ctx };
        room.add("wakes").await?;
        Ok(room)
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let query = request.uri().query().unwrap_or_default();
        let value = |key: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find_map(|(name, value)| (name == key).then_some(value))
        };
        let tags = value("tags").unwrap_or_default().split(',');
        let tags: Vec<&str> = tags.filter(|tag| !tag.is_empty()).collect();
        let socket = self.ctx.accept_websocket(&request, &tags)?;
        socket.set_attachment(value("name").unwrap_or_default())?;
        socket.send("welcome")?;
        self.add("accepted").await?;
        match request.uri().path() {
            "/forgotten" => Ok(Response::new("not the socket's answer".into())),
            "/fail" => Err(planned()),
            "/early" => {
                self.ctx.commit().await?;
                Err(planned())
            }
            _ => Ok(socket.into_response()),
        }
    }

    async fn alarm(&mut self, _: Alarm) -> Result<()> {
        self.ctx.broadcast().send("the alarm")?;
        Ok(())
    }

    async fn websocket_message(&mut self, socket: &WebSocket, message: Message) -> Result<()> {
        let Some(text) = message.as_text() else {
            return socket.send(message);
        };
        match text.split_once(' ').unwrap_or((text, "")) {
            ("count", _) => {
                let count = self.add("counted").await?;
                socket.send_json(&count)
            }
            ("fail", _) => {
                self.add("counted").await?;
                socket.set_attachment("failed")?;
                socket.send("a failed call sends nothing")?;
                Err(planned())
            }
            ("panic", _) => {
                socket.send("a failed call sends nothing")?;
                panic!("planned panic");
            }
            ("who", _) => {
                let name: Option<String> = socket.attachment()?;
                socket.send(format!(
                    "{} {}",
                    name.unwrap_or_default(),
                    socket.tags().join(",")
                ))
            }
            ("rename", name) => socket.set_attachment(name),
            ("others", text) => {
                let sent = self.ctx.broadcast().except(socket).send(text)?;
                socket.send_json(&sent)
            }
            ("tagged", rest) => {
                let (tag, text) = rest.split_once(' ').unwrap_or((rest, ""));
                let sent = self.ctx.broadcast().tagged(tag).except(socket).send(text)?;
                socket.send_json(&sent)
            }
            ("close", reason) => socket.close(4001, reason),
            (_, _) => socket.send(text),
        }
    }

    async fn websocket_close(&mut self, socket: &WebSocket, close: Close) -> Result<()> {
        let name: Option<String> = socket.attachment()?;
        let name = name.unwrap_or_default();
        let clean = if close.was_clean { "clean" } else { "broken" };
        let told = format!("{name} {} {} {clean}", close.code, close.reason);
        self.tell(format!("{name} {} {clean}", close.code)).await?;
        // To the others: it is not among them any more.
        self.ctx.broadcast().send(told)?;
        Ok(())
    }

    async fn websocket_error(&mut self, socket: &WebSocket, error: WebSocketError) -> Result<()> {
        let name: Option<String> = socket.attachment()?;
        self.tell(format!("{} broke: {error}", name.unwrap_or_default()))
            .await
    }
}

impl RoomApi for Room {
    async fn names(&self, tag: Option<String>) -> Result<Vec<String>, Error> {
        let sockets = match tag {
            Some(tag) => self.ctx.websockets_with_tag(&tag),
            None => self.ctx.websockets(),
        };
        let names = sockets.iter().map(WebSocket::attachment::<String>);
        names.map(|name| Ok(name?.unwrap_or_default())).collect()
    }

    async fn ends(&self) -> Result<Vec<String>, Error> {
        let range: KeyRange = ListOptions::new().prefix(ENDS).to_range()?;
        let entries = self.ctx.storage().list(&range).await?;
        let ends = entries
            .iter()
            .map(|(key, json)| dokit_storage::decode(key, json))
            .collect::<dokit_storage::Result<_>>();
        Ok(ends?)
    }

    async fn counted(&self) -> Result<u64, Error> {
        self.number("counted").await
    }

    async fn wakes(&self) -> Result<u64, Error> {
        self.number("wakes").await
    }

    async fn say(&mut self, text: String, fail: bool) -> Result<usize, Error> {
        self.add("counted").await?;
        let sent = self.ctx.broadcast().send(text)?;
        if fail { Err(planned()) } else { Ok(sent) }
    }

    async fn say_and_commit_and_fail(
        &mut self,
        first: String,
        second: String,
    ) -> Result<(), Error> {
        self.ctx.broadcast().send(first)?;
        self.add("counted").await?;
        self.ctx.commit().await?;
        self.ctx.broadcast().send(second)?;
        Err(planned())
    }

    async fn say_while_reading(&self) -> Result<(), Error> {
        self.ctx.broadcast().send("from a call that reads")?;
        Ok(())
    }

    async fn attach_letters(&mut self, letters: usize) -> Result<(), Error> {
        for socket in self.ctx.websockets() {
            socket.set_attachment(&"x".repeat(letters))?;
        }
        Ok(())
    }

    async fn rename(&mut self, name: String, fail: bool) -> Result<(), Error> {
        for socket in self.ctx.websockets() {
            socket.set_attachment(&name)?;
        }
        if fail { Err(planned()) } else { Ok(()) }
    }

    async fn answer_automatically(&mut self, request: Option<String>) -> Result<(), Error> {
        match request {
            Some(request) => self.ctx.set_auto_response(request, "pong"),
            None => self.ctx.clear_auto_response(),
        }
    }

    async fn answered_at(&self, name: String) -> Result<Option<Timestamp>, Error> {
        Ok(self.find(&name)?.auto_responded_at())
    }

    async fn close(&mut self, name: String, code: u16, fail: bool) -> Result<(), Error> {
        self.find(&name)?.close(code, "asked to")?;
        if fail { Err(planned()) } else { Ok(()) }
    }

    async fn say_at(&mut self, in_millis: i64) -> Result<(), Error> {
        let now = self.ctx.now().as_millis();
        let mut batch = Batch::new();
        batch.set_alarm(Timestamp::from_millis(now + in_millis));
        Ok(self.ctx.storage().commit(batch).await?)
    }
}

impl Room {
    fn find(&self, name: &str) -> Result<WebSocket> {
        for socket in self.ctx.websockets() {
            if socket.attachment::<String>()?.as_deref() == Some(name) {
                return Ok(socket);
            }
        }
        Err(Error::new(404, "no_such_socket", name))
    }

    async fn number(&self, key: &str) -> Result<u64> {
        let json = self.ctx.storage().get(key).await?;
        let number = json.map(|json| dokit_storage::decode(key, &json));
        Ok(number.transpose()?.unwrap_or(0))
    }

    async fn add(&self, key: &str) -> Result<u64> {
        let number = self.number(key).await? + 1;
        let mut batch = Batch::new();
        batch.put(key, number.to_string());
        self.ctx.storage().commit(batch).await?;
        Ok(number)
    }

    async fn tell(&self, end: String) -> Result<()> {
        let number = self.add("ends").await?;
        let mut batch = Batch::new();
        batch.put(
            format!("{ENDS}{number:04}"),
            dokit_storage::encode("an end", &end)?,
        );
        Ok(self.ctx.storage().commit(batch).await?)
    }
}

fn planned() -> Error {
    Error::new(418, "planned", "planned failure")
}
