//! The path of a connection. [`serve`] is the whole story:
//!
//! `accept` (in [`crate::accept`]) → [`admit`] → [`open`] ([`peek`], [`route`], and the handshake where
//! TLS ends here) → [`pick`] → [`connect`] → [`relay`] → [`account`].
//!
//! Each step returns what the next needs, or the [`Ending`] that [`account`] writes down. Whatever
//! happens (an error, a cut from outside, a panic) exactly one ending reaches it.

pub mod account;
pub mod admit;
pub mod connect;
pub mod ending;
pub mod live;
pub mod open;
pub mod peek;
pub mod pick;
pub mod relay;
pub mod route;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::config::snapshot::Needs;
use crate::rt::{self, Sock};
use crate::tls;
use crate::worker::Core;
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

/// The steps, in order. What only some connections need is boxed: an idle plain connection must not
/// carry the room for a handshake.
async fn path(core: &Rc<Core>, live: &Rc<Live>, client: &Sock, panics: bool) -> Ending {
    match opened(core, live, client, panics).await {
        Ok((upstream, opened)) => relay(core, live, client, upstream, opened).await,
        Err(ending) => ending,
    }
}

/// Up to a connected target.
async fn opened(
    core: &Rc<Core>,
    live: &Rc<Live>,
    client: &Sock,
    panics: bool,
) -> Result<(Reached, Option<Box<Opened>>), Ending> {
    admit::process(core)?;
    assert!(!panics, "injected into a connection");
    let opened = if live.listener.needs == Needs::Nothing {
        open::at_once(core, live)?;
        None
    } else {
        if !live.listener.is_shared() {
            admit::service(live)?;
        }
        Some(Box::new(Box::pin(open::open(core, live, client)).await?))
    };
    admit::service(live)?;
    let service = live.service();
    let pool = service.pool(live.pool.get()).ok_or(Ending::us(Step::Route, Cause::NoMatch))?;
    let order = pick::order(pool);
    let upstream = connect::first_that_answers(core, live, pool, order, opened.as_deref()).await?;
    Ok((upstream, opened))
}

async fn relay(
    core: &Core,
    live: &Live,
    client: &Sock,
    upstream: Reached,
    opened: Option<Box<Opened>>,
) -> Ending {
    let Reached { socket, tls } = upstream;
    let Opened { prefix, session, .. } = opened.map(|opened| *opened).unwrap_or_default();
    if session.is_none() && tls.is_none() {
        return relay::both_ways(core, live, client, socket, prefix).await;
    }
    let (upstream, greeting) = tls.map_or((None, Box::default()), |tls| {
        let (session, greeting) = *tls;
        (Some(session), greeting)
    });
    let sessions = tls::relay::Sessions { client: session.map(|session| *session), upstream };
    let prefixes = [prefix, greeting];
    Box::pin(tls::relay::both_ways(core, live, client, socket, sessions, prefixes)).await
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
