//! The load: connections over HTTP/1.1, each sending its next request when the last is answered, all
//! on one thread. Every answer is checked.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    task::JoinSet,
};

use crate::{
    Result,
    measured::{Measured, nanos},
};

/// What loads run on: one thread, the servers get the rest of the machine.
pub(crate) fn generator() -> Result<Runtime> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    Ok(runtime.enable_all().build()?)
}

/// The objects of a load, `{namespace}/{prefix}-0` and on, and how many increments of each were
/// acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    namespace: &'static str,
    prefix: String,
    counts: Arc<[AtomicU64]>,
}

impl Ledger {
    pub(crate) fn new(namespace: &'static str, objects: u64) -> Self {
        Self {
            namespace,
            prefix: objects.to_string(),
            counts: (0..objects).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    pub(crate) fn objects(&self) -> u64 {
        self.counts.len() as u64
    }

    fn count(&self, object: usize) -> u64 {
        self.counts[object].load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        (0..self.counts.len())
            .map(|object| self.count(object))
            .sum()
    }
}

/// What is asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// Adds one. The answer is the new count.
    Increment,
    /// The answer is what the ledger says.
    Get,
    /// Either, of a server that answers `1` to everything.
    Constant,
    /// Stores a text. The answer is `null`.
    Write(Arc<str>),
    /// The answer is this text.
    Read(Arc<str>),
}

impl Ask {
    fn method(&self) -> &'static str {
        match self {
            Self::Increment | Self::Constant => "increment",
            Self::Get => "get",
            Self::Write(_) => "write",
            Self::Read(_) => "read",
        }
    }

    fn body(&self) -> String {
        match self {
            Self::Increment | Self::Constant => "[1]".to_owned(),
            Self::Get | Self::Read(_) => "[]".to_owned(),
            Self::Write(text) => format!("[\"{text}\"]"),
        }
    }
}

/// Has `connections` ask random objects of the ledger for `warm_up` and then for `span`, which alone
/// is measured, until the last of them is answered: each call that is answered in that time counts.
///
/// # Errors
///
/// When a server cannot be reached, or an answer is not what it has to be.
pub(crate) async fn run(
    address: SocketAddr,
    ledger: &Ledger,
    ask: &Ask,
    connections: u64,
    warm_up: Duration,
    span: Duration,
) -> Result<Measured> {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(Connection::open(address, ledger, ask, connections).await?);
    }
    // Not before: to open many may take longer than the load.
    let measure = Instant::now() + warm_up;
    let end = measure + span;
    let mut tasks = JoinSet::new();
    for (number, mut connection) in (0..).zip(opened) {
        let mut random = Random::new(number);
        let objects = ledger.counts.len();
        tasks.spawn(async move {
            let mut waits = Vec::new();
            let mut now = Instant::now();
            // Once at least, however late it begins.
            loop {
                let sent = now;
                connection.call(random.below(objects)).await?;
                now = Instant::now();
                if now >= measure {
                    waits.push(nanos(now - sent));
                }
                if now >= end {
                    return Ok::<_, crate::Failure>((waits, now));
                }
            }
        });
    }
    let (mut waits, mut last) = (Vec::new(), end);
    while let Some(task) = tasks.join_next().await {
        let (found, ended) = task??;
        waits.extend(found);
        last = last.max(ended);
    }
    Measured::new(waits, last - measure)
}

