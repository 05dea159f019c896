//! Connections to HTTP endpoints that the configuration names: registries that are asked for targets,
//! collectors that get events. Names by our own lookups, TLS as the configuration says.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::found::Url;
use crate::config::limits;
use crate::control::resolve::keep::Outcome;
use crate::control::resolve::lookup::Lookups;

/// How TLS is spoken to an endpoint; `None`: not at all.
pub type EndpointTls = Option<(Arc<ClientConfig>, ServerName<'static>)>;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Connects to the server of a URL, and speaks TLS with it where that is said. The caller sets the
/// deadline.
///
/// # Errors
/// Why there is no connection, in words.
pub async fn connect(
    url: &Url,
    tls: &EndpointTls,
    lookups: &Lookups,
) -> Result<Box<dyn Stream>, String> {
    let stream = connect_plain(url, lookups).await?;
    let Some((config, name)) = tls else { return Ok(Box::new(stream)) };
    let connector = TlsConnector::from(Arc::clone(config));
    let stream = connector.connect(name.clone(), stream).await;
    Ok(Box::new(stream.map_err(|error| format!("TLS: {error}"))?))
}

/// One address after the other: nobody waits for it.
async fn connect_plain(url: &Url, lookups: &Lookups) -> Result<TcpStream, String> {
    let addresses: Vec<IpAddr> = match url.host.parse() {
        Ok(ip) => vec![ip],
        Err(_) => match lookups.addresses(&url.host, &[]).await {
            Outcome::Found(addresses, _) => addresses,
            Outcome::Gone(why) | Outcome::Lost(why) => {
                return Err(format!("{} cannot be resolved: {why}", url.host));
            }
        },
    };
    let mut failure = format!("{} has no address", url.host);
    for ip in addresses.into_iter().take(limits::ADDRESSES_TRIED_MAX) {
        let addr = SocketAddr::new(ip, url.port);
        // One that does not answer must leave time for the others.
        match timeout(limits::DISCOVERY_CONNECT, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = format!("{addr}: {error}"),
            Err(_) => failure = format!("{addr}: no answer"),
        }
    }
    Err(failure)
}

/// The first line of a small file.
///
/// # Errors
/// Why it cannot be read, in words.
pub async fn secret(path: &Path) -> Result<String, String> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || -> io::Result<String> {
        let mut text = String::new();
        let file = std::fs::File::open(owned)?;
        file.take(limits::HEADER_FILE_BYTES_MAX as u64).read_to_string(&mut text)?;
        Ok(text)
    });
    let text = read.await.map_err(|_| "the process ends".to_owned())?;
    let text = text.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
