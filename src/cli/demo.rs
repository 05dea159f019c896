//! `thalweg demo`: a proxy and what it leads to, on loopback, to see a byte go through.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::config::limits;
use crate::control::run::{self, Options};
use crate::tls::provider::provider;

/// Where the demo's proxy listens, when the ports are free.
const PROXY_PORT: u16 = 7000;
const TLS_PORT: u16 = 7443;
/// Where its echo backends listen, when the ports are free; `config/quickstart.json` leads to the
/// first.
const BACKEND_PORT: u16 = 7001;
const TLS_BACKEND_PORT: u16 = 7002;

/// The name for which TLS ends at the proxy, and that for which it passes through.
const ENDED: &str = "ended.localhost";
const PASSED: &str = "passed.localhost";

type Failed = Box<dyn std::error::Error>;

/// Runs the demo until it is interrupted; with `backends_only`, the plain echo backend alone.
///
/// # Errors
/// What could not be started, in words.
pub fn run(backends_only: bool) -> Result<(), String> {
    let backend = listener(BACKEND_PORT, backends_only)?;
    if backends_only {
        say(&format!("echo backend on {}; ^C ends it\n", addr(&backend)?));
        return echo(backend, None).join().map_err(|_| "the echo backend failed".to_owned());
    }
    let tls_backend = listener(TLS_BACKEND_PORT, false)?;
    // These only ask for a port; the proxy binds it again.
    let places = Places {
        plain: addr(&listener(PROXY_PORT, false)?)?,
        tls: addr(&listener(TLS_PORT, false)?)?,
        backend: addr(&backend)?,
        tls_backend: addr(&tls_backend)?,
    };
    let directory = std::env::temp_dir().join(format!("thalweg-demo-{}", process::id()));
    let (config, served) = prepare(&directory, &places)
        .map_err(|error| format!("{}: {error}", directory.display()))?;
    drop(echo(backend, None));
    drop(echo(tls_backend, Some(served)));
    say(&introduction(&places, &config));
    let result = run::run(&Options { config, drain_deadline: limits::CUT_GRACE });
    let _ = std::fs::remove_dir_all(directory);
    result
}

/// Where everything listens.
struct Places {
    plain: SocketAddr,
    tls: SocketAddr,
    backend: SocketAddr,
    tls_backend: SocketAddr,
}

/// The wished port, or one the kernel chooses where it is taken and need not be this one.
fn listener(port: u16, exactly: bool) -> Result<TcpListener, String> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match TcpListener::bind(loopback(port)) {
        Ok(listener) => Ok(listener),
        Err(error) if exactly => Err(format!("cannot listen on {}: {error}", loopback(port))),
        Err(_) => TcpListener::bind(loopback(0)).map_err(|error| error.to_string()),
    }
}

fn addr(listener: &TcpListener) -> Result<SocketAddr, String> {
    listener.local_addr().map_err(|error| error.to_string())
}

/// Writes the configuration and the certificates; returns its path and how the TLS backend serves.
fn prepare(directory: &Path, places: &Places) -> Result<(PathBuf, Arc<ServerConfig>), Failed> {
    // Ours alone, and refused if somebody else has made it: the directory may be everybody's.
    std::fs::DirBuilder::new().mode(0o700).create(directory)?;
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "Thalweg demo");
    std::fs::write(directory.join("ca.pem"), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let certificate = |name: &str| -> Result<_, Failed> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, name);
        Ok((params.signed_by(&key, &issuer)?, key))
    };
    let (ours, key) = certificate(ENDED)?;
    std::fs::write(directory.join("ended.pem"), ours.pem() + &key.serialize_pem())?;
    let (theirs, key) = certificate(PASSED)?;
    let served = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![theirs.into()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))?;

    let rule = |domain: &str, to: SocketAddr| {
        let target = serde_json::json!({ "host": to.ip().to_string(), "port": to.port() });
        serde_json::json!({ "domain": domain, "targets": [target] })
    };
    let service = |id: &str, at: SocketAddr, tls: &str, rule: serde_json::Value| {
        serde_json::json!({
            "id": id,
            "interface": at.ip().to_string(),
            "port": at.port(),
            "tls": tls,
            "sni": { "enabled": tls != "Disabled" },
            "rules": [rule],
        })
    };
    let config = serde_json::json!({
        "events": { "file": "events.ndjson" },
        "certificates": [{ "certFile": "ended.pem" }],
        "services": [
            service("demo", places.plain, "Disabled", rule("*", places.backend)),
            service("demo-ended", places.tls, "Enabled", rule(ENDED, places.backend)),
            service("demo-passed", places.tls, "PassThrough", rule(PASSED, places.tls_backend)),
        ],
    });
    let path = directory.join("demo.json");
    std::fs::write(&path, format!("{config:#}\n"))?;
    Ok((path, Arc::new(served)))
}

fn introduction(places: &Places, config: &Path) -> String {
    let Places { plain, tls, backend, tls_backend } = places;
    let (file, pid, port) = (config.display(), process::id(), plain.port());
    let directory = config.parent().unwrap_or(config).display();
    format!(
        "\
Thalweg listens on {plain} and leads to an echo backend on {backend}.
On {tls} it ends TLS for {ENDED}, and passes it through for {PASSED} to
a backend with a certificate of its own on {tls_backend}.

Send a byte through it, from another terminal:
  bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; head -n 1 <&3'
  (echo hello; sleep 1) | openssl s_client -brief -connect {tls} -servername {ENDED} -CAfile {directory}/ca.pem
  (echo hello; sleep 1) | openssl s_client -brief -connect {tls} -servername {PASSED} -CAfile {directory}/ca.pem
  curl --cacert {directory}/ca.pem --connect-to ::{tls} https://{ENDED}/hello
  curl --cacert {directory}/ca.pem --connect-to ::{tls} https://{PASSED}/hello

See why each connection ended:
  cat {directory}/events.ndjson

Change it while it runs: edit the file, then reload:
  {file}
  kill -HUP {pid}

^C ends it.

"
    )
}

/// Sends back whatever comes, a thread for each connection.
fn echo(listener: TcpListener, tls: Option<Arc<ServerConfig>>) -> JoinHandle<()> {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tls = tls.clone();
            // A client that breaks off, or for which there is no thread, is not our affair.
            let _ = thread::Builder::new().spawn(move || drop(answer(stream, tls)));
        }
    })
}

fn answer(mut stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Result<(), Failed> {
    stream.set_nodelay(true)?;
    if let Some(tls) = tls {
        let mut stream = StreamOwned::new(ServerConnection::new(tls)?, stream);
        answer_on(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()?;
    } else {
        answer_on(&mut stream)?;
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(())
}

/// What begins as a request of HTTP is sent back as the body of the answer to it, for browsers and
/// curl.
fn answer_on(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut is_first = true;
    loop {
        let count = stream.read(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        if is_first && bytes.starts_with(b"GET /") {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
            write!(stream, "{head}Content-Length: {count}\r\n\r\n")?;
            return stream.write_all(bytes);
        }
        is_first = false;
        stream.write_all(bytes)?;
    }
}

fn say(text: &str) {
    // Nobody may be reading.
    let _ = io::stdout().write_all(text.as_bytes());
}
