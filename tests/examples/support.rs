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
        Self::start_at("127.0.0.1:0", example, data, arguments)
    }

    /// `kill -9`, and the same once more at the same address.
    pub(crate) fn restart(self, example: &str, data: &Path, arguments: &[&str]) -> Self {
        let address = self.address.clone();
        self.kill();
        Self::start_at(&address, example, data, arguments)
    }

    /// Starts it where another has listened.
    pub(crate) fn start_at(at: &str, example: &str, data: &Path, arguments: &[&str]) -> Self {
        let mut command = match std::env::var_os("DOKIT_SERVE") {
            Some(program) => {
                let mut command = Command::new(program);
                command.arg(example);
                command
            }
            None => Command::new(path_of(example)),
        };
        let mut process = command
            .args(["serve", "--addr", at])
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

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Calls a method and gives the status and the JSON body.
    pub(crate) fn post(&self, path: &str, body: &str) -> (u16, Value) {
        self.try_request("POST", path, body.as_bytes())
            .unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Any request that is answered in JSON. It fails where the server goes away.
    pub(crate) fn try_request(
        &self,
        verb: &str,
        path: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, Value)> {
        let answer = self.try_send(verb, path, &[], body)?;
        let value = serde_json::from_str(&answer.body);
        Ok((answer.status, value.map_err(std::io::Error::other)?))
    }

    /// Any request.
    pub(crate) fn send(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        self.try_send(verb, path, headers, body.as_bytes())
            .unwrap_or_else(|error| panic!("{verb} {path}: {error}"))
    }

    fn try_send(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        // A server that hangs fails the test instead of holding it up.
        stream.set_read_timeout(Some(std::time::Duration::from_secs(60)))?;
        let headers: String = headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        // A server that refuses a body early may close before it has read all of it.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let text = String::from_utf8(answer).map_err(std::io::Error::other)?;
        Answer::parse(&text).ok_or_else(|| std::io::Error::other("the answer broke off"))
    }

    /// Plays the curl lines in an example's header.
    pub(crate) fn play_header(&self, source: &str) {
        self.play(source.lines().map_while(|line| line.strip_prefix("//!")));
    }

    /// Sends the requests of the curl lines, in order, and checks what is said after each: a status that is
    /// no 200 as `# 409 and why`, or the JSON that is answered.
    pub(crate) fn play<'l>(&self, lines: impl Iterator<Item = &'l str>) {
        let mut variables = Vec::new();
        let mut played = 0;
        for line in lines.map(str::trim) {
            if let Some((name, url)) = line.split_once("=http://") {
                variables.push((format!("${name}/"), format!("http://{url}/")));
            }
            if !line.starts_with("curl ") {
                continue;
            }
            played += 1;
            let line = variables
                .iter()
                .fold(line.to_owned(), |line, (name, url)| line.replace(name, url));
            let curl = Curl::parse(&line);
            let answer = self.send(&curl.verb, &curl.path, &curl.headers, curl.body);
            let said = curl.said.split([' ', ',']).next().unwrap_or_default();
            if let Ok(value) = serde_json::from_str::<Value>(curl.said) {
                let answered = serde_json::from_str(&answer.body).ok();
                assert_eq!((answer.status, answered), (200, Some(value)), "{line}");
            } else {
                let status = said.parse().unwrap_or(200);
                assert_eq!(answer.status, status, "{line}: {}", answer.body);
            }
        }
        assert!(played > 0, "there is no curl line");
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

/// What a request was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case.
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            head: head.to_lowercase(),
            body: body.to_owned(),
        })
    }

    /// A header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// One curl command, as far as the examples use it.
struct Curl<'l> {
    verb: String,
    path: String,
    headers: Vec<(&'l str, &'l str)>,
    body: &'l str,
    /// What stands after the `#`.
    said: &'l str,
}

impl<'l> Curl<'l> {
    fn parse(line: &'l str) -> Self {
        let (command, said) = line.split_once(" # ").unwrap_or((line, ""));
        // Every second part between quotes is one word, whatever is in it.
        let words = command.split('\'').enumerate().flat_map(|(at, part)| {
            let quoted = at % 2 == 1;
            let words: Vec<_> = if quoted {
                vec![part]
            } else {
                part.split_whitespace().collect()
            };
            words
        });
        let mut words = words.skip(1);
        let (mut verb, mut path, mut headers, mut body) = (None, None, Vec::new(), None);
        while let Some(word) = words.next() {
            match word {
                "-i" | "-s" | "-N" => {}
                "-X" => verb = words.next(),
                "-d" => body = words.next(),
                "-H" => headers.extend(words.next().and_then(|header| header.split_once(": "))),
                url => path = url.strip_prefix("http://127.0.0.1:8787"),
            }
        }
        let default = if body.is_some() { "POST" } else { "GET" };
        Self {
            verb: verb.unwrap_or(default).to_owned(),
            path: path
                .unwrap_or_else(|| panic!("no address in {line}"))
                .to_owned(),
            headers,
            body: body.unwrap_or_default(),
            said: said.trim(),
        }
    }
}

/// Runs a story twice: with objects that stay awake, and with objects that sleep between any two calls.
pub(crate) fn awake_and_asleep(example: &str, story: impl Fn(&Server)) {
    for sleep_after in ["1h", "0s"] {
        let data = tempfile::tempdir().unwrap();
        story(&Server::start(
            example,
            data.path(),
            &["--sleep-after", sleep_after],
        ));
    }
}

/// Does the same from eight clients at once, and gives what each came to.
pub(crate) fn at_once<R: Send>(work: impl Fn() -> R + Sync) -> Vec<R> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(&work)).collect();
        let ends = clients.into_iter().map(|client| client.join().unwrap());
        ends.collect()
    })
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
