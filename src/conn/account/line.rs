//! The form of an event: one line of JSON with the members of Otoroshi's `TcpEvent`, and some of our
//! own behind them. No clock, no socket: what is known of a connection in, a line out.

use std::io::Write;
use std::net::SocketAddr;

use super::Id;
use crate::config::checked::{self, Tls};
use crate::config::snapshot::Service;
use crate::conn::ending::Ending;
use crate::conn::live::Seen;
use crate::wire::json_line::string;

/// Which event of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// Its target was reached.
    Open,
    /// It lives.
    Periodic,
    /// It has ended.
    Close(Ending),
}

/// What an event says.
#[derive(Debug)]
pub struct Report<'a> {
    /// Names the connection.
    pub id: Id,
    /// Which event.
    pub record: Record,
    /// In ms since 1970.
    pub now: u128,
    /// The first service of the listener.
    pub first: &'a checked::Service,
    /// The service, once one was chosen.
    pub service: Option<&'a Service>,
    /// With the service's whole document.
    pub whole_service: bool,
    /// The member `target`, once one was tried.
    pub target: Option<&'a str>,
    /// The client.
    pub remote: Option<SocketAddr>,
    /// The proxy that told of it.
    pub proxy: Option<SocketAddr>,
    /// Where it connected to.
    pub local: Option<SocketAddr>,
    /// Since it was accepted, in ms.
    pub duration: u128,
    /// From accept until a target was reached, in ms.
    pub overhead: u32,
    /// Bytes from the client handed to the target.
    pub up: u64,
    /// Bytes from the target handed to the client.
    pub down: u64,
    /// Attempts that failed before the last.
    pub retries: u32,
    /// How bytes are moved.
    pub relay: &'a str,
    /// What the connection said of itself.
    pub seen: Option<&'a Seen>,
}

/// The members of a connection that came to no service.
const NO_SERVICE: &str = r#","@serviceId":null,"@service":"thalweg","service":"#;

/// The `target` of a connection that ended before one was tried.
const NO_TARGET: &str = r#"{"host":"--","scheme":"tcp","uri":"tcp://--"}"#;

impl Report<'_> {
    /// Appends the line and its newline.
    pub fn write(&self, line: &mut Vec<u8>) {
        // Writing to a Vec cannot fail.
        let _ = self.write_parts(line);
    }

    fn write_parts(&self, line: &mut Vec<u8>) -> std::io::Result<()> {
        let Self { id, now, seen, .. } = self;
        line.extend_from_slice(br#"{"@type":"TcpEvent","@id":""#);
        // That of the last event names the connection too: targets are told it.
        let record = match self.record {
            Record::Open => {
                write!(line, "{id}-open")?;
                "open"
            }
            Record::Periodic => {
                write!(line, "{id}-{}", self.duration)?;
                "periodic"
            }
            Record::Close(_) => {
                write!(line, "{id}")?;
                "close"
            }
        };
        write!(line, r#"","@timestamp":{now},"reqId":"{id}""#)?;
        self.asked_for(line)?;
        line.extend_from_slice(br#","target":"#);
        line.extend_from_slice(self.target.unwrap_or(NO_TARGET).as_bytes());
        line.extend_from_slice(br#","remote":"#);
        address(line, self.remote)?;
        line.extend_from_slice(br#","proxy":"#);
        address(line, self.proxy)?;
        line.extend_from_slice(br#","local":"#);
        address(line, self.local)?;
        write!(
            line,
            r#","duration":{},"overhead":{},"data":{{"dataIn":{},"dataOut":{}}},"gwError":"#,
            self.duration, self.overhead, self.up, self.down,
        )?;
        let ending = match self.record {
            Record::Close(ending) => Some(ending),
            Record::Open | Record::Periodic => None,
        };
        match (
            ending.filter(|ending| !ending.is_clean()),
            seen.and_then(|seen| seen.note.as_deref()),
        ) {
            (None, _) => line.extend_from_slice(b"null"),
            (Some(ending), None) => write!(line, r#""{}""#, ending.cause.title())?,
            (Some(ending), Some(note)) => {
                string(line, &format!("{}: {note}", ending.cause.title()))?;
            }
        }
        let names = self.service.map_or(NO_SERVICE, |service| &service.event.names);
        let document = self.service.filter(|_| self.whole_service);
        let document = document.map_or("null", |service| &service.spec.document);
        line.extend_from_slice(names.as_bytes());
        line.extend_from_slice(document.as_bytes());
        match ending {
            Some(ending) => write!(line, r#","record":"{record}","reason":"{ending}","sni":"#)?,
            None => write!(line, r#","record":"{record}","reason":null,"sni":"#)?,
        }
        optional(line, seen.and_then(|seen| seen.name.as_deref()))?;
        line.extend_from_slice(br#","alpn":"#);
        let alpn = seen.and_then(|seen| seen.alpn.as_deref()).map(String::from_utf8_lossy);
        optional(line, alpn.as_deref())?;
        line.extend_from_slice(br#","tlsVersion":"#);
        optional(line, seen.and_then(|seen| seen.version))?;
        writeln!(line, r#","retries":{},"relay":"{}"}}"#, self.retries, self.relay)
    }

    /// The members `protocol`, `port` and `to`: what the client asked for.
    fn asked_for(&self, line: &mut Vec<u8>) -> std::io::Result<()> {
        let port = self.first.listen.port();
        let (protocol, scheme) =
            if self.first.tls == Tls::Disabled { ("Tcp", "tcp") } else { ("Tcp/Tls", "tls") };
        let name = self.seen.and_then(|seen| seen.name.as_deref());
        // A name was normalised: it has no character that JSON would escape.
        let (host, with_port) = match name {
            Some(name) => (name, format!(":{port}")),
            None if self.first.by_name => ("no-sni", String::new()),
            None => ("*", String::new()),
        };
        write!(
            line,
            r#","protocol":"{protocol}","port":{port},"to":{{"host":"{host}{with_port}","scheme":"{scheme}","uri":"{scheme}://{host}:{port}"}}"#
        )
    }
}

fn optional(line: &mut Vec<u8>, text: Option<&str>) -> std::io::Result<()> {
    match text {
        Some(text) => string(line, text),
        None => line.write_all(b"null"),
    }
}

fn address(line: &mut Vec<u8>, addr: Option<SocketAddr>) -> std::io::Result<()> {
    match addr {
        // An IPv6 scope is a number here.
        Some(addr) => write!(line, r#""{addr}""#),
        None => line.write_all(b"null"),
    }
}

#[cfg(test)]
mod tests;
