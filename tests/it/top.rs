//! `thalweg top` on a terminal: tmux holds it, types keys and tells what is on the screen.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::api::{Api, Reply};
use crate::support::proxy::{BINARY, thalweg};
use crate::support::wait::{SOON, wait_for, waited};

/// A terminal of a given size, with a shell in it.
struct Screen {
    dir: TempDir,
}

impl Screen {
    /// Runs a script there, in which `$T` is the program.
    fn start(columns: u16, rows: u16, script: &str) -> Screen {
        let screen = Screen { dir: tempfile::tempdir().unwrap() };
        std::fs::write(screen.dir.path().join("tmux.conf"), "set -g status off\n").unwrap();
        let (columns, rows) = (columns.to_string(), rows.to_string());
        // The shell stays, so that the screen can be read when the script has ended.
        let script = format!("T={BINARY}; cd {}; {script}; cat", screen.dir.path().display());
        let script = ["sh", "-c", &script];
        let session = ["new-session", "-d", "-x", &columns, "-y", &rows];
        screen.tmux(&[&session[..], &script].concat());
        screen
    }

    #[track_caller]
    fn tmux(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        let (socket, rules) = (self.dir.path().join("tmux"), self.dir.path().join("tmux.conf"));
        tmux.arg("-S").arg(socket).arg("-f").arg(rules).args(arguments);
        tmux.env_remove("TMUX")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR")
            .stdin(Stdio::null());
        let output = tmux.output().expect("tmux; scripts/test installs it");
        assert!(output.status.success(), "tmux: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"][..], keys].concat());
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// With the sequences that colour it.
    fn coloured(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Waits until all of these are on the screen.
    #[track_caller]
    fn wait(&self, words: &[&str]) -> String {
        let all = || Some(self.text()).filter(|text| words.iter().all(|word| text.contains(word)));
        waited(SOON, all).unwrap_or_else(|| panic!("{words:?} never came on:\n{}", self.text()))
    }

    /// A file that the script writes, once it has something.
    #[track_caller]
    fn file(&self, name: &str) -> String {
        let path = self.dir.path().join(name);
        let read = || std::fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'));
        wait_for(name, SOON, read)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        let _ = tmux.arg("-S").arg(self.dir.path().join("tmux")).arg("kill-server").output();
    }
}

/// A proxy whose counters grow with each look; what it says depends on a word that a test sets.
struct Fake {
    api: Api,
    mode: Arc<AtomicU64>,
}

/// It answers; it does not; it is a new process.
const LIVES: u64 = 0;
const GONE: u64 = 1;
const RESTARTED: u64 = 2;

impl Fake {
    fn start() -> Fake {
        let mode = Arc::new(AtomicU64::new(LIVES));
        let looks = AtomicU64::new(0);
        let says = Arc::clone(&mode);
        let api = Api::start(move |asked| match (&*asked.what, says.load(Ordering::SeqCst)) {
            (_, GONE) => Reply::Raw(Vec::new()),
            ("GET /api/traffic", mode) => {
                let look = looks.fetch_add(1, Ordering::SeqCst) + 1;
                Reply::Json(200, traffic(look, mode == RESTARTED))
            }
            (what, _) if what.starts_with("DELETE") => Reply::Json(200, json!({ "deleted": true })),
            _ => Reply::Json(200, connections()),
        });
        Fake { api, mode }
    }

    fn is(&self, mode: u64) {
        self.mode.store(mode, Ordering::SeqCst);
    }

    fn command(&self, more: &str) -> String {
        format!("$T top --admin {} --interval 100ms {more}", self.api.url())
    }
}

