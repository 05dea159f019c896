//! One entry of `stream_listen`, as `kong/conf_loader/listeners.lua` reads it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value, json};

use crate::providers::set;

/// What Kong says of an entry that it cannot read.
const USAGE: &str = "stream_listen must be of form: [off] | <ip>:<port> [udp] [ssl] \
                     [proxy_protocol] [bind] [reuseport] [backlog=%d+] [ipv6only=on] \
                     [ipv6only=off] [so_keepalive=on] [so_keepalive=off] \
                     [so_keepalive=%w*:%w*:%d*], [... next entry ...]";

/// One address, with its flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "flags are flags")]
pub struct Listen {
    /// An IP address or a host name, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// `udp`.
    pub udp: bool,
    /// `ssl`: clients are expected to speak TLS.
    pub ssl: bool,
    /// `proxy_protocol`: those who connect begin with its header.
    pub proxy_protocol: bool,
    /// `bind`.
    pub bind: bool,
    /// `reuseport`.
    pub reuseport: bool,
    /// `backlog=N`.
    pub backlog: Option<u64>,
    /// `ipv6only=on|off`.
    pub ipv6only: Option<bool>,
    /// `so_keepalive=…`.
    pub so_keepalive: Option<Keepalive>,
}

/// `so_keepalive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keepalive {
    /// `on`, `off`.
    Switch(bool),
    /// `[idle]:[interval]:[count]`; any part may be empty.
    Times(String, String, String),
}

/// What cannot be read; in Kong's words, and which entry it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadListen(pub String);

/// Reads a `stream_listen`. `off` is none.
///
/// # Errors
/// What cannot be read, in Kong's words.
pub fn parse(text: &str) -> Result<Vec<Listen>, BadListen> {
    let mut entries = text.split(',').map(str::trim);
    if text.trim().is_empty() {
        return Err(BadListen(USAGE.into()));
    }
    if entries.clone().next() == Some("off") {
        return Ok(Vec::new());
    }
    entries.try_fold(Vec::new(), |mut listens, text| {
        listens.push(entry(text).ok_or_else(|| {
            let shown = crate::diagnostics::visible(text);
            BadListen(format!("{USAGE}; `{shown}` is not"))
        })?);
        Ok(listens)
    })
}

fn entry(text: &str) -> Option<Listen> {
    let mut listen = Listen::default();
    let mut address = None;
    for word in text.split_ascii_whitespace() {
        if !listen.flag(word) && address.replace(word).is_some() {
            return None; // two words that are no flags
        }
    }
    let (host, port) = address?.rsplit_once(':')?;
    if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    listen.port = port.parse().ok()?;
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    listen.host = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
        None if host.is_empty() || host.contains(['[', ']', ':']) => return None,
        None => host.to_owned(),
    };
    Some(listen)
}

impl Listen {
    /// Takes a word if it is a flag. The last of a kind counts.
    fn flag(&mut self, word: &str) -> bool {
        match word.split_once('=') {
            None => match word {
                "udp" => self.udp = true,
                "ssl" => self.ssl = true,
                "proxy_protocol" => self.proxy_protocol = true,
                "bind" => self.bind = true,
                "reuseport" => self.reuseport = true,
                _ => return false,
            },
            Some(("backlog", count)) if is_all(count, u8::is_ascii_digit) && !count.is_empty() => {
                match count.parse() {
                    Ok(count) => self.backlog = Some(count),
                    Err(_) => return false,
                }
            }
            Some(("ipv6only", "on")) => self.ipv6only = Some(true),
            Some(("ipv6only", "off")) => self.ipv6only = Some(false),
            Some(("so_keepalive", value)) => match Keepalive::read(value) {
                Some(keepalive) => self.so_keepalive = Some(keepalive),
                None => return false,
            },
            Some(_) => return false,
        }
        true
    }

    /// Where it listens; `None` for a host name.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host.as_str() {
            "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            host => host.parse().ok(),
        }
    }

    /// As `0.0.0.0:9000` or `[::]:9000`.
    pub fn endpoint(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    /// What a native service has besides its address if it is for this one.
    pub fn apply(&self, service: &mut Value) {
        if self.proxy_protocol {
            let header = json!({ "accept": "Require", "trusted": ["0.0.0.0/0", "::/0"] });
            set(service, "proxyProtocol", header);
        }
        // nginx's default is `on`; a native `::` takes IPv4 as well.
        if self.address() == Some(IpAddr::from([0_u16; 8])) && self.ipv6only != Some(false) {
            set(service, "access", json!({ "deny": ["0.0.0.0/0"] }));
        }
    }

    /// The flags from which nothing follows here.
    pub(super) fn idle_flags(&self) -> impl Iterator<Item = String> {
        // Listeners are of one core each (SO_REUSEPORT) and bound one by one as it is.
        let backlog = self.backlog.map(|count| format!("backlog={count}"));
        let keepalive = self.so_keepalive.as_ref().map(|it| format!("so_keepalive={it}"));
        backlog.into_iter().chain(keepalive)
    }
}

impl Keepalive {
    fn read(text: &str) -> Option<Self> {
        if let "on" | "off" = text {
            return Some(Self::Switch(text == "on"));
        }
        let mut parts = text.splitn(3, ':').map(str::to_owned);
        let (idle, interval, count) = (parts.next()?, parts.next()?, parts.next()?);
        let fits = is_all(&idle, u8::is_ascii_alphanumeric)
            && is_all(&interval, u8::is_ascii_alphanumeric)
            && is_all(&count, u8::is_ascii_digit);
        fits.then_some(Self::Times(idle, interval, count))
    }
}

fn is_all(text: &str, what: impl Fn(&u8) -> bool) -> bool {
    text.as_bytes().iter().all(what)
}

impl fmt::Display for Keepalive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(true) => f.write_str("on"),
            Self::Switch(false) => f.write_str("off"),
            Self::Times(idle, interval, count) => write!(f, "{idle}:{interval}:{count}"),
        }
    }
}

/// As it is written, the flags in Kong's order.
impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoint())?;
        let flags = [
            (self.udp, " udp"),
            (self.ssl, " ssl"),
            (self.proxy_protocol, " proxy_protocol"),
            (self.bind, " bind"),
            (self.reuseport, " reuseport"),
        ];
        for (_, word) in flags.into_iter().filter(|(is_set, _)| *is_set) {
            f.write_str(word)?;
        }
        if let Some(count) = self.backlog {
            write!(f, " backlog={count}")?;
        }
        if let Some(only) = self.ipv6only {
            f.write_str(if only { " ipv6only=on" } else { " ipv6only=off" })?;
        }
        if let Some(keepalive) = &self.so_keepalive {
            write!(f, " so_keepalive={keepalive}")?;
        }
        Ok(())
    }
}
