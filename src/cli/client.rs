//! Asking the admin API of a running proxy: where it is, the token, requests, their answers. One
//! client for all commands. What an answer may hold, and how long it may take, is bounded: the
//! address may belong to anything.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Method;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;

use super::findings;
use crate::config::checked::{AdminListen, Pem, UpstreamTls};
use crate::config::{self, limits};
use crate::diagnostics::{colour_for, visible};
use crate::tls::material::Material;

mod exchange;

pub use exchange::{Client, Request};

/// Where an admin API is if nothing says otherwise.
const USUAL: &str = "http://127.0.0.1:9900";

/// Where the admin API of the running proxy is.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which proxy")]
pub struct Admin {
    /// Where it answers: http://ADDRESS:PORT, https://NAME:PORT or unix:PATH. Without it: what
    /// `admin.listen` of -c FILE says, else http://127.0.0.1:9900.
    #[arg(long = "admin", value_name = "URL", env = "THALWEG_ADMIN")]
    url: Option<String>,
    /// The file with the admin token; without it, `admin.tokenFile` of -c FILE.
    #[arg(long, value_name = "FILE", env = "THALWEG_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The configuration of the running proxy, for where its admin API is.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

/// [`Admin`] for a command to which -c means something else as well.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Which proxy")]
pub struct Url {
    /// Where it answers: http://ADDRESS:PORT, https://NAME:PORT or unix:PATH. Without it: what
    /// `admin.listen` of FILE says, else http://127.0.0.1:9900.
    #[arg(long = "admin", value_name = "URL", env = "THALWEG_ADMIN")]
    url: Option<String>,
    /// The file with the admin token; without it, `admin.tokenFile` of FILE.
    #[arg(long, value_name = "FILE", env = "THALWEG_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    #[command(flatten)]
    trust: Trust,
}

/// Whom an https:// address is believed.
#[derive(Debug, Clone, clap::Args)]
struct Trust {
    /// For https://: the certificates of the authorities to trust, instead of the system's.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// For https://: believe any certificate. Whoever is in between can read the token.
    #[arg(long)]
    insecure: bool,
}

/// Why there is no answer to go on with; an exit code.
#[derive(Debug)]
pub enum Trouble {
    /// It was refused: 1.
    Refused(Refused),
    /// The arguments do not fit: 2.
    Usage(String),
    /// Nobody answers, or nobody who is Thalweg: 4.
    Unreachable(String),
}

/// An error that the proxy answered.
#[derive(Debug)]
pub struct Refused {
    /// The status of HTTP.
    pub status: u16,
    /// In words.
    pub text: String,
    /// The whole answer.
    pub body: Value,
}

impl Trouble {
    /// Something is wrong that is not the proxy's saying: exit code 1.
    pub fn here(text: impl Into<String>) -> Self {
        Self::Refused(Refused { status: 0, text: text.into(), body: Value::Null })
    }

    /// Says it on standard error, diagnostics as `check` does; the exit code.
    pub fn report(self) -> u8 {
        let mut err = io::stderr().lock();
        let (text, code) = match self {
            Self::Refused(refused) => {
                let colour = colour_for(&io::stderr());
                let _ = findings::write(&mut err, &refused.body, None, colour);
                (refused.text, 1)
            }
            Self::Usage(text) => (text, 2),
            Self::Unreachable(text) => (text, 4),
        };
        let lines = text.lines().map(visible).collect::<Vec<_>>().join("\n");
        let _ = writeln!(err, "{lines}");
        code
    }
}

/// Where, and how TLS is spoken there.
#[derive(Debug)]
enum Place {
    Tcp { authority: String, tls: Option<(Arc<ClientConfig>, ServerName<'static>)> },
    Unix(PathBuf),
}

impl Admin {
    /// Who asks there. Nothing is sent yet.
    ///
    /// # Errors
    /// The arguments or files do not fit.
    pub fn client(&self) -> Result<Client, Trouble> {
        let Some(path) = &self.config else {
            return client(&self.url, &self.token_file, &self.trust, None);
        };
        let configured = configured(path)?;
        if configured.is_none() && self.url.is_none() {
            let file = path.display();
            let text = format!("{file}: has no `admin`: the proxy has no admin API");
            return Err(Trouble::Usage(text));
        }
        client(&self.url, &self.token_file, &self.trust, configured)
    }
}

/// What a file says of the admin API.
///
/// # Errors
/// It says nothing that can be read.
pub fn configured(path: &Path) -> Result<Option<config::checked::Admin>, Trouble> {
    config::admin_of(path).map_err(|faults| {
        let file = path.display().to_string();
        let body = serde_json::json!({ "file": file, "diagnostics": faults });
        Trouble::Refused(Refused { status: 0, text: format!("{file}: refused"), body })
    })
}

impl Url {
    /// As [`Admin::client`]; what the file says of the admin API, if it says anything, is at hand.
    ///
    /// # Errors
    /// The arguments or files do not fit.
    pub fn client(&self, configured: Option<config::checked::Admin>) -> Result<Client, Trouble> {
        client(&self.url, &self.token_file, &self.trust, configured)
    }
}

fn client(
    url: &Option<String>,
    token_file: &Option<PathBuf>,
    trust: &Trust,
    configured: Option<config::checked::Admin>,
) -> Result<Client, Trouble> {
    let (listen, named) =
        configured.map(|admin| (admin.listens.into_iter().next(), admin.token_file)).unzip();
    let listen = listen.flatten();
    let place = match (url.as_deref().filter(|url| !url.is_empty()), listen) {
        (Some(url), _) => place(url, trust)?,
        (None, Some(AdminListen::Tcp(address))) => {
            Place::Tcp { authority: reachable(address).to_string(), tls: None }
        }
        (None, Some(AdminListen::Unix(path))) => Place::Unix(path),
        (None, None) => place(USUAL, trust)?,
    };
    let token = token_file.clone().or(named.flatten()).map(|path| token(&path)).transpose()?;
    Ok(Client::new(place, token))
}

/// Where to ask for what listens on all addresses.
fn reachable(mut listen: std::net::SocketAddr) -> std::net::SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen {
            std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

fn place(url: &str, trust: &Trust) -> Result<Place, Trouble> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Place::Unix(path.into()));
    }
    let wrong = || {
        Trouble::Usage(format!(
            "`{url}` is neither http://ADDRESS:PORT, https://NAME:PORT nor unix:PATH"
        ))
    };
    let (secure, rest) = match url.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => return Err(wrong()),
    };
    let authority: hyper::http::uri::Authority =
        rest.trim_end_matches('/').parse().map_err(|_| wrong())?;
    let host = authority.host();
    if host.is_empty() || authority.as_str().contains('@') {
        return Err(wrong());
    }
    if authority.as_str().len() > host.len() && authority.port_u16().is_none() {
        return Err(wrong());
    }
    let port = authority.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let tls = if secure { Some(secured(bare, trust)?) } else { None };
    Ok(Place::Tcp { authority: format!("{host}:{port}"), tls })
}

