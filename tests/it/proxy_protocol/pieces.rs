//! Headers that we send to a socket that does not take them at once, or fails over them.

use serde_json::json;

use super::sent::{first_read, sending};
use super::*;
use crate::support::backend::Manual;
use crate::support::config::Config;
use crate::support::proxy::{Launch, Proxy};

/// Runs one core under strace, which makes sendmsg, by which headers leave, do this at these calls.
fn failing(service: &Service, how: &str) -> Proxy {
    let inject = format!("inject=sendmsg:{how}");
    let strace =
        ["strace", "-f", "-qqq", "-o", "/dev/null", "--trace=sendmsg", "-e", inject.as_str()];
    let config = Config::new([service]).set("workers", json!({ "cores": 1 }));
    Launch::new(config).wrapped(&strace).start()
}

/// One that takes headers too: what comes behind them is there when a target is connected.
fn relaying(version: &str, targets: &[SocketAddr]) -> Service {
    let proxied = json!({ "accept": "Require", "trusted": ["127.0.0.1"], "send": version });
    Service::new("svc", targets).set("proxyProtocol", proxied)
}

/// The end of both, in order, of a client that was told of by a line.
fn finish_told(proxy: &mut Proxy, service: &Service, client: Peer, up: Peer, port: u16) {
    client.fin();
    up.expect_eof();
    drop(up);
    client.expect_eof();
    proxy.ended(as_told(client, port, line(port).len()), service, CLOSED);
}

/// Goal: a header that does not leave at once leaves whole before anything else, and nothing twice.
/// Method: strace has the first sends not take anything; or say that they took ten bytes, or the
/// header and two bytes, while they took nothing: just the others must arrive.
#[test]
fn in_pieces() {
    let upstream = Manual::start();
    let service = relaying("V1", &[upstream.address]);
    let mut proxy = failing(&service, "error=EAGAIN:when=1..3");
    for _ in 0..2 {
        let port = told_port();
        let bytes = [&line(port)[..], b"hello"].concat();
        let client = proxy.connect(&service);
        client.send(&bytes);
        let up = upstream.accept();
        up.expect(&bytes);
        finish_told(&mut proxy, &service, client, up, port);
    }
    proxy.finish();
    for beyond in [false, true] {
        let port = told_port();
        let head = line(port);
        let took = if beyond { head.len() + 2 } else { 10 };
        let mut proxy = failing(&service, &format!("retval={took}:when=1"));
        let bytes = [&head[..], b"hello"].concat();
        let client = proxy.connect(&service);
        client.send(&bytes);
        let up = upstream.accept();
        up.expect(&bytes[took..]);
        finish_told(&mut proxy, &service, client, up, port);
        proxy.finish();
    }
}

/// Goal: a target that fails over the header is one that cannot be reached: the next one gets header
/// and bytes, and no byte is lost or sent twice.
/// Method: strace has the first send fail.
#[test]
fn to_the_next_target() {
    let (one, two) = (Manual::start(), Manual::start());
    let service = relaying("V2", &[one.address, two.address]);
    let mut proxy = failing(&service, "error=ECONNRESET:when=1");
    let port = told_port();
    let client = proxy.connect(&service);
    client.send(&[&line(port)[..], b"hello"].concat());
    let other = one.accept();
    other.expect_end();
    let up = two.accept();
    let (source, _, with) = first_read(&up);
    assert_eq!((source.port(), &with[..]), (port, &b"hello"[..]));
    finish_told(&mut proxy, &service, client, up, port);
    assert_eq!(proxy.event_of(port).number("retries"), 1);
    proxy.finish();

    let alone = sending("alone", "V2", &one);
    let mut proxy = failing(&alone, "error=EPIPE");
    let client = proxy.connect(&alone);
    client.expect_end();
    proxy.cut(client, &alone, "upstream/connect/reset");
    proxy.finish();
}
