//! The process as the kernel sees it, from /proc.

use std::fs;

/// What Prometheus' conventions ask of every process; `None` is what could not be read.
#[derive(Debug, Default)]
pub(super) struct Usage {
    pub(super) cpu_us: Option<u64>,
    pub(super) resident: Option<u64>,
    pub(super) virtual_memory: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    /// In µs since 1970.
    pub(super) started_us: Option<u64>,
}

/// Length of the kernel's unit of time towards programs, in µs (USER_HZ is 100 everywhere).
const TICK_US: u64 = 10_000;

impl Usage {
    /// As of now.
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (stat, status) = (text("/proc/self/stat"), text("/proc/self/status"));
        let since_boot = field(&stat, 22).and_then(|ticks| ticks.checked_mul(TICK_US));
        let boot = after(&text("/proc/stat"), "btime").and_then(|it| it.checked_mul(1_000_000));
        Self {
            cpu_us: field(&stat, 14)
                .zip(field(&stat, 15))
                .map(|(user, system)| user.saturating_add(system).saturating_mul(TICK_US)),
            resident: after(&status, "VmRSS:").map(|kib| kib << 10),
            virtual_memory: field(&stat, 23),
            open_fds: open_fds(),
            max_fds: after(&text("/proc/self/limits"), "Max open files"),
            started_us: boot.zip(since_boot).map(|(boot, since)| boot.saturating_add(since)),
        }
    }
}

/// A field of /proc/self/stat by its number in proc_pid_stat(5). The second, the name of the program,
/// is in parentheses and may hold anything.
fn field(stat: &str, number: usize) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

/// The first number behind `name` at the beginning of a line.
fn after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Linux counts them in the size of the directory (since 6.2); before, they are counted here.
fn open_fds() -> Option<u64> {
    match fs::metadata("/proc/self/fd").ok()?.len() {
        0 => u64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok(),
        count => Some(count),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn this_process_is_as_it_should_be() {
        let usage = Usage::read();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros();
        let age = now.saturating_sub(usage.started_us.unwrap().into());
        assert!(age < 24 * 3600 * 1_000_000, "{usage:?}");
        assert!(usage.resident.unwrap() > 1 << 20, "{usage:?}");
        assert!(usage.virtual_memory.unwrap() >= usage.resident.unwrap(), "{usage:?}");
        assert!((3..=usage.max_fds.unwrap()).contains(&usage.open_fds.unwrap()), "{usage:?}");
        assert!(usage.cpu_us.is_some());
    }

    #[test]
    fn a_program_may_be_called_anything() {
        let stat = "1 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 77 88 0 0 20 0 1 0 99 4096 1";
        assert_eq!((field(stat, 14), field(stat, 15)), (Some(77), Some(88)));
        assert_eq!((field(stat, 22), field(stat, 23)), (Some(99), Some(4096)));
        assert_eq!(field("", 14), None);
    }
}
