//! The PROXY protocol on the path of a connection: who the client is, as the proxy before us tells,
//! and telling the target.
//!
//! A header that comes is the first thing on the wire. It is [read](header) after admit and before
//! anything that depends on who the client is; only of those who are trusted, within the hello's one
//! deadline. A header that goes is [made](told) for each attempt at a target and leaves before
//! anything else, together with what is there to send.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use crate::config::checked::{self, AcceptHeader, SendHeader};
use crate::config::limits;
use crate::config::snapshot::{Listener, Target};
use crate::conn::ending::{Cause, Ending, Side, Step};
use crate::conn::live::Live;
use crate::conn::open::Opened;
use crate::conn::{account, unless_cut};
use crate::io::socket;
use crate::rt::{self, Sock};
use crate::wire::proxy_header::{
    Header, Outgoing, Progress, Reader, Refusal, Ssl, Tlvs, has_begun, write_v1, write_v2,
};
use crate::worker::Core;

// ---- in -----------------------------------------------------------------------------------------

/// Whether a header may, or must, come with this connection; `None`: its first byte is the client's.
///
/// # Errors
/// [`Cause::Untrusted`] where one is required. Nothing has been read.
pub fn expected(live: &Live) -> Result<Option<&AcceptHeader>, Ending> {
    expected_of(&live.listener, live.peer.get().map(|peer| peer.ip()))
}

/// As [`expected`], of who connects from this address.
///
/// # Errors
/// As there.
pub fn expected_of(
    listener: &Listener,
    peer: Option<IpAddr>,
) -> Result<Option<&AcceptHeader>, Ending> {
    let Some(accept) = &listener.first.spec.proxy.accept else { return Ok(None) };
    if peer.is_some_and(|peer| accept.trusts(peer)) {
        return Ok(Some(accept));
    }
    if accept.required { Err(Ending::us(Step::Header, Cause::Untrusted)) } else { Ok(None) }
}

/// What came after a header, or instead of one; `None`: nothing.
pub type After = Option<Box<Opened>>;

/// Reads the header, and remembers what it tells.
///
/// # Errors
/// Why there is none that could be believed. Nobody has been told: there is no language for it.
pub fn header<'a>(
    core: &'a Core,
    live: &'a Live,
    client: &'a Sock,
    accept: &'a AcceptHeader,
) -> Pin<Box<dyn Future<Output = Result<After, Ending>> + 'a>> {
    Box::pin(async move {
        let mut reading = Reading::default();
        // It mostly came with the connection.
        let found = match reading.receive(core, client) {
            Found::More => {
                let left = live.listener.hello.saturating_sub(live.born.elapsed());
                let wait = rt::within(left, reading.wait(core, client));
                unless_cut(live, Step::Header, wait).await?.unwrap_or(Found::More)
            }
            found => found,
        };
        let after = reading.end(live, found, accept.required)?;
        let opened = || Box::new(Opened { prefix: after.into(), ..Opened::default() });
        Ok((!after.is_empty()).then(opened))
    })
}

/// What the bytes so far amount to.
#[derive(Debug)]
enum Found {
    /// Not enough to tell.
    More,
    Header(Box<Header>),
    /// No header.
    Absent,
    Refused(Refusal),
    /// The stream has ended.
    End,
    /// The socket failed.
    Failed,
}

#[derive(Default)]
struct Reading {
    bytes: Vec<u8>,
    reader: Reader,
}

impl Reading {
    async fn wait(&mut self, core: &Core, client: &Sock) -> Found {
        loop {
            let _ = client.readable().await;
            match self.receive(core, client) {
                Found::More => {}
                found => return found,
            }
        }
    }

    /// Takes what is there, but no more than a header may have.
    fn receive(&mut self, core: &Core, client: &Sock) -> Found {
        let mut scratch = core.scratch.borrow_mut();
        let room = limits::PROXY_HEADER_BYTES_MAX.saturating_sub(self.bytes.len());
        match socket::recv(client.fd(), scratch.get_mut(..room).unwrap_or_default()) {
            Ok(0) => return Found::End,
            Ok(n) => self.bytes.extend_from_slice(scratch.get(..n).unwrap_or_default()),
            Err(error) if socket::would_block(&error) => return Found::More,
            Err(_) => return Found::Failed,
        }
        match self.reader.read(&self.bytes) {
            Progress::More => Found::More,
            Progress::Header(header) => Found::Header(Box::new(header)),
            Progress::Absent => Found::Absent,
            Progress::Refused(refusal) => Found::Refused(refusal),
        }
    }

