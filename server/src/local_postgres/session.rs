//! A superuser's connection to the private Postgres, over loopback TCP with SCRAM. Which SQL it carries does not concern it.

use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::{LocalPostgresError, Result, START_SECONDS_MAX};
use crate::config::Redacted;

/// A living postmaster opens its port within moments, long before it has recovered.
const ANSWER_SECONDS_MAX: u64 = 10;
/// Copying the template for a new database writes and flushes some megabytes.
const STATEMENT_SECONDS_MAX: u64 = 300;
/// One of the statements holds a password: whatever `postgresql.conf` says, none is written to the log.
const UNLOGGED: &str = "-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic";

pub(super) struct Session(Client);

impl Session {
    pub(super) async fn open(port: u16, password: &Redacted) -> Result<Session> {
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(port).ssl_mode(SslMode::Disable);
        config.user("postgres").password(password.expose()).dbname("postgres");
        config.application_name("tronch").options(UNLOGGED);
        let (client, connection) = within(ANSWER_SECONDS_MAX, config.connect(NoTls)).await?;
        tokio::spawn(async move {
            // Whoever waits for an answer learns of it too.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the private PostgreSQL ended");
            }
        });
        Ok(Session(client))
    }

    /// The first column of the first row, as text.
    pub(super) async fn ask(&self, sql: &str) -> Result<Option<String>> {
        let messages = within(STATEMENT_SECONDS_MAX, self.0.simple_query(sql)).await?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    pub(super) async fn execute(&self, sql: &str) -> Result<()> {
        within(STATEMENT_SECONDS_MAX, self.0.batch_execute(sql)).await
    }
}

async fn within<T>(
    seconds: u64,
    answer: impl Future<Output = std::result::Result<T, tokio_postgres::Error>>,
) -> Result<T> {
    match tokio::time::timeout(Duration::from_secs(seconds), answer).await {
        Ok(answered) => answered.map_err(LocalPostgresError::Sql),
        Err(_) => Err(LocalPostgresError::Unanswered { seconds }),
    }
}

/// How long an unanswered connection may still turn into an answer.
pub(super) fn patience_with(error: &LocalPostgresError) -> Duration {
    let code = match error {
        LocalPostgresError::Sql(error) => error.code(),
        _ => None,
    };
    match code {
        Some(code) if *code == SqlState::INVALID_PASSWORD => Duration::ZERO,
        // Starting up, recovering or shutting down.
        Some(code) if *code == SqlState::CANNOT_CONNECT_NOW => Duration::from_secs(START_SECONDS_MAX),
        _ => Duration::from_secs(ANSWER_SECONDS_MAX),
    }
}