/// Asks each object of the ledger once, over 64 connections: to make them all, to wake them all, or to
/// see that each has counted what it acknowledged.
///
/// # Errors
///
/// As [`run`]'s.
pub(crate) async fn each(address: SocketAddr, ledger: &Ledger, ask: &Ask) -> Result<()> {
    let connections = ledger.objects().min(64);
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let mut connection = Connection::open(address, ledger, ask, connections).await?;
        let (number, objects) = (usize::try_from(number)?, ledger.counts.len());
        tasks.spawn(async move {
            for object in (number..objects).step_by(64) {
                connection.call(object).await?;
            }
            Ok::<_, crate::Failure>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// One connection and the buffers it uses again for each call.
struct Connection {
    stream: TcpStream,
    ledger: Ledger,
    ask: Ask,
    body: String,
    /// How many connections ask the same objects.
    beside: u64,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    async fn open(
        address: SocketAddr,
        ledger: &Ledger,
        ask: &Ask,
        connections: u64,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            ledger: ledger.clone(),
            ask: ask.clone(),
            body: ask.body(),
            beside: connections,
            request: Vec::new(),
            answer: Vec::new(),
        })
    }

    async fn call(&mut self, object: usize) -> Result<()> {
        use std::io::Write;
        let acknowledged = self.ledger.count(object);
        self.request.clear();
        let Ledger {
            namespace, prefix, ..
        } = &self.ledger;
        write!(
            self.request,
            "POST /{namespace}/{prefix}-{object}/{} HTTP/1.1\r\nhost: localhost\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{}",
            self.ask.method(),
            self.body.len(),
            self.body
        )?;
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let body = loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("the server closed the connection".into());
            }
            if let Some(answer) = Answer::parse(&self.answer)? {
                break answer;
            }
        };
        let text = &self.answer[body.start..];
        if body.status != 200 {
            let text = String::from_utf8_lossy(text);
            return Err(format!("answered {}: {text}", body.status).into());
        }
        self.check(object, acknowledged, text)
    }

    /// Whether the answer is one that the object may give, when `acknowledged` increments of it had
    /// been answered before it was asked.
    fn check(&self, object: usize, acknowledged: u64, text: &[u8]) -> Result<()> {
        let number = || -> Option<u64> { std::str::from_utf8(text).ok()?.parse().ok() };
        let right = match &self.ask {
            Ask::Increment => {
                // It counts all that were answered before, and at most those that are on their way.
                let now = self.ledger.counts[object].fetch_add(1, Ordering::Relaxed) + 1;
                number().is_some_and(|count| count > acknowledged && count < now + self.beside)
            }
            Ask::Get => number() == Some(acknowledged),
            Ask::Constant => text == b"1",
            Ask::Write(_) => text == b"null",
            Ask::Read(expected) => {
                text.strip_prefix(b"\"")
                    .and_then(|text| text.strip_suffix(b"\""))
                    == Some(expected.as_bytes())
            }
        };
        if right {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&text[..text.len().min(200)]);
        Err(format!(
            "{} of object {object} answered {text:?} where {acknowledged} increments were acknowledged",
            self.ask.method()
        )
        .into())
    }
}

/// A whole answer in a buffer.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    /// Where the body starts; it goes on to the buffer's end.
    start: usize,
}

impl Answer {
    /// None until all of it is there.
    fn parse(buffer: &[u8]) -> Result<Option<Self>> {
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(&buffer[..end])?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 "));
        let status = status.and_then(|line| line.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| format!("no HTTP/1.1 answer: {head:?}"))?;
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            let named = name.eq_ignore_ascii_case("content-length");
            named.then(|| value.trim().parse::<usize>().ok())?
        });
        let length = length.ok_or_else(|| format!("an answer without a length: {head:?}"))?;
        let start = end + 4;
        match buffer.len() - start {
            found if found < length => Ok(None),
            found if found == length => Ok(Some(Self { status, start })),
            _ => Err("an answer that is longer than it says".into()),
        }
    }
}

/// Which object is next: even, and the same in each run and for each server.
struct Random(u64);

impl Random {
    fn new(connection: u64) -> Self {
        Self((connection + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn below(&mut self, limit: usize) -> usize {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_once_all_of_it_is_there() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: y\r\n\r\n42";
        for end in 0..whole.len() {
            assert_eq!(Answer::parse(&whole[..end]).unwrap(), None, "{end}");
        }
        let answer = Answer::parse(whole).unwrap().unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(&whole[answer.start..], b"42");
    }

    #[test]
    fn what_is_no_answer_is_an_error() {
        for wrong in [
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n42",
        ] {
            assert!(Answer::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn objects_are_drawn_evenly() {
        let mut random = Random::new(3);
        let mut drawn = [0_u32; 10];
        for _ in 0..10_000 {
            drawn[random.below(10)] += 1;
        }
        assert!(
            drawn.iter().all(|count| (800..1200).contains(count)),
            "{drawn:?}"
        );
    }

    #[tokio::test]
    async fn a_count_that_was_not_acknowledged_is_found() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 1024];
            assert!(stream.read(&mut request).await.unwrap() > 0);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n6";
            stream.write_all(answer).await.unwrap();
        };
        let ledger = Ledger::new("counter", 1);
        ledger.counts[0].store(7, Ordering::Relaxed);
        let (found, ()) = tokio::join!(each(address, &ledger, &Ask::Get), server);
        let error = found.unwrap_err().to_string();
        assert_eq!(
            error,
            "get of object 0 answered \"6\" where 7 increments were acknowledged"
        );
    }
}
