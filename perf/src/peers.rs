//! Starting and stopping the proxies that are compared, each from its template in `perf/peers`.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::secure::Identity;
use crate::work::{Compared, Mode};
use crate::{proc, sys};

/// How long a proxy may take to listen, and to end when asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// What stands between client and backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// This project.
    Thalweg,
    /// HAProxy in TCP mode with splicing.
    Haproxy,
    /// nginx's stream module.
    Nginx,
    /// Envoy's tcp_proxy.
    Envoy,
    /// Nothing: the plain backend on the proxy's CPU, the cost of one endpoint.
    Direct,
}

impl Kind {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 5] =
        [Self::Thalweg, Self::Haproxy, Self::Nginx, Self::Envoy, Self::Direct];

    /// The name in results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Thalweg => "thalweg",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
            Self::Direct => "direct",
        }
    }

    fn template(self, front: Front) -> Option<String> {
        let kind = match self {
            Self::Thalweg => "json",
            Self::Haproxy => "cfg",
            Self::Nginx => "conf",
            Self::Envoy => "yaml",
            Self::Direct => return None,
        };
        let front = match front {
            Front::Plain => "",
            Front::Terminate => "-tls",
            Front::Passthrough => "-sni",
            Front::Policy => "-policy",
        };
        Some(format!("{}{front}.{kind}", self.name()))
    }

    /// What the program says about its version; `None` when it cannot be run.
    pub fn version(self, places: &Places) -> Option<String> {
        let (program, flag) = match self {
            Self::Thalweg => (places.thalweg.as_path(), "--version"),
            Self::Haproxy => (Path::new("haproxy"), "-v"),
            Self::Nginx => (Path::new("nginx"), "-v"),
            Self::Envoy => (places.envoy.as_path(), "--version"),
            Self::Direct => return Some(env!("CARGO_PKG_VERSION").into()),
        };
        let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
        // nginx answers on standard error.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        // Envoy begins with an empty line.
        let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        // Its version lies between the commit and the build's kind.
        let envoy = line.split_once("version: ").and_then(|(_, said)| said.split('/').nth(1));
        match (self, envoy) {
            (Self::Envoy, Some(version)) => Some(format!("envoy {version}")),
            _ => Some(line.to_owned()),
        }
    }
}

/// What a proxy does with the bytes of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Front {
    /// Passes them on.
    Plain,
    /// Ends TLS, and passes on what was in it.
    Terminate,
    /// Passes them on to the backend of the name in the ClientHello.
    Passthrough,
    /// Passes them on, if the client may and to whom it is due: see the templates.
    Policy,
}

/// Networks on the deny list of [`Front::Policy`], none of which the load comes from.
const DENIED: u32 = 100_000;

/// One a line: every second /24 from 16.0.0.0 on.
fn denied() -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for at in 0..DENIED {
        let network = std::net::Ipv4Addr::from(0x1000_0000 + (at << 9));
        let _ = writeln!(text, "{network}/24");
    }
    text
}

/// Where things are.
pub struct Places {
    /// The Thalweg binary.
    pub thalweg: PathBuf,
    /// The Envoy binary.
    pub envoy: PathBuf,
    /// What those show who end TLS.
    pub identity: Identity,
    /// The directory of the templates.
    pub templates: PathBuf,
    /// The CPU that every proxy is pinned to.
    pub proxy_cpu: usize,
}

/// A proxy that runs; it is ended when dropped.
pub struct Peer {
    child: Child,
    directory: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it expects the backend; `None` when it is the backend.
    pub backend: Option<SocketAddr>,
}

