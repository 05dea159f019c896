//! Requests to the admin API and their answers, over one connection as long as it lasts.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{Place, Refused, Trouble};
use crate::config::limits;

/// Something that is asked.
#[derive(Debug, Clone)]
pub struct Request {
    method: Method,
    path: String,
    body: Bytes,
    deadline: Duration,
}

impl Request {
    /// Without a body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        let (path, body) = (path.into(), Bytes::new());
        Self { method, path, body, deadline: limits::ADMIN_ANSWER }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, value: &Value) -> Self {
        self.body = value.to_string().into();
        self
    }

    /// With this text, which should be JSON, as the body.
    #[must_use]
    pub fn text(mut self, text: Vec<u8>) -> Self {
        self.body = text.into();
        self
    }

    /// It may take longer: something is changed, or compared with what runs.
    #[must_use]
    pub fn patient(mut self) -> Self {
        self.deadline = limits::ADMIN_CHANGE;
        self
    }
}

/// Asks one admin API.
#[derive(Debug)]
pub struct Client {
    place: Place,
    token: Option<String>,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { authority, .. } => f.write_str(authority),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why an exchange came to nothing.
enum Lost {
    /// The connection ended before there was an answer, and the request may be sent again.
    Stale,
    /// See [`Trouble`].
    For(Trouble),
}

impl Client {
    pub(super) fn new(place: Place, token: Option<String>) -> Self {
        Self { place, token, sender: None }
    }

    /// Whom it asks.
    pub fn place(&self) -> String {
        self.place.to_string()
    }

    /// Whether it shows a token, without which nothing can be changed.
    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Sends a request; the JSON of its answer.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn send(&mut self, request: Request) -> Result<Value, Trouble> {
        let within = request.deadline;
        let exchanged = tokio::time::timeout(within, self.exchange(&request)).await;
        let (status, body) = exchanged.map_err(|_| {
            // What is still under way on it would be taken for the answer to something else.
            self.sender = None;
            Trouble::Unreachable(format!("{}: no answer within {} s", self.place, within.as_secs()))
        })??;
        let stranger = || {
            Trouble::Unreachable(format!(
                "what answers at {} is no Thalweg admin API (status {status})",
                self.place
            ))
        };
        let body: Value = serde_json::from_slice(&body).map_err(|_| stranger())?;
        if status < 300 {
            return Ok(body);
        }
        let told = body.get("error_description").and_then(Value::as_str).ok_or_else(stranger)?;
        let text = match (status, body.get("error").and_then(Value::as_str)) {
            (404, Some("not_found")) if told.contains("at this path") => {
                let Request { method, path, .. } = &request;
                let path = path.split('?').next().unwrap_or_default();
                format!("the proxy has no {method} {path}: it is of another version")
            }
            (401, _) if self.token.is_none() => {
                format!("{told}\n--token-file FILE or THALWEG_TOKEN_FILE names the token's file")
            }
            _ => told.to_owned(),
        };
        Err(Trouble::Refused(Refused { status, text, body }))
    }

    /// The answer's status and body.
    async fn exchange(&mut self, request: &Request) -> Result<(u16, Bytes), Trouble> {
        if let Some(sender) = self.sender.take() {
            match self.ask(sender, request).await {
                Err(Lost::Stale) => {}
                Err(Lost::For(trouble)) => return Err(trouble),
                Ok(answer) => return Ok(answer),
            }
        }
        let sender = self.connect().await?;
        match self.ask(sender, request).await {
            Ok(answer) => Ok(answer),
            Err(Lost::For(trouble)) => Err(trouble),
            Err(Lost::Stale) => Err(self.broken(&"the connection was closed at once")),
        }
    }

    async fn ask(
        &mut self,
        mut sender: SendRequest<Full<Bytes>>,
        request: &Request,
    ) -> Result<(u16, Bytes), Lost> {
        if sender.ready().await.is_err() {
            return Err(Lost::Stale);
        }
        let mut built = hyper::Request::builder()
            .method(&request.method)
            .uri(&request.path)
            .header(HOST, "localhost");
        if let Some(token) = &self.token {
            built = built.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if !request.body.is_empty() {
            built = built.header(CONTENT_TYPE, "application/json");
        }
        let built = built.body(Full::new(request.body.clone())).map_err(|_| {
            Lost::For(Trouble::Usage("this cannot be written into a request".into()))
        })?;
        let answer = sender.send_request(built).await.map_err(|error| {
            // The other end may have closed it in between, which the kernel may tell as a reset.
            let again = request.method.is_safe() && !error.is_parse();
            if again || error.is_canceled() { Lost::Stale } else { Lost::For(self.broken(&error)) }
        })?;
        let answer = self.whole(answer).await.map_err(Lost::For)?;
        self.sender = Some(sender);
        Ok(answer)
    }

    async fn whole(
        &self,
        answer: Response<hyper::body::Incoming>,
    ) -> Result<(u16, Bytes), Trouble> {
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), limits::ADMIN_ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() {
                let most = limits::ADMIN_ANSWER_BYTES_MAX >> 20;
                self.broken(&format!("its answer is larger than {most} MiB"))
            } else {
                self.broken(&error)
            }
        })?;
        Ok((status, body.to_bytes()))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Trouble> {
        match &self.place {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(|e| self.nobody(&e))?;
                self.speak(stream).await
            }
            Place::Tcp { authority, tls } => {
                let stream = TcpStream::connect(authority).await.map_err(|e| self.nobody(&e))?;
                let Some((config, name)) = tls else { return self.speak(stream).await };
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name.clone(), stream).await;
                let untrusted = |error: io::Error| {
                    Trouble::Unreachable(format!(
                        "{}: no TLS: {error}\n--ca-file says whom to trust",
                        self.place
                    ))
                };
                self.speak(stream.map_err(untrusted)?).await
            }
        }
    }

    async fn speak<S>(&self, stream: S) -> Result<SendRequest<Full<Bytes>>, Trouble>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let made = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| self.broken(&error))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn nobody(&self, error: &io::Error) -> Trouble {
        Trouble::Unreachable(format!(
            "no admin API at {}: {error}\nIs the proxy running, with `\"admin\": {{ \"listen\": … \
             }}`? --admin URL or -c FILE says where.",
            self.place
        ))
    }

    fn broken(&self, error: &dyn fmt::Display) -> Trouble {
        let hint = match &self.place {
            Place::Tcp { tls: None, .. } => " (is it https://?)",
            _ => "",
        };
        Trouble::Unreachable(format!("{}: no HTTP there: {error}{hint}", self.place))
    }
}
