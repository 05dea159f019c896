//! The proxy under test: the real binary in a directory of its own, and the verdict at the end.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::backend::Backend;
use super::config::{Config, Service};
use super::events::{self, Event, Ledger};
use super::peer::{Outcome, Peer};
use super::process::{Descriptors, Process, is_root, raise_own_limit};
use super::wait::{SOON, let_pass, wait_until, waited};

/// The binary that cargo built for these tests.
pub const BINARY: &str = env!("CARGO_BIN_EXE_thalweg");

/// A canary that has not sung after this long is dead.
const CANARY: Duration = Duration::from_secs(5);
/// Canaries sent at once: enough that each core gets one, whichever way the kernel spreads them.
const CANARIES: usize = 12;
/// Resident memory that may be left of a test's work: the allocator keeps what it once had.
const GROWTH_KIB: u64 = 64 * 1024;
/// Pipe ends that may be left: what the relays of a few cores keep for the next bulk transfer.
const PIPES: usize = 2 * 64 * 8;

/// How a program ended.
#[derive(Debug)]
pub struct Exit {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Exit {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Both outputs.
    pub fn said(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs `thalweg` with these arguments in `dir` to its end.
pub fn thalweg(dir: &Path, arguments: &[&str]) -> Exit {
    let mut command = Command::new(BINARY);
    command.args(arguments).current_dir(dir).env_remove("THALWEG_ADMIN");
    run_to_end(command)
}

/// Runs a program to its end and collects what it says.
#[track_caller]
pub fn run_to_end(mut command: Command) -> Exit {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => panic!("{name}: {error}; scripts/test installs what the tests need"),
    };
    let stdout = collect(child.stdout.take().expect("piped"));
    let stderr = collect(child.stderr.take().expect("piped"));
    let ended = waited(SOON * 6, || child.try_wait().expect("wait"));
    let Some(status) = ended else {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{name} did not end; it said: {}{}", stdout.text(), stderr.text());
    };
    Exit { status, stdout: stdout.to_end(), stderr: stderr.to_end() }
}

/// How to start a proxy.
pub struct Launch {
    config: Config,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    stderr: Option<Stdio>,
    wrapper: Vec<String>,
    nobody: bool,
    events: bool,
}

impl Launch {
    pub fn new(config: Config) -> Launch {
        Launch {
            config,
            arguments: Vec::new(),
            environment: Vec::new(),
            stderr: None,
            wrapper: Vec::new(),
            nobody: false,
            events: true,
        }
    }

    /// A further argument of `thalweg run`.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Launch {
        self.arguments.push(argument.to_owned());
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where standard error goes, instead of to the harness.
    #[must_use]
    pub fn stderr(mut self, to: impl Into<Stdio>) -> Launch {
        self.stderr = Some(to.into());
        self
    }

