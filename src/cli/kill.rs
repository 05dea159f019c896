//! `thalweg kill`: ends live connections of a running proxy.

use std::io::{self, Write};

use hyper::Method;
use serde_json::Value;

use super::client::{Admin, Caller, Request, Trouble, escaped};
use super::connections::Filter;
use super::text::{confirm, list, plural, text};
use crate::config::limits;

/// The arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: one connection, by the id that `connections` and the events show
  thalweg kill 1a2b3c4d-0-17 --token-file admin.token
All of one network to one service, without being asked
  thalweg kill --service pg --source 10.1.2.0/24 --yes")]
pub struct Kill {
    /// The connections.
    #[arg(value_name = "ID", required_unless_present_any = FILTERS, conflicts_with_all = FILTERS)]
    ids: Vec<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    /// Which connections.
    #[command(flatten)]
    filter: Filter,
    /// Which proxy.
    #[command(flatten)]
    admin: Admin,
}

/// The arguments of [`Filter`].
const FILTERS: [&str; 6] = ["service", "target", "sni", "source", "state", "idle_over"];

impl Kill {
    /// Carries it out. Returns the exit code: 1 if one of the connections is not there.
    pub fn run(self) -> u8 {
        let mut caller = match self.admin.client().and_then(Caller::new) {
            Ok(caller) => caller,
            Err(trouble) => return trouble.report(),
        };
        if self.filter.is_empty() {
            return match kill(&mut caller, &self.ids, true) {
                Ok((_, code)) => code,
                Err(trouble) => trouble.report(),
            };
        }
        match self.found(&mut caller) {
            Ok(code) => code,
            Err(trouble) => trouble.report(),
        }
    }

    /// Ends those that are found.
    fn found(&self, caller: &mut Caller) -> Result<u8, Trouble> {
        let most = u32::try_from(limits::LISTED_MAX).unwrap_or(u32::MAX);
        let answer = caller.get(self.filter.path(most))?;
        let ids: Vec<String> =
            list(&answer, "connections").iter().map(|it| text(it, "id")).collect();
        let more = answer.get("truncated") == Some(&Value::Bool(true));
        let found = plural(ids.len() as u64, "connection");
        if ids.is_empty() {
            return Err(Trouble::here("no such connection"));
        }
        if !self.yes {
            let first = if more { "the first " } else { "" };
            match confirm(&format!("End {first}{found}?")) {
                Some(true) => {}
                Some(false) => return Err(Trouble::here("nothing was done")),
                None => {
                    let text = format!("this ends {found}: --yes says that it is meant");
                    return Err(Trouble::Usage(text));
                }
            }
        }
        // One that has ended by itself meanwhile is as good.
        let (count, code) = kill(caller, &ids, false)?;
        let ended = plural(count, "connection");
        let _ =
            writeln!(io::stdout(), "ended {ended}{}", if more { "; there are more" } else { "" });
        Ok(code)
    }
}

/// Ends connections by their ids; how many were there, and the exit code.
fn kill(caller: &mut Caller, ids: &[String], must_be: bool) -> Result<(u64, u8), Trouble> {
    let (mut count, mut code) = (0, 0);
    for id in ids {
        let path = format!("/api/tcp/connections/{}", escaped(id));
        match caller.send(Request::new(Method::DELETE, path)) {
            Ok(_) => count += 1,
            Err(Trouble::Refused(refused)) if refused.status == 404 => {
                if must_be {
                    code = Trouble::Refused(refused).report();
                }
            }
            Err(trouble) => return Err(trouble),
        }
    }
    Ok((count, code))
}
