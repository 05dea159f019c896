//! Where services are declared. The main file is one source, the state directory another; each
//! further one is an owner's word and documents with their places, and nothing else of it is known
//! here. All are checked together, as if they stood in one file; what is found in a document names
//! that document, with paths that start there.
//!
//! # The state directory
//! `services/ID.json` holds one service each, which the admin API has created. Names that begin with
//! a dot are of files that are being written. Relative paths in such a document start where those of
//! the main file start, since whoever calls the API knows of no other place.

use std::collections::HashSet;
use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::decode::Decoded;
use super::place::Place;
use super::whitelist::Whitelist;
use super::{document, limits, read};
use crate::diagnostics::{
    BAD_STATE_DIR, BAD_STATE_FILE, DUPLICATE_ID, Declarer, Diagnostic, PORT_NOT_WHITELISTED,
    TOO_MANY_STORED, TWO_SOURCES, visible,
};
use crate::providers::Inventory;
use crate::providers::foreign::Files;

mod entity;

pub use self::entity::{Entities, Entity, Meta, with_defaults};

/// Who declares a service, and so alone can change it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// The main file.
    File,
    /// The admin API.
    Api,
    /// A provider, by its key in `providers`.
    Provider(Arc<str>),
}

impl Owner {
    /// The word for it in the admin API.
    pub fn word(&self) -> &str {
        match self {
            Self::File => "file",
            Self::Api => "api",
            Self::Provider(name) => name,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The main file as it was read.
#[derive(Debug, Clone)]
pub struct Main {
    /// The file, as people know it.
    pub place: Arc<str>,
    /// What is in it.
    pub text: Arc<str>,
    /// The absolute directory where its relative paths start.
    pub dir: PathBuf,
}

impl Main {
    /// Reads the file.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn read(path: &Path) -> Result<Self, Diagnostic> {
        let (text, dir) = read::text(path)?;
        let place = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let place = Arc::from(place.display().to_string());
        Ok(Self { place, text: Arc::from(text), dir })
    }
}

/// Services of one owner.
#[derive(Debug, Clone)]
pub struct Source {
    /// Who declares them.
    pub owner: Owner,
    /// One a service, in the order in which they come behind those of the sources before.
    pub documents: Vec<Document>,
    /// Further server certificates, for those services alone: each has a name.
    pub certificates: Vec<document::Certificate>,
    /// What was found while they were made of something foreign.
    pub diagnostics: Vec<Diagnostic>,
}

impl Source {
    /// One without services.
    pub fn empty(owner: Owner) -> Self {
        Self { owner, documents: Vec::new(), certificates: Vec::new(), diagnostics: Vec::new() }
    }
}

/// One service as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// The file that it is in, or what else people find it by.
    pub place: Arc<str>,
    /// Where it is in there: a JSON path; empty: the whole.
    pub path: String,
    /// The line where it begins, if the lines of `text` are not those of the place.
    pub line: Option<u32>,
    /// JSON.
    pub text: Arc<str>,
    /// The operator has named the port: it needs not be in the whitelist.
    pub port_is_declared: bool,
}

impl Document {
    /// One that is the whole of a file.
    pub fn whole(place: Arc<str>, text: Arc<str>) -> Self {
        Self { place, path: String::new(), line: None, text, port_is_declared: false }
    }
}

/// Which sources there are besides the main file.
#[derive(Debug, Clone, Copy)]
pub enum Further<'a> {
    /// Those that the main file names, read now; live providers know this.
    Read(&'a Inventory),
    /// These.
    Given(&'a [Source]),
    /// Those of the state directory as they are here, those of providers made anew of files as they
    /// were read and of what live providers know now.
    Anew(&'a [Source], &'a Arc<Files>, &'a Inventory),
}

/// A service that is declared and left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeftOut {
    /// Who declares it.
    pub owner: Owner,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// The document, as in [`Document::place`].
    pub place: Arc<str>,
    /// Why, in words.
    pub why: String,
}

/// Where one service was declared.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) owner: Owner,
    pub(super) place: Arc<str>,
    /// Where in the file, if it is not the whole.
    pub(super) path: String,
    /// The line where it begins, if findings have no lines of the file.
    line: Option<u32>,
    port_is_declared: bool,
    /// Which source, and which of its documents; of the main file none.
    pub(super) document: Option<(usize, usize)>,
}

/// Where each service of a composition was declared.
#[derive(Debug, Default)]
pub(super) struct Origins {
    /// How many are the main file's; they come first.
    main: usize,
    all: Vec<Origin>,
}

impl Origins {
    /// Appends the services of the sources to those of the main file, except those that are `out`.
    pub(super) fn join(
        main: &Main,
        sources: &[Source],
        out: &HashSet<(usize, usize)>,
        decoded: &mut Decoded,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let count = decoded.document.services.len();
        let of_main = |at| Origin {
            owner: Owner::File,
            place: Arc::clone(&main.place),
            path: format!("services[{at}]"),
            line: None,
            port_is_declared: true,
            document: None,
        };
        let mut origins = Self { main: count, all: (0..count).map(of_main).collect() };
        for (source_at, source) in sources.iter().enumerate() {
            for (at, document) in source.documents.iter().enumerate() {
                if out.contains(&(source_at, at)) {
                    continue;
                }
                let before = found.len();
                decoded.append(&document.text, found);
                // What is wrong with the text itself has no path yet that could tell.
                for finding in found.iter_mut().skip(before) {
                    if !finding.path.starts_with("services[") {
                        finding.file = Some(Arc::clone(&document.place));
                    }
                }
                origins.all.push(Origin {
                    owner: source.owner.clone(),
                    place: Arc::clone(&document.place),
                    path: document.path.clone(),
                    line: document.line,
                    port_is_declared: document.port_is_declared,
                    document: Some((source_at, at)),
                });
            }
        }
        origins
    }