    /// Runs the proxy by another program: `strace …`, `sh -c …`.
    #[must_use]
    pub fn wrapped(mut self, program: &[&str]) -> Launch {
        self.wrapper = program.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Runs as the user `nobody`, who has no capabilities and is bound by the limits on pipes. Needs
    /// root; anybody else has no capabilities anyway.
    #[must_use]
    pub fn unprivileged(mut self) -> Launch {
        self.nobody = is_root();
        self
    }

    /// The events cannot be read in this test; the verdict leaves them out.
    #[must_use]
    pub fn without_events(mut self) -> Launch {
        self.events = false;
        self
    }

    /// Starts and waits for `ready`.
    #[track_caller]
    pub fn start(self) -> Proxy {
        match self.try_start() {
            Ok(proxy) => proxy,
            Err(exit) => panic!("the proxy did not start: {}\n{}", exit.status, exit.said()),
        }
    }

    /// Starts a proxy that must refuse to run.
    #[track_caller]
    pub fn refused(self) -> Exit {
        match self.try_start() {
            Ok(_) => panic!("the proxy started, but should have refused"),
            Err(exit) => exit,
        }
    }

    fn try_start(self) -> Result<Proxy, Exit> {
        raise_own_limit();
        let dir = tempfile::Builder::new().prefix("thalweg-it-").tempdir().expect("directory");
        let canary_backend = Backend::echo();
        let canary = Service::new("canary", &[canary_backend.address]);
        let file = dir.path().join("thalweg.json");
        fs::write(&file, self.config.clone().with(&canary).text()).expect("configuration");

        let mut words = self.wrapper.clone();
        if self.nobody {
            // The binary may lie where only its builder may go.
            let copy = dir.path().join("thalweg");
            fs::copy(BINARY, &copy).expect("copy of the binary");
            fs::set_permissions(dir.path(), Permissions::from_mode(0o777)).expect("permissions");
            let drop_all = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
            words.extend(drop_all.map(str::to_owned));
            words.push(copy.to_string_lossy().into_owned());
        } else {
            words.push(BINARY.to_owned());
        }
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg("run")
            .arg("-c")
            .arg(&file)
            .args(&self.arguments)
            .current_dir(dir.path())
            .env_remove("NOTIFY_SOCKET")
            .env_remove("RUST_LOG")
            .env_remove("THALWEG_FAULT")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.stderr.unwrap_or_else(Stdio::piped))
            .process_group(0);
        // SAFETY: prctl(2) is safe to call between fork and exec and touches no memory.
        unsafe {
            command.pre_exec(|| {
                // A run of the tests that is killed takes its proxies along.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{}: {error}; scripts/test installs what is needed", words[0]),
        };
        let stdout = collect(child.stdout.take().expect("piped"));
        let log = child.stderr.take().map_or_else(Collected::default, collect);

        enum Came {
            Ready,
            Ended(ExitStatus),
        }
        let came = waited(SOON, || {
            if stdout.text().lines().any(|line| line == "ready") {
                return Some(Came::Ready);
            }
            child.try_wait().expect("wait").map(Came::Ended)
        });
        let id = i32::try_from(child.id()).expect("a process number");
        match came {
            Some(Came::Ready) => {}
            Some(Came::Ended(status)) => {
                return Err(Exit { status, stdout: stdout.to_end(), stderr: log.to_end() });
            }
            None => {
                kill_group(&mut child);
                panic!("the proxy never said ready: {}{}", stdout.text(), log.text());
            }
        }
        let process = if self.wrapper.iter().any(|word| word == "strace") {
            Process(id).children().first().copied().unwrap_or(Process(id))
        } else {
            Process(id)
        };
        let mut proxy = Proxy {
            child,
            process,
            file,
            stdout,
            log,
            canary,
            _canary_backend: canary_backend,
            read_events: self.events,
            baseline: Descriptors::default(),
            rss: 0,
            ledger: Ledger::default(),
            panics_expected: false,
            ended: false,
            dir,
        };
        // What is made on first use is made now, so that the baseline is the steady state.
        proxy.canary();
        proxy.baseline = waited(SOON, || {
            let now = process.descriptors();
            (events::count(&proxy.events_file()) >= CANARIES || !proxy.read_events).then_some(now)
        })
        .unwrap_or_else(|| panic!("no events of the first canaries; log:\n{}", proxy.log.text()));
        proxy.rss = process.rss_kib();
        Ok(proxy)
    }
}

/// A running proxy.
pub struct Proxy {
    child: Child,
    process: Process,
    file: PathBuf,
    stdout: Collected,
    log: Collected,
    canary: Service,
    read_events: bool,
    baseline: Descriptors,
    rss: u64,
    ledger: Ledger,
    panics_expected: bool,
    ended: bool,
    // Dropped last: the canary's upstream and the directory outlive the process.
    _canary_backend: Backend,
    dir: TempDir,
}

impl Proxy {
    /// Starts one with these services.
    #[track_caller]
    pub fn start<'a>(services: impl IntoIterator<Item = &'a Service>) -> Proxy {
        Launch::new(Config::new(services)).start()
    }

    pub fn process(&self) -> Process {
        self.process
    }

    /// The configuration file it was started with.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Everything said on standard error so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Everything said on standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    pub fn signal(&self, signal: i32) {
        self.process.signal(signal);
    }

    /// Stops the process (SIGSTOP); returns when every thread stands still.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(libc::SIGSTOP);
        wait_until("every thread to stand still", SOON, || self.process.is_stopped());
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal(libc::SIGCONT);
    }

    pub fn events_file(&self) -> PathBuf {
        self.dir.path().join("events.ndjson")
    }

    pub fn events(&self) -> Vec<Event> {
        events::read(&self.events_file())
    }

