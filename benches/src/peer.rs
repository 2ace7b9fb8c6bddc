//! The servers that are measured, each a process of its own.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::{Result, machine::resident_memory};

/// The package that workerd comes in, and the folder it is installed in, which is the one that CI uses.
const WORKERD: &str = "workerd@1.20261117.1";
const WORKERD_FOLDER: &str = "target/workerd";

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Dokit,
    Workerd,
    Axum,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dokit => "dokit",
            Self::Workerd => "workerd",
            Self::Axum => "axum",
        }
    }
}

/// A server that runs until this is dropped, or this process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// What is measured: the child, or what it started.
    pid: u32,
    pub(crate) address: SocketAddr,
}

impl Server {
    fn new(child: Child) -> Self {
        Self {
            pid: child.id(),
            child,
            address: ([127, 0, 0, 1], 0).into(),
        }
    }

    /// Our objects, their data in `data`.
    pub(crate) fn dokit(data: &Path) -> Result<Self> {
        let mut command = own("serve")?;
        command.arg(data);
        Self::own(command)
    }

    /// An axum that parses each request's JSON and answers a constant.
    pub(crate) fn axum() -> Result<Self> {
        Self::own(own("axum")?)
    }

    /// One of this program's own, which tells its address as its first line and ends when its input
    /// does.
    fn own(mut command: Command) -> Result<Self> {
        let (child, mut lines) = start(&mut command)?;
        let mut server = Self::new(child);
        server.address = line(&mut lines)?.parse()?;
        Ok(server)
    }

    /// The same objects in workerd, their data in `data`.
    pub(crate) fn workerd(program: &Path, data: &Path) -> Result<Self> {
        fs::create_dir_all(data)?;
        let data = data.canonicalize()?;
        let folder = data.with_extension("config");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("workerd.js"), include_str!("workerd.js"))?;
        let disk = data.to_str().ok_or("the data folder's name is no UTF-8")?;
        // Its strings are escaped as ours are.
        let config = include_str!("workerd.capnp")
            .replace("{data}", disk.escape_debug().to_string().as_str());
        fs::write(folder.join("workerd.capnp"), config)?;
        // It needs three open files an object. The shell's input ends with this process; then it
        // stops workerd. Its own output is closed so that ours ends when workerd does.
        let script = r#"ulimit -n "$(ulimit -Hn)"
            "$@" </dev/null & echo $!; exec >/dev/null; cat; kill -9 $!"#;
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh"])
            .arg(program.canonicalize()?);
        command.args(["serve", "--control-fd=1", "workerd.capnp"]);
        command.current_dir(&folder);
        let (child, mut lines) = start(&mut command)?;
        let mut server = Self::new(child);
        loop {
            let line = line(&mut lines)?;
            if let Ok(pid) = line.parse() {
                server.pid = pid;
                continue;
            }
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if event["event"] == "listen" {
                let port = event["port"]
                    .as_u64()
                    .and_then(|port| u16::try_from(port).ok());
                let port = port.ok_or_else(|| format!("workerd tells no port: {line}"))?;
                server.address = ([127, 0, 0, 1], port).into();
                return Ok(server);
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has in memory, in bytes.
    pub(crate) fn memory(&self) -> Option<u64> {
        resident_memory(&self.pid.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its input ends, and so does it, without a word more. Nothing is left to do about a process
        // that cannot be waited for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// This program, as a child that does one task, with as many open files as it may have: an object with
/// SQL needs three.
pub(crate) fn own(task: &str) -> Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n "$(ulimit -Hn)"; exec "$@""#, "sh"]);
    command.arg(std::env::current_exe()?).args(["child", task]);
    Ok(command)
}

fn start(command: &mut Command) -> Result<(Child, Lines<BufReader<ChildStdout>>)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{command:?} does not start: {error}"))?;
    let output = child.stdout.take().ok_or("a child without output")?;
    Ok((child, BufReader::new(output).lines()))
}

fn line(lines: &mut Lines<BufReader<ChildStdout>>) -> Result<String> {
    let line = lines
        .next()
        .ok_or("the server ended instead of listening")?;
    Ok(line?)
}

/// Where workerd is, installed from npm where it is not; or why it cannot be had.
pub(crate) fn find_workerd() -> std::result::Result<PathBuf, String> {
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .env("NODE_PATH", format!("{WORKERD_FOLDER}/node_modules"))
            .output()
            .map_err(|error| format!("{program}: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "{program} ended with {}: {}",
                output.status,
                said.trim()
            ));
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let find = || run("node", &["-p", "require('workerd').default"]);
    let version = || run("node", &["-p", "require('workerd/package.json').version"]);
    let wanted = WORKERD.split_once('@').map(|(_, version)| version);
    if version().ok().as_deref() != wanted {
        let quiet = ["--silent", "--no-audit", "--no-fund", "--no-save"];
        let install = ["install", "--prefix", WORKERD_FOLDER, WORKERD];
        run("npm", &[&install[..], &quiet[..]].concat())?;
    }
    find().map(PathBuf::from)
}
