//! Notices that files have changed: certificates are renewed by others, and nobody sends a signal.
//!
//! What is watched are *directories*, those of the files and of what symbolic links lead to: a file
//! that is renamed over another, or a link that is turned to another directory (as Kubernetes turns
//! `..data`), is seen there and not at the file itself. An event is only a reason to look: after it
//! has been quiet for a moment, the state of the files is compared with what it was, so a busy
//! directory costs a few `stat` calls and nothing else. Where the kernel has no watches left, the
//! same look is taken every [`limits::WATCH_POLL`].
//!
//! All of it is done on threads that may block; the control thread only gets a unit.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::limits;

/// Watches files and directories until it is dropped.
#[derive(Debug)]
pub struct Watch {
    follow: watch::Sender<Followed>,
}

/// What to look at, and since when it may have changed.
#[derive(Debug, Clone)]
struct Followed {
    paths: Vec<PathBuf>,
    since: SystemTime,
}

impl Watch {
    /// Starts on the current tokio runtime, with nothing to watch. The receiver gets a unit when
    /// something has changed; changes until it takes that are one.
    pub fn start() -> (Self, mpsc::Receiver<()>) {
        let (follow, followed) = watch::channel(Followed { paths: Vec::new(), since: UNIX_EPOCH });
        let (changed, changes) = mpsc::channel(1);
        tokio::spawn(run(followed, changed));
        (Self { follow }, changes)
    }

    /// Watches these files and directories (the files directly in them) instead of those before.
    /// What has changed after `since` counts as changed: give the time before the files were read,
    /// so that nothing is missed between reading and watching.
    pub fn follow(&self, paths: impl IntoIterator<Item = PathBuf>, since: SystemTime) {
        let paths = paths.into_iter().collect();
        self.follow.send_replace(Followed { paths, since });
    }
}

/// Runs until the [`Watch`] or the receiver is dropped.
async fn run(mut followed: watch::Receiver<Followed>, changed: mpsc::Sender<()>) {
    let (wake, mut woken) = mpsc::channel(1);
    let mut eye = Eye::new(wake);
    loop {
        let poll = eye.polls.then(|| Instant::now() + limits::WATCH_POLL);
        tokio::select! {
            new = followed.changed() => {
                if new.is_err() {
                    return;
                }
                let Followed { paths, since } = followed.borrow_and_update().clone();
                let looked = elsewhere(eye, move |eye| eye.follow(paths, since)).await;
                let Some((back, differs)) = looked else { return };
                eye = back;
                if differs {
                    tell(&changed);
                }
                continue;
            }
            () = changed.closed() => return,
            _ = woken.recv() => settle(&mut woken).await,
            () = sleep_until(poll.unwrap_or_else(Instant::now)), if poll.is_some() => {}
        }
        let Some((back, differs)) = elsewhere(eye, Eye::look).await else { return };
        eye = back;
        if differs {
            tell(&changed);
        }
    }
}

/// Waits until nothing has happened for a moment.
async fn settle(woken: &mut mpsc::Receiver<()>) {
    let latest = Instant::now() + limits::WATCH_QUIET_MAX;
    loop {
        let quiet = (Instant::now() + limits::WATCH_QUIET).min(latest);
        match timeout_at(quiet, woken.recv()).await {
            Ok(Some(())) if Instant::now() < latest => {
                // One unit stands for many events; do not spin on a busy directory.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            _ => return,
        }
    }
}

/// Does something that blocks; `None` if the runtime ends meanwhile.
async fn elsewhere(
    mut eye: Eye,
    look: impl FnOnce(&mut Eye) -> bool + Send + 'static,
) -> Option<(Eye, bool)> {
    let task = tokio::task::spawn_blocking(move || {
        let differs = look(&mut eye);
        (eye, differs)
    });
    task.await.ok()
}

fn tell(changed: &mpsc::Sender<()>) {
    // Full: one is still to be taken, and stands for this one too.
    let _ = changed.try_send(());
}

/// What is seen of the files.
struct Eye {
    wake: mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    /// The directories that are watched, by their inodes.
    watched: BTreeMap<PathBuf, (u64, u64)>,
    paths: Vec<PathBuf>,
    seen: Vec<Seen>,
    /// The kernel does not report all changes.
    polls: bool,
}

impl fmt::Debug for Eye {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Eye").field("watched", &self.watched).finish_non_exhaustive()
    }
}

