//! The process that is killed.

use std::{
    error::Error,
    io::{BufRead, Write, stdin, stdout},
    panic,
    path::PathBuf,
    time::Duration,
};

use dokit_embedded::{Host, SystemClock};
use dokit_object::{BoxFuture, Clock};
use dokit_storage::Timestamp;
use tokio::sync::mpsc;

use crate::{clockwork::Clockwork, ledger::Ledger, scratch::Scratch};

/// What a server is told at its start.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    pub(crate) data: PathBuf,
    /// How far its clock is ahead of the machine's.
    pub(crate) ahead: Duration,
    pub(crate) sleep_after: Duration,
}

impl Orders {
    /// As one text, for a command line or a variable.
    pub(crate) fn to_text(&self) -> String {
        let millis = |duration: Duration| duration.as_millis();
        format!(
            "{},{},{}",
            millis(self.ahead),
            millis(self.sleep_after),
            self.data.display()
        )
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ',');
        let mut millis = || parts.next()?.parse().ok().map(Duration::from_millis);
        let (ahead, sleep_after) = (millis()?, millis()?);
        let data = PathBuf::from(parts.next()?);
        Some(Self {
            data,
            ahead,
            sleep_after,
        })
    }
}

/// The machine's clock, set forward.
#[derive(Debug)]
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().saturating_add(self.0)
    }

    fn sleep_until(&self, at: Timestamp) -> BoxFuture<'static, ()> {
        SystemClock.sleep_until(at.saturating_sub(self.0))
    }
}

/// Serves until it is killed, or told to stop, or nobody is there to tell it.
///
/// It says `process ID` and `listening ADDRESS`, and then does what each line on its input says: `settle` is answered
/// `settled` when all alarms that are due have been tried; `stop` ends it in good order.
pub(crate) async fn serve(orders: &Orders) -> Result<(), Box<dyn Error>> {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let planned = panic.payload_as_str() == Some("planned panic");
        if !planned {
            report(panic);
        }
    }));
    let host = Host::builder()
        .data(&orders.data)
        .object::<Ledger<false>>()
        .object::<Ledger<true>>()
        .object::<Scratch>()
        .object::<Clockwork>()
        .sleep_after(orders.sleep_after)
        .clock(Ahead(orders.ahead))
        .start()?;
    let listener = host.listen("127.0.0.1:0").await?;
    say(&format!("process {}", std::process::id()))?;
    say(&format!("listening {}", listener.address()))?;

    let (told, mut lines) = mpsc::unbounded_channel();
    // A thread of its own: nothing can end a read of the standard input that has begun.
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if told.send(line).is_err() {
                return;
            }
        }
    });
    let settles = host.clone();
    let stop = async move {
        while let Some(line) = lines.recv().await {
            if line == "stop" {
                return;
            }
            settles.alarms_settled().await;
            if say("settled").is_err() {
                return;
            }
        }
    };
    listener.serve(stop).await;
    host.shutdown().await;
    Ok(())
}

fn say(line: &str) -> std::io::Result<()> {
    let mut out = stdout().lock();
    // A test harness that runs this may have begun a line of its own.
    writeln!(out, "\n{line}")?;
    out.flush()
}
