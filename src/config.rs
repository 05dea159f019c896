//! TEMPORARY
pub mod checked;
pub mod limits;
pub mod snapshot;
use checked::*;
use std::path::Path;
pub struct Loaded { pub checked: Option<Checked>, pub diagnostics: Vec<crate::diagnostics::Diagnostic> }
pub fn load(path: &Path) -> Loaded {
    let v: serde_json::Value = match std::fs::read_to_string(path).ok().and_then(|t| serde_json::from_str(&t).ok()) { Some(v) => v, None => return Loaded{checked:None, diagnostics: vec![]} };
    let dur = |s: &serde_json::Value| s.as_str().map(|s| { let (n,u) = s.split_at(s.find(|c:char| c.is_alphabetic()).unwrap()); let n: u64 = n.parse().unwrap(); match u {"ms"=>std::time::Duration::from_millis(n),"h"=>std::time::Duration::from_secs(n*3600),_=>std::time::Duration::from_secs(n)} });
    let cores = match &v["workers"]["cores"] { serde_json::Value::Array(a) => Cores::List(a.iter().map(|x| x.as_u64().unwrap() as usize).collect()), serde_json::Value::Number(n) => Cores::Count((n.as_u64().unwrap() as u32).try_into().unwrap()), _ => Cores::All };
    let io_uring = if v["workers"]["ioUring"] == "Prefer" { IoUring::Prefer } else { IoUring::Require };
    let events = v["events"]["file"].as_str().map(|f| Events { file: path.parent().unwrap().join(f) });
    let services = v["services"].as_array().unwrap().iter().map(|s| {
        let t = &s["timeouts"];
        let or = |k: &str, d: Option<std::time::Duration>| if t.get(k).is_some() { dur(&t[k]) } else { d };
        Service {
        id: s["id"].as_str().unwrap().into(), name: s["name"].as_str().unwrap_or("").into(),
        listen: format!("{}:{}", s["interface"].as_str().unwrap_or("0.0.0.0"), s["port"]).parse().unwrap(),
        targets: s["rules"].as_array().unwrap().iter().flat_map(|r| r["targets"].as_array().unwrap()).map(|t| { let host = t["host"].as_str().unwrap(); Target { host: host.into(), port: t["port"].as_u64().unwrap_or(8080) as u16, address: if let Some(p) = host.strip_prefix("unix:") { Address::Unix(p.into()) } else if let Ok(ip) = t["ip"].as_str().unwrap_or(host).parse() { Address::Ip(ip) } else { Address::Name } } }).collect(),
        limits: Limits { connections: s["limits"]["connections"].as_u64().map(|n| (n as u32).try_into().unwrap()) },
        timeouts: Timeouts { connect: or("connect", Some(limits::CONNECT_DEFAULT)).unwrap(), idle: or("idle", Some(limits::IDLE_DEFAULT)), half_closed: or("halfClosed", Some(limits::HALF_CLOSED_DEFAULT)), lifetime: or("lifetime", None) },
        retries: s["retries"].as_u64().unwrap_or(1) as u32,
        on_removed: s["onRemoved"]["closeAfter"].as_str().map_or(OnRemoved::Keep, |_| OnRemoved::CloseAfter(dur(&s["onRemoved"]["closeAfter"]).unwrap())),
        document: s.to_string().into(),
    }}).collect();
    Loaded { checked: Some(Checked { workers: Workers { cores, pin: v["workers"]["pin"].as_bool().unwrap_or(true), io_uring }, events, services }), diagnostics: vec![] }
}
