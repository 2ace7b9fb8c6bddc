//! One connection: HTTP/1.1 by hyper, on a stream that does not wait for ever.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    body::{Body, Frame, Incoming, SizeHint},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, Sleep, sleep_until},
};

use crate::metrics::Metrics;

/// How much of a request is buffered before it is taken: the longest head, therefore, in bytes.
const BUFFER: usize = 64 * 1024;

/// How long the other end may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For a request's head, from the opening of the connection or from the head's first byte.
    pub(crate) head: Duration,
    /// For its body, from there on.
    pub(crate) body: Duration,
    /// Between two requests.
    pub(crate) idle: Duration,
    /// To take some of a response.
    pub(crate) write: Duration,
}

/// What a server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Serving,
    /// Finish the request that runs, and close.
    Draining,
    /// Close.
    Over,
}

/// Serves a connection until it ends, or until it is told to.
pub(crate) async fn serve<A, R>(stream: Timed, answer: A, mut stage: watch::Receiver<Stage>)
where
    A: Fn(http::Request<Arriving>) -> R + Send + Sync,
    R: Future<Output = http::Response<Full<Bytes>>> + Send,
{
    let turn = Arc::clone(&stream.turn);
    let service = service_fn(|request: http::Request<Incoming>| {
        turn.begin(BODY);
        let arriving = request.map(|incoming| Arriving::new(incoming, Arc::clone(&turn)));
        let answer = answer(arriving);
        let turn = Arc::clone(&turn);
        async move {
            let response = answer.await;
            // A connection that is handed over speaks another protocol from here on, with times of its
            // own.
            if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
                turn.begin(HEAD);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(BUFFER);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection.with_upgrades());
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("a connection broke off: {error}");
                }
                return;
            }
            changed = stage.changed() => {
                if changed.is_err() || *stage.borrow_and_update() == Stage::Over {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// What a connection waits for. The other end is to send a head, and a body, and then we are to answer.
#[derive(Debug, Default)]
struct Turn(AtomicUsize);

const HEAD: usize = 0;
const BODY: usize = 1;
const ANSWER: usize = 2;

impl Turn {
    /// One task alone does this.
    fn begin(&self, what: usize) {
        let number = self.0.load(Ordering::Relaxed) / 4 + 1;
        self.0.store(number * 4 + what, Ordering::Relaxed);
    }

    /// Different for each turn.
    fn number(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that is on its way.
#[derive(Debug)]
pub(crate) struct Arriving {
    incoming: Incoming,
    turn: Arc<Turn>,
}

impl Arriving {
    fn new(incoming: Incoming, turn: Arc<Turn>) -> Self {
        let this = Self { incoming, turn };
        this.look();
        this
    }

    fn look(&self) {
        if self.incoming.is_end_stream() {
            self.turn.begin(ANSWER);
        }
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        match &frame {
            Some(Ok(_)) => self.look(),
            None | Some(Err(_)) => self.turn.begin(ANSWER),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A TCP stream whose other end has to keep moving. It gives up with [`io::ErrorKind::TimedOut`].
///
/// Nothing of it costs a timer a request: a timer that is set is left to fire, and asked then whether it
/// is still meant.
#[derive(Debug)]
pub(crate) struct Timed {
    stream: TcpStream,
    patience: Patience,
    turn: Arc<Turn>,
    /// The turn that the times below are of.
    timed: usize,
    /// When the turn began, or the last bytes of a response left that the other end was slow to take.
    since: Instant,
    /// When a head began to come that is not whole yet.
    head_since: Option<Instant>,
    /// Since when the other end takes nothing.
    stuck_since: Option<Instant>,
    reading: Timer,
    writing: Timer,
    metrics: Arc<Metrics>,
    /// Gives the place among the connections back.
    _place: OwnedSemaphorePermit,
}

impl Timed {
    pub(crate) fn new(
        stream: TcpStream,
        patience: Patience,
        place: OwnedSemaphorePermit,
        metrics: Arc<Metrics>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            patience,
            turn: Arc::default(),
            timed: 0,
            since: now,
            head_since: Some(now),
            stuck_since: None,
            reading: Timer::default(),
            writing: Timer::default(),
            metrics,
            _place: place,
        }
    }

    /// What is waited for now.
    fn turn(&mut self) -> usize {
        let turn = self.turn.number();
        if turn != self.timed {
            self.timed = turn;
            self.since = Instant::now();
            self.head_since = None;
        }
        turn % 4
    }

    fn too_slow(&self, what: &'static str) -> io::Error {
        let cut_off = &self.metrics.connections.cut_off;
        cut_off.fetch_add(1, Ordering::Relaxed);
        io::Error::new(
            io::ErrorKind::TimedOut,
            format!("waited too long for {what}"),
        )
    }

    /// What the other end has taken.
    fn taken(
        &mut self,
        result: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let turn = self.turn();
        if result.is_ready() {
            if self.stuck_since.take().is_some() {
                self.since = Instant::now();
            }
            if turn == HEAD {
                // Hyper may wait for the next request already, and not ask again.
                let _ = self.reading.passed(self.since + self.patience.idle, cx);
            }
            return result;
        }
        if turn != HEAD {
            return Poll::Pending;
        }
        let since = *self.stuck_since.get_or_insert_with(Instant::now);
        ready!(self.writing.passed(since + self.patience.write, cx));
        Poll::Ready(Err(self.too_slow("a response to be taken")))
    }
}

impl AsyncRead for Timed {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let turn = this.turn();
        if read.is_ready() {
            if turn == HEAD {
                this.head_since.get_or_insert_with(Instant::now);
            }
            return read;
        }
        let (until, what) = match (turn, this.head_since) {
            (HEAD, Some(since)) => (since + this.patience.head, "the head of a request"),
            (HEAD, None) => (this.since + this.patience.idle, "a request"),
            (BODY, _) => (this.since + this.patience.body, "the body of a request"),
            _ => return Poll::Pending,
        };
        ready!(this.reading.passed(until, cx));
        Poll::Ready(Err(this.too_slow(what)))
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.taken(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.taken(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A timer that may be asked for another moment each time.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Ready once `until` has passed.
    fn passed(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(until)));
        if until < sleep.deadline() {
            sleep.as_mut().reset(until);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if until <= sleep.deadline() {
                return Poll::Ready(());
            }
            // It was set for an earlier one.
            sleep.as_mut().reset(until);
        }
    }
}
