//! A loss of power, worked out from what a process asked of the system: what it had synced is kept, and
//! of what it wrote after that any part, in any order.
//!
//! `strace` puts down every write and every sync. Names of files are taken to be durable at once, and so is
//! what was there when the process started.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Error},
    path::{Path, PathBuf},
    process::Command,
    str,
};

use crate::{check, random::Random};

/// The least that a disk writes whole, in bytes.
const SECTOR: usize = 512;

/// What the files of a folder hold for certain, and what they may hold.
#[derive(Debug)]
pub(crate) struct Power {
    trace: PathBuf,
    files: BTreeMap<PathBuf, Contents>,
}

#[derive(Debug, Default)]
struct Contents {
    synced: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Truncate(usize),
}

/// What a loss of power took away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lost {
    /// Writes that were not synced, and how many of them were kept all the same, in whole or in part.
    pub(crate) pending: usize,
    pub(crate) kept: usize,
}

impl Power {
    /// Looks at the folder, before a process starts that writes its trace beside it.
    pub(crate) fn watch(data: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        for path in check::files(data)? {
            // What processes share in memory is not on the disk.
            if !path.to_string_lossy().ends_with("-shm") {
                let synced = fs::read(&path)?;
                let pending = Vec::new();
                files.insert(path, Contents { synced, pending });
            }
        }
        Ok(Self {
            trace: data.with_extension("trace"),
            files,
        })
    }

    /// The same program, with its trace.
    pub(crate) fn traced(&self, program: &Command) -> Command {
        let calls = "trace=write,writev,pwrite64,pwritev,ftruncate,fallocate,fsync,fdatasync,unlink,\
                     unlinkat,rename,renameat,renameat2";
        let mut traced = Command::new("strace");
        traced
            .args([
                "-f",
                "-qq",
                "-y",
                "-xx",
                "-s",
                "1000000",
                "--seccomp-bpf",
                "-e",
                calls,
            ])
            .args(["-e", "signal=none", "-o"])
            .arg(&self.trace)
            .arg(program.get_program())
            .args(program.get_args());
        for (name, value) in program.get_envs() {
            if let Some(value) = value {
                traced.env(name, value);
            }
        }
        traced
    }

    /// Makes of the folder what it may be after the process, and with it the power, has gone.
    pub(crate) fn cut(mut self, data: &Path, random: &mut Random) -> io::Result<Lost> {
        self.read_trace(data)?;
        let mut lost = Lost::default();
        // All that was under way may be gone, or may have arrived, or some of each.
        let chance = [0, 50, 90, 100][usize::try_from(random.below(4)).expect("it is small")];
        for path in check::files(data)? {
            if !self.files.contains_key(&path) {
                fs::remove_file(path)?;
            }
        }
        for (path, mut file) in self.files {
            lost.pending += file.pending.len();
            for mut change in std::mem::take(&mut file.pending) {
                if !random.percent(chance) {
                    continue;
                }
                if let Change::Write { bytes, .. } = &mut change
                    && random.percent(20)
                {
                    let sectors = bytes.len().div_ceil(SECTOR) as u64;
                    let sectors = usize::try_from(random.below(sectors + 1)).unwrap_or(0);
                    bytes.truncate(sectors * SECTOR);
                }
                lost.kept += 1;
                apply(&mut file.synced, change);
            }
            fs::write(path, file.synced)?;
        }
        fs::remove_file(self.trace)?;
        Ok(lost)
    }

    fn read_trace(&mut self, data: &Path) -> io::Result<()> {
        let trace = fs::read(&self.trace)?;
        // What each thread has begun and not finished, and how much there was to sync when it began.
        let mut begun: BTreeMap<&str, (String, usize)> = BTreeMap::new();
        for line in trace.split(|byte| *byte == b'\n') {
            let line = str::from_utf8(line).map_err(Error::other)?;
            let Some((thread, call)) = line.split_once(' ') else {
                continue;
            };
            let call = call.trim_start();
            if call.ends_with("<detached ...>") {
                // The process was killed in it.
                continue;
            }
            if let Some(start) = call.strip_suffix(" <unfinished ...>") {
                let pending = self.pending(data, start);
                begun.insert(thread, (start.to_owned(), pending));
            } else if call.starts_with("<...") {
                let (start, pending) = begun
                    .remove(thread)
                    .ok_or_else(|| unexpected("no such call was begun", call))?;
                let rest = call.split_once('>').map_or("", |(_, rest)| rest);
                // A resumed call goes on where it was broken off: `resumed>` and the rest.
                let rest = rest.trim_start();
                self.call(data, &format!("{start}{rest}"), pending)?;
            } else {
                let pending = self.pending(data, call);
                self.call(data, call, pending)?;
            }
        }
        Ok(())
    }

