//! The state directory as it is written: one file a service, each replaced whole.
//!
//! # The order of a change
//! 1. The new text goes into a temporary file beside the old one, and is synced.
//! 2. Everything else that can fail is done: checks, certificates, sockets.
//! 3. The temporary file gets the name ([`Pending::commit`]), and the directory is synced.
//! 4. The change is published, and answered.
//!
//! A crash before 3 leaves the old service and a temporary file, which the next start removes; a crash
//! after it the new one. So what was answered is there, and what was refused is not.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::sources::{self, services_dir};

/// A state directory that is ours alone.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    /// Holds the lock as long as it is open.
    _lock: File,
}

/// Why the state directory cannot be used, or a change cannot be kept. Nothing was changed.
#[derive(Debug)]
pub struct StateError {
    /// What was tried on what.
    doing: String,
    error: io::Error,
}

impl StateError {
    fn of(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |error| Self { doing, error }
    }

    /// There is no room for it.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }
}

impl std::fmt::Display for StateError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the state directory: {}: {}", self.doing, self.error)
    }
}

/// The file whose lock says whose the directory is.
const LOCK: &str = "lock";
/// How temporary files begin.
const TEMPORARY: &str = ".tmp-";

impl StateDir {
    /// Makes the directory if it is missing, takes it for this process, and removes what a crash has
    /// left there.
    ///
    /// # Errors
    /// It cannot be made or written, or another process has it.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let services = services_dir(path);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&services)
            .map_err(StateError::of(format!("making {}", services.display())))?;
        let file = path.join(LOCK);
        let opening = StateError::of(format!("opening {}", file.display()));
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&file).map_err(opening)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = Read::by_ref(&mut lock).take(32).read_to_string(&mut holder);
                let holder = holder.trim();
                let who =
                    if holder.bytes().all(|byte| byte.is_ascii_digit()) { holder } else { "?" };
                return Err(StateError {
                    doing: format!("taking {}", path.display()),
                    error: io::Error::other(format!(
                        "another process uses it (process {who}); each needs a `stateDir` of its own"
                    )),
                });
            }
            Err(TryLockError::Error(error)) => {
                return Err(StateError { doing: format!("locking {}", file.display()), error });
            }
        }
        // For whoever comes second; nothing depends on it.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let state = Self { path: path.to_owned(), _lock: lock };
        state.sweep().map_err(StateError::of(format!("cleaning {}", services.display())))?;
        // What is made in a directory is worth nothing if the directory itself does not last.
        let doing = format!("syncing {}", path.display());
        sync_directory_of(&services).map_err(StateError::of(doing))?;
        let _ = sync_directory_of(path); // the one above need not be ours to open
        Ok(state)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes temporary files.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(services_dir(&self.path))? {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The file of a service; `None` if its id is too long for a file's name.
    pub fn file_of(&self, id: &str) -> Option<PathBuf> {
        Some(services_dir(&self.path).join(sources::file_name(id)?))
    }
}

/// A change of one file that is prepared and not made. Dropped, it has not happened.
#[derive(Debug)]
pub struct Pending {
    file: PathBuf,
    change: Change,
    /// What is there now.
    before: Option<Arc<str>>,
}

#[derive(Debug)]
enum Change {
    Write(Temporary),
    Remove,
}

/// A file without its name; removed when dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // it has its name by now, if all went well
    }
}

