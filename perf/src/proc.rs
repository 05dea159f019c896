//! What /proc says about the proxy, this process and the machine.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// One tick of the times in `/proc/PID/stat`: USER_HZ is 100 on every architecture that Linux serves.
const TICK_NS: u64 = 10_000_000;

/// The state of a group of processes at one moment.
pub struct Processes {
    /// CPU time of every thread alive, in nanoseconds, by process and thread id.
    threads: BTreeMap<(u32, u32), u64>,
    /// CPU time in ticks, ended threads included.
    ticks: u64,
    /// The kernel's io_uring workers among the threads.
    pub kernel_workers: usize,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Processes {
    /// Reads the state of the processes `pids`.
    pub fn read(pids: &[u32]) -> Result<Self, String> {
        let mut found =
            Self { threads: BTreeMap::new(), ticks: 0, kernel_workers: 0, descriptors: 0 };
        for pid in pids {
            found.add(*pid).map_err(|e| format!("reading /proc/{pid}: {e}"))?;
        }
        Ok(found)
    }

    /// The threads alive, the kernel's workers included.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// CPU time in nanoseconds that passed between `before` and `self`.
    ///
    /// The scheduler's own clock of each thread has nanoseconds, but dies with its thread; the ticks of
    /// the process keep what ended threads have used. The ticks decide when they show more than their
    /// own rounding can explain.
    pub fn cpu_since(&self, before: &Self) -> u64 {
        let exact: u64 = self
            .threads
            .iter()
            .map(|(id, now)| now.saturating_sub(before.threads.get(id).copied().unwrap_or(0)))
            .sum();
        let coarse = self.ticks.saturating_sub(before.ticks) * TICK_NS;
        let rounding = 2 * TICK_NS + exact / 50;
        if coarse > exact + rounding { coarse } else { exact }
    }

    fn add(&mut self, pid: u32) -> io::Result<()> {
        let root = Path::new("/proc").join(pid.to_string());
        let stat = fs::read_to_string(root.join("stat"))?;
        self.ticks += stat_field(&stat, 14)? + stat_field(&stat, 15)?;
        for entry in fs::read_dir(root.join("task"))? {
            let path = entry?.path();
            // A thread that ends between the listing and the reading is not an error.
            let Ok(schedule) = fs::read_to_string(path.join("schedstat")) else {
                continue;
            };
            let nanos = schedule.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
            let name = path.file_name().and_then(|name| name.to_str());
            let Some(tid) = name.and_then(|name| name.parse().ok()) else {
                continue;
            };
            self.threads.insert((pid, tid), nanos);
            let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
            self.kernel_workers += usize::from(comm.starts_with("iou-"));
        }
        self.descriptors += fs::read_dir(root.join("fd")).map_or(0, Iterator::count);
        Ok(())
    }
}

/// Field `number` (from 1, as proc(5) counts) of a `stat` line.
fn stat_field(stat: &str, number: usize) -> io::Result<u64> {
    // The name in the second field may hold anything, parentheses too: count from the last one.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let field = rest.split(' ').nth(number - 3).and_then(|text| text.trim().parse().ok());
    field.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}

/// `pids` and all that descend from them: a master's workers belong to the proxy.
pub fn with_descendants(pids: &[u32]) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        if let Ok(parent) = stat_field(&stat, 4) {
            parents.push((parent, pid));
        }
    }
    let mut all = pids.to_vec();
    let mut next = 0;
    while next < all.len() {
        let parent = u64::from(all[next]);
        let children = parents.iter().filter(|(of, _)| *of == parent).map(|(_, pid)| *pid);
        let fresh: Vec<u32> = children.filter(|pid| !all.contains(pid)).collect();
        all.extend(fresh);
        next += 1;
    }
    all
}

/// Proportional memory of processes in bytes, from `smaps_rollup`.
pub fn memory(pids: &[u32]) -> Result<u64, String> {
    let mut sum = 0;
    for pid in pids {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).map_err(|e| format!("reading {path}: {e}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        sum += kib.ok_or_else(|| format!("{path} has no Pss line"))? * 1024;
    }
    Ok(sum)
}

/// Idle time of the given CPUs in nanoseconds since the machine's start.
pub fn idle(cpus: &[usize]) -> Result<u64, String> {
    let text = fs::read_to_string("/proc/stat").map_err(|e| format!("reading /proc/stat: {e}"))?;
    let mut ticks = 0;
    for cpu in cpus {
        let prefix = format!("cpu{cpu} ");
        let line = text.lines().find_map(|line| line.strip_prefix(prefix.as_str()));
        let line = line.ok_or_else(|| format!("this machine has no CPU {cpu}"))?;
        // The fourth and fifth figures are idle and waiting for a disk.
        ticks += line.split(' ').skip(3).take(2).filter_map(|t| t.parse::<u64>().ok()).sum::<u64>();
    }
    Ok(ticks * TICK_NS)
}

/// Whether something listens on `port` in this network namespace, told without connecting to it.
pub fn listens(port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    ["/proc/net/tcp", "/proc/net/tcp6"].iter().any(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines().skip(1).any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let local = fields.next().is_some_and(|address| address.ends_with(&suffix));
            // State 0A is LISTEN.
            local && fields.nth(1) == Some("0A")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_does_not_shift_the_fields() {
        let stat = "7 (a) b) c) S 42 7 7 0 -1 4194304 1 2 3 4 55 66 0 0 20 0 1";
        assert_eq!(stat_field(stat, 4).unwrap(), 42);
        assert_eq!(stat_field(stat, 14).unwrap(), 55);
        assert_eq!(stat_field(stat, 15).unwrap(), 66);
        assert!(stat_field("", 4).is_err());
    }

    #[test]
    fn this_process_can_be_read() {
        let me = std::process::id();
        let before = Processes::read(&[me]).unwrap();
        assert!(before.threads() >= 1 && before.descriptors >= 3);
        assert!(memory(&[me]).unwrap() > 4096);
        assert_eq!(with_descendants(&[me])[0], me);
        let after = Processes::read(&[me]).unwrap();
        assert!(after.cpu_since(&before) < 10_000_000_000);
    }
}
