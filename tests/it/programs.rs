//! Real programs through the proxy: what people run behind one. Each is started by the test on a
//! port of its own, as an ordinary user where it insists on that.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::config::Service;
use crate::support::data::{Digest, Random};
use crate::support::heavy;
use crate::support::peer::Peer;
use crate::support::ports::{free_port, loopback};
use crate::support::process::is_root;
use crate::support::proxy::{Exit, Proxy, collect, kill_group, run_to_end};
use crate::support::wait::{SOON, waited};

/// A program that closes with input unread makes its kernel send a RST after its last word.
const CLOSED_OR_RESET: &str = "*/relay/closed|*/relay/reset";

/// A server program, killed with all it started when dropped.
pub struct Server {
    child: Child,
    pub dir: TempDir,
    pub port: u16,
}

impl Server {
    /// Starts `command`, which listens on `port`; it is up when it accepts.
    pub fn start(mut command: Command, dir: TempDir, port: u16) -> Server {
        let name = command.get_program().to_string_lossy().into_owned();
        command
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| missing(&name, &error));
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let up = waited(SOON, || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("{name} ended: {status}: {}{}", stdout.to_end(), stderr.to_end());
            }
            Peer::try_connect(loopback(port)).is_ok().then_some(())
        });
        let server = Server { child, dir, port };
        assert!(up.is_some(), "{name} does not listen: {}{}", stdout.text(), stderr.text());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

pub fn missing(program: &str, error: &std::io::Error) -> ! {
    panic!("{program}: {error}; run scripts/test, which installs the programs that the tests need")
}

pub fn temp() -> TempDir {
    tempfile::Builder::new().prefix("thalweg-it-").tempdir().unwrap()
}

/// Runs a client program, which must succeed.
#[track_caller]
pub fn run(program: &str, arguments: &[&str]) -> Exit {
    let mut command = Command::new(program);
    command.args(arguments).env("PGCONNECT_TIMEOUT", "20");
    let exit = run_to_end(command);
    assert!(exit.status.success(), "{program} {arguments:?}: {}\n{}", exit.status, exit.said());
    exit
}

// ---- PostgreSQL ---------------------------------------------------------------------------------

/// The directory with the programs of the newest PostgreSQL that Debian installed.
pub fn postgres_bin() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_string_lossy().parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .collect();
    found.sort();
    let Some((_, bin)) = found.pop() else {
        panic!("PostgreSQL is missing; run scripts/test, which installs it")
    };
    bin
}

