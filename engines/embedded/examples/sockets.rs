//! What open WebSockets of sleeping objects cost: opens them, has all objects sleep, sends a message
//! through each and waits for it to come back, and prints the memory of the process in between.
//!
//! ```text
//! cargo run --release -p dokit-embedded --example sockets [sockets, 10,000] [sockets an object, 1]
//! ```
//!
//! The clients are a process of their own, started by this one. Each process needs a file descriptor a
//! socket (`ulimit -n`), and a machine has some 28,000 ports to connect from.

#![expect(
    clippy::disallowed_methods,
    reason = "a measurement takes time and runs clients beside each other"
)]

use std::{
    env,
    error::Error,
    fs,
    process::Stdio,
    time::{Duration, Instant},
};

use dokit_embedded::Host;
use dokit_object::{
    Context, DurableObject, Message, Request, Response, Result, WebSocket, durable_object,
};
use futures_util::{SinkExt, StreamExt, TryStreamExt, stream};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin},
    net::TcpStream,
    process::{ChildStdin, ChildStdout, Command},
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};

type AnyResult<T> = std::result::Result<T, Box<dyn Error>>;

/// How long an object has no call when it goes to sleep.
const SLEEP_AFTER: Duration = Duration::from_secs(1);

/// How many clients connect or send at a time.
const AT_ONCE: usize = 256;

/// Gives back what it is sent, with the name that it has kept beside the socket.
struct Echo {
    ctx: Context,
}

#[durable_object]
impl DurableObject for Echo {
    async fn new(ctx: Context) -> Result<Self> {
        Ok(Self { ctx })
    }

    async fn fetch(&mut self, request: Request) -> Result<Response> {
        let socket = self.ctx.accept_websocket(&request, &["all"])?;
        socket.set_attachment(request.uri().path())?;
        Ok(socket.into_response())
    }

    async fn websocket_message(&mut self, socket: &WebSocket, message: Message) -> Result<()> {
        let path: Option<String> = socket.attachment()?;
        let text = message.as_text().unwrap_or_default();
        socket.send(format!("{text} {}", path.unwrap_or_default()))
    }
}

#[tokio::main]
async fn main() -> AnyResult<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).map_or(Ok(default), |text| text.parse());
    if arguments.first().is_some_and(|first| first == "clients") {
        return clients(&arguments[1], number(2, 0)?, number(3, 1)?).await;
    }
    let (sockets, per_object) = (number(0, 10_000)?, number(1, 1)?.max(1));
    let allowed = open_files()?;
    let needed = sockets + 200;
    if allowed < needed {
        return Err(format!(
            "{sockets} sockets need {needed} open files, and this process may have {allowed}: \
             `ulimit -n {needed}`, or ask for fewer"
        )
        .into());
    }
    serve(sockets, per_object).await
}

async fn serve(sockets: usize, per_object: usize) -> AnyResult<()> {
    let data = tempfile::tempdir()?;
    let host = Host::builder()
        .data(data.path())
        .object::<Echo>()
        .connections(sockets + AT_ONCE)
        .socket_limit(sockets)
        .sleep_after(SLEEP_AFTER)
        // The clients do not listen while they wait to be told what to do.
        .ping_after(Duration::from_secs(3600))
        .start()?;
    let listener = host.listen("127.0.0.1:0").await?;
    let address = listener.address().to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(listener.serve(async {
        // Also when this function has ended early.
        let _ = stopped.await;
    }));
    let before = memory()?;
    let mut clients = Clients::start(&address, sockets, per_object)?;
    let objects = sockets.div_ceil(per_object);
    println!("{sockets} sockets, {per_object} an object, {objects} objects");

    let told = clients.hears("open").await?;
    println!("{told}");
    report("sockets open, objects awake", before, sockets)?;
    rest(&host).await?;
    report("objects asleep", before, sockets)?;
    for round in 1..=2 {
        clients.tell("send").await?;
        let told = clients.hears("back").await?;
        println!("round {round}: {told}");
        rest(&host).await?;
        report("objects asleep again", before, sockets)?;
    }
    clients.tell("end").await?;
    clients.hears("end").await?;
    drop(stop);
    serving.await?;
    host.shutdown().await;
    report("after the last", before, sockets)
}