/// The counters at a look; a second passes between two.
fn traffic(look: u64, restarted: bool) -> Value {
    let since = if restarted { 1 } else { look + 1000 };
    let counts = |of: u64| {
        json!({ "connections": of, "accepted": since * of, "ended": 0, "failed": 0, "handshakes": 0,
            "bytesIn": since * of * 1024, "bytesOut": since * of * 1024 * 1024 })
    };
    let with = |of: u64, more: Value| {
        let mut all = counts(of);
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        all
    };
    let name = "日本\u{1b}[2J\u{9b}31m";
    json!({
        "now": 1_700_000_000_000 + look * 1000, "uptime": since * 1000, "total": counts(3),
        "services": (1..=90).map(|of| with(of, json!({ "id": format!("svc{of}"), "name": name })))
            .collect::<Vec<_>>(),
        "targets": [with(1, json!({ "service": "svc1", "target": "db:5432", "state": "Down" }))],
        "cores": [with(1, json!({ "core": 0, "lagMaxUs": 1500, "ticks": since * 10 }))],
        "endings": [{ "side": "upstream", "step": "connect", "cause": "refused", "count": since }],
    })
}

fn connections() -> Value {
    let one = |at: u32| {
        json!({ "id": format!("0a0b0c0d-0-{at}"), "service": "svc1", "state": "open",
            "remote": "10.1.2.3:40000", "target": "db:5432", "age": at, "idle": 0, "dataIn": at,
            "dataOut": 1, "sni": "a\u{1b}]0;x\u{7}.example" })
    };
    json!({ "connections": (0..5).map(one).collect::<Vec<_>>(), "truncated": false })
}

/// Goal: every view shows what it should, at both usual sizes and after a change of size, and the
/// keys do what the last line says.
/// Method: look at the screen.
#[test]
fn views_keys_and_sizes() {
    let fake = Fake::start();
    for (columns, rows) in [(80, 24), (200, 60)] {
        let screen = Screen::start(columns, rows, &fake.command(""));
        let text = screen.wait(&["svc90", "90.0 MiB", "1 to", "of 90", "3.0 MiB/s", "q quit"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), usize::from(rows), "{text}");
        assert!(lines.last().unwrap().starts_with("q quit  1-5 view"), "{text}");
        assert_eq!(text.contains("GiB"), columns == 200, "sums where there is room: {text}");
        screen.keys(&["2"]);
        screen.wait(&["TARGET", "db:5432", "Down", "1.0 MiB"]);
        screen.keys(&["3"]);
        screen.wait(&["LAG MAX", "1.5 ms", "10"]);
        screen.keys(&["4"]);
        screen.wait(&["upstream/connect/refused"]);
        screen.keys(&["1", "/", "s", "v", "c", "7", "7", "Enter"]);
        screen.wait(&["filter: svc77", "77.0 MiB"]);
        // A screen may be read while it is drawn.
        wait_for("only what the filter takes", SOON, || {
            (!screen.text().contains("svc78")).then_some(())
        });
        screen.keys(&["?"]);
        screen.wait(&["thalweg explain REASON", "any key back"]);
        screen.keys(&["x", "p"]);
        screen.wait(&["paused: p goes on"]);
        screen.tmux(&["resize-window", "-x", "60", "-y", "12"]);
        screen.wait(&["LIVE", "q quit", "paused"]);
    }
}

/// Goal: a connection is ended only after a yes.
/// Method: choose the second of five, no, and then yes.
#[test]
fn kill() {
    let fake = Fake::start();
    let top = fake.command("--token-file t --view connections");
    let screen = Screen::start(100, 24, &format!("echo 0123456789abcdef > t; {top}"));
    screen.wait(&["0a0b0c0d-0-4", "a\\u{1b}"]);
    screen.keys(&["Down", "Down", "k"]);
    screen.wait(&["End connection 0a0b0c0d-0-3? y/n"]);
    screen.keys(&["n", "k", "y"]);
    screen.wait(&["ended 0a0b0c0d-0-3"]);
    let killed = fake.api.asked().into_iter().filter(|it| it.what.starts_with("DELETE"));
    let killed: Vec<_> = killed.map(|it| (it.what, it.token)).collect();
    let wanted = "DELETE /api/tcp/connections/0a0b0c0d-0-3".to_owned();
    assert_eq!(killed, [(wanted, Some("0123456789abcdef".to_owned()))]);
}

