//! Reaching one of several addresses of a name (Happy Eyeballs, RFC 8305): both families by turns, the
//! next address a moment after the last or as soon as that has failed, and the first that connects
//! wins. Only names with more than one address come here.

use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::config::limits;
use crate::config::snapshot::Name;
use crate::conn::connect::{Attempt, attempt};
use crate::conn::ending::{Cause, Ending};
use crate::conn::live::Live;
use crate::io::socket::Destination;
use crate::rt::{self, Sock};
use crate::worker::Core;

/// Connects to one of the addresses. Each may take `limit`; those that are still on their way when
/// another wins are closed.
pub fn race<'a>(
    core: &'a Core,
    live: &'a Live,
    name: &'a Name,
    addresses: Arc<Vec<IpAddr>>,
    port: u16,
    limit: Duration,
) -> Pin<Box<dyn Future<Output = Attempt> + 'a>> {
    Box::pin(async move {
        let turn = name.turn.fetch_add(1, Ordering::Relaxed);
        let v4_first = name.v4_first.load(Ordering::Relaxed);
        let order = order(&addresses, turn, v4_first);
        let start = |ip: IpAddr| {
            let addr = SocketAddr::new(ip, port);
            let looped = core.with_snapshot(|snapshot| snapshot.own.contains(addr));
            let running: Running<'a> = Box::pin(async move {
                if looped {
                    return Ok(Err(Cause::Loop));
                }
                attempt(core, live, &Destination::from(addr), limit).await
            });
            (ip, running)
        };
        let first = order.first().copied();
        let mut field = Field { ahead: order.into_iter(), running: Vec::new(), failed: None };
        loop {
            if let Some(ip) = field.ahead.next() {
                field.running.push(start(ip));
            }
            let mut delay = pin!(rt::sleep(limits::ATTEMPT_DELAY));
            let outcome = poll_fn(|cx| field.poll(cx, delay.as_mut())).await;
            match outcome {
                Moved::Won(ip, socket) => {
                    // The other family was tried first and did not answer: next time it is not.
                    if first.is_some_and(|first| first.is_ipv4() != ip.is_ipv4()) {
                        name.v4_first.store(ip.is_ipv4(), Ordering::Relaxed);
                    }
                    return Ok(Ok(socket));
                }
                Moved::Next => {}
                Moved::Lost(cause) => return Ok(Err(cause)),
                Moved::Ended(ending) => return Err(ending),
            }
        }
    })
}

type Running<'a> = Pin<Box<dyn Future<Output = Attempt> + 'a>>;

/// The attempts of one race.
struct Field<'a> {
    ahead: std::vec::IntoIter<IpAddr>,
    running: Vec<(IpAddr, Running<'a>)>,
    failed: Option<Cause>,
}

/// What came of waiting.
enum Moved {
    Won(IpAddr, Sock),
    /// It is time for the next address.
    Next,
    /// There is none left.
    Lost(Cause),
    /// The connection ends.
    Ended(Ending),
}

impl Field<'_> {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        delay: Pin<&mut impl Future<Output = ()>>,
    ) -> Poll<Moved> {
        let mut freed = false;
        let mut at = 0;
        while let Some((ip, running)) = self.running.get_mut(at) {
            match running.as_mut().poll(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(Ok(socket))) => return Poll::Ready(Moved::Won(*ip, socket)),
                Poll::Ready(Ok(Err(cause))) => {
                    drop(self.running.remove(at));
                    self.failed = Some(worse(self.failed, cause));
                    freed = true;
                    if cause == Cause::Descriptors {
                        self.ahead = Vec::new().into_iter();
                    }
                }
                Poll::Ready(Err(ending)) => return Poll::Ready(Moved::Ended(ending)),
            }
        }
        let more = !self.ahead.as_slice().is_empty();
        if more && (freed || self.running.is_empty()) {
            return Poll::Ready(Moved::Next);
        }
        if self.running.is_empty() {
            return Poll::Ready(Moved::Lost(self.failed.unwrap_or(Cause::Unresolved)));
        }
        if more {
            return delay.poll(cx).map(|()| Moved::Next);
        }
        Poll::Pending
    }
}

/// Which of two failures tells more: that this machine has no way to a family, or no port left, says
/// little of the target.
fn worse(before: Option<Cause>, now: Cause) -> Cause {
    let says_little =
        |cause: Cause| matches!(cause, Cause::Unreachable | Cause::Ports | Cause::Loop);
    match before {
        // That must end the trying.
        Some(Cause::Descriptors) => Cause::Descriptors,
        Some(before) if says_little(now) && !says_little(before) => before,
        _ => now,
    }
}

/// The addresses in the order in which they are tried: each connection begins with another one of its
/// family, and the families take turns.
fn order(addresses: &[IpAddr], turn: usize, v4_first: bool) -> Vec<IpAddr> {
    let (v4, v6) = addresses.split_at(addresses.partition_point(IpAddr::is_ipv4));
    let turned = |family: &[IpAddr]| -> Vec<IpAddr> {
        let start = turn.checked_rem(family.len()).unwrap_or(0);
        family.iter().cycle().skip(start).take(family.len()).copied().collect()
    };
    let (first, second) =
        if v4_first { (turned(v4), turned(v6)) } else { (turned(v6), turned(v4)) };
    let mut order = Vec::with_capacity(limits::ADDRESSES_TRIED_MAX);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    while order.len() < limits::ADDRESSES_TRIED_MAX {
        let before = order.len();
        order.extend(first.next());
        order.extend(second.next());
        if order.len() == before {
            break;
        }
    }
    order.truncate(limits::ADDRESSES_TRIED_MAX);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split(' ').map(|ip| ip.parse().unwrap()).collect()
    }

    #[test]
    fn families_take_turns_and_each_connection_begins_elsewhere() {
        let all = addresses("10.0.0.1 10.0.0.2 10.0.0.3 ::1 ::2");
        assert_eq!(order(&all, 0, false), addresses("::1 10.0.0.1 ::2 10.0.0.2"));
        assert_eq!(order(&all, 1, false), addresses("::2 10.0.0.2 ::1 10.0.0.3"));
        assert_eq!(order(&all, 2, true), addresses("10.0.0.3 ::1 10.0.0.1 ::2"));
        let v4 = addresses("10.0.0.1 10.0.0.2 10.0.0.3");
        let firsts: Vec<IpAddr> = (0..3).map(|turn| order(&v4, turn, false)[0]).collect();
        assert_eq!(firsts, v4);
        assert_eq!(order(&addresses("127.0.0.1 ::1"), 7, true), addresses("127.0.0.1 ::1"));
        assert!(order(&[], 3, true).is_empty());
    }

    #[test]
    fn what_a_target_said_counts_more_than_what_this_machine_lacks() {
        assert_eq!(worse(None, Cause::Unreachable), Cause::Unreachable);
        assert_eq!(worse(Some(Cause::Refused), Cause::Unreachable), Cause::Refused);
        assert_eq!(worse(Some(Cause::Ports), Cause::Refused), Cause::Refused);
        assert_eq!(worse(Some(Cause::Refused), Cause::Timeout), Cause::Timeout);
    }
}
