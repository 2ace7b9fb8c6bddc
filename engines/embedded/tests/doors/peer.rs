//! A server to speak to byte by byte.

use std::{future::Future, net::SocketAddr, time::Duration};

use dokit_embedded::{Builder, Host};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

/// A host that serves, until it is told to stop.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) host: Host,
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(builder: Builder) -> Self {
        let host = builder.start().unwrap();
        let listener = host.listen("127.0.0.1:0").await.unwrap();
        let address = listener.address();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(listener.serve(async {
            let _ = stopped.await;
        }));
        Self {
            host,
            address,
            stop: Some(stop),
            serving,
        }
    }

    pub(crate) async fn connect(&self) -> Peer {
        Peer::connect(self.address).await
    }

    /// A request on a connection of its own.
    pub(crate) async fn ask(&self, request: &str) -> Answer {
        let mut peer = self.connect().await;
        peer.send(request).await;
        peer.answer().await
    }

    pub(crate) fn tell_to_stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    pub(crate) async fn stopped(&mut self) {
        soon(&mut self.serving).await.unwrap();
    }
}

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let of = |line: &'_ str| {
            let (this, _) = line.split_once(':')?;
            (this == name).then_some(())
        };
        let line = self.head.lines().find(|line| of(line).is_some())?;
        Some(line.split_once(':')?.1.trim())
    }
}

impl Peer {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            read: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        // A server that has answered already may not read on.
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// The next answer, whole.
    pub(crate) async fn answer(&mut self) -> Answer {
        let answer = self.answer_if_any().await;
        answer.expect("the connection is not closed")
    }

    /// The next answer; none where the connection is closed.
    pub(crate) async fn answer_if_any(&mut self) -> Option<Answer> {
        let mut answer = self.head_if_any().await?;
        let length = answer.header("content-length").unwrap_or("0");
        let length: usize = length.parse().unwrap();
        while self.read.len() < length {
            self.more().await?;
        }
        answer.body = self.read.drain(..length).collect();
        Some(answer)
    }

    /// The next answer, which has no body; none where the connection is closed.
    pub(crate) async fn head_if_any(&mut self) -> Option<Answer> {
        let end = loop {
            let end = self.read.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                break end + 4;
            }
            self.more().await?;
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        Some(Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: Vec::new(),
        })
    }

    async fn more(&mut self) -> Option<usize> {
        let read = soon(self.stream.read_buf(&mut self.read)).await;
        read.ok().filter(|read| *read > 0)
    }

    /// Returns once the other end has closed the connection without another word.
    pub(crate) async fn closed(&mut self) {
        match soon(self.stream.read_buf(&mut self.read)).await {
            Ok(0) | Err(_) => {}
            Ok(_) => panic!("got {:?}", String::from_utf8_lossy(&self.read)),
        }
    }
}

/// What has to come, though it is not known when.
pub(crate) async fn soon<R>(work: impl Future<Output = R>) -> R {
    let long = Duration::from_secs(60);
    let done = tokio::time::timeout(long, work).await;
    done.expect("it did not come in a minute")
}

/// A request without a body.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
}

/// A call, as curl sends it.
pub(crate) fn post(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}