    /// How much is to sync of the file that a call is about.
    fn pending(&self, data: &Path, call: &str) -> usize {
        let file = path(call).filter(|path| path.starts_with(data));
        let file = file.and_then(|path| self.files.get(&path));
        file.map_or(0, |file| file.pending.len())
    }

    /// What a call has done, which syncs what was pending when it began.
    fn call(&mut self, data: &Path, call: &str, pending: usize) -> io::Result<()> {
        let name = call.split('(').next().unwrap_or_default();
        let Some(path) = path(call).filter(|path| path.starts_with(data)) else {
            return Ok(());
        };
        let file = path.to_string_lossy();
        if file.ends_with("-shm") || file.ends_with("lock") || path.is_dir() {
            return Ok(());
        }
        let (_, result) = call
            .rsplit_once(" = ")
            .ok_or_else(|| unexpected("no result", call))?;
        if result.starts_with('-') || result.starts_with('?') {
            // It failed, or the process was killed in it.
            return Ok(());
        }
        if name == "unlink" {
            self.files.remove(&path);
            return Ok(());
        }
        let file = self.files.entry(path).or_default();
        match name {
            "pwrite64" => {
                let written: usize = result.trim().parse().map_err(Error::other)?;
                let (start, at) = last_argument(call)?;
                let (_, bytes) = start
                    .split_once(", \"")
                    .ok_or_else(|| unexpected("no bytes", call))?;
                let (bytes, _) = bytes
                    .split_once('"')
                    .ok_or_else(|| unexpected("no bytes", call))?;
                let mut bytes = bytes_of(bytes).ok_or_else(|| unexpected("no bytes", call))?;
                bytes.truncate(written);
                file.pending.push(Change::Write { at, bytes });
            }
            "ftruncate" => {
                let (_, length) = last_argument(call)?;
                file.pending.push(Change::Truncate(length));
            }
            "fsync" | "fdatasync" => {
                for change in file.pending.drain(..pending.min(file.pending.len())) {
                    apply(&mut file.synced, change);
                }
            }
            _ => return Err(unexpected("nobody expected this of a database", call)),
        }
        Ok(())
    }
}

fn apply(contents: &mut Vec<u8>, change: Change) {
    match change {
        Change::Truncate(length) => contents.resize(length, 0),
        Change::Write { at, bytes } => {
            let end = at + bytes.len();
            if contents.len() < end {
                contents.resize(end, 0);
            }
            contents[at..end].copy_from_slice(&bytes);
        }
    }
}

/// The file that a call is about: the descriptor's, or the name itself.
fn path(call: &str) -> Option<PathBuf> {
    let (_, arguments) = call.split_once('(')?;
    let name = match arguments.strip_prefix('"') {
        Some(name) => name.split('"').next()?,
        None => arguments.split_once('<')?.1.split('>').next()?,
    };
    let bytes = bytes_of(name)?;
    Some(PathBuf::from(String::from_utf8(bytes).ok()?))
}

/// All before the last argument of a call, and that, a number.
fn last_argument(call: &str) -> io::Result<(&str, usize)> {
    let arguments = call.rsplit_once(')').map(|(arguments, _)| arguments);
    let parts = arguments.and_then(|arguments| arguments.rsplit_once(", "));
    let (start, last) = parts.ok_or_else(|| unexpected("no arguments", call))?;
    Ok((start, last.parse().map_err(Error::other)?))
}

/// `\x41\x42` as bytes.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split("\\x");
    if !parts.next()?.is_empty() {
        return None;
    }
    parts
        .map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect()
}

fn unexpected(what: &str, call: &str) -> Error {
    let call: String = call.chars().take(200).collect();
    Error::other(format!("the trace says {call:?}: {what}"))
}
