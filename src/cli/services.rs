//! `thalweg services` and `thalweg service`: what a running proxy serves, and changing the services
//! that belong to its API.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hyper::Method;
use serde_json::Value;

use super::client::{Admin, Caller, Request, Trouble, escaped};
use super::text::{self, Column, Table, confirm, left, list, right, text as member, written};
use super::{findings, plan};
use crate::config::limits;
use crate::diagnostics::{colour_for, visible};

/// The arguments of `services`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: what is served, where, and who declared it
  thalweg services
As JSON, one document a service
  thalweg services --json | jq '.[] | .id'")]
pub struct Services {
    /// A JSON array on standard output.
    #[arg(long)]
    json: bool,
    /// Which proxy.
    #[command(flatten)]
    admin: Admin,
}

/// The arguments of `service`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: edit a service that the API owns
  thalweg service get pg > pg.json; $EDITOR pg.json
  thalweg service put pg.json --dry-run && thalweg service put pg.json")]
pub struct Service {
    #[command(subcommand)]
    what: What,
}

/// What is done with a service.
#[derive(Debug, clap::Subcommand)]
enum What {
    /// Print the document of a service.
    ///
    /// Example: thalweg service get pg > pg.json
    Get {
        /// The service.
        id: String,
        /// Which proxy.
        #[command(flatten)]
        admin: Admin,
    },
    /// Create a service, or replace the one with the same id.
    ///
    /// Example: thalweg service put pg.json --dry-run
    Put {
        /// Its document (JSON); - is standard input.
        file: PathBuf,
        /// Only say what it would do, as `plan`.
        #[arg(long)]
        dry_run: bool,
        /// Which proxy.
        #[command(flatten)]
        admin: Admin,
    },
    /// Remove a service. Its connections go on or end as its `onRemoved` says.
    ///
    /// Example: thalweg service delete pg --yes
    Delete {
        /// The service.
        id: String,
        /// Only say what it would do, as `plan`.
        #[arg(long)]
        dry_run: bool,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
        /// Which proxy.
        #[command(flatten)]
        admin: Admin,
    },
}

const COLUMNS: [Column; 7] = [
    left("ID", 8, 0),
    left("LISTENS ON", 9, 0),
    left("TLS", 0, 1),
    left("ENABLED", 0, 4),
    right("RULES", 3),
    left("OWNER", 0, 0),
    left("NAME", 8, 2),
];

impl Services {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        let asked = self.admin.client().and_then(Caller::new).and_then(|mut it| all(&mut it));
        match asked {
            Ok(services) => {
                let mut out = io::stdout().lock();
                if self.json {
                    return written(text::write_json(&mut out, &Value::Array(services)));
                }
                let mut table = Table::new(&COLUMNS);
                services.iter().for_each(|service| table.row(row(service)));
                written(table.write(&mut out))
            }
            Err(trouble) => trouble.report(),
        }
    }
}

/// The services, page by page: a proxy need not answer with all at once.
fn all(caller: &mut Caller) -> Result<Vec<Value>, Trouble> {
    const PAGE: usize = 500;
    let mut all = Vec::new();
    for page in 1_u32.. {
        let path = format!("/api/tcp/services?page={page}&pageSize={PAGE}");
        let Value::Array(some) = caller.get(path)? else {
            return Err(Trouble::Unreachable("what answers there is no Thalweg admin API".into()));
        };
        let last = some.len() < PAGE;
        all.extend(some);
        if last {
            break;
        }
    }
    Ok(all)
}

fn row(service: &Value) -> [String; 7] {
    let meta = service.get("_meta").unwrap_or(&Value::Null);
    let interface = service.get("interface").and_then(Value::as_str).unwrap_or("0.0.0.0");
    let interface =
        if interface.contains(':') { format!("[{interface}]") } else { interface.into() };
    [
        member(service, "id"),
        format!("{interface}:{}", member(service, "port")),
        member(service, "tls"),
        if service.get("enabled") == Some(&Value::Bool(false)) { "no" } else { "yes" }.into(),
        list(service, "rules").len().to_string(),
        member(meta, "owner"),
        member(service, "name"),
    ]
}

