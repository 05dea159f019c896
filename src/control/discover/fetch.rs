//! One fetch: a GET over HTTP/1.1 on a connection of its own, within one deadline, of a bounded
//! document. Redirects are followed only to the same host, port and scheme: anything else could send
//! the headers, or the choice of targets, elsewhere.

use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;

use crate::config;
use crate::config::found::{Header, Query, Url};
use crate::config::limits;
use crate::control::http::{self, EndpointTls, Stream};
use crate::control::resolve::lookup::Lookups;

/// Fetches a document. The caller sets the deadline.
///
/// # Errors
/// Why there is none, in words.
pub async fn fetch(query: &Query, tls: &EndpointTls, lookups: &Lookups) -> Result<Bytes, String> {
    let headers = headers(query).await?;
    let mut url = query.url.clone();
    for _ in 0..=limits::DISCOVERY_REDIRECTS_MAX {
        match get(&url, headers.clone(), tls, lookups).await? {
            Got::Document(bytes) => return Ok(bytes),
            Got::Redirect(to) => url = redirected(&url, &to)?,
        }
    }
    Err(format!("more than {} redirects", limits::DISCOVERY_REDIRECTS_MAX))
}

enum Got {
    Document(Bytes),
    Redirect(String),
}

/// Where a redirect leads, if it may.
fn redirected(url: &Url, to: &str) -> Result<Url, String> {
    if to.starts_with('/') && !to.starts_with("//") {
        return Ok(Url { path: to.into(), ..url.clone() });
    }
    let to_url = config::url(to).map_err(|why| format!("a redirect cannot be followed: {why}"))?;
    let same = (to_url.secure, to_url.port) == (url.secure, url.port)
        && to_url.host.eq_ignore_ascii_case(&url.host);
    if same { Ok(to_url) } else { Err(format!("a redirect to another server, {}", to_url.text)) }
}

async fn headers(query: &Query) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let authority = HeaderValue::from_str(&query.url.authority);
    headers.insert(HOST, authority.map_err(|_| "the host cannot be written in a header")?);
    for (name, source) in &query.headers {
        let text = match source {
            Header::Value(value) => value.to_string(),
            Header::File(path) => http::secret(path).await?,
        };
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&text))
        else {
            return Err(format!("the header `{name}` has a value that cannot be sent"));
        };
        headers.insert(name, value);
    }
    Ok(headers)
}

async fn get(
    url: &Url,
    headers: HeaderMap,
    tls: &EndpointTls,
    lookups: &Lookups,
) -> Result<Got, String> {
    let stream = http::connect(url, tls, lookups).await?;
    ask(url, headers, stream).await
}

async fn ask(url: &Url, headers: HeaderMap, stream: Box<dyn Stream>) -> Result<Got, String> {
    let failed = |error: hyper::Error| format!("HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let mut request = Request::get(&*url.path).body(Empty::<Bytes>::new());
    if let Ok(request) = &mut request {
        *request.headers_mut() = headers;
    }
    let request = request.map_err(|error| format!("the request cannot be made: {error}"))?;
    // The connection moves while the answer is waited for, and ends with this call.
    let mut connection = std::pin::pin!(connection.fuse());
    let answer = async {
        let response = sender.send_request(request).await.map_err(failed)?;
        let status = response.status();
        if status.is_redirection()
            && let Some(to) = response.headers().get(LOCATION)
        {
            let to = to.to_str().map_err(|_| "a redirect cannot be read")?;
            return Ok(Got::Redirect(to.to_owned()));
        }
        if status != StatusCode::OK {
            return Err(format!("the answer is {status}"));
        }
        let body = Limited::new(response.into_body(), limits::DISCOVERY_BYTES_MAX);
        let whole = body.collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                format!("the answer is larger than {} bytes", limits::DISCOVERY_BYTES_MAX)
            } else {
                format!("the answer broke off: {error}")
            }
        });
        Ok(Got::Document(whole?.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            ended = &mut connection => if let Err(error) = ended {
                return Err(failed(error));
            },
        }
    }
}
