//! What the kernel says about a process, and what a test may do to it.

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::wait::let_pass;

/// A process by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub i32);

/// The open descriptors of a process, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Descriptors {
    pub sockets: usize,
    /// Ends of pipes. A relay keeps some for the next bulk transfer, so they may stay.
    pub pipes: usize,
    /// Files, event descriptors, rings.
    pub others: usize,
}

impl Descriptors {
    pub fn total(self) -> usize {
        self.sockets + self.pipes + self.others
    }
}

impl Process {
    pub fn signal(self, signal: i32) {
        // SAFETY: kill(2) takes two numbers and touches no memory of ours.
        let result = unsafe { libc::kill(self.0, signal) };
        assert_eq!(result, 0, "kill({}, {signal}): {}", self.0, io::Error::last_os_error());
    }

    pub fn descriptors(self) -> Descriptors {
        let mut count = Descriptors::default();
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.0)) else {
            return count;
        };
        for entry in entries.flatten() {
            // A descriptor closed since the directory was read counts no more.
            let Ok(link) = fs::read_link(entry.path()) else {
                continue;
            };
            let link = link.to_string_lossy();
            if link.starts_with("socket:") {
                count.sockets += 1;
            } else if link.starts_with("pipe:") {
                count.pipes += 1;
            } else {
                count.others += 1;
            }
        }
        count
    }

    /// The open descriptors, one line each, for the message of a failed test.
    pub fn descriptor_list(self) -> String {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", self.0)) else {
            return String::new();
        };
        let links = entries.flatten().filter_map(|entry| {
            let link = fs::read_link(entry.path()).ok()?;
            Some(format!("{} -> {}\n", entry.file_name().to_string_lossy(), link.display()))
        });
        links.collect()
    }

    /// Resident memory in KiB.
    pub fn rss_kib(self) -> u64 {
        self.status("VmRSS:").unwrap_or(0)
    }

    pub fn threads(self) -> u64 {
        self.status("Threads:").unwrap_or(0)
    }

    fn status(self, member: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(member))?;
        line.split_whitespace().next()?.parse().ok()
    }

    /// Processor time used so far, user and system, in clock ticks.
    pub fn cpu_ticks(self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).unwrap_or_default();
        // The name, in parentheses, may hold blanks; the 14th and 15th fields count from before it.
        let Some((_, rest)) = stat.rsplit_once(')') else {
            return 0;
        };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok());
        field(11).unwrap_or(0) + field(12).unwrap_or(0)
    }

    /// The share of one core used over `window`.
    pub fn cpu_share(self, window: Duration) -> f64 {
        // SAFETY: sysconf(3) takes a number and returns one.
        let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64;
        let before = self.cpu_ticks();
        let_pass(window);
        (self.cpu_ticks() - before) as f64 / per_second / window.as_secs_f64()
    }

    /// Sets the soft limit of open descriptors of the running process; returns the one before.
    pub fn limit_descriptors(self, soft: u64) -> u64 {
        let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `old` is a valid rlimit to write to; no new limit is passed.
        let read =
            unsafe { libc::prlimit(self.0, libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut old) };
        assert_eq!(read, 0, "prlimit: {}", io::Error::last_os_error());
        let new = libc::rlimit { rlim_cur: soft, rlim_max: old.rlim_max };
        // SAFETY: `new` is a valid rlimit to read from; the old one is not asked for.
        let set = unsafe {
            libc::prlimit(self.0, libc::RLIMIT_NOFILE, &raw const new, std::ptr::null_mut())
        };
        assert_eq!(set, 0, "prlimit: {}", io::Error::last_os_error());
        old.rlim_cur
    }

    /// Whether every thread is stopped by a signal.
    pub fn is_stopped(self) -> bool {
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", self.0)) else { return false };
        let stopped = |path: std::path::PathBuf| {
            let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        };
        tasks.flatten().all(|task| stopped(task.path()))
    }

    /// The processes that this one started.
    pub fn children(self) -> Vec<Process> {
        let path = format!("/proc/{0}/task/{0}/children", self.0);
        let text = fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().filter_map(|pid| pid.parse().ok().map(Process)).collect()
    }
}

/// Raises this process's own limit of open descriptors to what it may have: a test holds both
/// ends of many connections.
pub fn raise_own_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid rlimit to write to, then to read from.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

pub fn is_root() -> bool {
    // SAFETY: geteuid(2) has no argument and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Gives this thread, and all threads and programs it starts from now on, a network of its own with
/// nothing but a loopback interface. Needs root.
pub fn own_network() {
    // SAFETY: unshare(2) takes flags and touches no memory of ours.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    let error = io::Error::last_os_error();
    assert_eq!(result, 0, "a network namespace: {error}; this test needs root");
    let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
    let up = up.unwrap_or_else(|error| panic!("ip: {error}; scripts/test installs it"));
    assert!(up.success(), "loopback up: {up}");
}

/// Bytes that came over the IPv4 connection from `remote` to `local`, both on this machine, and that the
/// one who listens on `local` has not read; `None` if there is no such connection. Asks the kernel for
/// this one socket (sock_diag(7)): a table of all of them can have 100,000 lines.
pub fn unread_by(local: SocketAddr, remote: SocketAddr) -> Option<u32> {
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const LISTENING: u8 = 10;
    let (IpAddr::V4(from), IpAddr::V4(to)) = (local.ip(), remote.ip()) else { return None };
    let mut request = Vec::new();
    // nlmsghdr: length, kind, NLM_F_REQUEST, sequence, port.
    request.extend(72_u32.to_ne_bytes());
    request.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request.extend(1_u16.to_ne_bytes());
    request.extend([0; 8]);
    // inet_diag_req_v2: family, protocol, all states, and the socket's id without a cookie.
    request.extend([2, 6, 0, 0]);
    request.extend(u32::MAX.to_ne_bytes());
    request.extend(local.port().to_be_bytes());
    request.extend(remote.port().to_be_bytes());
    for address in [from, to] {
        request.extend(address.octets());
        request.extend([0; 12]);
    }
    request.extend([0; 4]);
    request.extend([255; 8]);
    let kind = Type::from(libc::SOCK_RAW);
    let protocol = Protocol::from(libc::NETLINK_SOCK_DIAG);
    let socket =
        Socket::new(Domain::from(libc::AF_NETLINK), kind, Some(protocol)).expect("netlink");
    socket.send(&request).expect("a question for the kernel");
    let mut answer = [0; 512];
    let length = (&socket).read(&mut answer).expect("the kernel's answer");
    let is_socket = answer[4..6] == SOCK_DIAG_BY_FAMILY.to_ne_bytes() && length >= 76;
    // inet_diag_msg: family, state, 2 bytes, the id, expiry, then the queue.
    (is_socket && answer[17] != LISTENING)
        .then(|| u32::from_ne_bytes(answer[72..76].try_into().unwrap()))
}