impl Eye {
    fn new(wake: mpsc::Sender<()>) -> Self {
        Self {
            wake,
            watcher: None,
            watched: BTreeMap::new(),
            paths: Vec::new(),
            seen: Vec::new(),
            polls: false,
        }
    }

    /// Looks at other files from now on; whether one of them has changed after `since`.
    fn follow(&mut self, paths: Vec<PathBuf>, since: SystemTime) -> bool {
        self.paths = paths;
        self.rewatch();
        self.seen = see(&self.paths);
        let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
        // The clock of a file system may be a tick behind.
        let since = since.saturating_sub(Duration::from_millis(10)).as_nanos();
        let since = i128::try_from(since).unwrap_or(i128::MAX);
        // A link that was turned leads to files that are older than that; its directory is not.
        let directories = self.watched.keys().filter_map(|path| std::fs::metadata(path).ok());
        let mut changed = directories.map(|metadata| State::of(&metadata).changed);
        changed.any(|changed| changed >= since)
            || self.seen.iter().flatten().any(|seen| seen.changed >= since)
    }

    /// Whether something differs from what was seen before.
    fn look(&mut self) -> bool {
        self.rewatch();
        let seen = see(&self.paths);
        let differs = seen != self.seen;
        self.seen = seen;
        differs
    }

    /// Watches the directories that matter now.
    fn rewatch(&mut self) {
        let wanted: BTreeSet<_> = self.paths.iter().flat_map(|path| directories(path)).collect();
        match self.try_rewatch(wanted) {
            Ok(()) if self.polls => {
                tracing::info!("files: the kernel reports changes again");
                self.polls = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !self.polls {
                    tracing::warn!(
                        %error,
                        "files: the kernel does not report changes, so they are looked for every \
                         {:?}; is fs.inotify.max_user_watches or .max_user_instances too low?",
                        limits::WATCH_POLL
                    );
                }
                self.polls = true;
            }
        }
    }

    fn try_rewatch(&mut self, wanted: BTreeSet<PathBuf>) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert(watcher(self.wake.clone())?),
        };
        self.watched.retain(|path, inode| {
            let stays = wanted.contains(path) && identity(path) == Some(*inode);
            if !stays {
                let _ = watcher.unwatch(path); // it may be gone from the disk too
            }
            stays
        });
        let mut failed = None;
        for path in wanted {
            // Also where it is watched: it may have been removed and made anew in the same place,
            // and for one that was not, it changes nothing.
            match watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => {
                    self.watched.extend(identity(&path).map(|inode| (path, inode)));
                }
                Err(error) if path.is_dir() => failed = Some(error),
                Err(_) => {} // gone by now, which is reported where it was
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Device and inode.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Wakes the task on every event that may mean a change.
fn watcher(wake: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let matters = match event {
            // Reading is no change; our own would wake us for ever.
            Ok(event) => match event.kind {
                EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
                _ => true,
            },
            Err(_) => true, // some were lost
        };
        if matters {
            let _ = wake.try_send(());
        }
    })
}

