//! Docker's daemon, with processes, mounts and a network of its own: when the one process that all
//! hang from is killed, nothing of it is left. It runs as long as a test holds it, and all tests that
//! run at a time share it.

use std::fs;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::thread;

use tempfile::TempDir;

use super::process::{Process, is_root};
use super::proxy::{Collected, Exit, collect, kill_group, run_to_end};
use super::wait::{SOON, wait_until, waited};

/// A running daemon.
pub struct Dockerd {
    /// `unshare`, whose child is the first process of all others.
    holder: Child,
    /// That first process, as this one sees it.
    first: Process,
    daemon: Mutex<Child>,
    log: Mutex<Collected>,
    dir: TempDir,
}

/// A daemon, for a test that is alone with it or not.
pub struct Joined {
    docker: Arc<Dockerd>,
    _turn: Turn,
}

/// Held, not looked at.
enum Turn {
    Shared { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

impl Deref for Joined {
    type Target = Dockerd;

    fn deref(&self) -> &Dockerd {
        &self.docker
    }
}

static RUNNING: Mutex<Weak<Dockerd>> = Mutex::new(Weak::new());
static TURNS: RwLock<()> = RwLock::new(());

impl Dockerd {
    /// The daemon, in whose network this thread and all that it starts from now on are. `None`, and a
    /// word about why, where it cannot be started.
    pub fn join() -> Option<Joined> {
        let docker = Dockerd::shared()?;
        let guard = TURNS.read().unwrap_or_else(PoisonError::into_inner);
        Some(Joined { docker, _turn: Turn::Shared { _guard: guard } })
    }

    /// As [`Dockerd::join`], for a test that does to the daemon what no other should see.
    pub fn alone() -> Option<Joined> {
        let docker = Dockerd::shared()?;
        let guard = TURNS.write().unwrap_or_else(PoisonError::into_inner);
        Some(Joined { docker, _turn: Turn::Alone { _guard: guard } })
    }

    fn shared() -> Option<Arc<Dockerd>> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let docker = match running.upgrade() {
            Some(docker) => docker,
            None => match start() {
                Ok(docker) => Arc::new(docker),
                Err(why) => {
                    eprintln!("skipped: {why}");
                    return None;
                }
            },
        };
        *running = Arc::downgrade(&docker);
        drop(running);
        docker.first.join_network();
        Some(docker)
    }

    /// The value of `providers.docker.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    /// Runs `docker`, which must succeed; what it says, without the newline.
    #[track_caller]
    pub fn docker(&self, arguments: &[&str]) -> String {
        let exit = self.try_docker(arguments);
        assert!(exit.status.success(), "docker {arguments:?}: {}", exit.said());
        exit.stdout.trim().to_owned()
    }

    pub fn try_docker(&self, arguments: &[&str]) -> Exit {
        let mut command = Command::new("docker");
        command.args(["-H", &self.endpoint()]).args(arguments).env("DOCKER_CONFIG", "/nonexistent");
        run_to_end(command)
    }

    /// Ends the daemon; its containers run on.
    #[track_caller]
    pub fn end_daemon(&self) {
        let mut daemon = self.daemon.lock().unwrap();
        // `nsenter` waits for the daemon itself, its only child.
        let pid = Process(i32::try_from(daemon.id()).unwrap());
        for child in pid.children() {
            child.signal(libc::SIGTERM);
        }
        wait_until("the end of the daemon", SOON * 2, || daemon.try_wait().unwrap().is_some());
        let _ = fs::remove_file(self.dir.path().join("docker.pid"));
    }

    /// Starts the daemon again.
    #[track_caller]
    pub fn start_daemon(&self) {
        let (child, log) = spawn_daemon(self.first, self.dir.path()).unwrap();
        *self.daemon.lock().unwrap() = child;
        *self.log.lock().unwrap() = log;
        if let Err(why) = self.wait_ready() {
            panic!("{why}");
        }
    }

    /// Kills a process as the namespace of the containers counts them: the daemon is not asked.
    #[track_caller]
    pub fn kill(&self, pid: &str) {
        let mut command = self.inside("kill");
        command.args(["-9", pid]);
        let exit = run_to_end(command);
        assert!(exit.status.success(), "kill {pid}: {}", exit.said());
    }

    fn inside(&self, program: &str) -> Command {
        inside(self.first, program)
    }

    fn wait_ready(&self) -> Result<(), String> {
        let ready = waited(SOON * 3, || {
            if let Ok(Some(status)) = self.daemon.lock().unwrap().try_wait() {
                return Some(Err(format!("dockerd ended: {status}")));
            }
            let exit = self.try_docker(&["version", "--format", "{{.Server.Version}}"]);
            exit.status.success().then_some(Ok(()))
        });
        let result = ready.unwrap_or_else(|| Err("dockerd does not answer".into()));
        result.map_err(|why| {
            let log = self.log.lock().unwrap().text();
            let lines: Vec<&str> = log.lines().collect();
            format!("{why}: {}", lines[lines.len().saturating_sub(5)..].join("\n"))
        })
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // The first process takes all others along, and their mounts.
        kill_group(&mut self.holder);
        kill_group(&mut self.daemon.lock().unwrap_or_else(PoisonError::into_inner));
        let gone = || !Path::new(&format!("/proc/{}", self.first.0)).exists();
        waited(SOON, || gone().then_some(()));
    }
}

fn inside(first: Process, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--target", &first.0.to_string(), "--mount", "--pid", "--net", "--", program]);
    command
}

fn start() -> Result<Dockerd, String> {
    if !is_root() {
        return Err("Docker's daemon needs root".into());
    }
    for program in ["dockerd", "docker", "unshare", "nsenter", "busybox"] {
        let found = std::env::var("PATH").unwrap_or_default();
        let mut dirs = found.split(':').chain(["/usr/sbin", "/sbin"]);
        if !dirs.any(|dir| Path::new(dir).join(program).exists()) {
            return Err(format!("{program} is missing; scripts/test installs it"));
        }
    }
    let dir = tempfile::Builder::new().prefix("thalweg-it-docker-").tempdir();
    let dir = dir.map_err(|error| error.to_string())?;
    // The first process collects the dead ones of others each time it has slept.
    let mut command = Command::new("unshare");
    command
        .args(["--fork", "--kill-child", "--pid", "--mount", "--mount-proc", "--net", "--"])
        .args(["sh", "-c", "ip link set lo up; echo up; while :; do sleep 1; done"]);
    let (holder, out, said) = spawn_held(command).map_err(|error| format!("unshare: {error}"))?;
    let mut holder = Held(Some(holder));
    let up = waited(SOON, || out.text().contains("up").then_some(()));
    let pid = Process(i32::try_from(holder.0.as_ref().map_or(0, Child::id)).unwrap_or_default());
    let (Some(()), Some(first)) = (up, pid.children().first().copied()) else {
        return Err(format!("namespaces cannot be made: {}", said.text()));
    };
    fs::write(dir.path().join("daemon.json"), "{ \"live-restore\": true }\n")
        .map_err(|error| error.to_string())?;
    let (daemon, log) = spawn_daemon(first, dir.path()).map_err(|error| error.to_string())?;
    let docker = Dockerd {
        holder: holder.0.take().expect("held"),
        first,
        daemon: Mutex::new(daemon),
        log: Mutex::new(log),
        dir,
    };
    docker.wait_ready()?;
    docker.import_image()?;
    Ok(docker)
}

/// Killed unless it is taken.
struct Held(Option<Child>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            kill_group(child);
        }
    }
}

