//! The path of a connection. [`serve`] is the whole story:
//!
//! `accept` (in [`crate::accept`]) → [`admit`] → [`route`] → [`pick`] → [`connect`] → [`relay`] →
//! [`account`].
//!
//! Each step returns what the next needs, or the [`Ending`] that [`account`] writes down. Whatever
//! happens (an error, a cut from outside, a panic) exactly one ending reaches it.

pub mod account;
pub mod admit;
pub mod connect;
pub mod ending;
pub mod live;
pub mod pick;
pub mod relay;
pub mod route;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use crate::rt::{self, Sock};
use crate::worker::Core;
use ending::{Cause, Ending, Step};
use live::Live;

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

/// The steps, in order.
async fn path(core: &Rc<Core>, live: &Rc<Live>, client: &Sock, panics: bool) -> Ending {
    if let Err(ending) = admit::admit(core, live) {
        return ending;
    }
    assert!(!panics, "injected into a connection");
    let pool = route::route(live);
    let order = pick::order(pool, &live.service.state);
    match connect::first_that_answers(core, live, pool, order).await {
        Ok(upstream) => relay::both_ways(core, live, client, upstream).await,
        Err(ending) => ending,
    }
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
