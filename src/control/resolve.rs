//! Names to addresses, off the data path. Each name keeps its last good answer; a failure is
//! retried soon and changes nothing for connections until a better answer comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::config::limits;
use crate::config::snapshot::Name;

/// Keeps the names of the published snapshot resolved.
#[derive(Debug, Default)]
pub struct Resolver {
    tasks: HashMap<Arc<str>, tokio::task::AbortHandle>,
    running: JoinSet<()>,
}

impl Resolver {
    /// Resolves these names from now on, and no others.
    pub fn follow<'a>(&mut self, names: impl Iterator<Item = &'a Arc<Name>>) {
        let mut before = std::mem::take(&mut self.tasks);
        for name in names {
            let task = before
                .remove(&name.host)
                .unwrap_or_else(|| self.running.spawn(keep_resolved(Arc::clone(name))));
            self.tasks.insert(Arc::clone(&name.host), task);
        }
        for task in before.into_values() {
            task.abort();
        }
        while self.running.try_join_next().is_some() {}
    }
}

/// Resolves names once, before the first connection asks for them; what takes longer than
/// [`limits::RESOLVE_START`] comes later.
pub async fn first<'a>(names: impl Iterator<Item = &'a Arc<Name>>) {
    let mut pending = JoinSet::new();
    for name in names {
        let name = Arc::clone(name);
        pending.spawn(async move { resolve(&name).await });
    }
    let all = async { while pending.join_next().await.is_some() {} };
    if timeout(limits::RESOLVE_START, all).await.is_err() {
        tracing::warn!("some names are not resolved yet; starting without them");
    }
}

async fn keep_resolved(name: Arc<Name>) {
    let mut failing = false;
    loop {
        let pause = match resolve(&name).await {
            Ok(()) => {
                if std::mem::take(&mut failing) {
                    tracing::info!(name = %name.host, "resolved again");
                }
                limits::RESOLVE_REFRESH
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    let kept = name.addresses.load().len();
                    tracing::warn!(name = %name.host, %error, kept, "cannot be resolved");
                }
                limits::RESOLVE_RETRY
            }
        };
        sleep(pause).await;
    }
}

async fn resolve(name: &Name) -> std::io::Result<()> {
    let found = tokio::net::lookup_host((&*name.host, 0)).await?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    for addr in found {
        if addresses.len() < limits::ADDRESSES_KEPT_MAX && !addresses.contains(&addr.ip()) {
            addresses.push(addr.ip());
        }
    }
    if addresses.is_empty() {
        return Err(std::io::Error::other("the answer has no address"));
    }
    if **name.addresses.load() != addresses {
        name.addresses.store(Arc::new(addresses));
    }
    Ok(())
}