    /// The service that a finding is about, by its index in the composition, if it is no service of
    /// the main file.
    pub(super) fn further(&self, finding: &Diagnostic) -> Option<&Origin> {
        let (at, _) = index(&finding.path).filter(|_| finding.file.is_none())?;
        self.get(at).filter(|_| at >= self.main)
    }

    /// Refuses ports that are not in the whitelist to all that is not in the main file.
    pub(super) fn check_ports(
        &self,
        decoded: &Decoded,
        whitelist: &Whitelist,
        found: &mut Vec<Diagnostic>,
    ) {
        for (at, service) in decoded.document.services.iter().enumerate().skip(self.main) {
            let (Some(port), Some(origin)) = (service.port, self.get(at)) else { continue };
            if !service.enabled || origin.port_is_declared || whitelist.has(service.tls, port) {
                continue;
            }
            let services = Place::Root.key("services");
            let service_place = services.index(at);
            let place = service_place.key("port");
            let protocol = Whitelist::protocol(service.tls);
            let message = format!("port {port} is not whitelisted for {protocol}");
            let hint = format!(
                "in the main file: \"portsWhitelist\": {{ \"{protocol}\": {{ \"ports\": [{port}] }} }}, or \
                 \"disablePortsWhitelist\": true"
            );
            let finding = Diagnostic::new(&PORT_NOT_WHITELISTED, place, message).hint(hint);
            found.push(finding.at_line(decoded.tree.line_of(&place)));
        }
    }

    /// Which service declares what.
    pub(super) fn get(&self, at: usize) -> Option<&Origin> {
        self.all.get(at)
    }

    /// Refuses ids that two sources declare; within one the other checks do.
    pub(super) fn check_ids(&self, decoded: &Decoded, found: &mut Vec<Diagnostic>) {
        let mut first = std::collections::HashMap::new();
        for (at, service) in decoded.document.services.iter().enumerate() {
            let (Some(id), Some(origin)) = (service.id.as_deref(), self.get(at)) else { continue };
            let Some(other) = first.get(id).and_then(|first| self.get(*first)) else {
                first.insert(id, at);
                continue;
            };
            if other.owner == origin.owner && other.place == origin.place {
                continue; // two of one file
            }
            let (id, other) = (visible(id), other.describe());
            let message = format!("the id `{id}` is also that of {other}");
            let hint = "delete one of them, or give it another id";
            let mut finding = Diagnostic::new(&TWO_SOURCES, format!("services[{at}].id"), message);
            // The other checks do not know of sources.
            let same = |it: &Diagnostic| it.code == DUPLICATE_ID.code && it.path == finding.path;
            let known = found.iter().position(same).map(|at| found.remove(at));
            finding.line = known.and_then(|known| known.line);
            found.push(finding.hint(hint));
        }
    }

    /// Refuses files of the state directory that are not named for their service: a change would not
    /// find them.
    pub(super) fn check_names(&self, decoded: &Decoded, found: &mut Vec<Diagnostic>) {
        for (at, service) in decoded.document.services.iter().enumerate().skip(self.main) {
            let (Some(id), Some(origin)) = (service.id.as_deref(), self.get(at)) else { continue };
            if origin.owner != Owner::Api {
                continue;
            }
            let is = Path::new(&*origin.place).file_name().and_then(|name| name.to_str());
            let should = file_name(id);
            let services = Place::Root.key("services");
            let service = services.index(at);
            let place = service.key("id");
            let (message, hint) = match should {
                Some(should) if is == Some(&should) => continue,
                Some(should) => (
                    format!("the file of the service `{}` has another name", visible(id)),
                    format!("rename it to {should}"),
                ),
                None => (
                    "the id is too long for the name of a file".to_owned(),
                    "give the service a shorter one".to_owned(),
                ),
            };
            let finding = Diagnostic::new(&BAD_STATE_FILE, place, message).hint(hint);
            found.push(finding.at_line(decoded.tree.line_of(&place)));
        }
    }

