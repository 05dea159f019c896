//! One fetch: a GET over HTTP/1.1 on a connection of its own, within one deadline, of a bounded
//! document. Redirects are followed only to the same host, port and scheme: anything else could send
//! the headers, or the choice of targets, elsewhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config;
use crate::config::found::{Header, Query, Url};
use crate::config::limits;
use crate::control::resolve::keep::Outcome;
use crate::control::resolve::lookup::Lookups;

/// How TLS is spoken to an endpoint.
pub type EndpointTls = Option<(Arc<ClientConfig>, ServerName<'static>)>;

/// Fetches a document. The caller sets the deadline.
///
/// # Errors
/// Why there is none, in words.
pub async fn fetch(query: &Query, tls: &EndpointTls, lookups: &Lookups) -> Result<Bytes, String> {
    let headers = headers(query).await?;
    let mut url = query.url.clone();
    for _ in 0..=limits::DISCOVERY_REDIRECTS_MAX {
        match get(&url, headers.clone(), tls, lookups).await? {
            Got::Document(bytes) => return Ok(bytes),
            Got::Redirect(to) => url = redirected(&url, &to)?,
        }
    }
    Err(format!("more than {} redirects", limits::DISCOVERY_REDIRECTS_MAX))
}

enum Got {
    Document(Bytes),
    Redirect(String),
}

/// Where a redirect leads, if it may.
fn redirected(url: &Url, to: &str) -> Result<Url, String> {
    if to.starts_with('/') && !to.starts_with("//") {
        return Ok(Url { path: to.into(), ..url.clone() });
    }
    let to_url = config::url(to).map_err(|why| format!("a redirect cannot be followed: {why}"))?;
    let same = (to_url.secure, to_url.port) == (url.secure, url.port)
        && to_url.host.eq_ignore_ascii_case(&url.host);
    if same { Ok(to_url) } else { Err(format!("a redirect to another server, {}", to_url.text)) }
}

async fn headers(query: &Query) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let authority = HeaderValue::from_str(&query.url.authority);
    headers.insert(HOST, authority.map_err(|_| "the host cannot be written in a header")?);
    for (name, source) in &query.headers {
        let text = match source {
            Header::Value(value) => value.to_string(),
            Header::File(path) => secret(path).await?,
        };
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text))
        else {
            return Err(format!("the header `{name}` has a value that cannot be sent"));
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The first line of a small file.
async fn secret(path: &Path) -> Result<String, String> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || -> io::Result<String> {
        use std::io::Read;
        let mut text = String::new();
        let file = std::fs::File::open(owned)?;
        file.take(limits::HEADER_FILE_BYTES_MAX as u64).read_to_string(&mut text)?;
        Ok(text)
    });
    let text = read.await.map_err(|_| "the process ends".to_owned())?;
    let text = text.map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

async fn get(
    url: &Url,
    headers: HeaderMap,
    tls: &EndpointTls,
    lookups: &Lookups,
) -> Result<Got, String> {
    let stream = connect(url, lookups).await?;
    match tls {
        None => ask(url, headers, stream).await,
        Some((config, name)) => {
            let connector = TlsConnector::from(Arc::clone(config));
            let stream = connector.connect(name.clone(), stream).await;
            ask(url, headers, stream.map_err(|error| format!("TLS: {error}"))?).await
        }
    }
}

/// One address after the other: nobody waits for it.
async fn connect(url: &Url, lookups: &Lookups) -> Result<TcpStream, String> {
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

async fn ask(
    url: &Url,
    headers: HeaderMap,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Got, String> {
    let failed = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut request = Request::get(&*url.path).body(Empty::<Bytes>::new());
    if let Ok(request) = &mut request {
        *request.headers_mut() = headers;
    }
    let request = request.map_err(|error| format!("the request cannot be made: {error}"))?;
    // The connection moves while the answer is waited for, and ends with this call.
    let mut connection = std::pin::pin!(connection.fuse());
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection()
            && let Some(to) = response.headers().get(LOCATION)
        {
            let to = to.to_str().map_err(|_| "a redirect cannot be read")?;
            return Ok(Got::Redirect(to.to_owned()));
        }
        if status != StatusCode::OK {
            return Err(format!("the answer is {status}"));
        }
        let body = Limited::new(response.into_body(), limits::DISCOVERY_BYTES_MAX);
        let whole = body.collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                format!("the answer is larger than {} bytes", limits::DISCOVERY_BYTES_MAX)
            } else {
                format!("the answer broke off: {error}")
            }
        });
        Ok(Got::Document(whole?.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            ended = &mut connection => if let Err(error) = ended {
                return Err(failed(error));
            },
        }
    }
}
