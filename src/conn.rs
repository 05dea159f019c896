//! The path of a connection. [`serve`] is the whole story:
//!
//! `accept` (in [`crate::accept`]) → [`admit`] → [`proxied`] (a PROXY header) → [`open`] ([`peek`],
//! [`route`], and the handshake where TLS ends here) → [`pick`] → [`connect`] → [`relay`] →
//! [`account`].
//!
//! Each step returns what the next needs, or the [`Ending`] that [`account`] writes down. Whatever
//! happens (an error, a cut from outside, a panic) exactly one ending reaches it.

pub mod account;
pub mod admit;
pub mod connect;
pub mod dry;
pub mod ending;
pub mod listing;
pub mod live;
pub mod open;
pub mod pace;
pub mod peek;
pub mod pick;
pub mod proxied;
pub mod race;
pub mod relay;
pub mod route;
pub(crate) mod waits;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use crate::config::snapshot::Needs;
use crate::rt::{self, Sock};
use crate::tls;
use crate::worker::Core;
use admit::turn_away::{Tongue, turn_away};
use connect::Reached;
use ending::{Cause, Ending, Step};
use live::Live;
use open::Opened;

/// Serves one accepted connection to its end.
pub async fn serve(core: Rc<Core>, live: Rc<Live>, client: Sock, panics: bool) {
    live.holds(client.fd(), -1);
    let ending = {
        let path = pin!(path(&core, &live, &client, panics));
        match rt::catching(path).await {
            Ok(ending) => ending,
            Err(panic) => {
                let said = rt::panic_text(panic.as_ref());
                tracing::error!(core = core.index, panic = said, "a connection was given up");
                // The task still holds the target's socket; dropped as it is it would end in order.
                live.reset_upstream();
                Ending::us(Step::Relay, Cause::Panic)
            }
        }
    };
    account::close(&core, &live, ending);
    // An upstream socket has been ended by the step that held it; the client's is ended here.
    live.releases();
    if !ending.is_clean() {
        crate::io::socket::reset(client.fd());
    }
}

/// The steps, in order. What only some connections need is boxed, by functions that are not async
/// themselves: an idle plain connection must not carry the room for a handshake.
async fn path(core: &Rc<Core>, live: &Rc<Live>, client: &Sock, panics: bool) -> Ending {
    let (upstream, prefix, tls) = match opened(core, live, client, panics).await {
        Ok(opened) => opened,
        Err(ending) => return ending,
    };
    match tls {
        None => relay::both_ways(core, live, client, upstream, prefix).await,
        Some(tls) => relay_tls(core, live, client, upstream, prefix, tls).await,
    }
}

/// TLS with either side.
type Tls = Box<tls::relay::Sessions>;

/// Up to a connected target: it, what was read of the client, and TLS where it is spoken.
async fn opened(
    core: &Rc<Core>,
    live: &Rc<Live>,
    client: &Sock,
    panics: bool,
) -> Result<(Sock, Box<[u8]>, Option<Tls>), Ending> {
    admit::process(core)?;
    assert!(!panics, "injected into a connection");
    let mut opened = match proxied::expected(live)? {
        Some(accept) => proxied::header(core, live, client, accept).await?,
        None => None,
    };
    // The service is certain: who may not connect is not read.
    if !live.listener.is_shared()
        && let Err(ending) = admit::service(live)
    {
        let tongue = Tongue::of(opened.as_ref().map_or(&[], |opened| &opened.prefix));
        return Err(turn_away(core, live, client, tongue, ending).await);
    }
    if live.listener.needs == Needs::Nothing {
        open::at_once(core, live)?;
        if let Err(ending) = admit::service(live) {
            return Err(turn_away(core, live, client, Tongue::Unknown, ending).await);
        }
    } else {
        let received = opened.map(|opened| opened.prefix).unwrap_or_default();
        opened = Some(open_boxed(core, live, client, received).await?);
    }
    let service = live.service();
    let pool = service.pool(live.pool.get()).ok_or(Ending::us(Step::Route, Cause::NoMatch))?;
    let reached = connect::first_that_answers(core, live, pool, &mut opened).await;
    let Reached { socket, tls } = match reached {
        Ok(reached) => reached,
        Err(ending) => {
            if let Some(session) = opened.and_then(|opened| opened.session) {
                excuse(client, session).await;
            }
            return Err(ending);
        }
    };
    account::open(core, live);
    let opened = opened.map(|opened| *opened).unwrap_or_default();
    if opened.session.is_none() && tls.is_none() {
        return Ok((socket, opened.prefix, None));
    }
    let client = opened.session.map(|session| *session);
    let sessions = tls::relay::Sessions { client, upstream: tls.map(|session| *session) };
    Ok((socket, opened.prefix, Some(Box::new(sessions))))
}

fn open_boxed<'a>(
    core: &'a Rc<Core>,
    live: &'a Live,
    client: &'a Sock,
    received: Box<[u8]>,
) -> Pin<Box<dyn Future<Output = Result<Box<Opened>, Ending>> + 'a>> {
    Box::pin(async move { open::open(core, live, client, received).await.map(Box::new) })
}

/// Tells a client whose TLS ended here that there is no target for it.
fn excuse(
    client: &Sock,
    mut session: Box<tls::session::Session>,
) -> Pin<Box<dyn Future<Output = ()> + '_>> {
    const INTERNAL_ERROR: u8 = 80;
    session.complain(INTERNAL_ERROR);
    Box::pin(async move { open::farewell(client, session.unsent()).await })
}

fn relay_tls<'a>(
    core: &'a Core,
    live: &'a Live,
    client: &'a Sock,
    upstream: Sock,
    prefix: Box<[u8]>,
    tls: Tls,
) -> Pin<Box<dyn Future<Output = Ending> + 'a>> {
    Box::pin(tls::relay::both_ways(core, live, client, upstream, *tls, prefix))
}

/// Runs a step that waits, unless the connection is cut meanwhile.
async fn unless_cut<T>(
    live: &Live,
    step: Step,
    future: impl Future<Output = T>,
) -> Result<T, Ending> {
    let mut future = pin!(future);
    poll_fn(|cx| {
        if let Some(cause) = live.is_cut(cx.waker()) {
            return Poll::Ready(Err(Ending::us(step, cause)));
        }
        future.as_mut().poll(cx).map(Ok)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// What every connection holds while it is idle, besides the kernel's part. A step that only some
    /// connections need is boxed.
    #[test]
    fn an_idle_connection_is_small() {
        let (future, live) = (size_of_future(serve), size_of::<Live>());
        assert!(future <= 1500, "the future of a connection has {future} bytes");
        assert!(live <= 176, "`Live` has {live} bytes");
    }
}