    /// Makes a finding about a composition one about the document that it is in.
    pub(super) fn settle(&self, finding: &mut Diagnostic) {
        if self.all.len() == self.main {
            return;
        }
        finding.message = self.named(&finding.message);
        let Some((_, rest)) = index(&finding.path) else { return };
        let Some(origin) = self.further(finding) else { return };
        let rest = rest.trim_start_matches('.');
        if let Owner::Provider(name) = &origin.owner {
            // What is there is written in other words, and its lines are others.
            if !rest.is_empty() {
                finding.message.push_str(&format!(" (`{rest}` of the native form)"));
            }
            finding.provider = Declarer::named(name);
            (finding.path, finding.line) = (origin.path.clone(), origin.line);
        } else {
            if finding.code == PORT_NOT_WHITELISTED.code {
                finding.provider = Declarer::named(origin.owner.word());
            }
            finding.path = rest.to_owned();
        }
        finding.file = Some(Arc::clone(&origin.place));
    }

    /// A text with each place in the composition replaced by the document that it is.
    fn named(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("services[") {
            let (before, from) = rest.split_at(start);
            out.push_str(before);
            let known = index(from).filter(|(at, _)| *at >= self.main);
            match known.and_then(|(at, after)| Some((self.get(at)?, after))) {
                Some((origin, after)) => {
                    out.push_str(&origin.place);
                    rest = after;
                }
                None => {
                    out.push_str("services[");
                    rest = from.get("services[".len()..).unwrap_or_default();
                }
            }
        }
        out.push_str(rest);
        out
    }
}

impl Origin {
    /// The file and, if it is not the whole of it, where there.
    pub(super) fn describe(&self) -> String {
        match &*self.path {
            "" => self.place.to_string(),
            path => format!("{path} in {}", self.place),
        }
    }
}

/// The index in a path that begins with `services[…]`, and what follows.
fn index(path: &str) -> Option<(usize, &str)> {
    let (index, rest) = path.strip_prefix("services[")?.split_once(']')?;
    Some((index.parse().ok()?, rest))
}

/// Where services lie in a state directory.
pub fn services_dir(state_dir: &Path) -> PathBuf {
    state_dir.join("services")
}

/// The name of a service's file; `None` if the id is too long for one.
///
/// Everything but letters, digits, `-`, `_` and `.` is percent-encoded (RFC 3986 §2.1), and so is a
/// dot that it begins with.
pub fn file_name(id: &str) -> Option<String> {
    let mut name = String::with_capacity(id.len() + 5);
    for (at, byte) in id.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                name.push(char::from(byte));
            }
            byte => drop(write!(name, "%{byte:02X}")),
        }
    }
    name.push_str(".json");
    (name.len() <= limits::FILE_NAME_BYTES_MAX).then_some(name)
}

/// Reads the services of a state directory, in the order of their names. One that is not there yet
/// has none.
pub fn read_state(state_dir: &Path, found: &mut Vec<Diagnostic>) -> Source {
    let mut source = Source::empty(Owner::Api);
    let dir = services_dir(state_dir);
    let names = match names(&dir) {
        Ok(names) => names,
        Err(error) => {
            let message = format!("`{}` cannot be read: {error}", dir.display());
            let hint = "the user that runs the proxy must own the state directory";
            found.push(Diagnostic::new(&BAD_STATE_DIR, "stateDir", message).hint(hint));
            return source;
        }
    };
    if names.len() > limits::STORED_SERVICES_MAX {
        let (count, most) = (names.len(), limits::STORED_SERVICES_MAX);
        let message = format!("`{}` has {count} services, more than {most}", dir.display());
        found.push(Diagnostic::new(&TOO_MANY_STORED, "stateDir", message));
        return source;
    }
    for path in names {
        let place: Arc<str> = path.display().to_string().into();
        match read::text_within(&path, limits::SERVICE_BYTES_MAX) {
            Ok((text, _)) => {
                source.documents.push(Document::whole(place, text.into()));
            }
            Err(mut finding) => {
                finding.file = Some(place);
                found.push(finding);
            }
        }
    }
    source
}

/// The files of services in a directory, sorted.
fn names(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
