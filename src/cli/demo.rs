//! `thalweg demo`: a proxy and what it leads to, on loopback, to see a byte go through.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process;

use crate::config::limits;
use crate::control::run::{self, Options};

/// Where the demo's proxy listens, when the port is free.
const PROXY_PORT: u16 = 7000;
/// Where its echo backend listens, when the port is free; `config/quickstart.json` leads there.
const BACKEND_PORT: u16 = 7001;

/// Runs the demo until it is interrupted; with `backends_only`, the echo backend alone.
///
/// # Errors
/// What could not be started, in words.
pub fn run(backends_only: bool) -> Result<(), String> {
    let backend = listener(BACKEND_PORT, backends_only)?;
    let backend_addr = backend.local_addr().map_err(|error| error.to_string())?;
    let echo = std::thread::Builder::new()
        .name("demo-echo".into())
        .spawn(move || echo(backend))
        .map_err(|error| error.to_string())?;
    if backends_only {
        say(&format!("echo backend on {backend_addr}; ^C ends it\n"));
        return match echo.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the echo backend failed".into()),
        };
    }
    // Only asks for a port; the proxy binds it again.
    let proxy_addr =
        listener(PROXY_PORT, false)?.local_addr().map_err(|error| error.to_string())?;
    let config = write_config(proxy_addr, backend_addr).map_err(|error| error.to_string())?;
    say(&introduction(proxy_addr, backend_addr, &config));
    let drain_deadline = limits::CUT_GRACE;
    let result = run::run(&Options { config: config.clone(), drain_deadline });
    if let Some(directory) = config.parent() {
        let _ = std::fs::remove_dir_all(directory);
    }
    result
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

fn write_config(proxy: SocketAddr, backend: SocketAddr) -> io::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("thalweg-demo-{}", process::id()));
    // Ours alone, and refused if somebody else has made it: the directory may be everybody's.
    std::fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let path = directory.join("demo.json");
    let config = serde_json::json!({
        "events": { "file": "events.ndjson" },
        "services": [{
            "id": "demo",
            "name": "Demo",
            "interface": proxy.ip().to_string(),
            "port": proxy.port(),
            "rules": [{ "targets": [{ "host": backend.ip().to_string(), "port": backend.port() }] }]
        }]
    });
    std::fs::write(&path, format!("{config:#}\n"))?;
    Ok(path)
}

fn introduction(proxy: SocketAddr, backend: SocketAddr, config: &std::path::Path) -> String {
    let (file, pid, port) = (config.display(), process::id(), proxy.port());
    let events = config.with_file_name("events.ndjson");
    let events = events.display();
    format!(
        "\
Thalweg listens on {proxy} and leads to an echo backend on {backend}.

Send a byte through it, from another terminal:
  bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}; echo hello >&3; head -n 1 <&3'

See why each connection ended:
  cat {events}

Change it while it runs: edit the file, then reload:
  {file}
  kill -HUP {pid}

^C ends it.

"
    )
}

/// Sends back whatever comes, on a small runtime of its own.
fn echo(listener: TcpListener) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        loop {
            let (mut client, _) = listener.accept().await?;
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                // A client that breaks off is the client's affair.
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = tokio::io::AsyncWriteExt::shutdown(&mut to).await;
            });
        }
    })
}

fn say(text: &str) {
    // Nobody may be reading.
    let _ = io::stdout().write_all(text.as_bytes());
}