/// Waits until all objects sleep, by themselves.
async fn rest(host: &Host) -> AnyResult<()> {
    for _ in 0..100 {
        tokio::time::sleep(SLEEP_AFTER).await;
        if host.metrics().contains("\ndokit_objects_awake 0\n") {
            return Ok(());
        }
    }
    Err("objects stay awake".into())
}

fn report(when: &str, before: usize, sockets: usize) -> AnyResult<()> {
    let now = memory()?;
    let more = now.saturating_sub(before);
    println!(
        "{when:>28}: {:>7} KiB in all, {:>7} KiB more than before, {:>6} bytes a socket",
        now / 1024,
        more / 1024,
        more / sockets.max(1)
    );
    Ok(())
}

/// The resident memory of this process, in bytes, as Linux tells it.
fn memory() -> AnyResult<usize> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib
        .ok_or("the system does not tell the memory")?
        .parse::<usize>()?
        * 1024)
}

/// How many files this process may have open, as Linux tells it.
fn open_files() -> AnyResult<usize> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft
        .ok_or("the system does not tell the limit")?
        .parse()
        .unwrap_or(usize::MAX))
}

/// The process of the clients, as the host sees it.
struct Clients {
    _process: tokio::process::Child,
    orders: ChildStdin,
    told: Lines<BufReader<ChildStdout>>,
}

impl Clients {
    fn start(address: &str, sockets: usize, per_object: usize) -> AnyResult<Self> {
        let mut process = Command::new(env::current_exe()?)
            .arg("clients")
            .arg(address)
            .args([sockets.to_string(), per_object.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = process.stdin.take().ok_or("no way in")?;
        let told = process.stdout.take().ok_or("no way out")?;
        Ok(Self {
            _process: process,
            orders,
            told: BufReader::new(told).lines(),
        })
    }

    async fn tell(&mut self, order: &str) -> AnyResult<()> {
        Ok(self
            .orders
            .write_all(format!("{order}\n").as_bytes())
            .await?)
    }

    async fn hears(&mut self, what: &str) -> AnyResult<String> {
        let told = self.told.next_line().await?;
        told.filter(|told| told.starts_with(what))
            .ok_or_else(|| "the clients have ended: see above".into())
    }
}

/// What the other process does: it opens the sockets, and then does what it is told.
async fn clients(address: &str, sockets: usize, per_object: usize) -> AnyResult<()> {
    let begun = Instant::now();
    let opened = stream::iter(0..sockets).map(|number| open(address, number / per_object));
    let mut peers: Vec<Peer> = opened.buffered(AT_ONCE).try_collect().await?;
    println!("open: {sockets} in {:.1?}", begun.elapsed());
    let mut orders = BufReader::new(stdin()).lines();
    while orders
        .next_line()
        .await?
        .is_some_and(|order| order == "send")
    {
        let begun = Instant::now();
        let sent = stream::iter(peers.iter_mut().enumerate());
        let mut times: Vec<Duration> = sent
            .map(|(number, peer)| ask(peer, number))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        times.sort_unstable();
        let at = |part: usize| {
            times
                .get(times.len() * part / 100)
                .copied()
                .unwrap_or_default()
        };
        println!(
            "back: {} messages in {:.1?}, {AT_ONCE} at a time, p50 {:.1?}, p99 {:.1?}",
            times.len(),
            begun.elapsed(),
            at(50),
            at(99)
        );
    }
    drop(peers);
    println!("end");
    Ok(())
}

type Peer = WebSocketStream<TcpStream>;

async fn open(address: &str, object: usize) -> AnyResult<Peer> {
    let stream = TcpStream::connect(address).await?;
    let url = format!("ws://{address}/echo/{object}/live");
    let config = WebSocketConfig::default().read_buffer_size(256);
    let (peer, _) = client_async_with_config(url, stream, Some(config)).await?;
    Ok(peer)
}

/// Sends a message of its own and waits for it to come back.
async fn ask(peer: &mut Peer, number: usize) -> AnyResult<Duration> {
    let begun = Instant::now();
    peer.send(tungstenite::Message::text(number.to_string()))
        .await?;
    let back = peer.next().await.ok_or("the host has closed")??;
    let due = format!("{number} /live");
    if back.to_text()? != due {
        return Err(format!("{back:?} came back where {due:?} was due").into());
    }
    Ok(begun.elapsed())
}