    /// The event of the connection from this port, once it is there.
    #[track_caller]
    pub fn event_of(&self, port: u16) -> Event {
        // A canary over the other address family may have had the same port.
        let is_it = |event: &Event| {
            event.client_port() == Some(port) && event.text("@serviceId") != "canary"
        };
        let find = || self.events().into_iter().find(is_it);
        waited(SOON, find).unwrap_or_else(|| panic!("no event for the client on port {port}"))
    }

    /// The test makes something panic.
    pub fn expect_panics(&mut self) {
        self.panics_expected = true;
    }

    /// So many descriptors that belong to no connection may be left.
    pub fn allow_descriptors(&mut self, count: usize) {
        self.baseline.others += count;
    }

    /// So many sockets that belong to no connection may be left: listeners that came later.
    pub fn allow_sockets(&mut self, count: usize) {
        self.baseline.sockets += count;
    }

    /// Resident memory above that of the start, in KiB.
    pub fn growth_kib(&self) -> u64 {
        self.process.rss_kib().saturating_sub(self.rss)
    }

    // ---- what the test did ----------------------------------------------------------------------

    /// A connection to `service`, which the test must account for with [`Proxy::ended`] or
    /// [`Proxy::cut`].
    #[track_caller]
    pub fn connect(&self, service: &Service) -> Peer {
        Peer::connect(service.address)
    }

    /// This connection to `service` ended with `reason` (a pattern of [`events::matches`]), and
    /// every byte that went in came out.
    pub fn ended(&mut self, peer: impl Into<Outcome>, service: &Service, reason: &str) {
        self.ledger.one(peer.into(), Some(&service.id), reason, true);
    }

    /// This connection was cut with `reason`: bytes may have been lost on the way.
    pub fn cut(&mut self, peer: impl Into<Outcome>, service: &Service, reason: &str) {
        self.ledger.one(peer.into(), Some(&service.id), reason, false);
    }

    /// This connection ended with `reason` before a service was chosen for it, or after.
    pub fn refused(&mut self, peer: impl Into<Outcome>, reason: &str) {
        self.ledger.one(peer.into(), None, reason, false);
    }

    /// So many connections, made by somebody else, ended with `reason`.
    pub fn ended_many(&mut self, count: usize, reason: &str) {
        self.ledger.many(count, count, reason);
    }

    /// As [`Proxy::ended_many`], for a program that does not say how many it makes.
    pub fn ended_between(&mut self, least: usize, most: usize, reason: &str) {
        self.ledger.many(least, most, reason);
    }

    /// The proxy carries connections, on every core.
    #[track_caller]
    pub fn canary(&mut self) {
        let peers: Vec<Peer> = (0..CANARIES)
            .map(|_| Peer::try_connect(self.canary.address))
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("a canary did not connect: {error}\n{}", self.log()));
        for peer in peers {
            peer.set_deadline(CANARY);
            peer.send(b"tweet");
            peer.expect(b"tweet");
            peer.fin();
            peer.expect_eof();
            self.ledger.one(peer.close(), Some("canary"), "*/relay/closed", true);
        }
    }

    // ---- what the test does to it -----------------------------------------------------------------

    /// Replaces the configuration file in one step, as an editor or a deployment does.
    pub fn write_config(&self, config: &Config) {
        self.write_text(&config.clone().with(&self.canary).text());
    }

    pub fn write_text(&self, text: &str) {
        let fresh = self.file.with_extension("fresh");
        fs::write(&fresh, text).expect("configuration");
        fs::rename(&fresh, &self.file).expect("configuration");
    }

    /// Replaces the configuration, sends SIGHUP and waits until the log speaks of a reload.
    /// Returns what the log said since.
    #[track_caller]
    pub fn reload(&self, config: &Config) -> String {
        self.write_config(config);
        self.reload_file()
    }

