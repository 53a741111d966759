//! A client as light as can be, on a connection that stays: what is measured is the server.

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What is looked for in a body: the verdict's code, or the problem's.
const CODE: &[u8] = b"\"code\":\"";

/// A connection.
pub struct Line {
    stream: TcpStream,
    heard: Vec<u8>,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    /// The verdict's code, the problem's, or nothing.
    pub code: String,
    pub body: String,
}

impl Line {
    pub async fn connect(url: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, heard: Vec::with_capacity(4096) })
    }

    /// Sends a request of [`verify`] or [`other`] and reads the answer.
    pub async fn ask(&mut self, request: &[u8]) -> anyhow::Result<Answer> {
        let end = self.hear(request).await?;
        let (head, body) = self.heard.split_at(end);
        let status = std::str::from_utf8(head)?.split(' ').nth(1).context("no status")?.parse()?;
        let code = find(body, CODE).map(|at| &body[at + CODE.len()..]);
        let code = code.map(|rest| rest.iter().take_while(|byte| **byte != b'"').map(|byte| char::from(*byte)));
        let code = code.map(Iterator::collect).unwrap_or_default();
        Ok(Answer { status, code, body: String::from_utf8_lossy(body).into_owned() })
    }

    /// The same of a request of [`verify`], without keeping the answer. Fails unless the key is valid.
    pub async fn ask_about_valid(&mut self, request: &[u8]) -> anyhow::Result<()> {
        let end = self.hear(request).await?;
        let is_valid = self.heard[end..].starts_with(b"{\"valid\":true,");
        ensure!(is_valid, "not VALID: {}", String::from_utf8_lossy(&self.heard));
        Ok(())
    }

    /// Sends a request and reads the answer. Gives where its body begins.
    async fn hear(&mut self, request: &[u8]) -> anyhow::Result<usize> {
        self.stream.write_all(request).await?;
        self.heard.clear();
        let end = loop {
            self.read().await?;
            if let Some(end) = find(&self.heard, b"\r\n\r\n") {
                break end + 4;
            }
        };
        let head = std::str::from_utf8(&self.heard[..end])?;
        let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next());
        let length: usize = length.context("no length")?.parse()?;
        while self.heard.len() < end + length {
            self.read().await?;
        }
        Ok(end)
    }

    async fn read(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.heard).await? == 0 {
            bail!("the connection was closed");
        }
        Ok(())
    }
}

fn find(all: &[u8], part: &[u8]) -> Option<usize> {
    all.windows(part.len()).position(|window| window == part)
}

/// A question about a live key.
pub fn verify(token: &str, key: &str) -> Vec<u8> {
    other("POST", "/api/v1/keys/verify", token, &format!("{{\"key\":\"{key}\",\"environment\":\"live\"}}"))
}

/// Any request with JSON, or with nothing.
pub fn other(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}
