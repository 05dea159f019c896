//! How a direction waits for bytes: by a poll for each message until it is busy, then by
//! [edges](crate::rt::hot).

use crate::config::limits;
use crate::conn::relay::Flow;
use crate::rt::hot::Hot;

/// The waits of one direction. Not for one that may rest before its socket is empty.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    count: u16,
    hot: Option<Box<Hot>>,
}

impl Waits {
    /// Waits after a read that found nothing.
    pub(crate) async fn after_nothing(&mut self, flow: &Flow<'_>) {
        if let Some(hot) = &self.hot {
            hot.found_nothing();
        }
        self.after_some(flow).await;
    }

    /// Waits after a read that emptied the socket.
    pub(crate) async fn after_some(&mut self, flow: &Flow<'_>) {
        // What is paced does not read all that is there.
        if self.hot.is_none() && flow.shared.pace.is_none() {
            self.count += 1;
            if self.count >= limits::HOT_AFTER {
                self.count = 0;
                self.hot = flow.core.hot.join(flow.from.fd()).map(Box::new);
            }
        }
        let Some(hot) = &self.hot else {
            let _ = flow.from.readable().await;
            return;
        };
        // A stream's end may have come with its last bytes.
        if !hot.has_more() && !hot.edge().await {
            self.hot = None;
            let _ = flow.from.readable().await;
        }
    }
}
