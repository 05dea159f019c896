//! `thalweg route`: what would become of a connection, on a file or on the table of a running proxy.

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::client::{Caller, Trouble, Url, query};
use super::text::{Column, Table as Rows, fit, left, right, width, write_json, written};
use crate::config;
use crate::config::found::Found;
use crate::config::snapshot::Kept;
use crate::conn::dry::{self, Question, Table};
use crate::diagnostics::{colour_for, visible};
use crate::io::system;

/// The connection that is not made, and which table it would meet.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Example: where a name leads by a file, and in the proxy that runs
  thalweg route -c FILE --port 5432 --sni pg-read.example.com
  thalweg route --port 5432 --sni pg-read.example.com --source 10.1.2.3")]
pub struct Arguments {
    /// The configuration file. Without it a running proxy is asked.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which proxy, without a file.
    #[command(flatten)]
    admin: Url,
    /// The port that the client connects to.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The address that it connects to, where several listen on the port.
    #[arg(long, value_name = "IP")]
    interface: Option<IpAddr>,
    /// The name in its TLS hello.
    #[arg(long, value_name = "NAME")]
    sni: Option<String>,
    /// An ALPN protocol in its TLS hello; may be given several times.
    #[arg(long, value_name = "PROTOCOL")]
    alpn: Vec<String>,
    /// The host of its HTTP request.
    #[arg(long, value_name = "HOST")]
    http_host: Option<String>,
    /// Where the client comes from. Without it nothing that depends on it is judged.
    #[arg(long, value_name = "IP")]
    source: Option<IpAddr>,
    /// The proxy that connects, and tells by a PROXY header that the client is --source.
    #[arg(long, value_name = "IP")]
    proxy: Option<IpAddr>,
    /// One JSON object on standard output.
    #[arg(long)]
    json: bool,
}

/// Prints it. Returns the exit code: 0 routed, 3 refused, 1 errors in the file, 2 wrong usage, 4 nobody
/// answers.
pub fn run(arguments: &Arguments) -> u8 {
    let answer = match &arguments.config {
        Some(file) => of_file(arguments, file),
        None => of_running(arguments),
    };
    let route = match answer {
        Ok(route) => route,
        Err(trouble) => return trouble.report(),
    };
    let mut out = io::stdout().lock();
    // Who closes the pipe has read enough; the exit code still tells.
    let _ = written(if arguments.json {
        write_json(&mut out, &route)
    } else {
        write(&mut out, &route)
    });
    if route.get("outcome").and_then(Value::as_str) == Some("routed") { 0 } else { 3 }
}

fn of_file(arguments: &Arguments, file: &std::path::Path) -> Result<Value, Trouble> {
    let loaded = config::load(file);
    let name = file.display().to_string();
    let Some(checked) = &loaded.checked else {
        let colour = colour_for(&io::stderr());
        let errors = loaded.diagnostics.iter().filter(|finding| finding.is_error());
        for finding in errors {
            let _ = writeln!(io::stderr(), "{}", finding.render(&name, colour));
        }
        return Err(Trouble::here(format!("{}: refused", visible(&name))));
    };
    let snapshot = Kept::default().snapshot(
        1,
        &checked.services,
        &Found::new(),
        &loaded.material,
        system::local_addresses(),
    );
    let (snapshot, _) = snapshot.map_err(|problem| Trouble::here(problem.to_string()))?;
    let question = Question {
        port: arguments.port,
        interface: arguments.interface,
        sni: arguments.sni.clone(),
        alpn: arguments.alpn.clone(),
        http_host: arguments.http_host.clone(),
        source: arguments.source,
        proxy: arguments.proxy,
    };
    let route = dry::run(&snapshot, &question, Table::File).map_err(Trouble::Usage)?;
    Ok(serde_json::to_value(route).unwrap_or_default())
}

fn of_running(arguments: &Arguments) -> Result<Value, Trouble> {
    let ip = |ip: Option<IpAddr>| ip.map(|ip| ip.to_string());
    let (port, interface) = (arguments.port.to_string(), ip(arguments.interface));
    let (source, proxy) = (ip(arguments.source), ip(arguments.proxy));
    let once = [
        ("port", Some(port.as_str())),
        ("interface", interface.as_deref()),
        ("sni", arguments.sni.as_deref()),
        ("httpHost", arguments.http_host.as_deref()),
        ("source", source.as_deref()),
        ("proxy", proxy.as_deref()),
    ];
    let alpn = arguments.alpn.iter().map(|protocol| ("alpn", Some(protocol.as_str())));
    let path = format!("/api/tcp/route{}", query(once.into_iter().chain(alpn)));
    Caller::new(arguments.admin.client(None)?)?.get(path)
}

const COLUMNS: [Column; 5] = [
    left("", 2, 0),
    left("TARGET", 12, 0),
    left("STATE", 0, 0),
    left("WEIGHT", 0, 2),
    right("CONNECTIONS", 1),
];

fn write(out: &mut impl Write, route: &Value) -> io::Result<()> {
    let text =
        |of: &Value, key: &str| visible(of.get(key).and_then(Value::as_str).unwrap_or_default());
    let is = |of: &Value, key: &str| of.get(key) == Some(&Value::Bool(true));
    let list = |key: &str| route.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let steps = list("steps");
    let wide = steps.iter().map(|step| width(&text(step, "what"))).max().unwrap_or(0);
    for step in &steps {
        let sign = if is(step, "matched") { "yes" } else { "no" };
        let (what, why) = (fit(&text(step, "what"), wide, false), text(step, "why"));
        writeln!(out, "{sign:<3}  {what}  {why}")?;
    }
    let targets = list("targets");
    if !targets.is_empty() {
        writeln!(out)?;
        let mut rows = Rows::new(&COLUMNS);
        for target in &targets {
            let number = |key: &str| target.get(key).and_then(Value::as_u64);
            let tier = match number("tier") {
                None | Some(0) => String::new(),
                Some(1) => " backup".to_owned(),
                Some(tier) => format!(" tier {tier}"),
            };
            let most = number("maxConnections").map(|most| format!(" of {most}"));
            rows.row([
                if is(target, "chosen") { "->" } else { "" }.to_owned(),
                text(target, "target"),
                text(target, "state"),
                format!("{}{tier}", number("weight").unwrap_or(1)),
                format!("{}{}", number("connections").unwrap_or(0), most.unwrap_or_default()),
            ]);
        }
        rows.write(out)?;
    }
    writeln!(out)?;
    if text(route, "outcome") == "routed" {
        let target = match route.get("target").and_then(Value::as_str) {
            Some(target) => visible(target),
            None => "a target that is found while the proxy runs".to_owned(),
        };
        return writeln!(out, "routed to {target}, service {}", text(route, "service"));
    }
    match route.get("reason").and_then(Value::as_str) {
        None => writeln!(out, "refused: nobody listens"),
        Some(reason) => {
            writeln!(out, "refused: {reason}\n{}", text(route, "explanation"))
        }
    }
}
