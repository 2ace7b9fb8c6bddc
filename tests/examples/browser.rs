//! A real browser without a window: Chromium, driven by its DevTools protocol
//! (<https://chromedevtools.github.io/devtools-protocol/>).

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use crate::socket::Socket;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A running browser, killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Browser {
    process: Child,
    socket: Socket,
    /// The number of the last command.
    last: u64,
    /// What happened while the last commands ran.
    events: Vec<Value>,
    /// Its profile: nothing of another run is in it.
    _profile: TempDir,
}

/// An open page.
#[derive(Debug)]
pub(crate) struct Tab {
    target: String,
    session: String,
}

impl Browser {
    /// Starts the program that `CHROMIUM` names, or `chromium`.
    pub(crate) fn start() -> Self {
        let program = std::env::var_os("CHROMIUM").unwrap_or_else(|| "chromium".into());
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new(&program)
            .args([
                "--headless=new",
                // As root it does not start with a sandbox. It sees pages of this machine alone.
                "--no-sandbox",
                // Containers give it too small a /dev/shm.
                "--disable-dev-shm-usage",
                "--disable-gpu",
                "--no-first-run",
                "--remote-debugging-port=0",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let output = process.stderr.take().unwrap();
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let address = lines
            .by_ref()
            .find_map(|line| Some(line.strip_prefix("DevTools listening on ")?.to_owned()))
            .expect("it says where it listens");
        // It goes on telling, and must not wait for somebody who reads.
        std::thread::spawn(|| lines.for_each(drop));
        Self {
            process,
            socket: Socket::connect(&address),
            last: 0,
            events: Vec::new(),
            _profile: profile,
        }
    }

    /// Opens a page in a tab of its own, and waits until it is loaded.
    pub(crate) fn open(&mut self, url: &str) -> Tab {
        let blank = json!({"url": "about:blank"});
        let created = self.run(None, "Target.createTarget", &blank);
        let target = text(&created["targetId"]);
        let attach = json!({"targetId": target, "flatten": true});
        let attached = self.run(None, "Target.attachToTarget", &attach);
        let session = text(&attached["sessionId"]);
        let tab = Tab { target, session };
        self.run(Some(&tab), "Page.enable", &json!({}));
        self.events.clear();
        self.run(Some(&tab), "Page.navigate", &json!({"url": url}));
        let loaded = |event: &Value| {
            event["sessionId"] == tab.session && event["method"] == "Page.loadEventFired"
        };
        while !self.events.iter().any(loaded) {
            let event = self.socket.next();
            self.events.push(event);
        }
        tab
    }

    /// Closes a tab, as a person does.
    pub(crate) fn close(&mut self, tab: &Tab) {
        self.run(None, "Target.closeTarget", &json!({"targetId": tab.target}));
    }

    /// Waits until an expression of the page is true.
    pub(crate) fn wait_until(&mut self, tab: &Tab, condition: &str) {
        let look = format!(
            "new Promise((done) => {{ \
               const look = () => ({condition}) ? done(true) : setTimeout(look, 20); \
               look(); \
             }})"
        );
        assert_eq!(self.evaluate(tab, &look), true, "{condition}");
    }

    /// The value of an expression of the page; of a promise, what it comes to.
    pub(crate) fn evaluate(&mut self, tab: &Tab, expression: &str) -> Value {
        let what = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut answer = self.run(Some(tab), "Runtime.evaluate", &what);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {thrown}");
        answer["result"]["value"].take()
    }

    /// Types a text into what is found by this selector, and presses Enter.
    pub(crate) fn type_line(&mut self, tab: &Tab, selector: &str, line: &str) {
        self.run(Some(tab), "Page.bringToFront", &json!({}));
        self.evaluate(
            tab,
            &format!("document.querySelector({selector:?}).focus()"),
        );
        self.run(Some(tab), "Input.insertText", &json!({"text": line}));
        for kind in ["keyDown", "keyUp"] {
            let enter = json!({
                "type": kind, "key": "Enter", "code": "Enter", "text": "\r",
                "windowsVirtualKeyCode": 13,
            });
            self.run(Some(tab), "Input.dispatchKeyEvent", &enter);
        }
    }

    /// Runs a command, and gives its result.
    fn run(&mut self, tab: Option<&Tab>, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut command = json!({"id": self.last, "method": method, "params": params});
        if let Some(tab) = tab {
            command["sessionId"] = json!(tab.session);
        }
        self.socket.send_json(&command);
        loop {
            let mut answer = self.socket.next();
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.events.push(answer);
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