/// How TLS is spoken to a host.
fn secured(host: &str, trust: &Trust) -> Result<(Arc<ClientConfig>, ServerName<'static>), Trouble> {
    if trust.insecure {
        let _ = writeln!(
            io::stderr(),
            "warning: --insecure: anybody in between can read the token and answer for the proxy"
        );
    }
    let upstream = UpstreamTls {
        ca: trust.ca_file.clone().map(Pem::File),
        insecure: trust.insecure,
        ..UpstreamTls::to(host)
    };
    let (material, _) = Material::load(&[], std::iter::empty(), std::iter::once(&upstream), None);
    material.client_config(&upstream).map_err(|problem| Trouble::Usage(problem.to_string()))
}

fn token(path: &Path) -> Result<String, Trouble> {
    use std::io::Read;
    let usage = |text: String| Trouble::Usage(format!("{}: {text}", path.display()));
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(limits::TOKEN_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| usage(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(usage("a token is one line without spaces".into()));
    }
    Ok(token.to_owned())
}

/// A [`Client`] for commands that ask one thing after the other.
#[derive(Debug)]
pub struct Caller {
    client: Client,
    runtime: tokio::runtime::Runtime,
}

impl Caller {
    /// Who asks there. Nothing is sent yet.
    ///
    /// # Errors
    /// The arguments do not fit.
    pub fn new(client: Client) -> Result<Self, Trouble> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Trouble::Unreachable(error.to_string()))?;
        Ok(Self { client, runtime })
    }

    /// Whom it asks.
    pub fn place(&self) -> String {
        self.client.place()
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn send(&mut self, request: Request) -> Result<Value, Trouble> {
        self.runtime.block_on(self.client.send(request))
    }

    /// [`Caller::send`] for what only reads.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn get(&mut self, path: impl Into<String>) -> Result<Value, Trouble> {
        self.send(Request::new(Method::GET, path))
    }
}

/// Percent-encoded (RFC 3986 §2.1): all but unreserved characters.
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// A query of those that are given, with its `?`; empty without any.
pub fn query<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<&'a str>)>) -> String {
    let given = pairs.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let pairs: Vec<_> = given.map(|(key, value)| format!("{key}={}", escaped(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_every_form() {
        let trust = Trust { ca_file: None, insecure: true };
        for (url, wanted) in [
            ("http://127.0.0.1:9900", Some("127.0.0.1:9900")),
            ("http://127.0.0.1:9900/", Some("127.0.0.1:9900")),
            ("http://[::1]:9900", Some("[::1]:9900")),
            ("http://localhost", Some("localhost:80")),
            ("https://proxy.example", Some("proxy.example:443")),
            ("https://[::1]:1", Some("[::1]:1")),
            ("unix:/run/t.sock", Some("unix:/run/t.sock")),
            ("127.0.0.1:9900", None),
            ("ftp://127.0.0.1", None),
            ("http://", None),
            ("http://:80", None),
            ("http://a:99999", None),
            ("http://a:", None),
            ("http://user@host:1", None),
            ("http://a:1/path", None),
            ("http://a b:1", None),
        ] {
            let read = place(url, &trust).ok().map(|place| place.to_string());
            assert_eq!(read.as_deref(), wanted, "{url}");
        }
    }

    #[test]
    fn a_query_says_what_is_meant() {
        assert_eq!(query([("a", None)]), "");
        let pairs = [("limit", Some("5")), ("service", Some("a b&c")), ("x", Some("::1/64"))];
        assert_eq!(query(pairs), "?limit=5&service=a%20b%26c&x=%3A%3A1%2F64");
    }
}
