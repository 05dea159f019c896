//! A small HTTP client for the admin API: one connection a request, the answer whole or an error.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// The token of [`Api`].
pub const TOKEN: &str = "0123456789abcdef";

/// Where the API of a proxy answers.
#[derive(Debug, Clone)]
pub struct Api {
    pub at: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, it)| it.trim()).next()
    }

    /// The word of an error.
    #[track_caller]
    pub fn error(&self) -> String {
        self.json()["error"].as_str().unwrap_or_default().to_owned()
    }
}

impl Api {
    /// Asks, with the token; the answer has come whole.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        self.ask_with(method, path, &[], body)
    }

    #[track_caller]
    pub fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Reply {
        self.try_ask(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// As [`Api::ask_with`], of a proxy that may be gone.
    pub fn try_ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> io::Result<Reply> {
        let mut stream = TcpStream::connect(&self.at)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Authorization: Bearer {TOKEN}\r\nContent-Length: {}\r\n",
            self.at,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        stream.write_all(format!("{request}\r\n{body}").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let torn = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(torn)?;
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok()).ok_or_else(torn)?;
        let reply = Reply { status, head: head.to_owned(), body: body.to_owned() };
        let length = reply.header("content-length").and_then(|it| it.parse::<usize>().ok());
        let chunked = reply.header("transfer-encoding").is_some();
        assert!(!chunked, "answers say how long they are: {head}");
        if length.is_some_and(|length| length != reply.body.len()) {
            return Err(torn());
        }
        Ok(reply)
    }
}