/// The directories in which a change to what the path leads to can be seen: those that it and every
/// symbolic link on its way are in, and itself if it is one. None of them is reached by a link. Where
/// something is missing, the last directory that is there.
fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut at = PathBuf::from("/");
    let mut ahead: Vec<OsString> = steps(path);
    let mut links = 0;
    while let Some(step) = ahead.pop() {
        if step == ".." {
            at.pop();
            continue;
        }
        let next = at.join(step);
        let Ok(metadata) = std::fs::symlink_metadata(&next) else {
            found.insert(at.clone());
            break;
        };
        if metadata.is_symlink() {
            found.insert(at.clone());
            links += 1;
            match std::fs::read_link(&next) {
                Ok(to) if links <= LINKS_MAX => {
                    if to.is_absolute() {
                        at = PathBuf::from("/");
                    }
                    ahead.extend(steps(&to));
                }
                _ => break,
            }
            continue;
        }
        if ahead.is_empty() {
            found.insert(at.clone());
        }
        if !metadata.is_dir() {
            break;
        }
        at = next;
        if ahead.is_empty() {
            found.insert(at.clone());
        }
    }
    found
}

/// As many links as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// The parts of a path, the last first.
fn steps(path: &Path) -> Vec<OsString> {
    let parts = path.components().rev();
    parts
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// What tells a file from another state of it; `None`: there is none.
type Seen = Option<State>;

#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970; also moved by a rename and a change of permissions.
    changed: i128,
    /// Of a directory: which files are in it.
    names: Vec<PathBuf>,
}

impl State {
    fn of(metadata: &Metadata) -> Self {
        let changed = i128::from(metadata.ctime()) * 1_000_000_000;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: changed + i128::from(metadata.ctime_nsec()),
            names: Vec::new(),
        }
    }
}

