//! `events`: each output is one place and has only the keys of its kind.

use std::path::Path;

use super::{Findings, file, not_empty};
use crate::config::checked::events::{Events, File, Http, Output, Rotation};
use crate::config::checked::{Pem, UpstreamTls};
use crate::config::document::{self, EventOutput, Record, ServiceDetail, Size, Span};
use crate::config::found::Url;
use crate::config::limits::{
    EVENT_BATCH_DEFAULT, EVENT_BATCH_MAX, EVENT_FILE_BYTES_LEAST, EVENT_FILES_MAX,
    EVENT_FLUSH_DEFAULT, EVENT_FLUSH_MAX, EVENT_INTERVAL_LEAST, EVENT_KEEP_DEFAULT,
    EVENT_OUTPUTS_MAX, UNIX_PATH_BYTES_MAX,
};
use crate::config::place::Place;
use crate::diagnostics::{
    BAD_DURATION, BAD_EVENT_OUTPUT, BAD_VALUE, EVENT_KEY_IDLE, EVENT_TOKEN_IN_CLEAR, visible,
};

const FORMS: &str = "{ \"file\": \"events.ndjson\" }, { \"stdout\": true }, { \"unixDatagram\": \
                     \"/run/collector.sock\" } or { \"http\": \"https://collector.internal/events\" }";

/// Checks `events`; `None` where there is none, or nothing of it can be used.
pub(super) fn events(
    written: Option<&document::Events>,
    dir: &Path,
    findings: &mut Findings<'_>,
) -> Option<Events> {
    let written = written?;
    let outer = Place::Root.key("events");
    let mut outputs: Vec<Output> = Vec::new();
    if let Some(path) = &written.file {
        let path = file(path, dir, &outer.key("file"), findings);
        outputs.push(Output::File(File { path, rotation: None }));
    }
    let list = outer.key("outputs");
    if let Some(entries) = &written.outputs {
        not_empty(entries, &list, findings);
        if entries.len() > EVENT_OUTPUTS_MAX {
            let message = format!("{} outputs are more than {EVENT_OUTPUTS_MAX}", entries.len());
            findings.add(&BAD_VALUE, &list, message);
        }
        for (at, entry) in entries.iter().enumerate() {
            let place = list.index(at);
            if findings.is_broken_inside(&place) {
                continue;
            }
            let Some(output) = output(entry, dir, &place, findings) else { continue };
            if outputs.iter().any(|known| is_same_place(known, &output)) {
                let message = format!("events go to {} already", visible(&output.to_string()));
                findings.add_with(&BAD_EVENT_OUTPUT, &place, message, "remove one of the two");
            }
            outputs.push(output);
        }
    } else if written.file.is_none() && !findings.is_broken(&list) {
        findings.missing(&outer, "file", "\"file\": \"events.ndjson\", or `outputs`");
    }
    let records = outer.key("records");
    if !written.records.contains(&Record::Close) && !findings.is_broken_inside(&records) {
        let hint = "[\"close\"], with \"open\" and \"periodic\" beside it as you like";
        let message = "`close` is missing: every connection has an event at its end";
        findings.add_with(&BAD_VALUE, &records, message, hint);
    }
    let Span(interval) = written.interval;
    if interval < EVENT_INTERVAL_LEAST {
        let message =
            format!("{} is less than the least, {}", Span(interval), Span(EVENT_INTERVAL_LEAST));
        findings.add(&BAD_DURATION, &outer.key("interval"), message);
    }
    Some(Events {
        outputs,
        open: written.records.contains(&Record::Open),
        periodic: written.records.contains(&Record::Periodic).then_some(interval),
        whole_service: written.service == ServiceDetail::Full,
    })
}

fn is_same_place(one: &Output, other: &Output) -> bool {
    one.kind() == other.kind() && one.place() == other.place()
}