    /// What was found at the last; `More` at the deadline. Gives the client's own bytes.
    fn end(&self, live: &Live, found: Found, required: bool) -> Result<&[u8], Ending> {
        let by_client = |cause| Err(Ending { side: Side::Client, step: Step::Header, cause });
        // One that may come and has not begun is none: these bytes are the client's.
        let may_be_none = !required && !has_begun(&self.bytes);
        match found {
            Found::Header(header) => {
                let after = self.bytes.get(header.length..).unwrap_or_default();
                remember(live, header);
                Ok(after)
            }
            Found::Absent if !required => Ok(&self.bytes),
            Found::Absent => Err(Ending::us(Step::Header, Cause::NoHeader)),
            Found::Refused(refusal) => {
                live.note(refusal.text());
                let cause = match refusal {
                    Refusal::TooLarge => Cause::TooLarge,
                    _ => Cause::Malformed,
                };
                Err(Ending::us(Step::Header, cause))
            }
            Found::End | Found::More if may_be_none => Ok(&self.bytes),
            Found::End => by_client(Cause::Left),
            Found::Failed => by_client(Cause::Reset),
            Found::More if self.bytes.is_empty() => Err(Ending::us(Step::Header, Cause::Silent)),
            Found::More => by_client(Cause::Deadline),
        }
    }
}

/// Keeps of a header what is used later.
fn remember(live: &Live, mut header: Box<Header>) {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    header.source = header.source.map(canonical);
    header.unix = None;
    if !live.listener.services().any(|(_, service)| service.spec.proxy.tlvs.received) {
        header.tlvs = Tlvs::default();
    }
    live.see(|seen| seen.told = Some(header));
}

// ---- out ----------------------------------------------------------------------------------------

/// The header for a target, to leave before anything else; empty where the target is not told.
pub fn told(core: &Core, live: &Live, target: &Target, opened: Option<&Opened>) -> Vec<u8> {
    if target.header == SendHeader::Off {
        return Vec::new();
    }
    let (source, destination) = addresses(live);
    if target.header == SendHeader::V1 {
        return write_v1(source, destination).to_vec();
    }
    let asked = live.service().spec.proxy.tlvs;
    let seen = live.seen();
    let seen = seen.as_deref();
    let id = account::id(core, live).to_string();
    let known = Known {
        name: seen.and_then(|seen| seen.name.as_deref()),
        alpn: opened.filter(|opened| opened.session.is_some()).and_then(|it| it.alpn.as_deref()),
        ssl: opened.and_then(|opened| opened.tells.as_deref()),
        id: &id,
    };
    let received = seen.and_then(|seen| seen.told.as_ref()).map(|told| &told.tlvs);
    second_version(source, destination, asked, &known, received)
}

/// The client's address and the one that it connected to.
fn addresses(live: &Live) -> (Option<SocketAddr>, Option<SocketAddr>) {
    let seen = live.seen();
    let told = seen.as_deref().and_then(|seen| seen.told.as_deref());
    match told.and_then(|told| told.source.zip(told.destination)) {
        Some((source, destination)) => (Some(source), Some(destination)),
        None => (live.peer.get(), live.client().and_then(socket::local_addr)),
    }
}

/// What is known of a client here.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The name that it asked for.
    pub name: Option<&'a str>,
    /// The protocol agreed on with it.
    pub alpn: Option<&'a [u8]>,
    /// TLS with it.
    pub ssl: Option<&'a Ssl>,
    /// The connection's own id.
    pub id: &'a str,
}

/// A header of version 2 with what is `asked` for. What was received stands where nothing better is
/// known here, but its id is kept: it names the connection over all proxies.
pub fn second_version(
    source: Option<SocketAddr>,
    destination: Option<SocketAddr>,
    asked: checked::Tlvs,
    known: &Known<'_>,
    received: Option<&Tlvs>,
) -> Vec<u8> {
    let write = |base: Tlvs| {
        let mut tlvs = base;
        let own = |asked: bool, value: Option<&[u8]>| value.filter(|_| asked).map(Into::into);
        tlvs.alpn = own(asked.alpn, known.alpn).or(tlvs.alpn);
        tlvs.authority = own(asked.authority, known.name.map(str::as_bytes)).or(tlvs.authority);
        tlvs.unique_id = tlvs.unique_id.or(own(asked.unique_id, Some(known.id.as_bytes())));
        tlvs.ssl = known.ssl.filter(|_| asked.ssl).cloned().map(Box::new).or(tlvs.ssl);
        let outgoing = Outgoing { source, destination, tlvs: &tlvs, checksum: asked.crc32c };
        write_v2(&outgoing)
    };
    let received = received.filter(|_| asked.received).cloned().unwrap_or_default();
    // What is ours is bounded, and far below what a header may have.
    write(received).or_else(|_| write(Tlvs::default())).unwrap_or_default()
}