impl Peer {
    /// Starts a proxy for a work and waits until it listens.
    pub fn start(kind: Kind, compared: &Compared, places: &Places) -> Result<Self, String> {
        let work = compared.work;
        let directory = fresh_directory(kind.name())?;
        let [listen, backend, admin] = free_addresses()?;
        let mut command = match kind {
            Kind::Thalweg => Command::new(&places.thalweg),
            Kind::Haproxy => Command::new("haproxy"),
            Kind::Nginx => Command::new("nginx"),
            Kind::Envoy => Command::new(&places.envoy),
            Kind::Direct => Command::new("/proc/self/exe"),
        };
        // HAProxy's automatic choice can leave bulk data to copying, and splicing small messages costs
        // more than it saves: each work gets what suits it.
        let splice = match work.mode {
            Mode::Bulk => "option splice-request\n    option splice-response",
            _ => "option splice-auto",
        };
        if compared.front == Front::Terminate {
            places.identity.write(&directory)?;
        }
        if compared.front == Front::Policy {
            fs::write(directory.join("denied"), denied())
                .map_err(|e| format!("writing the list of networks: {e}"))?;
        }
        let template = kind.template(compared.front);
        let config = directory.join(template.as_deref().unwrap_or("none"));
        if let Some(name) = template {
            let template = places.templates.join(name);
            let text = fs::read_to_string(&template)
                .map_err(|e| format!("reading {}: {e}", template.display()))?
                .replace("@LISTEN_PORT@", &listen.port().to_string())
                .replace("@BACKEND_PORT@", &backend.port().to_string())
                .replace("@ADMIN_PORT@", &admin.port().to_string())
                .replace("@SPLICE@", splice)
                .replace("@CPU@", &places.proxy_cpu.to_string())
                .replace("@DIR@", &directory.display().to_string());
            fs::write(&config, text).map_err(|e| format!("writing {}: {e}", config.display()))?;
        }
        match kind {
            Kind::Thalweg => command.arg("run").arg("-c").arg(&config),
            Kind::Haproxy => command.arg("-db").arg("-f").arg(&config),
            Kind::Nginx => {
                command.arg("-p").arg(&directory).arg("-e").arg("stderr").arg("-c").arg(&config)
            }
            Kind::Envoy => command
                .args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"])
                .arg(&config),
            Kind::Direct => command.args([
                "backend".to_owned(),
                format!("--listen={listen}"),
                format!("--mode={}", work.name()),
                format!("--size={}", work.size),
            ]),
        };
        let log = |name| {
            File::create(directory.join(name)).map_err(|e| format!("making a log file: {e}"))
        };
        command.stdin(Stdio::null()).stdout(log("stdout")?).stderr(log("stderr")?);
        sys::pin_command(&mut command, places.proxy_cpu);
        let child = command
            .spawn()
            .map_err(|e| format!("starting {}: {e}", command.get_program().to_string_lossy()))?;
        let backend = (kind != Kind::Direct).then_some(backend);
        let mut peer = Self { child, directory, listen, backend };
        peer.wait_until_ready(kind)?;
        Ok(peer)
    }

    /// The process that was started.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `what` happened; says also how the proxy is and what it has said last.
    pub fn explain(&mut self, what: &str) -> String {
        let state = match self.child.try_wait() {
            Ok(Some(status)) => format!("it has ended ({status})"),
            _ => "it still runs".into(),
        };
        let said = fs::read(self.directory.join("stderr")).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        let last: Vec<&str> = said.lines().rev().take(12).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        format!("{what}; {state}; its last words:\n{}", last.join("\n"))
    }

    fn wait_until_ready(&mut self, kind: Kind) -> Result<(), String> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Err(self.explain("the proxy did not start"));
            }
            // Looking a port up does not disturb the proxy; a trial connection would be its first.
            let said = || fs::read_to_string(self.directory.join("stdout")).unwrap_or_default();
            if proc::listens(self.listen.port())
                && (kind != Kind::Thalweg || said().lines().any(|line| line == "ready"))
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Err(self.explain("the proxy did not listen in time"))
    }

    fn stop(&mut self) {
        let _ = sys::kill(self.pid(), false);
        let deadline = Instant::now() + PATIENCE;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() >= deadline {
                // Workers first, while their master still keeps their ids from being reused.
                let group = proc::with_descendants(&[self.pid()]);
                group.iter().rev().for_each(|pid| drop(sys::kill(*pid, true)));
                let _ = self.child.wait();
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Addresses on loopback whose ports the kernel has chosen. They are free again when this returns:
/// in the runner's own network namespace nobody else is there to take them.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N], String> {
    let bind = || TcpListener::bind(("127.0.0.1", 0));
    let sockets = (0..N).map(|_| bind()).collect::<Result<Vec<_>, _>>();
    let sockets = sockets.map_err(|e| format!("no free port on 127.0.0.1: {e}"))?;
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); N];
    for (address, socket) in addresses.iter_mut().zip(&sockets) {
        *address = socket.local_addr().map_err(|e| format!("no free port on 127.0.0.1: {e}"))?;
    }
    Ok(addresses)
}

fn fresh_directory(name: &str) -> Result<PathBuf, String> {
    for serial in 0..10_000 {
        let leaf = format!("thalweg-perf-{}-{name}-{serial}", std::process::id());
        let path = std::env::temp_dir().join(leaf);
        match fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(format!("making {}: {error}", path.display())),
        }
    }
    Err("no name is left for a temporary directory".into())
}
