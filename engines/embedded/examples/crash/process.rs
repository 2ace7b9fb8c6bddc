use std::{
    io::{self, BufRead, BufReader, Error, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{power::Power, server::Orders};

/// How a server is started: the program, which gets the orders as text.
pub(crate) type Program<'p> = &'p dyn Fn(&str) -> Command;

/// A server that runs, killed at the latest when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    /// The server's own id, where the child is another program that runs it.
    inner: Option<String>,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a server, which need not be ready when this returns.
    pub(crate) fn start(program: Program<'_>, orders: &Orders) -> io::Result<Self> {
        Self::run(program(&orders.to_text()))
    }

    /// The same, with a trace of what it asks of the system.
    pub(crate) fn start_traced(
        program: Program<'_>,
        orders: &Orders,
        power: &Power,
    ) -> io::Result<Self> {
        let mut traced = Self::run(power.traced(&program(&orders.to_text())))?;
        traced.inner = Some(traced.line("process ")?);
        Ok(traced)
    }

    fn run(mut command: Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err(Error::other("no pipes"));
        };
        Ok(Self {
            child,
            inner: None,
            input,
            output: BufReader::new(output),
        })
    }

    /// Waits until it is ready, and gives the base of its addresses.
    pub(crate) fn address(&mut self) -> io::Result<String> {
        Ok(format!("http://{}", self.line("listening ")?))
    }

    /// Waits until the alarms that are due have been tried.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.tell("settle")?;
        self.line("settled").map(drop)
    }

    pub(crate) fn kill(mut self) -> io::Result<()> {
        match &self.inner {
            // Who traces it then ends by itself, with its trace complete.
            Some(inner) => drop(Command::new("kill").args(["-9", inner]).status()?),
            None => self.child.kill()?,
        }
        self.child.wait().map(drop)
    }

    /// Tells it to end in good order, and waits for that, but kills it where `kill_after` is given.
    pub(crate) fn stop(mut self, kill_after: Option<Duration>) -> io::Result<()> {
        self.tell("stop")?;
        if let Some(kill_after) = kill_after {
            pause(kill_after);
            return self.kill();
        }
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::other(format!(
                "told to stop, it ended with {status}"
            )))
        }
    }

    fn tell(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.input, "{line}")?;
        self.input.flush()
    }

    /// What comes after `start` in the first line that begins so.
    fn line(&mut self, start: &str) -> io::Result<String> {
        let mut line = String::new();
        while self.output.read_line(&mut line)? > 0 {
            if let Some(rest) = line.trim_end().strip_prefix(start) {
                return Ok(rest.to_owned());
            }
            line.clear();
        }
        Err(Error::other(format!(
            "the server ended before it said {start:?}"
        )))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, or it does now.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "to kill at a random moment one has to wait for it"
)]
pub(crate) fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// Waits until a file is written to, at most so long.
pub(crate) fn wait_for_write(file: &Path, longest: Duration) -> io::Result<()> {
    let modified = || file.metadata()?.modified();
    let before = modified()?;
    let step = Duration::from_micros(200);
    for _ in 0..longest.as_micros() / step.as_micros() {
        if modified()? != before {
            return Ok(());
        }
        pause(step);
    }
    Ok(())
}
