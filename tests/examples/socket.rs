//! A WebSocket to a running example, as a program of its own would open it.

use std::{io::ErrorKind, net::TcpStream, time::Duration};

use crate::support::Server;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Error, Message, WebSocket};

/// A test that waits longer for anything has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its messages are JSON. Dropped, it has vanished without a word.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: WebSocket<TcpStream>,
}

impl Socket {
    /// Opens a socket at a path of the server.
    pub(crate) fn open(server: &Server, path: &str) -> Self {
        Self::connect(&format!("ws://{}{path}", server.address()))
    }

    /// Opens a socket at a `ws` address.
    pub(crate) fn connect(url: &str) -> Self {
        let host = url.strip_prefix("ws://").unwrap().split('/').next();
        let stream = TcpStream::connect(host.unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let (socket, _) = tungstenite::client(url, stream).unwrap();
        Self { socket }
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(message.into()).unwrap();
    }

    pub(crate) fn send_json(&mut self, value: &Value) {
        self.send(value.to_string());
    }

    /// The next message that is no ping.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            match self.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} came where a text was due"),
            }
        }
    }

    /// Says goodbye, and waits until the server has.
    pub(crate) fn close(mut self) {
        self.socket.close(None).unwrap();
        while self.read().is_ok() {}
    }

    /// The next frame. A process that was stopped for a while goes on where it was.
    fn read(&mut self) -> tungstenite::Result<Message> {
        loop {
            match self.socket.read() {
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }
}