impl Pending {
    /// Writes what a file is to be beside it. `before` is what is in it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(file: PathBuf, text: &str, before: Option<Arc<str>>) -> Result<Self, StateError> {
        let new = write_beside(&file, text)
            .map_err(StateError::of(format!("writing {}", file.display())))?;
        Ok(Self { file, change: Change::Write(new), before })
    }

    /// The file is to go. `before` is what is in it.
    pub fn remove(file: PathBuf, before: Option<Arc<str>>) -> Self {
        Self { file, change: Change::Remove, before }
    }

    /// Makes the change, for good.
    ///
    /// # Errors
    /// It cannot be made; then the file is what it was, as far as the disk still allows.
    pub fn commit(self) -> Result<(), StateError> {
        let Self { file, change, before } = self;
        let doing = match &change {
            Change::Write(_) => format!("writing {}", file.display()),
            Change::Remove => format!("removing {}", file.display()),
        };
        let made = match &change {
            Change::Write(new) => fs::rename(&new.0, &file),
            Change::Remove => match fs::remove_file(&file) {
                // Removed by hand: that is what was wanted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
        };
        if let Err(error) = made {
            return Err(StateError { doing, error });
        }
        sync_directory_of(&file).map_err(|error| {
            // It may not last: nobody is told that it was done, so it must not stay either.
            let restored = match before {
                Some(text) => write_beside(&file, &text).and_then(|old| fs::rename(&old.0, &file)),
                None => fs::remove_file(&file),
            };
            if let Err(error) = restored {
                tracing::error!(file = %file.display(), %error, "cannot be put back as it was");
            }
            StateError { doing, error }
        })
    }
}

/// Does something that waits for a disk, on a thread that may.
///
/// # Errors
/// What it says, or that the process ends.
pub async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, StateError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => {
            let (doing, error) = ("working".to_owned(), io::Error::other(error));
            Err(StateError { doing, error })
        }
    }
}

/// Writes a synced temporary file in the directory of `file`.
fn write_beside(file: &Path, text: &str) -> io::Result<Temporary> {
    let name = file.file_name().unwrap_or_default();
    // One change at a time: a name that is taken is a crash's, of this process number.
    let number = std::process::id();
    let path = file.with_file_name(format!("{TEMPORARY}{number}"));
    if name.is_empty() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    let create = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut out = match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(&path)?;
            create()?
        }
        created => created?,
    };
    let new = Temporary(path);
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    Ok(new)
}

fn sync_directory_of(file: &Path) -> io::Result<()> {
    let directory = file.parent().unwrap_or(Path::new("/"));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sources::read_state;

    fn texts(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let source = read_state(dir, &mut found);
        assert!(found.is_empty(), "{found:?}");
        source.documents.iter().map(|document| document.text.to_string()).collect()
    }

    #[test]
    fn a_change_happens_when_it_is_committed_and_not_before() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let file = state.file_of("a/b").unwrap();
        drop(Pending::write(file.clone(), "one", None).unwrap());
        assert_eq!(texts(state.path()), [""; 0], "dropped");
        Pending::write(file.clone(), "one", None).unwrap().commit().unwrap();
        assert_eq!(texts(state.path()), ["one"]);
        let pending = Pending::write(file.clone(), "two", Some("one".into())).unwrap();
        assert_eq!(texts(state.path()), ["one"], "not yet");
        pending.commit().unwrap();
        assert_eq!(texts(state.path()), ["two"]);
        Pending::remove(file.clone(), None).commit().unwrap();
        Pending::remove(file, None).commit().unwrap();
        assert_eq!(texts(state.path()), [""; 0]);
        assert_eq!(fs::read_dir(services_dir(state.path())).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn the_directory_is_one_holders_and_what_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let second = StateDir::open(dir.path()).unwrap_err().to_string();
        assert!(second.contains("another process uses it"), "{second}");
        assert!(second.contains(&format!("process {}", std::process::id())), "{second}");
        let left = services_dir(dir.path()).join(".tmp-1");
        fs::write(&left, "half").unwrap();
        drop(state);
        let _state = StateDir::open(dir.path()).unwrap();
        assert!(!left.exists());
    }

    #[test]
    fn what_cannot_be_written_says_what_and_why() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("gone/a.json");
        let error = Pending::write(file, "x", None).unwrap_err();
        assert!(!error.is_full());
        assert!(error.to_string().contains("writing "), "{error}");
    }
}
