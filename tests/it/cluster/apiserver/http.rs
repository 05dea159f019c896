//! HTTP/1.1 by hand, so that every byte of an answer is ours to break.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

/// A connection of a client.
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ServerConnection, TcpStream>>),
}

impl Wire {
    pub fn new(stream: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Option<Wire> {
        Some(match tls {
            None => Wire::Plain(stream),
            Some(config) => {
                let connection = ServerConnection::new(Arc::clone(config)).ok()?;
                Wire::Tls(Box::new(StreamOwned::new(connection, stream)))
            }
        })
    }

    pub fn stream(&self) -> &TcpStream {
        match self {
            Wire::Plain(stream) => stream,
            Wire::Tls(tls) => &tls.sock,
        }
    }

    /// Cuts the connection: RST.
    pub fn reset(&self) {
        let _ = socket2::SockRef::from(self.stream()).set_linger(Some(std::time::Duration::ZERO));
        let _ = self.stream().shutdown(Shutdown::Read);
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(buffer),
            Wire::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(tls) => tls.flush(),
        }
    }
}

/// A request.
#[derive(Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    /// The next one on this connection, or `None` at its end.
    pub fn read(wire: &mut BufReader<Wire>) -> Option<Request> {
        let mut line = String::new();
        if wire.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            wire.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let header =
            |name: &str| headers.iter().find(|(it, _)| it == name).map(|(_, it)| it.clone());
        let length = header("content-length").and_then(|it| it.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        wire.read_exact(&mut body).ok()?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query = query.split('&').filter(|it| !it.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(key), decoded(value))
        });
        let (path, query) = (decoded(path), query.collect());
        Some(Request { method, path, query, headers, body })
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(it, _)| it == name).map_or("", |(_, value)| value)
    }

    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let hex = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                let hex = String::from_utf8_lossy(&hex).into_owned();
                bytes.push(u8::from_str_radix(&hex, 16).unwrap_or(b'?'));
            }
            b'+' => bytes.push(b' '),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Answers with a document.
pub fn answer(wire: &mut impl Write, status: u16, document: &Value) -> io::Result<()> {
    let body = document.to_string();
    let head = format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    wire.write_all(format!("{head}{body}").as_bytes())?;
    wire.flush()
}

/// Begins an answer without an end.
pub fn begin_stream(wire: &mut impl Write) -> io::Result<()> {
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    wire.write_all(head.as_bytes())?;
    wire.flush()
}

/// One line of a stream, in two chunks that meet in the middle of it: a server is free to do so, and
/// a busy one does.
pub fn line(wire: &mut impl Write, document: &Value) -> io::Result<()> {
    let text = format!("{document}\n");
    let middle = (0..=text.len() / 2).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (one, other) = text.split_at(middle);
    for part in [one, other].into_iter().filter(|part| !part.is_empty()) {
        wire.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes())?;
        wire.flush()?;
    }
    Ok(())
}

/// The end of a stream.
pub fn end_stream(wire: &mut impl Write) -> io::Result<()> {
    wire.write_all(b"0\r\n\r\n")?;
    wire.flush()
}