/// The state of the files, and of those in the directories.
fn see(paths: &[PathBuf]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for path in paths {
        let Ok(metadata) = std::fs::metadata(path) else {
            seen.push(None);
            continue;
        };
        let mut state = State::of(&metadata);
        if metadata.is_dir() {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            state.names = entries.map(|entry| entry.path()).collect();
            state.names.sort();
            for name in &state.names {
                seen.push(std::fs::metadata(name).ok().map(|metadata| State::of(&metadata)));
            }
        }
        seen.push(Some(state));
    }
    seen
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    async fn fires(changes: &mut mpsc::Receiver<()>) -> bool {
        let wait = limits::WATCH_QUIET_MAX + Duration::from_secs(1);
        tokio::time::timeout(wait, changes.recv()).await.is_ok()
    }

    async fn stays_silent(changes: &mut mpsc::Receiver<()>) -> bool {
        let wait = limits::WATCH_QUIET * 3;
        tokio::time::timeout(wait, changes.recv()).await.is_err()
    }

    /// Watches a path whose files were written a while ago.
    async fn watching(path: &Path) -> (Watch, mpsc::Receiver<()>) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let (watch, mut changes) = Watch::start();
        watch.follow([path.to_owned()], SystemTime::now());
        assert!(stays_silent(&mut changes).await, "nothing has changed");
        (watch, changes)
    }

    #[tokio::test]
    async fn a_rename_over_the_file_is_seen_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pem");
        fs::write(&file, "one").unwrap();
        let (_watch, mut changes) = watching(&file).await;
        fs::write(dir.path().join("a.tmp"), "two").unwrap();
        fs::rename(dir.path().join("a.tmp"), &file).unwrap();
        assert!(fires(&mut changes).await);
        assert!(stays_silent(&mut changes).await);
        fs::write(&file, "three").unwrap();
        assert!(fires(&mut changes).await, "written in place");
        fs::remove_file(&file).unwrap();
        assert!(fires(&mut changes).await, "removed");
        fs::write(&file, "four").unwrap();
        assert!(fires(&mut changes).await, "made anew");
    }

    #[tokio::test]
    async fn reading_and_other_files_are_no_change() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pem");
        fs::write(&file, "one").unwrap();
        let (_watch, mut changes) = watching(&file).await;
        fs::read(&file).unwrap();
        fs::write(dir.path().join("b.log"), "noise").unwrap();
        assert!(stays_silent(&mut changes).await);
    }

    #[tokio::test]
    async fn the_turn_of_a_directory_link_is_seen_as_kubernetes_does_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        for version in ["..1", "..2", "..3"] {
            fs::create_dir(at.join(version)).unwrap();
            fs::write(at.join(version).join("tls.crt"), version).unwrap();
        }
        symlink("..1", at.join("..data")).unwrap();
        symlink("..data/tls.crt", at.join("tls.crt")).unwrap();
        let turn = |to: &str| {
            symlink(to, at.join("..tmp")).unwrap();
            fs::rename(at.join("..tmp"), at.join("..data")).unwrap();
        };
        let (_watch, mut changes) = watching(&at.join("tls.crt")).await;
        turn("..2");
        fs::remove_dir_all(at.join("..1")).unwrap();
        assert!(fires(&mut changes).await);
        turn("..3");
        assert!(fires(&mut changes).await, "the second turn too");
        // What it leads to now is watched as well.
        fs::write(at.join("..3").join("tls.crt"), "in place").unwrap();
        assert!(fires(&mut changes).await);
    }

    #[tokio::test]
    async fn a_directory_is_watched_and_may_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let certs = dir.path().join("certs.d");
        fs::create_dir(&certs).unwrap();
        let (_watch, mut changes) = watching(&certs).await;
        fs::write(certs.join("a.pem"), "one").unwrap();
        assert!(fires(&mut changes).await, "a file is added");
        fs::remove_dir_all(&certs).unwrap();
        assert!(fires(&mut changes).await, "the directory goes");
        fs::create_dir(&certs).unwrap();
        assert!(fires(&mut changes).await, "the directory is back");
        fs::write(certs.join("b.pem"), "two").unwrap();
        assert!(fires(&mut changes).await, "and watched");
    }

    #[tokio::test]
    async fn what_is_followed_can_be_replaced_and_nothing_is_missed_in_between() {
        let dir = tempfile::tempdir().unwrap();
        let (one, other) = (dir.path().join("one/a.pem"), dir.path().join("other/b.pem"));
        for file in [&one, &other] {
            fs::create_dir(file.parent().unwrap()).unwrap();
            fs::write(file, "one").unwrap();
        }
        let (watch, mut changes) = watching(&one).await;
        let before_reading = SystemTime::now();
        fs::write(&other, "changed after it was read, before it was watched").unwrap();
        watch.follow([other.clone()], before_reading);
        assert!(fires(&mut changes).await);
        fs::write(&one, "not followed any more").unwrap();
        assert!(stays_silent(&mut changes).await);
    }

    #[tokio::test]
    async fn changes_are_found_where_the_kernel_reports_none() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pem");
        fs::write(&file, "one").unwrap();
        let (wake, _woken) = mpsc::channel(1);
        let mut eye = Eye::new(wake);
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(!eye.follow(vec![file.clone()], SystemTime::now()));
        assert!(!eye.look());
        fs::write(&file, "twice").unwrap();
        assert!(eye.look());
        assert!(!eye.look());
    }

    #[test]
    fn the_directories_of_a_path_are_those_of_its_links_too() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().canonicalize().unwrap();
        fs::create_dir_all(at.join("live")).unwrap();
        fs::create_dir_all(at.join("archive/x")).unwrap();
        fs::write(at.join("archive/x/1.pem"), "").unwrap();
        symlink("../archive/x/1.pem", at.join("live/a.pem")).unwrap();
        symlink("loop", at.join("loop")).unwrap();
        let found = |path: &str| directories(&at.join(path)).into_iter().collect::<Vec<_>>();
        assert_eq!(found("live/a.pem"), [at.join("archive/x"), at.join("live")]);
        assert_eq!(found("live"), [at.clone(), at.join("live")]);
        assert_eq!(found("live/not/there.pem"), [at.join("live")]);
        assert_eq!(found("loop"), [at]);
    }
}
