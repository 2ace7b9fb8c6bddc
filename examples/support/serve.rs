//! The `main` that the examples share: it serves an example's objects over HTTP, and tells a person what
//! to try.

use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use dokit::{
    alarms::{DurationError, parse_duration},
    embedded::Builder,
};

/// An example of dokit, served over HTTP.
#[derive(Parser)]
struct Arguments {
    /// `serve`, which is what it does without it, too.
    #[arg(value_parser = ["serve"])]
    command: Option<String>,
    /// The address to listen on.
    #[arg(long, default_value = "127.0.0.1:8787")]
    addr: String,
    /// Where the objects are kept [default: data/ and the example's name].
    #[arg(long)]
    data: Option<PathBuf>,
    /// How long an object is idle when it goes to sleep; 0s is at once.
    #[arg(long, default_value = "10s", value_parser = idle_time)]
    sleep_after: Duration,
}

/// Serves what `host` has, until it is told to stop. `source` is the example's own text: the commands in
/// its header are printed for the address that it listens on.
pub(crate) fn main(example: &str, host: Builder, source: &str) -> ExitCode {
    // What callers do not get to see, such as the cause of an internal error.
    tracing_subscriber::fmt().with_writer(io::stderr).init();
    let Err(error) = serve(example, host, source) else {
        return ExitCode::SUCCESS;
    };
    let causes = std::iter::successors(error.source(), |cause| Error::source(*cause));
    let causes: String = causes.map(|cause| format!(": {cause}")).collect();
    eprintln!("{error}{causes}");
    ExitCode::FAILURE
}

#[tokio::main]
async fn serve(example: &str, host: Builder, source: &str) -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let data = arguments
        .data
        .unwrap_or_else(|| PathBuf::from("data").join(example));
    let host = host.data(data).sleep_after(arguments.sleep_after).start()?;
    let listener = host.listen(&arguments.addr).await?;
    let address = listener.address().to_string();
    let commands = commands(source).replace("127.0.0.1:8787", &address);
    // Whoever started it may have stopped reading after the first line.
    let _ = write!(io::stdout(), "listening on http://{address}\n{commands}");
    listener.run().await;
    Ok(())
}

/// What stands between the fences of the header's block of commands, but for how to start it.
fn commands(source: &str) -> String {
    let header = source.lines().map_while(|line| line.strip_prefix("//!"));
    let block = header.skip_while(|line| line.trim() != "```sh").skip(1);
    block
        .take_while(|line| line.trim() != "```")
        .filter(|line| !line.trim_start().starts_with("cargo run"))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn idle_time(text: &str) -> Result<Duration, DurationError> {
    match text {
        "0s" => Ok(Duration::ZERO),
        text => parse_duration(text),
    }
}
