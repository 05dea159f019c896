//! Where the admin API listens.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::Failure;
use crate::config::checked::AdminListen;

/// A listening socket.
#[derive(Debug)]
pub(super) enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Socket),
}

/// The file of a Unix socket.
#[derive(Debug)]
pub(super) struct Socket {
    /// Whose it is.
    pub(super) owner: u32,
    /// What it is called until it gets its name; removed when dropped.
    new: Temporary,
}

#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Takes the place of what had the name.
    pub(super) fn name(&self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.new.0, path)
    }
}

/// Binds; a Unix socket does not have its name yet.
pub(super) async fn bind(listen: &AdminListen, mode: u32) -> Result<Bound, Failure> {
    match listen {
        AdminListen::Tcp(address) => bind_tcp(*address)
            .map(Bound::Tcp)
            .map_err(|error| Failure(format!("the admin API cannot listen on {address}: {error}"))),
        AdminListen::Unix(path) => bind_unix(path, mode).await.map_err(|error| {
            Failure(format!("the admin API cannot listen on unix:{}: {error}", path.display()))
        }),
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM.nonblocking().cloexec(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(128)?;
    TcpListener::from_std(socket.into())
}

/// Can take the place of a socket that a process left behind, but not of one that somebody answers
/// on, nor of a file of another kind.
async fn bind_unix(path: &Path, mode: u32) -> io::Result<Bound> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket"));
        }
        _ => {}
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::Error::from(io::ErrorKind::AddrInUse));
    }
    // With its rights before anybody can find it.
    let mut new: PathBuf = path.to_owned();
    new.as_mut_os_string().push(format!(".{}", std::process::id()));
    let _ = std::fs::remove_file(&new);
    let listener = UnixListener::bind(&new)?;
    let new = Temporary(new);
    let owner = std::fs::symlink_metadata(&new.0)?.uid();
    permit(&new.0, mode)?;
    Ok(Bound::Unix(listener, Socket { owner, new }))
}

/// Sets who may connect.
pub(super) fn permit(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
