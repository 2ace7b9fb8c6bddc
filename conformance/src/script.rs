//! One script of HTTP requests, for every address at which an engine listens.
//!
//! `requests.txt` has the requests and their answers, in this form, where a line that begins with `#` is
//! the title of a block, `{x*1025}` stands for 1,025 times `x`, and `*` in an answer for anything:
//!
//! ```text
//! # a method that is not one
//! > POST /echo/a/fly
//! > content-type: application/json
//! >
//! > []
//! < 404
//! < content-type: application/json
//! <
//! < {"error":"...","code":"method_not_found"}
//! ```

use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// The script, with what every engine answers.
const SCRIPT: &str = include_str!("requests.txt");

/// A test that waits longer for an answer has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the way over HTTP adds to an answer, each server its own.
const OF_THE_WAY: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "server",
    "transfer-encoding",
    "upgrade",
];

/// Plays the script to a server of [`Echo`](crate::Echo) and [`Plain`](crate::Plain), and compares what is
/// answered, byte by byte, with what is written.
///
/// # Panics
///
/// If anything differs. The message has the blocks as they would have to be written.
pub fn play(address: SocketAddr) {
    let mut different = String::new();
    for block in SCRIPT.split("\n# ").skip(1) {
        let lines = |mark: &str| -> String {
            let lines = block.lines().filter_map(|line| line.strip_prefix(mark));
            let lines: Vec<_> = lines
                .map(|line| line.strip_prefix(' ').unwrap_or(line))
                .collect();
            lines.join("\n")
        };
        let (request, expected) = (lines(">"), lines("<"));
        let answered = send(address, &request);
        if !matches(&expected, &answered) {
            let title = block.lines().next().unwrap_or_default();
            let _ = writeln!(different, "# {title}");
            for (mark, text) in [('>', &request), ('<', &answered)] {
                for line in text.split('\n') {
                    let _ = writeln!(different, "{}", format!("{mark} {line}").trim_end());
                }
            }
            different.push('\n');
        }
    }
    assert!(different.is_empty(), "answered differently:\n\n{different}");
}

/// Sends a request that is written as in the script, and writes its answer so.
fn send(address: SocketAddr, request: &str) -> String {
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let (head, body) = (expand(head), expand(body));
    let (first, headers) = head.split_once('\n').unwrap_or((&head, ""));
    let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
    let head = format!(
        "{first} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses a body early may close before it has read all of it.
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    render(&answer)
}

/// The status, the headers in order, and the body.
fn render(answer: &[u8]) -> String {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {:?}", String::from_utf8_lossy(answer)));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|first| first.split(' ').nth(1));
    let headers = lines.filter_map(|line| line.split_once(':'));
    let mut headers: Vec<(String, &str)> = headers
        .map(|(name, value)| (name.to_lowercase(), value.trim()))
        .collect();
    let chunked = headers.contains(&("transfer-encoding".to_owned(), "chunked"));
    // Those of one name stay in the order in which they came.
    headers.sort_by(|one, other| one.0.cmp(&other.0));
    let mut text = status.unwrap_or_default().to_owned();
    for (name, value) in headers {
        if !OF_THE_WAY.contains(&&*name) {
            let _ = write!(text, "\n{name}: {value}");
        }
    }
    let body = &answer[end + 4..];
    let body = if chunked {
        dechunk(body)
    } else {
        body.to_vec()
    };
    if !body.is_empty() {
        text += "\n\n";
        match String::from_utf8(body) {
            Ok(body) if body.len() < 4096 => text += &ascii(&body),
            Ok(body) => text += &format!("{} bytes", body.len()),
            Err(error) => text += &format!("bytes {:02x?}", error.into_bytes()),
        }
    }
    // The script has no spaces at the ends of lines.
    let lines: Vec<_> = text.split('\n').map(str::trim_end).collect();
    lines.join("\n")
}

/// What is not ASCII, escaped.
fn ascii(text: &str) -> String {
    let escaped = |c: char| match c.is_ascii() {
        true => c.to_string(),
        false => c.escape_unicode().to_string(),
    };
    text.chars().map(escaped).collect()
}

fn dechunk(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = chunks.windows(2).position(|two| two == b"\r\n") {
        let length = String::from_utf8_lossy(&chunks[..end]).into_owned();
        let length = usize::from_str_radix(length.trim(), 16).unwrap();
        body.extend_from_slice(&chunks[end + 2..][..length]);
        chunks = &chunks[end + 2 + length + 2..];
        if length == 0 {
            break;
        }
    }
    body
}

/// Writes out what `{x*1025}` stands for.
fn expand(text: &str) -> String {
    let mut parts = text.split('{');
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let repeat = part.split_once('}').and_then(|(inner, rest)| {
            let (what, times) = inner.split_once('*')?;
            Some((what.repeat(times.parse().ok()?), rest))
        });
        match repeat {
            Some((repeated, rest)) => whole += &(repeated + rest),
            None => whole += &format!("{{{part}"),
        }
    }
    whole
}

/// Whether an answer is what is written, where `*` is anything.
fn matches(written: &str, answered: &str) -> bool {
    let mut parts = written.split('*');
    let Some(mut rest) = answered.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{dechunk, expand, matches, render};

    #[test]
    fn an_answer_matches_what_is_written_and_nothing_else() {
        assert!(matches("404\n\na", "404\n\na"));
        assert!(!matches("404\n\na", "404\n\nab"));
        assert!(!matches("404\n\na", "405\n\na"));
        assert!(matches("known [*] end", "known [a, b] end"));
        assert!(matches("a*", "abc"));
        assert!(!matches("known [*] end", "known [a, b] and"));
        assert!(!matches("*x*y", "y then x"));
    }

    #[test]
    fn a_request_is_expanded_and_an_answer_is_rendered() {
        assert_eq!(expand(r#"{"a":1} {ab*2}!{x*1}"#), r#"{"a":1} abab!x"#);
        let answer = b"HTTP/1.1 200 OK\r\nDate: x\r\nX-B: 2\r\nAllow: POST\r\n\
                       Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
        assert_eq!(render(answer), "200\nallow: POST\nx-b: 2\n\nabcde");
        assert_eq!(dechunk(b"0\r\n\r\n"), b"");
    }
}
