//! `dokit new`, and what a newcomer does next.

use std::{
    env,
    ffi::OsString,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

const DOKIT: &str = env!("CARGO_BIN_EXE_dokit");

/// The repository.
fn checkout() -> &'static Path {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the crate is in the repository")
}

fn dokit(within: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(DOKIT);
    command.current_dir(within).args(arguments);
    command.output().expect("it starts")
}

/// The program of a new project, which is stopped when this is dropped.
struct Program {
    process: Child,
    address: String,
    /// It writes on, and would fail if nobody could read it.
    _output: BufReader<ChildStdout>,
}

impl Program {
    fn start(program: &Path, folder: &Path) -> Self {
        let mut command = Command::new(program);
        command.arg("127.0.0.1:0").current_dir(folder);
        let mut process = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built");
        let mut told = String::new();
        let output = process.stdout.take().expect("it is piped");
        let mut output = BufReader::new(output);
        output.read_line(&mut told).expect("it tells");
        let address = told.strip_prefix("listening on http://");
        let address = address.and_then(|rest| rest.split(';').next());
        let address = address
            .unwrap_or_else(|| panic!("it told {told:?}"))
            .to_owned();
        Self {
            process,
            address,
            _output: output,
        }
    }

    /// What curl would print.
    fn post(&self, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("it is more than nothing");
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or(("", &answer));
        body.to_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_new_project_passes_its_test_and_serves_what_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let checkout = checkout();
    let made = dokit(
        folder.path(),
        &["new", "corner-shop", "--dokit", checkout.to_str().unwrap()],
    );
    assert!(made.status.success(), "{made:?}");
    let project = folder.path().join("corner-shop");

    // The versions and most of what is built are those of the workspace: it has just built them.
    fs::copy(checkout.join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let target = Path::new(DOKIT).parent().unwrap().parent().unwrap();
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    for step in [["test", "--offline"], ["build", "--offline"]] {
        let done = Command::new(&cargo)
            .args(step)
            .current_dir(&project)
            .env("CARGO_TARGET_DIR", target)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        let fine = done.status.success() && !told.contains("warning");
        let tests = String::from_utf8_lossy(&done.stdout);
        assert!(fine, "cargo {step:?}: {told}{tests}");
    }

    let program = target.join("debug/corner-shop");
    let running = Program::start(&program, &project);
    assert_eq!(running.post("/counter/global/increment", "[5]"), "5");
    // What it is told in the way of starting is a sentence.
    let mut second = Command::new(&program);
    let refused = second.arg("127.0.0.1:0").current_dir(&project).output();
    let refused = refused.expect("it starts");
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success());
    assert_eq!(
        told.trim(),
        r#"the data folder "data" is in use by another host"#
    );
    drop(running);
    let running = Program::start(&program, &project);
    assert_eq!(running.post("/counter/global/increment", "[1]"), "6");
    drop(running);

    let elsewhere = tempfile::tempdir().unwrap();
    let running = Program::start(&program, elsewhere.path());
    let page = fs::read_to_string(project.join("README.md")).unwrap();
    let mut played = 0;
    for line in page.lines().filter(|line| line.starts_with("curl ")) {
        let (command, answer) = line.split_once(" # ").expect("it says what is answered");
        let (_, command) = command.split_once('\'').expect("it has a body");
        let (body, address) = command.split_once('\'').expect("the body ends");
        let path = address.trim().strip_prefix("http://127.0.0.1:8787");
        let path = path.unwrap_or_else(|| panic!("{line}"));
        let answer = answer.split(',').next().unwrap_or_default();
        assert_eq!(running.post(path, body), answer.trim(), "{line}");
        played += 1;
    }
    assert!(played > 2, "{page}");
}

#[test]
fn a_new_project_takes_dokit_from_where_everybody_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(dokit(folder.path(), &["new", "shop"]).status.success());
    let manifest = fs::read_to_string(folder.path().join("shop/Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"shop\""), "{manifest}");
    assert!(manifest.contains("dokit = { git = \"https://github.com/dokit-rs/dokit\" }"));
    for file in ["README.md", "src/lib.rs", "src/main.rs", "tests/counter.rs"] {
        let text = fs::read_to_string(folder.path().join("shop").join(file)).unwrap();
        assert!(
            !text.contains("my-objects") && !text.contains("my_objects"),
            "{text}"
        );
    }
}

#[test]
fn what_cannot_be_a_project_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("taken")).unwrap();
    for (name, reason) in [
        ("9lives", "9lives"),
        ("taken", "exists"),
        ("tokio", "another name"),
        ("..", "name"),
    ] {
        let refused = dokit(folder.path(), &["new", name]);
        let told = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && told.contains(reason),
            "{name}: {told}"
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(
        fs::read_dir(folder.path().join("taken")).unwrap().count(),
        0
    );
    assert_eq!(dokit(folder.path(), &["renew"]).status.code(), Some(2));
}
