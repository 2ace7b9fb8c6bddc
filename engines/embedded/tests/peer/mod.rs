//! A WebSocket client over TCP that blocks, for tests whose host has a runtime of its own.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use dokit_conformance::Peer;
use dokit_object::{Close, Message, Response};
use tokio_tungstenite::tungstenite::{
    self, WebSocket,
    protocol::{CloseFrame, Role},
};

/// A test that waits longer for anything has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// One end of a socket; the host has the other.
#[derive(Debug)]
pub(crate) struct Tcp {
    pub(crate) socket: WebSocket<TcpStream>,
}

impl Tcp {
    /// Opens a socket at a path, or gives the answer that refused it.
    pub(crate) fn connect(address: SocketAddr, path: &str) -> Result<Self, Box<Response>> {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let mut response = Response::default();
        let status = head.split(' ').nth(1).unwrap();
        *response.status_mut() = status.parse().unwrap();
        for line in head.lines().skip(1) {
            if let Some((name, value)) = line.split_once(": ") {
                let name: http::HeaderName = name.parse().unwrap();
                response.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        if response.status() == http::StatusCode::SWITCHING_PROTOCOLS {
            // The example of RFC 6455, 1.3.
            let accepted = &response.headers()["sec-websocket-accept"];
            assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            let socket = WebSocket::from_raw_socket(stream, Role::Client, None);
            return Ok(Self { socket });
        }
        let length = response.headers()["content-length"].to_str().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        *response.body_mut() = body.into();
        Err(Box::new(response))
    }

    pub(crate) fn send(&mut self, message: impl Into<Message>) {
        self.socket.send(to_frame(message.into())).unwrap();
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Message {
        self.next_or_end()
            .unwrap_or_else(|close| panic!("no message has come: {close:?}"))
    }

    /// The end.
    pub(crate) fn closed(&mut self) -> Close {
        match self.next_or_end() {
            Ok(message) => panic!("{message:?} came where the end was due"),
            Err(close) => close,
        }
    }

    pub(crate) fn next_or_end(&mut self) -> Result<Message, Close> {
        let mut close = Close::vanished();
        // Pings come for ever.
        for _ in 0..4 {
            match self.read() {
                Ok(tungstenite::Message::Text(text)) => return Ok(text.as_str().into()),
                Ok(tungstenite::Message::Binary(bytes)) => return Ok(bytes.into()),
                Ok(tungstenite::Message::Close(Some(frame))) => {
                    close = Close::clean(frame.code.into(), frame.reason.as_str());
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                    panic!("nothing came for {PATIENCE:?}");
                }
                Err(_) => return Err(close),
            }
        }
        panic!("nothing but pings came");
    }

    /// The next frame. A process that was stopped for a while goes on where it was.
    fn read(&mut self) -> tungstenite::Result<tungstenite::Message> {
        loop {
            match self.socket.read() {
                Err(tungstenite::Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    pub(crate) fn close(&mut self, code: u16, reason: &str) {
        let frame = CloseFrame {
            code: code.into(),
            reason: reason.into(),
        };
        self.socket.close(Some(frame)).unwrap();
        self.socket.flush().unwrap();
    }
}

fn to_frame(message: Message) -> tungstenite::Message {
    match message {
        Message::Text(text) => text.into(),
        Message::Binary(bytes) => bytes.into(),
    }
}

impl Peer for Tcp {
    async fn send(&mut self, message: Message) {
        Tcp::send(self, message);
    }

    async fn next(&mut self) -> Message {
        Tcp::next(self)
    }

    async fn closed(&mut self) -> Close {
        Tcp::closed(self)
    }

    async fn close(&mut self, code: u16, reason: &str) {
        Tcp::close(self, code, reason);
    }

    async fn vanish(self) {}
}