/// Goal: a proxy that is gone is told, and found again when it is back, without a rate that is none.
/// Method: it goes, and comes back as another process.
#[test]
fn a_proxy_that_goes_and_comes() {
    let fake = Fake::start();
    let screen = Screen::start(100, 24, &fake.command(""));
    screen.wait(&["3.0 MiB/s"]);
    fake.is(GONE);
    screen.wait(&["no news, trying again", "svc90"]);
    fake.is(RESTARTED);
    // The new process has no rates but 0: none is told across the restart.
    wait_for("news without a rate", SOON, || {
        let text = screen.text();
        (text.contains("svc") && !text.contains("no news") && !text.contains("MiB/s")).then_some(())
    });
}

/// Goal: whatever ends it, the terminal is as it was before, and the exit code says how it went.
/// Method: the settings of the terminal before and after a key, signals, and a second screen.
#[test]
fn the_terminal_is_given_back() {
    let fake = Fake::start();
    for end in ["q", "C-c", "TERM", "INT", "HUP"] {
        let command = match end {
            "q" | "C-c" => fake.command(""),
            _ => format!("sh -c 'echo $$ > pid; exec {}'", fake.command("").replace("$T", BINARY)),
        };
        let script = format!(
            "echo before; stty -a > was; {command}; echo $? > code; stty -a > is; echo 'and after'"
        );
        let screen = Screen::start(80, 24, &script);
        screen.wait(&["svc90", "q quit"]);
        match end {
            "q" | "C-c" => screen.keys(&[end]),
            signal => {
                let pid = screen.file("pid");
                let kill = Command::new("kill").args([&format!("-{signal}"), pid.trim()]).status();
                assert!(kill.unwrap().success());
            }
        }
        let text = screen.wait(&["before", "and after"]);
        assert!(!text.contains("svc90"), "{end}: {text}");
        assert_eq!(screen.file("code"), "0\n", "{end}");
        assert_eq!(screen.file("was"), screen.file("is"), "{end}");
    }
}

/// Goal: colours where they are wanted, none where they are not.
/// Method: the targets, one of which is down, with and without NO_COLOR.
#[test]
fn no_colour_where_none_is_wanted() {
    let fake = Fake::start();
    let red = |screen: &Screen| {
        screen.wait(&["Down"]);
        screen.coloured().contains("31m")
    };
    assert!(red(&Screen::start(80, 24, &fake.command("--view targets"))));
    let plain = format!("export NO_COLOR=1; {}", fake.command("--view targets"));
    assert!(!red(&Screen::start(80, 24, &plain)));
}

/// Goal: without a terminal there is a table, or a word on how to have one.
/// Method: `--once`; nothing.
#[test]
fn without_a_terminal() {
    let fake = Fake::start();
    let (dir, url) = (tempfile::tempdir().unwrap(), fake.api.url());
    let exit = thalweg(dir.path(), &["top", "--admin", &url]);
    assert_eq!(exit.code(), Some(2), "{}", exit.said());
    assert!(exit.stderr.contains("--once"), "{}", exit.said());
    let once = ["top", "--admin", &url, "--once", "--interval", "100ms"];
    let exit = thalweg(dir.path(), &once);
    assert_eq!(exit.code(), Some(0), "{}", exit.said());
    let lines: Vec<&str> = exit.stdout.lines().collect();
    assert_eq!(lines.len(), 2 + 1 + 90, "{}", exit.stdout);
    assert!(lines[3].starts_with("svc90"), "{}", exit.stdout);
    let exit = thalweg(dir.path(), &[&once[..], &["--view", "connections"]].concat());
    assert!(exit.stdout.contains("0a0b0c0d-0-4"), "{}", exit.said());
}