fn spawn_daemon(first: Process, dir: &Path) -> io::Result<(Child, Collected)> {
    let at = |name: &str| dir.join(name).display().to_string();
    let mut command = inside(first, "dockerd");
    command
        .args(["--config-file", &at("daemon.json"), "--data-root", &at("data")])
        .args(["--exec-root", &at("exec"), "--pidfile", &at("docker.pid")])
        .args(["-H", &format!("unix://{}", at("docker.sock"))])
        .args(["--bip", "172.30.0.1/24", "--iptables=false", "--ip-masq=false"])
        .args(["--userland-proxy=false", "--log-level", "warn"]);
    let (child, _, log) = spawn_held(command)?;
    Ok((child, log))
}

/// Starts a program that ends with this process. The kernel ties it to the thread that starts it, so
/// that one lives on.
fn spawn_held(mut command: Command) -> io::Result<(Child, Collected, Collected)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    // SAFETY: prctl(2) is safe to call between fork and exec and touches no memory.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let _ = sender.send(command.spawn());
        loop {
            thread::park();
        }
    });
    let mut child = receiver.recv().expect("the thread has started it")?;
    let out = collect(child.stdout.take().expect("piped"));
    let log = collect(child.stderr.take().expect("piped"));
    Ok((child, out, log))
}

