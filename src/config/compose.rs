//! All sources as one configuration. The main file and the state directory must be sound as a whole.
//! Of providers only what is sound is taken: a service of theirs that has a fault, or does not go with
//! what comes before it, is left out and told; everything else runs.

use std::collections::HashSet;
use std::sync::Arc;

use super::checked::{Checked, KeyPair};
use super::decode::{self, Decoded};
use super::sources::{self, Entities, Entity, Further, LeftOut, Main, Origins, Owner, Source};
use super::whitelist::Whitelist;
use super::{Loaded, check, limits};
use crate::diagnostics::{BAD_FILE, Declarer, Diagnostic, MORE_FAULTS, PORT_NOT_WHITELISTED};
use crate::providers::foreign::Files;
use crate::providers::{self, Context};
use crate::tls::material::Material;
use crate::tls::store::check_pair;

/// All sources, checked together.
#[derive(Debug, Default)]
pub(super) struct Composed {
    pub(super) checked: Option<Checked>,
    sources: Vec<Source>,
    entities: Entities,
    origins: Origins,
    left_out: Vec<LeftOut>,
    files: Arc<Files>,
}

impl Composed {
    pub(super) fn of(
        main: &Main,
        further: Further<'_>,
        before: Option<&Material>,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let Some(base) = decode::decode(&main.text, found) else { return Self::default() };
        let whitelist = Whitelist::of(&base.document, &base.tree, found);
        let (mut sources, files) = gather(main, &base, further, found);
        for source in &mut sources {
            drop_broken_certificates(source, before, found);
        }
        for source in &sources {
            found.extend(source.diagnostics.iter().cloned());
        }
        let mut composed = Self { sources, files, ..Self::default() };
        let mut out = HashSet::new();
        // A second round is rare, and reads the text again: a copy would cost every time.
        let again = || decode::decode(&main.text, &mut Vec::new()).unwrap_or_default();
        let mut first = Some(base);
        for round in 0_usize.. {
            let mut here = Vec::new();
            let last = round >= limits::COMPOSE_ROUNDS_MAX || !composed.may_be_left_out(&out);
            let decoded = first.take().unwrap_or_else(again);
            let attempt =
                Attempt::new(main, decoded, &composed.sources, &out, &whitelist, &mut here);
            let bad = attempt.bad(&here);
            if bad.is_empty() || last {
                found.append(&mut here);
                composed.entities = attempt.entities();
                (composed.checked, composed.origins) = (Some(attempt.checked), attempt.origins);
                return composed;
            }
            let leave = composed.which_to_leave_out(main, again(), &whitelist, &bad, round);
            for finding in here {
                let document = attempt.origins.further(&finding).and_then(|it| it.document);
                if document.is_some_and(|document| leave.contains(&document)) {
                    composed.leave_out(finding, &attempt, found);
                }
            }
            out.extend(leave);
        }
        composed
    }

    /// Whether there is anything left that a fault would only cost itself.
    fn may_be_left_out(&self, out: &HashSet<(usize, usize)>) -> bool {
        let all: usize = self.sources.iter().map(|source| source.documents.len()).sum();
        out.len() < all
    }

    /// Of the services with faults those that have them also when they are alone, else the one that
    /// comes first: what was only in its way may be gone then.
    fn which_to_leave_out(
        &self,
        main: &Main,
        mut bare: Decoded,
        whitelist: &Whitelist,
        bad: &[(usize, usize)],
        round: usize,
    ) -> HashSet<(usize, usize)> {
        let all: HashSet<_> = self
            .sources
            .iter()
            .enumerate()
            .flat_map(|(at, source)| (0..source.documents.len()).map(move |it| (at, it)))
            .collect();
        bare.without_services();
        let is_bad_alone = |document: &&(usize, usize)| {
            let others = all.iter().copied().filter(|it| it != *document).collect();
            let mut found = Vec::new();
            let attempt =
                Attempt::new(main, bare.clone(), &self.sources, &others, whitelist, &mut found);
            !attempt.bad(&found).is_empty()
        };
        let alone: HashSet<_> = bad.iter().filter(is_bad_alone).copied().collect();
        match bad {
            _ if !alone.is_empty() => alone,
            // One after the other finds the most that can be served; without end it would take long.
            [first, ..] if round + 1 < limits::COMPOSE_ROUNDS_MAX => HashSet::from([*first]),
            all => all.iter().copied().collect(),
        }
    }

    /// Keeps a finding about a service that is left out.
    fn leave_out(
        &mut self,
        mut finding: Diagnostic,
        attempt: &Attempt,
        found: &mut Vec<Diagnostic>,
    ) {
        let Some(origin) = attempt.origins.further(&finding) else { return };
        let (owner, place) = (origin.owner.clone(), Arc::clone(&origin.place));
        let document = origin.document;
        attempt.origins.settle(&mut finding);
        if finding.is_error() {
            let document =
                document.and_then(|(source, at)| self.sources.get(source)?.documents.get(at));
            let text: Option<serde_json::Value> =
                document.and_then(|it| serde_json::from_str(&it.text).ok());
            let id = text.as_ref().and_then(|it| it.get("id")?.as_str()).map(str::to_owned);
            let why = finding.message.clone();
            let left = LeftOut { owner, id, place, why };
            if !self.left_out.iter().any(|it| (&it.id, &it.place) == (&left.id, &left.place)) {
                self.left_out.push(left);
            }
        }
        found.push(finding);
    }

