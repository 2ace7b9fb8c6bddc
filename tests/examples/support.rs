//! An example as a process of its own, spoken to over plain HTTP as curl would.
//!
//! With `DOKIT_SERVE` set to a program that takes an example's name and its arguments, that program
//! serves the example's objects in its place, and the same tests run against another engine:
//! `.ci/workerd` does so with workerd.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

/// A running example, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    address: String,
}

impl Server {
    /// Starts `example serve` on a free port.
    pub(crate) fn start(example: &str, data: &Path, arguments: &[&str]) -> Self {
        let mut command = match std::env::var_os("DOKIT_SERVE") {
            Some(program) => {
                let mut command = Command::new(program);
                command.arg(example);
                command
            }
            None => Command::new(path_of(example)),
        };
        let mut process = command
            .args(["serve", "--addr", "127.0.0.1:0"])
            .args(arguments)
            .arg("--data")
            .arg(data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        let output = process.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut told).unwrap();
        let address = address(&told).unwrap_or_else(|| panic!("{example} said {told:?}"));
        Self { process, address }
    }

    /// Calls a method and gives the status and the JSON body.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.try_request("POST", path, body.as_bytes())
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Any request. It fails where the server goes away.
    pub(crate) fn try_request(
        &self,
        verb: &str,
        path: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(&self.address)?;
        // A server that hangs fails the test instead of holding it up.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        // A server that refuses a body early may close before it has read all of it.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let broken = || std::io::Error::other("the answer broke off");
        let text = String::from_utf8(answer).map_err(|_| broken())?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        let value = serde_json::from_str(body).map_err(|_| broken())?;
        Ok((status.ok_or_else(broken)?, value))
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.stop();
    }

    /// The process, to kill it while others still speak to it.
    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// SIGTERM, and whether it ended by itself with success.
    #[cfg(unix)]
    pub(crate) fn terminate(mut self) -> bool {
        let id = self.process.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        told.success() && self.process.wait().unwrap().success()
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Where a server says that it listens: an example in a sentence, workerd in JSON.
fn address(told: &str) -> Option<String> {
    if let Some(address) = told.trim().strip_prefix("listening on http://") {
        return Some(address.to_owned());
    }
    let event: Value = serde_json::from_str(told).ok()?;
    Some(format!("127.0.0.1:{}", event["port"].as_u64()?))
}

/// Where cargo has put an example: `target/debug/examples`, beside the `deps` that this test is in.
pub(crate) fn path_of(example: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let folder = own.parent().and_then(Path::parent).unwrap();
    let path = folder
        .join("examples")
        .join(example)
        .with_extension(std::env::consts::EXE_EXTENSION);
    assert!(
        path.exists(),
        "{} is not built; run `cargo build --examples`",
        path.display()
    );
    path
}