/// Reads one output. `None` if there is nothing to go on with.
fn output(
    entry: &EventOutput,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<Output> {
    let EventOutput { file: path, stdout, unix_datagram, http, .. } = entry;
    let named = [path.is_some(), stdout.is_some(), unix_datagram.is_some(), http.is_some()];
    match named.iter().filter(|named| **named).count() {
        1 => {}
        0 => {
            findings.add_with(&BAD_EVENT_OUTPUT, place, "the output names no place", FORMS);
            return None;
        }
        _ => {
            let message = "an output is one place, and this one names several";
            findings.add_with(&BAD_EVENT_OUTPUT, place, message, FORMS);
            return None;
        }
    }
    of_one_kind(entry, place, findings);
    if let Some(path) = path {
        let path = file(path, dir, &place.key("file"), findings);
        return Some(Output::File(File { path, rotation: rotation(entry, place, findings) }));
    }
    if let Some(path) = unix_datagram {
        let at = place.key("unixDatagram");
        let path = file(path, dir, &at, findings);
        if path.as_os_str().len() > UNIX_PATH_BYTES_MAX {
            let message = format!("the path is longer than {UNIX_PATH_BYTES_MAX} bytes");
            findings.add(&BAD_VALUE, &at, message);
        }
        return Some(Output::Datagram(path));
    }
    if let Some(url) = http {
        return self::http(url, entry, dir, place, findings)
            .map(|http| Output::Http(Box::new(http)));
    }
    if *stdout == Some(false) {
        let hint = "remove the entry, or write true";
        findings.add_with(&BAD_EVENT_OUTPUT, &place.key("stdout"), "an output that is none", hint);
    }
    Some(Output::Stdout)
}

/// Reports the keys that belong to another kind of output.
fn of_one_kind(entry: &EventOutput, place: &Place<'_>, findings: &mut Findings<'_>) {
    let EventOutput { file, http, max_size, keep, token_file, ca_file, batch, flush, .. } = entry;
    let (file, http) = (file.is_some(), http.is_some());
    for (key, is_set, kind, fits) in [
        ("maxSize", max_size.is_some(), "file", file),
        ("keep", keep.is_some(), "file", file),
        ("tokenFile", token_file.is_some(), "http", http),
        ("caFile", ca_file.is_some(), "http", http),
        ("batch", batch.is_some(), "http", http),
        ("flush", flush.is_some(), "http", http),
    ] {
        if is_set && !fits {
            let message = format!("`{key}` belongs to an output with `{kind}`");
            findings.add_with(&EVENT_KEY_IDLE, &place.key(key), message, "remove it");
        }
    }
}

fn rotation(
    entry: &EventOutput,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<Rotation> {
    let keep = entry.keep.unwrap_or(EVENT_KEEP_DEFAULT);
    if !(1..=EVENT_FILES_MAX).contains(&keep) {
        let message = format!("{keep} is not between 1 and {EVENT_FILES_MAX}");
        findings.add(&BAD_VALUE, &place.key("keep"), message);
    }
    let Some(Size(max_size)) = entry.max_size else {
        if entry.keep.is_some() {
            let hint = "set `maxSize`, or remove the key";
            let message = "`keep` has no effect without `maxSize`";
            findings.add_with(&EVENT_KEY_IDLE, &place.key("keep"), message, hint);
        }
        return None;
    };
    if max_size < EVENT_FILE_BYTES_LEAST {
        let message = format!("less than the least, {}", Size(EVENT_FILE_BYTES_LEAST));
        findings.add(&BAD_VALUE, &place.key("maxSize"), message);
    }
    Some(Rotation { max_size, keep })
}

fn http(
    text: &str,
    entry: &EventOutput,
    dir: &Path,
    place: &Place<'_>,
    findings: &mut Findings<'_>,
) -> Option<Http> {
    let url = match super::url(text) {
        Ok(url) => url,
        Err(fault) => {
            let message = format!("`{}` is not usable: {fault}", visible(text));
            let hint = "as \"https://collector.internal/events\"";
            findings.add_with(&BAD_EVENT_OUTPUT, &place.key("http"), message, hint);
            return None;
        }
    };
    let token_file = entry.token_file.as_deref();
    let token_file = token_file.map(|path| file(path, dir, &place.key("tokenFile"), findings));
    let ca_file = entry.ca_file.as_deref();
    let ca_file = ca_file.map(|path| file(path, dir, &place.key("caFile"), findings));
    if !url.secure && ca_file.is_some() {
        let message = "`caFile` has no effect: the URL is not https";
        findings.add_with(&EVENT_KEY_IDLE, &place.key("caFile"), message, "write https");
    }
    if !url.secure && token_file.is_some() && !is_here(&url) {
        let message = "the token goes over the network in clear";
        findings.add_with(&EVENT_TOKEN_IN_CLEAR, &place.key("http"), message, "write https");
    }
    let batch = entry.batch.unwrap_or(EVENT_BATCH_DEFAULT);
    if !(1..=EVENT_BATCH_MAX).contains(&batch) {
        let message = format!("{batch} is not between 1 and {EVENT_BATCH_MAX}");
        findings.add(&BAD_VALUE, &place.key("batch"), message);
    }
    let Span(flush) = entry.flush.unwrap_or(Span(EVENT_FLUSH_DEFAULT));
    if flush > EVENT_FLUSH_MAX {
        let message = format!("{} is more than the most, {}", Span(flush), Span(EVENT_FLUSH_MAX));
        findings.add(&BAD_DURATION, &place.key("flush"), message);
    }
    let tls = url.secure.then(|| {
        Box::new(UpstreamTls {
            ca: ca_file.map(Pem::File),
            ..UpstreamTls::to(url.host.trim_end_matches('.').to_ascii_lowercase())
        })
    });
    Some(Http { url, token_file, tls, batch: usize::try_from(batch).unwrap_or(1), flush })
}

/// Whether nobody but this machine sees what goes there.
fn is_here(url: &Url) -> bool {
    let ip: Option<std::net::IpAddr> = url.host.parse().ok();
    url.host.eq_ignore_ascii_case("localhost") || ip.is_some_and(|ip| ip.is_loopback())
}
