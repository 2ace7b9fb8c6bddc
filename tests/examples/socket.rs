//! A WebSocket to a running example, as a program of its own would open it.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::support::Server;
use serde_json::Value;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

/// A test that waits longer for anything has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its messages are JSON. Dropped, it has vanished without a word.
#[derive(Debug)]
pub(crate) struct Socket {
    socket: WebSocket<Patient>,
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
        let (socket, _) = tungstenite::client(url, Patient(stream)).unwrap();
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
            match self.socket.read().unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} came where a text was due"),
            }
        }
    }

    /// Says goodbye, and waits until the server has.
    pub(crate) fn close(mut self) {
        self.socket.close(None).unwrap();
        while self.socket.read().is_ok() {}
    }
}

/// A process that is stopped while it waits for a stream goes on waiting when it is continued.
#[derive(Debug)]
struct Patient(TcpStream);

fn patiently(mut once: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match once() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

impl Read for Patient {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        patiently(|| self.0.read(bytes))
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        patiently(|| self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