impl Service {
    /// Carries it out. Returns the exit code.
    pub fn run(self) -> u8 {
        let done = match &self.what {
            What::Get { id, admin } => get(admin, id),
            What::Put { file, dry_run, admin } => put(admin, file, *dry_run),
            What::Delete { id, dry_run, yes, admin } => delete(admin, id, *dry_run, *yes),
        };
        done.unwrap_or_else(Trouble::report)
    }
}

fn path(id: &str, dry_run: bool) -> String {
    let dry_run = if dry_run { "?dryRun=true" } else { "" };
    format!("/api/tcp/services/{}{dry_run}", escaped(id))
}

fn get(admin: &Admin, id: &str) -> Result<u8, Trouble> {
    let service = Caller::new(admin.client()?)?.get(path(id, false))?;
    Ok(written(text::write_json(&mut io::stdout().lock(), &service)))
}

fn put(admin: &Admin, file: &Path, dry_run: bool) -> Result<u8, Trouble> {
    let name = file.display().to_string();
    let mut text = Vec::new();
    let read = if name == "-" {
        io::stdin().take(limits::CONFIG_BYTES_MAX).read_to_end(&mut text)
    } else {
        std::fs::File::open(file)
            .and_then(|file| file.take(limits::CONFIG_BYTES_MAX).read_to_end(&mut text))
    };
    read.map_err(|error| Trouble::here(format!("{name}: {error}")))?;
    let document: Value = serde_json::from_slice(&text)
        .map_err(|error| Trouble::here(format!("{name}: not JSON: {error}")))?;
    let mut caller = Caller::new(admin.client()?)?;
    let create = || {
        let dry_run = if dry_run { "?dryRun=true" } else { "" };
        Request::new(Method::POST, format!("/api/tcp/services{dry_run}")).json(&document).patient()
    };
    let answer = match document.get("id").and_then(Value::as_str) {
        None => caller.send(create()),
        Some(id) => {
            let replace = Request::new(Method::PUT, path(id, dry_run)).json(&document).patient();
            match caller.send(replace) {
                Err(Trouble::Refused(refused)) if refused.status == 404 => caller.send(create()),
                other => other,
            }
        }
    };
    told(answer.map_err(|trouble| of_file(trouble, &name))?, dry_run, "is served")
}

/// The document's name for its diagnostics.
fn of_file(trouble: Trouble, name: &str) -> Trouble {
    match trouble {
        Trouble::Refused(mut refused) => {
            if let Value::Object(body) = &mut refused.body {
                body.entry("file").or_insert(name.into());
            }
            Trouble::Refused(refused)
        }
        other => other,
    }
}

fn delete(admin: &Admin, id: &str, dry_run: bool, yes: bool) -> Result<u8, Trouble> {
    let mut caller = Caller::new(admin.client()?)?;
    if !dry_run && !yes {
        match confirm(&format!("Remove the service {}?", visible(id))) {
            Some(true) => {}
            Some(false) => return Err(Trouble::here("nothing was done")),
            None => {
                let text = "this removes a service: --yes says that it is meant";
                return Err(Trouble::Usage(text.into()));
            }
        }
    }
    let mut answer = caller.send(Request::new(Method::DELETE, path(id, dry_run)).patient())?;
    if let (false, Value::Object(members)) = (dry_run, &mut answer) {
        members.insert("id".into(), id.into());
    }
    told(answer, dry_run, "is removed")
}

fn told(answer: Value, dry_run: bool, became: &str) -> Result<u8, Trouble> {
    let out = io::stdout();
    let colour = colour_for(&out);
    let mut out = out.lock();
    if dry_run {
        let errors = u8::from(findings::has_errors(&answer));
        return Ok(written(plan::write(&mut out, &answer, None, colour)).max(errors));
    }
    let id = visible(&member(&answer, "id"));
    Ok(written(writeln!(out, "{id} {became}")))
}
