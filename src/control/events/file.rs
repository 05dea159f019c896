//! Events appended to a file, and to standard output.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::output::Output;
use super::pen::{Pen, Wrote};
use crate::config::checked::events::{File as Spec, Rotation};
use crate::config::limits;

/// Opens a file of events for appending.
///
/// # Errors
/// Those of open(2).
pub(super) fn open(path: &Path) -> io::Result<File> {
    // A FIFO that nobody reads must fail, not hold up the one who opens it.
    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// Writes to a file.
#[derive(Debug)]
pub(super) struct Writer {
    spec: Spec,
    file: Option<File>,
    /// When it was last seen to be the one at the path.
    looked: Instant,
    /// It ends in half a line that could not be taken back.
    torn: bool,
    told_rotation: bool,
}

impl Writer {
    pub(super) fn new(spec: Spec) -> Self {
        // One that cannot be opened now is opened for the first event.
        let file = open(&spec.path).ok();
        Self { spec, file, looked: Instant::now(), torn: false, told_rotation: false }
    }

    /// The file at the path, and how many bytes it has; `None` if it is not a regular one.
    fn current(&mut self) -> io::Result<(&File, Option<u64>)> {
        if self.file.is_some() && self.looked.elapsed() >= limits::EVENT_FILE_LOOK {
            self.looked = Instant::now();
            if self.was_replaced() {
                self.file = None;
            }
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let file = self.file.as_ref().ok_or(ErrorKind::NotFound)?;
        let about = file.metadata()?;
        Ok((file, about.is_file().then_some(about.len())))
    }

    /// How many bytes of these lines go into the file as it is; a full one is rotated before.
    fn room_for(&mut self, lines: &[u8]) -> io::Result<usize> {
        let (_, size) = self.current()?;
        let (Some(size), Some(rotation)) = (size, self.spec.rotation) else {
            return Ok(lines.len());
        };
        let fits = whole_lines(lines, rotation.max_size.saturating_sub(size));
        if fits > 0 || size == 0 || !self.rotate(rotation) {
            return Ok(if fits > 0 { fits } else { first_line(lines) });
        }
        Ok(whole_lines(lines, rotation.max_size).max(first_line(lines)))
    }

    /// Renamed or removed since it was opened.
    fn was_replaced(&self) -> bool {
        let Some(Ok(open)) = self.file.as_ref().map(File::metadata) else { return true };
        let is_same = |now: fs::Metadata| (now.dev(), now.ino()) == (open.dev(), open.ino());
        !fs::metadata(&self.spec.path).is_ok_and(is_same)
    }

    /// Renames the files and begins a new one. False: that fails, and the old one grows.
    fn rotate(&mut self, Rotation { keep, .. }: Rotation) -> bool {
        let renamed = rename_all(&self.spec.path, keep).and_then(|()| self.reopen());
        match &renamed {
            Ok(()) => self.told_rotation = false,
            Err(error) if !self.told_rotation => {
                self.told_rotation = true;
                let path = self.spec.path.display();
                tracing::error!(%error, %path, "events: the file cannot be rotated, and grows");
            }
            Err(_) => {}
        }
        renamed.is_ok()
    }

    /// Writes these lines into the file as it is.
    fn append(&mut self, lines: &[u8]) -> Wrote {
        let failed = |error| Wrote { bytes: 0, given_up: 0, failure: Some(error) };
        let torn = self.torn;
        let (mut file, size) = match self.current() {
            Ok(current) => current,
            Err(error) => return failed(error),
        };
        if torn && let Err(error) = file.write_all(b"\n") {
            return failed(error);
        }
        let (bytes, failure) = write_some(&mut file, lines);
        if failure.is_none() || size.is_none() {
            self.torn = false;
            return Wrote { bytes, given_up: 0, failure };
        }
        // The disk is full, most likely. Half a line is taken back.
        let whole = whole_lines(lines.get(..bytes).unwrap_or_default(), bytes as u64);
        let half = (bytes - whole) as u64;
        let cut = |file: &File| file.set_len(file.metadata()?.len().saturating_sub(half));
        self.torn = half > 0 && cut(file).is_err();
        Wrote { bytes: whole, given_up: 0, failure }
    }
}

/// How many bytes the whole lines have that fit into so many.
fn whole_lines(lines: &[u8], room: u64) -> usize {
    let room = usize::try_from(room).unwrap_or(usize::MAX).min(lines.len());
    let fit = lines.get(..room).unwrap_or_default();
    fit.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

fn first_line(lines: &[u8]) -> usize {
    lines.iter().position(|byte| *byte == b'\n').map_or(lines.len(), |at| at + 1)
}

fn rename_all(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    for number in (1..keep).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    fs::rename(path, numbered(1))
}

impl Pen for Writer {
    fn write(&mut self, lines: &[u8], _: &Output) -> Wrote {
        let mut bytes = 0;
        while let Some(left @ [_, ..]) = lines.get(bytes..) {
            let room = match self.room_for(left) {
                Ok(room) => room,
                Err(error) => return Wrote { bytes, given_up: 0, failure: Some(error) },
            };
            let wrote = self.append(left.get(..room).unwrap_or_default());
            bytes += wrote.bytes;
            if wrote.failure.is_some() {
                return Wrote { bytes, ..wrote };
            }
        }
        Wrote { bytes, given_up: 0, failure: None }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.looked = Instant::now();
        self.torn = false;
        self.file = None;
        self.file = Some(open(&self.spec.path)?);
        Ok(())
    }
}

/// Writes as much as can be; how much, and why no more.
fn write_some(to: &mut impl Write, bytes: &[u8]) -> (usize, Option<io::Error>) {
    let mut done = 0;
    while let Some(left @ [_, ..]) = bytes.get(done..) {
        match to.write(left) {
            Ok(0) => return (done, Some(ErrorKind::WriteZero.into())),
            Ok(some) => done += some,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (done, Some(error)),
        }
    }
    (done, None)
}

/// Writes to standard output.
#[derive(Debug)]
pub(super) struct Stdout(File);

impl Stdout {
    /// # Errors
    /// Those of dup(2).
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?)))
    }
}

impl Pen for Stdout {
    /// A stream: after a failure it goes on where it stopped.
    fn write(&mut self, lines: &[u8], _: &Output) -> Wrote {
        let (bytes, failure) = write_some(&mut self.0, lines);
        Wrote { bytes, given_up: 0, failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_fit() {
        let lines = b"aa\nbbb\nc\n";
        let fit = |room| whole_lines(lines, room);
        assert_eq!([0, 2, 3, 6, 7, 8, 9, 99].map(fit), [0, 0, 3, 3, 7, 7, 9, 9]);
        assert_eq!((first_line(lines), first_line(b"")), (3, 0));
    }

    #[test]
    fn files_are_renamed_up_to_the_last_that_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events");
        for round in 0..5 {
            fs::write(&path, round.to_string()).unwrap();
            rename_all(&path, 3).unwrap();
            assert!(!path.exists());
        }
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).ok();
        let kept = ["events.1", "events.2", "events.3", "events.4"].map(read);
        assert_eq!(kept, [Some("4".into()), Some("3".into()), Some("2".into()), None]);
    }
}
