//! Everything that touches the kernel, and the only place where `unsafe` may stand, each use with
//! its argument. Nothing here waits: sockets are non-blocking and waiting is [`crate::rt`]'s work.
#![expect(unsafe_code, reason = "the one door to the kernel")]

pub mod epoll;
pub mod pipe;
pub mod socket;
pub mod system;

use std::io;

/// The result of a libc call that returns -1 on failure, as an [`io::Result`].
fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The result of a libc call that counts bytes or returns -1, as an [`io::Result`].
fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
