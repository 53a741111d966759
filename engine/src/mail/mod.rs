//! Mail: through the SMTP server that the operator names. What is to be sent waits in Postgres (`queue.rs`), so that a server that is
//! down for an hour loses none of it, and whoever asked sees that it waits.

mod queue;

use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use crate::error::Error;

pub use queue::send_due_mails;

/// How long the server may take for one command.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where mail goes, from whom, and where its links lead.
#[derive(Clone)]
pub struct MailSettings {
    url: String,
    from: Mailbox,
    /// Without a slash at its end.
    public_url: String,
}

/// The setting names no SMTP server, or nobody who could send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseMailError {
    /// Of the server's URL.
    #[error(
        "must look like smtps://user:password@host:465, smtp://user:password@host:587?tls=required or smtp://localhost:25"
    )]
    Url,
    /// Of the sender.
    #[error("must be an e-mail address, such as tronch@example.com or TRONCH <tronch@example.com>")]
    From,
}

impl MailSettings {
    /// Checks the server's URL.
    ///
    /// # Errors
    /// `ParseMailError::Url`.
    pub fn check_url(url: &str) -> Result<(), ParseMailError> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(url);
        transport.map(drop).map_err(|_| ParseMailError::Url)
    }

    /// Checks the sender.
    ///
    /// # Errors
    /// `ParseMailError::From`.
    pub fn check_from(from: &str) -> Result<(), ParseMailError> {
        from.parse::<Mailbox>().map(drop).map_err(|_| ParseMailError::From)
    }

    /// Of settings that were checked.
    ///
    /// # Errors
    /// `ParseMailError`.
    pub fn new(url: &str, from: &str, public_url: &str) -> Result<Self, ParseMailError> {
        Self::check_url(url)?;
        let from = from.parse().map_err(|_| ParseMailError::From)?;
        Ok(Self { url: url.to_owned(), from, public_url: public_url.trim_end_matches('/').to_owned() })
    }
}

/// Whoever sends.
pub(crate) struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    settings: MailSettings,
}

/// What somebody is told.
struct Letter {
    to: String,
    subject: String,
    text: String,
}

impl Mailer {
    pub(crate) fn new(settings: MailSettings) -> Result<Self, Error> {
        let transport = AsyncSmtpTransport::<Tokio1Executor>::from_url(&settings.url).map_err(Error::internal)?;
        Ok(Self { transport: transport.timeout(Some(PATIENCE)).build(), settings })
    }

    fn link(&self, path: &str) -> String {
        format!("{}{path}", self.settings.public_url)
    }

    /// # Errors
    /// Why not, in the server's words.
    async fn send(&self, letter: Letter) -> Result<(), String> {
        let to: Mailbox = letter.to.parse().map_err(|_| "this is no address that mail can be sent to".to_owned())?;
        let message = Message::builder()
            .from(self.settings.from.clone())
            .to(to)
            .subject(letter.subject)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text)
            .map_err(|error| error.to_string())?;
        self.transport.send(message).await.map(drop).map_err(|error| error.to_string())
    }
}
