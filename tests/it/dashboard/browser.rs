//! A headless Chromium that the tests drive: the DevTools protocol over two pipes, which needs no port
//! and no driver.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Write, pipe};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::proxy::kill_group;
use crate::support::wait::{SOON, waited};

/// What the tests do in a page.
const HELPERS: &str = include_str!("page.js");
/// What is wrong with a page.
const AUDIT: &str = include_str!("audit.js");

/// One browser with one page.
pub struct Browser {
    child: Child,
    to: PipeWriter,
    from: Receiver<Value>,
    session: Option<String>,
    last: u64,
    events: Vec<Value>,
    _profile: TempDir,
}

impl Browser {
    pub fn start() -> Browser {
        let profile = tempfile::tempdir().expect("directory");
        let (commands, to) = pipe().expect("pipe");
        let (answers, said) = pipe().expect("pipe");
        let mut command = Command::new("chromium");
        command
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-extensions"])
            .args(["--disable-component-update", "--disable-sync", "--no-proxy-server"])
            .args(["--remote-debugging-pipe", "--window-size=1280,900"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let ends = [above(&commands), above(&said)];
        // SAFETY: dup2(2) and prctl(2) are safe to call between fork and exec.
        unsafe {
            command.pre_exec(move || {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                for (end, wanted) in ends.into_iter().zip([3, 4]) {
                    if libc::dup2(end, wanted) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let child = command.spawn();
        for end in ends {
            // SAFETY: the number is that of a copy which nobody else knows.
            unsafe { libc::close(end) };
        }
        drop((commands, said));
        let child = child.unwrap_or_else(|error| {
            panic!("chromium: {error}; scripts/test installs what the tests need")
        });
        let mut browser = Browser {
            child,
            to,
            from: messages(answers),
            session: None,
            last: 0,
            events: Vec::new(),
            _profile: profile,
        };
        let page = waited(SOON * 3, || {
            let targets = browser.call("Target.getTargets", json!({}));
            let mut all =
                targets["targetInfos"].as_array().cloned().unwrap_or_default().into_iter();
            all.find(|target| target["type"] == "page")
        });
        let target = page.expect("a page")["targetId"].clone();
        let attached =
            browser.call("Target.attachToTarget", json!({ "targetId": target, "flatten": true }));
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        browser.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": HELPERS }));
        browser.window(1280, 900, "light");
        browser
    }

    /// One command, and what it gives.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same, where the browser may refuse: the page may be on its way to another.
    #[track_caller]
    fn try_call(&mut self, method: &str, parameters: Value) -> Result<Value, String> {
        self.last += 1;
        let mut message = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            message["sessionId"] = json!(session);
        }
        self.to.write_all(format!("{message}\0").as_bytes()).expect("the browser lives");
        loop {
            let Ok(said) = self.from.recv_timeout(SOON * 3) else {
                panic!("the browser does not answer {method}");
            };
            if said["id"] == self.last {
                return match said.get("error") {
                    Some(error) => Err(error.to_string()),
                    None => Ok(said["result"].clone()),
                };
            }
            self.events.push(said);
        }
    }

    /// A window of this size, in this colour scheme.
    pub fn window(&mut self, width: u32, height: u32, scheme: &str) {
        let size =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": scheme }));
    }

    pub fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
    }

    /// What an expression gives, once it is settled.
    #[track_caller]
    pub fn get(&mut self, expression: &str) -> Value {
        match self.evaluate(expression) {
            Ok(value) => value,
            Err(problem) => panic!("{expression}: {problem}"),
        }
    }

    fn evaluate(&mut self, expression: &str) -> Result<Value, String> {
        let parameters =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let answer = self.try_call("Runtime.evaluate", parameters)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(details.to_string()),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until a condition of the page holds.
    #[track_caller]
    pub fn until(&mut self, condition: &str) {
        let expression = format!("Boolean({condition})");
        let held = waited(SOON * 2, || {
            self.evaluate(&expression).is_ok_and(|held| held == true).then_some(())
        });
        if held.is_none() {
            let mut shown = String::new();
            let _ = write!(shown, "{}", self.get("document.body.innerText"));
            panic!("never came true: {condition}\n{:?}\n{shown}", self.evaluate(&expression));
        }
    }

    /// Presses a button, or follows a link, once it is there.
    #[track_caller]
    pub fn press(&mut self, label: &str) {
        let label = json!(label);
        self.until(&format!("control({label})"));
        self.get(&format!("press({label})"));
    }

    /// Writes into the field of a place in the document.
    #[track_caller]
    pub fn fill(&mut self, path: &str, value: impl Into<Value>) {
        let (path, value) = (json!(path), value.into());
        self.until(&format!("at({path})"));
        self.get(&format!("fill({path}, {value})"));
    }

    /// A key, as the keyboard has it.
    pub fn key(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            _ => 0,
        };
        let mut event = json!({ "key": key, "code": key, "windowsVirtualKeyCode": code });
        if key == "Enter" {
            event["text"] = json!("\r");
        } else if key.chars().count() == 1 {
            event["text"] = json!(key);
        }
        for kind in ["keyDown", "keyUp"] {
            event["type"] = json!(kind);
            self.call("Input.dispatchKeyEvent", event.clone());
        }
    }

    /// Nothing is wrong with what is shown (labels, roles, contrast, width).
    #[track_caller]
    pub fn audit(&mut self, what: &str) {
        let found = self.get(AUDIT);
        assert_eq!(found, json!([]), "{what}");
    }

    /// The page said nothing on its console, threw nothing, and asked nobody but `base`. That the API
    /// refused something is told as an error of the network by the browser, and is none.
    #[track_caller]
    pub fn was_quiet(&mut self, base: &str) {
        self.get("1");
        for event in &self.events {
            let about = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => panic!("{about}"),
                "Runtime.consoleAPICalled" => panic!("on the console: {about}"),
                "Log.entryAdded" if about["entry"]["source"] != "network" => panic!("{about}"),
                "Network.requestWillBeSent" => {
                    let url = about["request"]["url"].as_str().unwrap_or_default();
                    let own = url.starts_with(base) || url.starts_with("about:");
                    assert!(own, "asked for {url}");
                }
                _ => {}
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// A copy of a descriptor whose number is above those that the browser wants; gone with exec.
fn above(end: &impl AsRawFd) -> i32 {
    // SAFETY: fcntl(2) makes a copy of a descriptor that is open.
    let copy = unsafe { libc::fcntl(end.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 10) };
    assert!(copy >= 0, "{}", std::io::Error::last_os_error());
    copy
}

/// Each message as it comes; they end with a NUL.
fn messages(from: PipeReader) -> Receiver<Value> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut message = Vec::new();
        while from.read_until(0, &mut message).is_ok_and(|count| count > 0) {
            message.pop();
            let Ok(value) = serde_json::from_slice(&message) else { break };
            if sender.send(value).is_err() {
                break;
            }
            message.clear();
        }
    });
    receiver
}
