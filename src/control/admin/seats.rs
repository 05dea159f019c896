//! The places of one listener of the admin API. A crowd must not keep an operator out: for a new
//! connection the oldest that has shown no token gives way.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::config::limits;
use crate::conn::admit::sources::Source;

/// The places of one listener. Only the control thread looks at them.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<Vec<Taken>>);

/// One that is taken; the oldest stands first.
#[derive(Debug)]
struct Taken {
    source: Option<Source>,
    seat: Arc<Seat>,
}

/// What a connection's task and its requests know of its place.
#[derive(Debug, Default)]
pub(super) struct Seat {
    /// A token, or a user who is known, was seen on it.
    trusted: AtomicBool,
    requests: AtomicUsize,
    given_away: Notify,
}

impl Seat {
    /// From now on it does not give way.
    pub(super) fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    /// Counts a request; true when it is to be the last.
    pub(super) fn count(&self) -> bool {
        self.requests.fetch_add(1, Ordering::Relaxed) + 1 >= limits::ADMIN_REQUESTS_MAX
    }

    /// Comes back when somebody else has the place.
    pub(super) async fn given_away(&self) {
        self.given_away.notified().await;
    }
}

/// A place that is held; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    seats: Arc<Seats>,
    /// Its place.
    pub(super) seat: Arc<Seat>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.seats.lock().retain(|taken| !Arc::ptr_eq(&taken.seat, &self.seat));
    }
}

impl Seats {
    /// A place for a connection from this address; none if all are held by those who have shown a
    /// token. Addresses of this machine, and Unix sockets (`None`), are not counted apart.
    pub(super) fn take(self: &Arc<Self>, from: Option<IpAddr>) -> Option<Held> {
        let source = from.filter(|ip| !ip.to_canonical().is_loopback());
        let source = source.map(|ip| Source::of(ip.to_canonical()));
        let mut taken = self.lock();
        let of_source = |taken: &Taken| source.is_some() && taken.source == source;
        if taken.iter().filter(|it| of_source(it)).count()
            >= limits::ADMIN_CONNECTIONS_PER_SOURCE_MAX
        {
            give_away(&mut taken, of_source)?;
        }
        if taken.len() >= limits::ADMIN_CONNECTIONS_MAX {
            give_away(&mut taken, |_| true)?;
        }
        let seat = Arc::new(Seat::default());
        taken.push(Taken { source, seat: Arc::clone(&seat) });
        drop(taken);
        Some(Held { seats: Arc::clone(self), seat })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Taken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a place away from the oldest of those that has shown no token.
fn give_away(taken: &mut Vec<Taken>, which: impl Fn(&Taken) -> bool) -> Option<()> {
    let gives = |taken: &Taken| which(taken) && !taken.seat.trusted.load(Ordering::Relaxed);
    let at = taken.iter().position(gives)?;
    taken.remove(at).seat.given_away.notify_one();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_given_away(held: &Held) -> bool {
        use std::task::{Context, Waker};
        let mut waits = std::pin::pin!(held.seat.given_away());
        waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn the_oldest_stranger_gives_way() {
        let seats = Arc::new(Seats::default());
        let mut held: Vec<_> =
            (0..limits::ADMIN_CONNECTIONS_MAX).map(|_| seats.take(None).unwrap()).collect();
        held[0].seat.trust();
        let new = seats.take(None).unwrap();
        assert!(!is_given_away(&held[0]) && is_given_away(&held[1]) && !is_given_away(&new));
        drop(held.remove(1));
        assert_eq!(seats.lock().len(), limits::ADMIN_CONNECTIONS_MAX);
        for held in &held {
            held.seat.trust();
        }
        new.seat.trust();
        assert!(seats.take(None).is_none(), "all have shown a token");
        drop(new);
        assert!(seats.take(None).is_some());
    }

    #[test]
    fn a_source_has_its_share() {
        let seats = Arc::new(Seats::default());
        let take = |ip: &str| seats.take(Some(ip.parse().unwrap())).unwrap();
        let other = take("10.0.0.2");
        let held: Vec<_> = (0..=limits::ADMIN_CONNECTIONS_PER_SOURCE_MAX)
            .map(|last| take(&format!("2001:db8::{last:x}")))
            .collect();
        assert!(is_given_away(&held[0]) && !is_given_away(&held[1]) && !is_given_away(&other));
        let local: Vec<_> =
            (0..=limits::ADMIN_CONNECTIONS_PER_SOURCE_MAX).map(|_| take("127.0.0.1")).collect();
        assert!(!is_given_away(&local[0]), "people of this machine have one address");
    }

    #[test]
    fn a_connection_has_so_many_requests() {
        let seat = Seat::default();
        let last = (1..).find(|_| seat.count());
        assert_eq!(last, Some(limits::ADMIN_REQUESTS_MAX));
    }
}
