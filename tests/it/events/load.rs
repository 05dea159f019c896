//! Outputs that stand still while thousands of connections come.

use std::thread;

use serde_json::json;

use super::{Collector, metric, outputs};
use crate::support::backend::Backend;
use crate::support::config::Service;
use crate::support::events;
use crate::support::heavy;
use crate::support::peer::Peer;
use crate::support::ports::free_port;
use crate::support::proxy::Launch;
use crate::support::wait::{SOON, wait_until};

const THREADS: usize = 8;
const EACH: usize = 1250;

/// Goal: outputs that stand still hold up neither connections nor other outputs; what they do not get
/// is counted, and the sums agree.
/// Method: an HTTP endpoint that never answers and a datagram socket that nobody reads, under 10,000
/// connections whose events are more than a queue holds.
#[test]
fn stalled_outputs_hold_nothing_up() {
    let _alone = heavy();
    let backend = Backend::echo();
    let padding = json!({ "padding": "x".repeat(1500) });
    let service = Service::new("svc", &[backend.address]).set("metadata", padding);
    let collector = Collector::start();
    collector.always(0);
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _unread = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let at = format!("127.0.0.1:{}", free_port());
    let stalled = json!([
        { "http": collector.url(), "batch": 100, "flush": "10ms" }, { "unixDatagram": socket }
    ]);
    let config = outputs(&service, stalled).set("admin", json!({ "listen": at }));
    let mut proxy = Launch::new(config).start();
    let outcomes: Vec<_> = thread::scope(|scope| {
        let work = || {
            let one = |_| {
                let peer = Peer::connect(service.address);
                peer.send(b"hello");
                peer.expect(b"hello");
                peer.fin();
                peer.expect_eof();
                peer.close()
            };
            (0..EACH).map(one).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    for outcome in outcomes {
        proxy.ended(outcome, &service, "*/relay/closed");
    }
    let all = THREADS * EACH + 12;
    wait_until("all events in the file", SOON, || events::count(&proxy.events_file()) >= all);
    for kind in ["http", "unixDatagram"] {
        let dropped = metric(&at, "dropped_total", kind);
        assert!(dropped > 0 && dropped < all as u64, "{kind}: {dropped} of {all} dropped");
        let queued = metric(&at, "queued_bytes", kind);
        assert!(queued <= 8 << 20, "{kind}: {queued} bytes wait");
    }
    assert_eq!(metric(&at, "dropped_total", "file"), 0);
    let log = proxy.log();
    assert_eq!(log.matches("new ones are dropped").count(), 2, "once for each:\n{log}");
    proxy.signal(libc::SIGTERM);
    let exit = proxy.wait_exit();
    assert_eq!(exit.code(), Some(0));
    let number = |line: &str, key: &str| -> usize {
        let value = line.split(key).nth(1).unwrap_or_else(|| panic!("no {key} in {line}"));
        let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
        value[..digits].parse().unwrap()
    };
    let sums: Vec<&str> =
        exit.stderr.lines().filter(|line| line.contains("the end of an output")).collect();
    assert_eq!(sums.len(), 3, "{}", exit.stderr);
    for line in sums {
        let (written, dropped) = (number(line, "written="), number(line, "dropped="));
        assert_eq!(written + dropped, all, "{line}");
    }
    proxy.verdict();
}