/// Sends the header, and along with it what the client has sent so far, which is taken out of `opened`.
/// Returns when the header has left whole; of the rest the remainder stays in `opened`.
///
/// # Errors
/// The target's socket failed. Nothing of the client's has left.
pub async fn introduce(
    core: &Core,
    live: &Live,
    target: &Sock,
    header: &[u8],
    opened: &mut Option<Box<Opened>>,
) -> io::Result<()> {
    if opened.as_ref().is_none_or(|opened| opened.session.is_none()) {
        look_for_company(core, live, opened);
    }
    let prefix = opened.as_ref().map(|opened| &*opened.prefix).unwrap_or_default();
    let mut sent = 0;
    while sent < header.len() {
        let parts = [IoSlice::new(header.get(sent..).unwrap_or_default()), IoSlice::new(prefix)];
        match socket::send_from(target.fd(), &parts) {
            Ok(more) => sent += more,
            Err(error) if socket::would_block(&error) => drop(target.writable().await),
            Err(error) => return Err(error),
        }
    }
    let gone = sent - header.len();
    live.moved(core, true, gone);
    if gone > 0
        && let Some(opened) = opened
    {
        opened.prefix = opened.prefix.get(gone..).unwrap_or_default().into();
    }
    Ok(())
}

/// Takes what the client has sent by now, where nothing of it was read before. What its socket says
/// besides is left for the relay to find.
fn look_for_company(core: &Core, live: &Live, opened: &mut Option<Box<Opened>>) {
    let has_prefix = opened.as_ref().is_some_and(|opened| !opened.prefix.is_empty());
    let Some(client) = live.client().filter(|_| !has_prefix) else { return };
    let mut scratch = core.scratch.borrow_mut();
    let room = scratch.get_mut(..limits::PROXY_COMPANY_BYTES_MAX).unwrap_or_default();
    // Asked first: to receive nothing would take the socket's error with it.
    if socket::unread(client) > 0
        && let Ok(n @ 1..) = socket::recv(client, room)
    {
        opened.get_or_insert_default().prefix = scratch.get(..n).unwrap_or_default().into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target that is to be told is told, however much there is to tell.
    #[test]
    fn the_largest_of_everything_fits() {
        let address = "[2001:db8::1]:65535".parse().ok();
        let name = "n".repeat(limits::HOST_BYTES_MAX);
        let ssl = Ssl {
            version: Some(b"TLSv1.3".as_slice().into()),
            common_name: Some(vec![b'c'; limits::PROXY_NAME_BYTES_MAX].into()),
            ..Ssl::default()
        };
        let alpn = [b'a'; limits::ALPN_BYTES_MAX];
        let id = "ffffffff-1023-18446744073709551615";
        let known = Known { name: Some(&name), alpn: Some(&alpn), ssl: Some(&ssl), id };
        for size in [0, 1, 2900, 3000, 3500, 4030] {
            let mut received =
                Tlvs { authority: Some(b"outer".as_slice().into()), ..Tlvs::default() };
            received.others.push(0xe0, &vec![0; size]).expect("it was received");
            let header =
                second_version(address, address, checked::Tlvs::ALL, &known, Some(&received));
            let answer = Reader::default().read(&header);
            let Progress::Header(told) = answer else { panic!("{size}: {answer:?}") };
            assert_eq!((told.length, told.source), (header.len(), address));
            assert_eq!(told.tlvs.authority.as_deref(), Some(name.as_bytes()));
            assert_eq!(told.tlvs.ssl.as_deref(), Some(&ssl));
            let passed_on =
                told.tlvs.others.iter().map(|(_, value)| value.len()).collect::<Vec<_>>();
            assert_eq!(passed_on, if size <= 3000 { vec![size] } else { vec![] }, "{size}");
        }
    }
}
