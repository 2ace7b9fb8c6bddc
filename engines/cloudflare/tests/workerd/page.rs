//! `docs/cloudflare.md`, followed to the letter: its files written, its commands carried out, in order.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::process::Workerd;

/// The commands that are not carried out, and why. All others are.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "rustup target add wasm32-unknown-unknown",
        "`.ci/worker-build` does without rustup's",
    ),
    (
        "cargo install worker-build",
        "`.ci/worker-build` stands in its place",
    ),
    ("npx wrangler@4 deploy --dry-run", "needs wrangler"),
    ("npx wrangler@4 login", "needs an account"),
    ("npx wrangler@4 deploy", "needs an account"),
];

/// Both projects call their program `config`, and share what was built.
static ONE_AFTER_THE_OTHER: Mutex<()> = Mutex::new(());

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn the_page_leads_from_cargo_new_to_a_counter_in_workerd() {
    let _alone = ONE_AFTER_THE_OTHER
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut reader = Reader::new();
    reader.read("From `cargo new`");
    assert!(reader.serving.is_some() && reader.asked > 0);
}

#[test]
#[ignore = "needs workerd: run .ci/workerd"]
fn the_page_leads_from_dokit_new_to_a_counter_in_workerd() {
    let _alone = ONE_AFTER_THE_OTHER
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut reader = Reader::new();
    let root = checkout();
    let new = format!(
        "cargo run --quiet --manifest-path {root}/Cargo.toml --package dokit-cli -- new my-objects --dokit {root}",
        root = root.display()
    );
    reader.run(&new);
    reader.run("cd my-objects");
    reader.read("From the project of `dokit new`");
    let serving = reader.serving.unwrap();
    assert_eq!(
        serving.send("POST", "/counter/global/increment", "[5]"),
        (200, "5".to_owned())
    );
}

#[test]
fn what_is_left_out_stands_on_the_page() {
    for (command, _) in LEFT_OUT {
        assert!(page().contains(&format!("\n{command}\n")), "{command}");
    }
}

fn checkout() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap()
}

fn page() -> String {
    fs::read_to_string(checkout().join("docs/cloudflare.md")).unwrap()
}

/// Somebody who does what the page says.
struct Reader {
    /// Dropped before the project is.
    serving: Option<Workerd>,
    /// How many requests have been made.
    asked: usize,
    /// Where they are.
    folder: PathBuf,
    _project: TempDir,
}

impl Reader {
    fn new() -> Self {
        let project = tempfile::tempdir().unwrap();
        Self {
            serving: None,
            asked: 0,
            folder: project.path().to_owned(),
            _project: project,
        }
    }

    /// Does all that a section says.
    fn read(&mut self, heading: &str) {
        let page = page();
        let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        // Text and code take turns.
        let mut parts = section.split("\n```");
        while let (Some(text), Some(code)) = (parts.next(), parts.next()) {
            let (language, code) = code.split_once('\n').unwrap();
            if language == "sh" {
                code.lines().for_each(|line| self.run(line));
                continue;
            }
            // What is before a file begins with its name.
            let said = text.trim_end().rsplit("\n\n").next().unwrap();
            let name = said.trim_start().strip_prefix('`');
            let name = name.and_then(|rest| rest.split('`').next());
            let name = name.unwrap_or_else(|| panic!("which file is this? {said:?}"));
            self.write(name, code);
        }
    }

    fn write(&self, name: &str, text: &str) {
        let root = checkout();
        let published = "git = \"https://github.com/dokit-rs/dokit\"";
        let of = |folder: &str| format!("path = {:?}", root.join(folder));
        let text = text
            .replace(
                &format!("dokit-cloudflare = {{ {published}"),
                &format!("dokit-cloudflare = {{ {}", of("engines/cloudflare")),
            )
            .replace(published, &of(""));
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text + "\n").unwrap();
        // The versions of what is used are those that were built already.
        if name == "Cargo.toml" {
            fs::copy(root.join("Cargo.lock"), self.folder.join("Cargo.lock")).unwrap();
        }
    }

    fn run(&mut self, line: &str) {
        let (command, comment) = line.split_once('#').unwrap_or((line, ""));
        let (command, comment) = (command.trim(), comment.trim());
        if LEFT_OUT.iter().any(|(left_out, _)| *left_out == command) {
            return;
        }
        if let Some(folder) = command.strip_prefix("cd ") {
            self.folder.push(folder);
        } else if command.starts_with("curl ") {
            self.ask(command, comment);
        } else if command == "npx wrangler@4 dev" {
            self.serve();
        } else {
            assert!(command.starts_with("cargo "), "what is {command:?}?");
            self.carry_out(command);
        }
    }

    /// What `wrangler dev` does: builds the Worker as the configuration says, and serves it in workerd.
    fn serve(&mut self) {
        let configuration = fs::read_to_string(self.folder.join("wrangler.jsonc")).unwrap();
        let configuration: Value = serde_json::from_str(&configuration).unwrap();
        self.carry_out(configuration["build"]["command"].as_str().unwrap());
        // Where `.ci/workerd-serve` finds it.
        let name = configuration["name"].as_str().unwrap();
        let built = checkout().join("target/workerd");
        let module = built.join("dist").join(name);
        fs::create_dir_all(&module).unwrap();
        for file in ["index.js", "index_bg.wasm"] {
            fs::copy(self.folder.join("build").join(file), module.join(file)).unwrap();
        }
        // By another process. Where this one writes it while a test beside this starts a program, that has it
        // open for a moment too, and what is open to be written cannot be run.
        let mut copy = Command::new("cp");
        copy.arg(target().join("debug/config"));
        copy.arg(built.join("config").join(name));
        assert!(copy.status().unwrap().success());
        self.serving = Some(Workerd::start(name));
    }

    /// `curl -d BODY http://localhost:8787/PATH    # what is answered`
    fn ask(&mut self, command: &str, answer: &str) {
        let asked = command.strip_prefix("curl -d '");
        let (body, url) = asked.and_then(|rest| rest.split_once("' ")).unwrap();
        let path = url.strip_prefix("http://localhost:8787").unwrap();
        let serving = self.serving.as_ref().expect("it is served");
        let expected = (200, answer.to_owned());
        assert_eq!(serving.send("POST", path, body), expected, "{command}");
        self.asked += 1;
    }

    fn carry_out(&self, command: &str) {
        let tools = checkout().join(".ci/tools");
        let path = env::var_os("PATH").unwrap();
        let path = [tools].into_iter().chain(env::split_paths(&path));
        let done = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.folder)
            .env("PATH", env::join_paths(path).unwrap())
            .env("CARGO_TARGET_DIR", target())
            // As the repository says it, or SQLite is compiled anew.
            .env("LIBSQLITE3_FLAGS", "-DHAVE_FDATASYNC=1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&done.stderr);
        let fine = done.status.success() && !told.contains("warning");
        let tests = String::from_utf8_lossy(&done.stdout);
        assert!(fine, "{command}: {told}{tests}");
    }
}

/// Where the workspace is built, and with it most of what a project needs.
fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}