    /// Sends SIGHUP and waits until the log speaks of a reload; returns what it said since.
    #[track_caller]
    pub fn reload_file(&self) -> String {
        let before = self.log().len();
        self.signal(libc::SIGHUP);
        let said = waited(SOON, || {
            let text = self.log()[before..].to_owned();
            text.to_lowercase().contains("reload").then_some(text)
        });
        said.unwrap_or_else(|| panic!("no word of a reload in the log:\n{}", self.log()))
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait_exit(&mut self) -> Exit {
        let status = waited(SOON * 2, || self.child.try_wait().expect("wait"));
        let Some(status) = status else {
            panic!("the proxy did not end; log:\n{}", self.log());
        };
        self.ended = true;
        Exit { status, stdout: self.stdout.to_end(), stderr: self.log.to_end() }
    }

    /// True while the process lives.
    pub fn is_running(&mut self) -> bool {
        !self.ended && self.child.try_wait().expect("wait").is_none()
    }

    /// Ends it with SIGKILL.
    pub fn kill(mut self) {
        kill_group(&mut self.child);
        self.ended = true;
    }

    /// The verdict. See the module's description in `main.rs`.
    #[track_caller]
    pub fn finish(mut self) {
        if self.read_events {
            let least = self.ledger.least();
            let file = self.events_file();
            let all = waited(SOON, || (events::count(&file) >= least).then_some(()));
            if all.is_none() {
                let differences = self.ledger.differences(&self.events());
                panic!("connections without an event:\n{differences}");
            }
        }
        self.canary();
        self.check_descriptors();
        let growth = self.growth_kib();
        assert!(growth <= GROWTH_KIB, "resident memory grew by {growth} KiB");
        self.signal(libc::SIGTERM);
        let exit = self.wait_exit();
        assert_eq!(exit.code(), Some(0), "end on SIGTERM: {}\n{}", exit.status, exit.stderr);
        self.verdict();
    }

    /// The part of the verdict that can be given when the process has ended already.
    #[track_caller]
    pub fn verdict(mut self) {
        assert!(!self.is_running(), "the verdict is for a proxy that has ended");
        if self.read_events {
            let differences = self.ledger.differences(&self.events());
            assert!(differences.is_empty(), "events differ from what the test did:\n{differences}");
        }
        let log = self.log();
        let panicked = log.to_lowercase().contains("panic");
        assert!(!panicked || self.panics_expected, "a panic in the log:\n{log}");
    }

    /// Every descriptor opened for a connection is closed again.
    #[track_caller]
    pub fn check_descriptors(&self) {
        let back = waited(SOON, || {
            let now = self.process.descriptors();
            (now.sockets <= self.baseline.sockets
                && now.others <= self.baseline.others
                && now.pipes <= self.baseline.pipes + PIPES)
                .then_some(())
        });
        assert!(
            back.is_some(),
            "descriptors left: {:?} at the start, {:?} now:\n{}",
            self.baseline,
            self.process.descriptors(),
            self.process.descriptor_list()
        );
    }

    /// From now on these are the descriptors to come back to: the set of listeners has changed.
    pub fn rebase(&mut self) {
        self.baseline = self.process.descriptors();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if thread::panicking() {
            // What the failed test did last may still be on its way into the log.
            let_pass(Duration::from_millis(500));
            let log = self.log.text();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(40)..];
            eprintln!("---- the end of the proxy's log ----\n{}", tail.join("\n"));
            let events = if self.read_events { self.events() } else { Vec::new() };
            let odd = events.iter().filter(|event| !event.reason().ends_with("/relay/closed"));
            let odd: Vec<String> = odd.map(Event::gist).take(10).collect();
            eprintln!("---- events other than clean ends ----\n{}", odd.join("\n"));
        }
        if !self.ended {
            kill_group(&mut self.child);
        }
    }
}

/// Kills a child that leads its own process group, and all that it started.
pub fn kill_group(child: &mut Child) {
    let group = i32::try_from(child.id()).expect("a process number");
    if let Ok(None) = child.try_wait() {
        // SAFETY: kill(2) takes two numbers; the child is not reaped yet, so the number is its own.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    let _ = child.wait();
}

/// What a program writes to a pipe, read by a thread as it comes.
#[derive(Default)]
pub struct Collected {
    text: Arc<Mutex<String>>,
    thread: Option<thread::JoinHandle<()>>,
}

pub fn collect(pipe: impl Read + Send + 'static) -> Collected {
    let text: Arc<Mutex<String>> = Arc::default();
    let shared = Arc::clone(&text);
    let thread = thread::spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = pipe.read_until(b'\n', &mut line) {
            shared.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    Collected { text, thread: Some(thread) }
}

impl Collected {
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// The whole text, once the pipe has been closed; what there is if somebody keeps it open.
    pub fn to_end(&self) -> String {
        if let Some(thread) = &self.thread {
            waited(Duration::from_secs(2), || thread.is_finished().then_some(()));
        }
        self.text()
    }
}