/// PostgreSQL refuses to run as root; then it is the user that Debian made for it.
pub fn as_postgres(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

pub fn owned_by_postgres(dir: &Path) {
    if !is_root() {
        return;
    }
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    let Some(line) = passwd.lines().find(|line| line.starts_with("postgres:")) else {
        panic!("no user postgres; run scripts/test, which installs PostgreSQL")
    };
    let numbers: Vec<u32> = line.split(':').skip(2).take(2).map(|n| n.parse().unwrap()).collect();
    chown(dir, Some(numbers[0]), Some(numbers[1])).unwrap();
}

pub fn postgres() -> Server {
    postgres_with(temp(), &[])
}

/// One with these settings beside the usual ones, in `dir`.
pub fn postgres_with(dir: TempDir, settings: &[String]) -> Server {
    let bin = postgres_bin();
    owned_by_postgres(dir.path());
    let data = dir.path().join("data");
    let mut initdb = as_postgres(&bin.join("initdb"));
    initdb.args(["--auth=trust", "--username=postgres", "--no-sync", "-D"]).arg(&data);
    initdb.current_dir(dir.path());
    let exit = run_to_end(initdb);
    assert!(exit.status.success(), "initdb: {}", exit.said());
    let port = free_port();
    let mut server = as_postgres(&bin.join("postgres"));
    server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-h", "127.0.0.1", "-k"]);
    server.arg(dir.path()).args(["-c", "fsync=off", "-c", "max_connections=60"]);
    server.args(settings.iter().flat_map(|setting| ["-c", setting]));
    let server = Server::start(server, dir, port);
    // It accepts before it is ready to serve.
    let ready = waited(SOON, || {
        let mut probe = Command::new(bin.join("pg_isready"));
        probe.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
        run_to_end(probe).status.success().then_some(())
    });
    assert!(ready.is_some(), "PostgreSQL never got ready");
    server
}

/// Goal: a database works through the proxy as it works without: pooled, and with a connection for
/// each transaction.
/// Method: pgbench makes its tables, runs 20 clients of 100 transactions each, then 200
/// transactions that each connect anew; it reports no failure, and the counts agree.
#[test]
fn postgresql() {
    let _alone = heavy();
    let server = postgres();
    let service = Service::new("pg", &[loopback(server.port)]);
    let mut proxy = Proxy::start([&service]);
    let bench = postgres_bin().join("pgbench");
    let port = service.port().to_string();
    let pgbench = |arguments: &[&str]| {
        let access = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        run(bench.to_str().unwrap(), &[&access, arguments, &["postgres"]].concat())
    };
    pgbench(&["-i", "-s", "1", "-q"]);
    let pooled = pgbench(&["-n", "-c", "20", "-j", "2", "-t", "100"]);
    assert!(pooled.stdout.contains("actually processed: 2000/2000"), "{}", pooled.said());
    assert!(pooled.stdout.contains("failed transactions: 0"), "{}", pooled.said());
    let anew = pgbench(&["-n", "-C", "-c", "10", "-j", "2", "-t", "20"]);
    assert!(anew.stdout.contains("actually processed: 200/200"), "{}", anew.said());

    let psql = postgres_bin().join("psql");
    let access = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-At", "postgres", "-c"];
    let select = "select count(*) from pgbench_history";
    let count = run(psql.to_str().unwrap(), &[&access, &[select][..]].concat());
    assert_eq!(count.stdout.trim(), "2200");
    // One for each of 20 clients, each transaction of -C, and a few for set-up and questions.
    proxy.ended_between(220, 260, CLOSED_OR_RESET);
    proxy.finish();
}

/// Goal: a copy of a large table each way is exact.
/// Method: COPY of 200,000 rows in, COPY out, equal digests of both.
#[test]
fn postgresql_copy() {
    let _alone = heavy();
    let server = postgres();
    let service = Service::new("pg", &[loopback(server.port)]);
    let mut proxy = Proxy::start([&service]);
    let mut random = Random::new(11);
    let rows: String =
        (0..200_000).map(|index| format!("{index}\t{:016x}\n", random.next())).collect();
    let file = server.dir.path().join("rows.tsv");
    fs::write(&file, &rows).unwrap();
    let psql = postgres_bin().join("psql");
    let port = service.port().to_string();
    let ask = |question: &str| {
        let access = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-At", "postgres"];
        run(psql.to_str().unwrap(), &[&access, &["-c", question][..]].concat()).stdout
    };
    ask("create table t (id int primary key, v text)");
    ask(&format!("\\copy t from '{}'", file.display()));
    let back = ask("\\copy (select * from t order by id) to stdout");
    assert_eq!(Digest::of(back.as_bytes()), Digest::of(rows.as_bytes()));
    proxy.ended_many(3, CLOSED_OR_RESET);
    proxy.finish();
}

// ---- Redis --------------------------------------------------------------------------------------

pub fn redis() -> Server {
    let dir = temp();
    let port = free_port();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no"]);
    Server::start(command, dir, port)
}

/// Goal: pipelined traffic of small messages is exact.
/// Method: redis-benchmark with 16 requests in flight on each of 50 connections; then 200,000 SETs
/// through one pipe, and as many keys are there.
#[test]
fn redis_pipelines() {
    let _alone = heavy();
    let server = redis();
    let service = Service::new("redis", &[loopback(server.port)]);
    let mut proxy = Proxy::start([&service]);
    let port = service.port().to_string();
    let bench = ["-h", "127.0.0.1", "-p", &port, "-P", "16", "-n", "100000", "-q", "-t", "set,get"];
    let exit = run("redis-benchmark", &bench);
    assert!(!exit.said().to_lowercase().contains("error"), "{}", exit.said());

    let cli = ["-h", "127.0.0.1", "-p", &port];
    run("redis-cli", &[&cli[..], &["flushall"]].concat());
    let commands: String = (0..200_000)
        .map(|index| {
            let key = format!("key:{index}");
            format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$5\r\nvalue\r\n", key.len())
        })
        .collect();
    let file = server.dir.path().join("commands");
    fs::write(&file, commands).unwrap();
    let mut pipe = Command::new("sh");
    pipe.args(["-c", &format!("exec redis-cli -h 127.0.0.1 -p {port} --pipe < commands")]);
    pipe.current_dir(server.dir.path());
    let exit = run_to_end(pipe);
    assert!(exit.said().contains("errors: 0, replies: 200000"), "{}", exit.said());
    let size = run("redis-cli", &[&cli[..], &["dbsize"]].concat());
    assert_eq!(size.stdout.trim(), "200000");
    // 50 for each of two benchmarks, a few of its own, three of redis-cli.
    proxy.ended_between(103, 120, CLOSED_OR_RESET);
    proxy.finish();
}

// ---- OpenSSH ------------------------------------------------------------------------------------

/// An sshd with throwaway keys, and what a client needs to trust it.
struct Ssh {
    server: Server,
    user: String,
}

impl Ssh {
    fn start() -> Ssh {
        let dir = temp();
        let path = |name: &str| dir.path().join(name);
        for name in ["host_key", "user_key"] {
            let key = path(name);
            run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().unwrap()]);
        }
        fs::copy(path("user_key.pub"), path("authorized_keys")).unwrap();
        fs::set_permissions(path("authorized_keys"), Permissions::from_mode(0o600)).unwrap();
        let port = free_port();
        let config = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
             StrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n\
             MaxStartups 100\nSubsystem sftp internal-sftp\n",
            path("host_key").display(),
            path("authorized_keys").display(),
        );
        fs::write(path("sshd_config"), config).unwrap();
        if is_root() {
            // The directory into which an unprivileged child of sshd is locked.
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(path("sshd_config"));
        let user = run("id", &["-un"]).stdout.trim().to_owned();
        Ssh { server: Server::start(command, dir, port), user }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.server.dir.path().join(name)
    }

    /// Options for ssh and scp through this port.
    fn options(&self, port_flag: &str, port: u16) -> Vec<String> {
        [
            port_flag,
            &port.to_string(),
            "-F",
            "none",
            "-i",
            self.path("user_key").to_str().unwrap(),
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
            "-o",
            "ConnectTimeout=20",
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// Goal: a shell session and file copies through the proxy are exact; the end of a command's input
/// reaches it.
/// Method: 32 MiB piped into `sha256sum` on the other side; scp there and back; digests agree.
#[test]
fn openssh() {
    let _alone = heavy();
    let ssh = Ssh::start();
    let service = Service::new("ssh", &[loopback(ssh.server.port)]);
    let mut proxy = Proxy::start([&service]);
    let data = Random::new(12).bytes(32 << 20);
    let digest = Digest::of(&data).to_string();
    let (original, there, back) = (ssh.path("original"), ssh.path("there"), ssh.path("back"));
    fs::write(&original, &data).unwrap();

    let mut piped = Command::new("ssh");
    piped.args(ssh.options("-p", service.port()));
    piped.arg(format!("{}@127.0.0.1", ssh.user)).arg("cat | sha256sum");
    piped.stdin(File::open(&original).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = piped.output().unwrap_or_else(|error| missing("ssh", &error));
    let said = String::from_utf8_lossy(&output.stdout);
    let trouble = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with(&digest), "{said}{trouble}");

    let remote = |path: &Path| format!("{}@127.0.0.1:{}", ssh.user, path.display());
    let copy = |from: &str, to: &str| {
        let mut scp = Command::new("scp");
        scp.args(ssh.options("-P", service.port())).arg("-q").args([from, to]);
        let exit = run_to_end(scp);
        assert!(exit.status.success(), "scp {from} {to}: {}", exit.said());
    };
    copy(original.to_str().unwrap(), &remote(&there));
    copy(&remote(&there), back.to_str().unwrap());
    assert_eq!(Digest::of(&fs::read(&back).unwrap()).to_string(), digest);
    proxy.ended_many(3, CLOSED_OR_RESET);
    proxy.finish();
}

/// Goal: the same service reached by many short sessions, as by a fleet of scripts.
/// Method: 12 sessions of `true` one after another.
#[test]
fn openssh_sessions() {
    let ssh = Ssh::start();
    let service = Service::new("ssh", &[loopback(ssh.server.port)]);
    let mut proxy = Proxy::start([&service]);
    for _ in 0..12 {
        let mut command = Command::new("ssh");
        command.args(ssh.options("-p", service.port()));
        command.arg(format!("{}@127.0.0.1", ssh.user)).arg("true");
        let exit = run_to_end(command);
        assert!(exit.status.success(), "{}", exit.said());
    }
    proxy.ended_many(12, CLOSED_OR_RESET);
    proxy.finish();
}
