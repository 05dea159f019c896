//! The dashboard: one page and its assets, plain files inside the binary. It needs nothing but this
//! API, and nothing that it shows is read as anything but text: the policy that goes with it forbids
//! scripts and styles inside the page, and whatever is not of this address.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::answer::not_found;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What a browser may load and run for the page: nothing but its own files.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'; object-src 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the dashboard.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

macro_rules! assets {
    ($($kind:ident $name:literal)*) => {
        &[$(Asset { name: $name, kind: $kind, bytes: include_bytes!(concat!("dashboard/", $name)) },)*]
    };
}

/// The page comes first.
const ASSETS: &[Asset] = assets! {
    HTML "index.html"
    SVG "icon.svg"
    CSS "style.css"
    SCRIPT "api.js"
    SCRIPT "app.js"
    SCRIPT "certificates.js"
    SCRIPT "connections.js"
    SCRIPT "diagnostics.js"
    SCRIPT "dialog.js"
    SCRIPT "document.js"
    SCRIPT "dom.js"
    SCRIPT "explain.js"
    SCRIPT "fields.js"
    SCRIPT "form.js"
    SCRIPT "format.js"
    SCRIPT "graph.js"
    SCRIPT "listeners.js"
    SCRIPT "live.js"
    SCRIPT "overview.js"
    SCRIPT "plan.js"
    SCRIPT "search.js"
    SCRIPT "sections.js"
    SCRIPT "service.js"
    SCRIPT "services.js"
    SCRIPT "table.js"
    SCRIPT "targets.js"
};

/// The version of each, in their order: a hash of what is in it.
static TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let tag = |asset: &Asset| {
        let hash = Sha256::digest(asset.bytes);
        let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        format!("\"{hex}\"")
    };
    ASSETS.iter().map(tag).collect()
});

/// The page at `/` and the files under `/assets/`.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(page)).route("/assets/{name}", get(asset))
}

/// Whether a path is the dashboard's. Its files hold no secret and are had without a token: the page
/// is what asks for it.
pub(super) fn owns(path: &str) -> bool {
    path == "/" || path.starts_with("/assets/")
}

async fn page(headers: HeaderMap) -> Response {
    answer(0, &headers).await
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    match ASSETS.iter().position(|asset| asset.name == name && asset.kind != HTML) {
        Some(at) => answer(at, &headers).await,
        None => not_found().await,
    }
}

/// A browser asks each time whether what it has is still the file: a proxy of another release may
/// answer by now.
async fn answer(at: usize, headers: &HeaderMap) -> Response {
    let (Some(asset), Some(tag)) = (ASSETS.get(at), TAGS.get(at)) else { return not_found().await };
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let common = [
        (ETAG, tag.as_str()),
        (CACHE_CONTROL, "no-cache"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (CONTENT_SECURITY_POLICY, POLICY),
    ];
    if known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag)) {
        return (StatusCode::NOT_MODIFIED, common).into_response();
    }
    (common, [(CONTENT_TYPE, asset.kind)], asset.bytes).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_served_is_small_and_whole() {
        let size: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(size < 200 << 10, "{size} bytes");
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/control/admin/dashboard");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(ASSETS.iter().any(|asset| asset.name == name), "{name} is not served");
        }
    }

    /// Whatever the files name is among them, and nothing is inside the page or elsewhere.
    #[test]
    fn the_files_name_each_other_and_nothing_else() {
        for asset in ASSETS {
            let text = std::str::from_utf8(asset.bytes).unwrap();
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for forbidden in
                ["http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("]
            {
                assert!(!text.contains(forbidden), "{}: {forbidden}", asset.name);
            }
            for line in text
                .lines()
                .filter(|line| line.starts_with("import ") || line.starts_with("} from"))
            {
                let name = line.rsplit("'./").next().and_then(|rest| rest.split('\'').next());
                let Some(name) = name.filter(|_| line.contains("'./")) else { continue };
                assert!(ASSETS.iter().any(|asset| asset.name == name), "{}: {name}", asset.name);
            }
        }
    }
}