    /// Makes findings about the whole findings about the documents.
    pub(super) fn settle(&self, found: &mut [Diagnostic]) {
        found.iter_mut().for_each(|finding| self.origins.settle(finding));
    }

    pub(super) fn finish(
        self,
        main: Option<Main>,
        material: Material,
        mut found: Vec<Diagnostic>,
    ) -> Loaded {
        // That the search ended early comes last, and the main file first.
        found.sort_by(|a, b| {
            let key = |it: &Diagnostic| (it.code == MORE_FAULTS.code, it.file.clone(), it.line);
            key(a).cmp(&key(b))
        });
        let refused = found.iter().any(Diagnostic::refuses);
        let Self { checked, sources, entities, left_out, files, .. } = self;
        let checked = checked.filter(|_| !refused);
        Loaded { checked, material, diagnostics: found, main, sources, entities, left_out, files }
    }
}

/// Which sources there are.
fn gather(
    main: &Main,
    decoded: &Decoded,
    further: Further<'_>,
    found: &mut Vec<Diagnostic>,
) -> (Vec<Source>, Arc<Files>) {
    let document = &decoded.document;
    let translate = |files: &Files, inventory| {
        let (providers, listeners) = (&document.providers, &*document.listeners);
        providers::sources(&Context { providers, listeners, dir: &main.dir, files, inventory })
    };
    match further {
        Further::Given(sources) => (sources.to_vec(), Arc::default()),
        Further::Read(inventory) => {
            let state = document.state_dir.as_ref();
            let state = state.map(|dir| sources::read_state(&main.dir.join(dir), found));
            let files = Arc::new(Files::default());
            let providers = translate(&files, inventory);
            (state.into_iter().chain(providers).collect(), files)
        }
        Further::Anew(sources, files, inventory) => {
            let state = sources.iter().filter(|source| source.owner == Owner::Api).cloned();
            (state.chain(translate(files, inventory)).collect(), Arc::clone(files))
        }
    }
}

/// Takes out the certificates of a provider that cannot be read: only who names them is left out then.
/// One that could be read before stays, as it is.
fn drop_broken_certificates(
    source: &mut Source,
    before: Option<&Material>,
    found: &mut Vec<Diagnostic>,
) {
    let provider = Declarer::named(source.owner.word());
    source.certificates.retain(|entry| {
        let Some(cert) = &entry.cert_file else { return true };
        let key = entry.key_file.as_ref().unwrap_or(cert);
        let pair = KeyPair::files(cert.clone(), key.clone());
        if before.is_some_and(|before| before.has_pair(&pair)) {
            return true;
        }
        let Err(problem) = check_pair(&pair) else { return true };
        let mut finding = Diagnostic::new(&BAD_FILE, "", problem.to_string());
        finding.file = Some(cert.display().to_string().into());
        finding.provider = provider;
        found.push(finding);
        false
    });
}

/// The sources without those that are left out.
struct Attempt {
    checked: Checked,
    origins: Origins,
    texts: Vec<String>,
}

impl Attempt {
    fn new(
        main: &Main,
        mut decoded: Decoded,
        sources: &[Source],
        out: &HashSet<(usize, usize)>,
        whitelist: &Whitelist,
        found: &mut Vec<Diagnostic>,
    ) -> Self {
        let certificates = sources.iter().flat_map(|source| &source.certificates).cloned();
        let certificates: Vec<_> = certificates.collect();
        if !certificates.is_empty() {
            decoded.document.certificates.get_or_insert_default().extend(certificates);
        }
        let origins = Origins::join(main, sources, out, &mut decoded, found);
        let checked = check::check(&decoded, &main.dir, found);
        origins.check_ids(&decoded, found);
        origins.check_names(&decoded, found);
        origins.check_ports(&decoded, whitelist, found);
        Self { checked, origins, texts: decoded.sources }
    }

    /// The services with errors that cost only themselves.
    fn bad(&self, found: &[Diagnostic]) -> Vec<(usize, usize)> {
        let mut bad = Vec::new();
        for finding in found.iter().filter(|finding| finding.is_error()) {
            let Some(origin) = self.origins.further(finding) else { continue };
            let whitelist = finding.code == PORT_NOT_WHITELISTED.code;
            let is_provider = matches!(origin.owner, Owner::Provider(_));
            bad.extend(origin.document.filter(|_| is_provider || whitelist));
        }
        bad.sort_unstable();
        bad.dedup();
        bad
    }

    fn entities(&self) -> Entities {
        let entity = |(at, text): (usize, &String)| {
            let origin = self.origins.get(at)?;
            Entity::read(origin.owner.clone(), origin.describe(), text)
        };
        self.texts.iter().enumerate().filter_map(entity).collect()
    }
}
