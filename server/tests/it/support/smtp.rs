//! An SMTP server (RFC 5321) that keeps what it is sent, or takes nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// The server. It ends with this value.
pub struct SmtpServer {
    /// For `TRONCH_SMTP_URL`.
    pub url: String,
    mails: Arc<Mutex<Vec<String>>>,
    takes_nothing: Arc<AtomicBool>,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl SmtpServer {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("smtp://{}", listener.local_addr().expect("an address"));
        let (mails, takes_nothing) = (Arc::<Mutex<Vec<String>>>::default(), Arc::new(AtomicBool::new(false)));
        let (kept, refuses) = (Arc::clone(&mails), Arc::clone(&takes_nothing));
        let listening = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (kept, refuses) = (Arc::clone(&kept), Arc::clone(&refuses));
                tokio::spawn(async move { drop(talk(client, &kept, &refuses).await) });
            }
        });
        Self { url, mails, takes_nothing, listening }
    }

    /// Whether mail is refused from now on.
    pub fn take_nothing(&self, refuses: bool) {
        self.takes_nothing.store(refuses, Ordering::Relaxed);
    }

    /// What was sent since it was last asked, each with its head.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.mails.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn talk(client: TcpStream, kept: &Mutex<Vec<String>>, refuses: &AtomicBool) -> std::io::Result<()> {
    let (reads, mut writes) = client.into_split();
    let mut lines = BufReader::new(reads).lines();
    writes.write_all(b"220 a test\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let word = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let said: &[u8] = match word.as_str() {
            "EHLO" | "HELO" => b"250 a test\r\n",
            "MAIL" if refuses.load(Ordering::Relaxed) => b"451 not now, <b>maybe</b> later\r\n",
            "DATA" => {
                writes.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                    mail.push_str(&line);
                    mail.push('\n');
                }
                // RFC 2045: a long line goes on after an equals sign.
                let mail = mail.replace("=\n", "");
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
                b"250 taken\r\n"
            }
            "QUIT" => b"221 gone\r\n",
            _ => b"250 fine\r\n",
        };
        writes.write_all(said).await?;
    }
    Ok(())
}
