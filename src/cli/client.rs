//! Asking the admin API of a running proxy: where it is, the token, one request, its answer.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::config::checked::AdminListen;
use crate::config::{self, limits};

/// Where the admin API of the running proxy is.
#[derive(Debug, Clone, clap::Args)]
pub struct Admin {
    /// Where it answers: http://ADDRESS:PORT or unix:PATH. Without it: what `admin.listen` of
    /// -c FILE says, else http://127.0.0.1:9900.
    #[arg(long = "admin", value_name = "URL", env = "THALWEG_ADMIN")]
    url: Option<String>,
    /// The file with the admin token; without it, `admin.tokenFile` of -c FILE.
    #[arg(long, value_name = "FILE", env = "THALWEG_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// The configuration of the running proxy, for where its admin API is.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why there is no answer to go on with; an exit code.
#[derive(Debug)]
pub enum Trouble {
    /// It was refused: 1.
    Refused(String),
    /// The arguments do not fit: 2.
    Usage(String),
    /// Nobody answers: 4.
    Unreachable(String),
}

impl Trouble {
    /// Says it on standard error; the exit code.
    pub fn report(self) -> u8 {
        let (text, code) = match self {
            Self::Refused(text) => (text, 1),
            Self::Usage(text) => (text, 2),
            Self::Unreachable(text) => (text, 4),
        };
        let _ = writeln!(io::stderr(), "{text}");
        code
    }
}

enum Place {
    /// `address:port`.
    Tcp(String),
    Unix(PathBuf),
}

impl Admin {
    /// At this place, which no configuration tells.
    pub fn at(url: Option<String>, token_file: Option<PathBuf>) -> Self {
        Self { url, token_file, config: None }
    }

    /// Sends one request and returns the JSON of its answer.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub fn ask(&self, method: Method, path: &str) -> Result<Value, Trouble> {
        let (place, token_file) = self.place()?;
        let token = token_file.map(|path| read_token(&path)).transpose()?;
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = match &token {
            Some(token) => request.header(AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_| Trouble::Usage("this cannot be written into a request".into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Trouble::Unreachable(error.to_string()))?;
        let (status, body) = runtime.block_on(async {
            let asking = async {
                match &place {
                    Place::Tcp(at) => {
                        let stream = TcpStream::connect(at).await.map_err(|e| nobody(at, &e))?;
                        exchange(stream, request).await
                    }
                    Place::Unix(path) => {
                        let at = format!("unix:{}", path.display());
                        let stream =
                            UnixStream::connect(path).await.map_err(|e| nobody(&at, &e))?;
                        exchange(stream, request).await
                    }
                }
            };
            let late = || Trouble::Unreachable("the proxy does not answer".into());
            tokio::time::timeout(limits::ADMIN_ANSWER, asking).await.map_err(|_| late())?
        })?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status < 400 {
            return Ok(answer);
        }
        let told = answer.get("error_description").and_then(Value::as_str);
        Err(Trouble::Refused(told.map_or_else(|| format!("status {status}"), str::to_owned)))
    }

    fn place(&self) -> Result<(Place, Option<PathBuf>), Trouble> {
        let configured = self.config.as_deref().map(configured).transpose()?;
        let token_file = self
            .token_file
            .clone()
            .or_else(|| configured.as_ref().and_then(|admin| admin.token_file.clone()));
        let place = match (&self.url, configured) {
            (Some(url), _) => parse(url)?,
            (None, Some(admin)) => match admin.listen {
                AdminListen::Tcp(address) => Place::Tcp(address.to_string()),
                AdminListen::Unix(path) => Place::Unix(path),
            },
            (None, None) => Place::Tcp("127.0.0.1:9900".into()),
        };
        Ok((place, token_file))
    }
}

fn configured(path: &Path) -> Result<config::checked::Admin, Trouble> {
    let usage = |text: String| Trouble::Usage(format!("{}: {text}", path.display()));
    let loaded = config::load(path);
    let checked = loaded.checked.ok_or_else(|| usage("has errors: see thalweg check".into()))?;
    checked.admin.ok_or_else(|| usage("has no `admin`: the proxy has no admin API".into()))
}

fn parse(url: &str) -> Result<Place, Trouble> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Place::Unix(path.into()));
    }
    let rest = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/'));
    rest.filter(|rest| rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()))
        .map(|rest| Place::Tcp(rest.to_owned()))
        .ok_or_else(|| {
            Trouble::Usage(format!("`{url}` is neither http://ADDRESS:PORT nor unix:PATH"))
        })
}

fn read_token(path: &Path) -> Result<String, Trouble> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Trouble::Usage(format!("{}: {error}", path.display())))?;
    Ok(text.trim().to_owned())
}

fn nobody(at: &str, error: &io::Error) -> Trouble {
    Trouble::Unreachable(format!(
        "no admin API at {at}: {error}\nIs the proxy running, with `\"admin\": {{ \"listen\": … }}`? \
         --admin URL or -c FILE says where."
    ))
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(u16, Bytes), Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| Trouble::Unreachable(format!("no HTTP there: {error}"));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(failed)?;
    let status = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), limits::ADMIN_ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| Trouble::Unreachable(format!("a broken answer: {error}")))?;
    Ok((status, body.to_bytes()))
}

/// A span of ms as people say it: `12s`, `3m05s`, `2h10m`, `4d03h`.
pub fn span(ms: u64) -> String {
    let seconds = Duration::from_millis(ms).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86400, seconds / 3600 % 24),
    }
}

/// A number of bytes in three digits and a unit.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut scaled = u128::from(count) * 10;
    let mut unit = 0;
    while scaled >= 10_240 && unit + 1 < units.len() {
        scaled /= 1024;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    if unit == 0 || scaled >= 1000 {
        format!("{} {name}", scaled / 10)
    } else {
        format!("{}.{} {name}", scaled / 10, scaled % 10)
    }
}

/// Writes rows in columns, the first row as their heads.
///
/// # Errors
/// Whoever reads has closed the pipe.
pub fn table(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let mut widths = vec![0; columns];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width + 2 - cell.chars().count().min(*width)));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_short() {
        let spans = [0, 59_999, 60_000, 3_600_000, 90_061_000].map(span);
        assert_eq!(spans, ["0s", "59s", "1m00s", "1h00m", "1d01h"]);
        let sizes = [0, 999, 1024, 10_240, 1_048_576, 150 << 20, u64::MAX].map(bytes);
        assert_eq!(
            sizes,
            ["0 B", "999 B", "1.0 KiB", "10.0 KiB", "1.0 MiB", "150 MiB", "16383 PiB"]
        );
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        let mut out = Vec::new();
        table(&mut out, &[row(["A", "B"]), row(["long", "x"])]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "A     B\nlong  x\n");
    }
}
