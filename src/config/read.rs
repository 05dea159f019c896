//! From a path to text. A file that cannot be read is a finding like any other.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::limits::CONFIG_BYTES_MAX;
use crate::diagnostics::{Diagnostic, NOT_UTF8, TOO_LARGE, UNREADABLE};

/// The text of the file and the absolute directory that it is in.
pub(crate) fn text(path: &Path) -> Result<(String, PathBuf), Diagnostic> {
    text_within(path, CONFIG_BYTES_MAX)
}

/// As [`text`], of a file that may have so many bytes.
pub(crate) fn text_within(path: &Path, most: u64) -> Result<(String, PathBuf), Diagnostic> {
    let (bytes, dir) = bytes(path, most).map_err(|error| unreadable(path, &error))?;
    let Some(bytes) = bytes else {
        let message = format!("the file has more than {} MiB", most >> 20);
        return Err(Diagnostic::new(&TOO_LARGE, "", message));
    };
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(error.as_bytes()))?;
    Ok((text, dir))
}

/// The file's bytes and directory; no bytes if there are more than the limit. It may be a pipe or a
/// device, which do not say how long they are.
fn bytes(path: &Path, most: u64) -> io::Result<(Option<Vec<u8>>, PathBuf)> {
    let absolute = std::path::absolute(path)?;
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let dir = absolute.parent().unwrap_or(Path::new("/")).to_owned();
    if metadata.len() > most {
        return Ok((None, dir));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    let fits = bytes.len() as u64 <= most;
    Ok((fits.then_some(bytes), dir))
}

/// Says why a file cannot be read, in words that do not depend on the platform.
fn unreadable(path: &Path, error: &io::Error) -> Diagnostic {
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            Diagnostic::new(&UNREADABLE, "", format!("there is no file `{path}`"))
                .hint("check the path after -c; a relative one starts at the working directory")
        }
        io::ErrorKind::IsADirectory => {
            Diagnostic::new(&UNREADABLE, "", format!("`{path}` is a directory"))
                .hint("name the file in it")
        }
        io::ErrorKind::PermissionDenied => {
            Diagnostic::new(&UNREADABLE, "", format!("`{path}` may not be read by this user"))
                .hint("give the user that runs the proxy read access to the file and its directory")
        }
        _ => Diagnostic::new(&UNREADABLE, "", format!("`{path}` cannot be read: {error}")),
    }
}

/// Names the line of the first byte that is not UTF-8.
fn not_utf8(bytes: &[u8]) -> Diagnostic {
    let valid = std::str::from_utf8(bytes).err().map_or(0, |error| error.valid_up_to());
    let newlines = bytes.iter().take(valid).filter(|byte| **byte == b'\n').count();
    let finding = Diagnostic::new(&NOT_UTF8, "", "the file is not UTF-8 text")
        .at_line(u32::try_from(newlines + 1).ok());
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        finding.hint("it looks like UTF-16: save it as UTF-8 without a byte order mark")
    } else {
        finding.hint("save it as UTF-8")
    }
}