impl Dockerd {
    /// An image of nothing but busybox.
    fn import_image(&self) -> Result<(), String> {
        let root = self.dir.path().join("image");
        let bin = root.join("bin");
        let made = fs::create_dir_all(&bin).and_then(|()| {
            fs::copy("/bin/busybox", bin.join("busybox"))?;
            for name in ["sh", "nc", "sleep", "cat", "echo", "rm", "test", "touch"] {
                std::os::unix::fs::symlink("busybox", bin.join(name))?;
            }
            // Says who it is, then echoes.
            fs::write(bin.join("answer"), "#!/bin/sh\necho \"$NAME\"\nexec cat\n")
        });
        made.map_err(|error| error.to_string())?;
        let archive = self.dir.path().join("image.tar");
        let script = format!(
            "chmod 755 {0}/bin/answer && tar -C {0} -cf {1} .",
            root.display(),
            archive.display()
        );
        let mut tar = Command::new("sh");
        tar.args(["-c", &script]);
        let exit = run_to_end(tar);
        if !exit.status.success() {
            return Err(exit.said());
        }
        let exit = self.try_docker(&["import", &archive.display().to_string(), "answer"]);
        if exit.status.success() { Ok(()) } else { Err(exit.said()) }
    }

    /// A container that says its name and echoes on these ports, removed when it is dropped.
    #[track_caller]
    pub fn container<'a>(&'a self, name: &str, ports: &[u16], further: &[&str]) -> Container<'a> {
        let listen: Vec<String> =
            ports.iter().map(|port| format!("nc -ll -p {port} -e /bin/answer & ")).collect();
        let script = format!("{} while :; do sleep 1000; done", listen.concat());
        let env = format!("NAME={name}");
        let mut arguments = vec!["run", "-d", "--name", name, "--env", &env, "--stop-timeout", "1"];
        arguments.extend(further);
        arguments.extend(["answer", "sh", "-c", &script]);
        let id = self.docker(&arguments);
        Container { docker: self, id }
    }
}

/// A container.
pub struct Container<'a> {
    docker: &'a Dockerd,
    pub id: String,
}

impl Container<'_> {
    /// Runs a command of `docker` on it.
    #[track_caller]
    pub fn run(&self, command: &str) {
        self.docker.docker(&[command, &self.id]);
    }

    #[track_caller]
    pub fn exec(&self, command: &[&str]) {
        self.docker.docker(&[&["exec", &self.id], command].concat());
    }

    /// What the daemon says of it, by a template.
    #[track_caller]
    pub fn inspect(&self, template: &str) -> String {
        self.docker.docker(&["inspect", "--format", template, &self.id])
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.docker.try_docker(&["rm", "-f", &self.id]);
    }
}

impl Process {
    /// This thread, and all that it starts from now on, are in the network of this process.
    #[track_caller]
    pub fn join_network(self) {
        let file = fs::File::open(format!("/proc/{}/ns/net", self.0)).expect("a network");
        // SAFETY: setns(2) takes an open descriptor and flags, and touches no memory of ours.
        let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "setns: {}", io::Error::last_os_error());
    }
}
