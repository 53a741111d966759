//! What the product and Postgres say of themselves.

use anyhow::Context as _;
use tokio_postgres::{Client, NoTls};

use crate::product::{Installation, Running};

/// How long Postgres may take to show what was counted: an idle session reports after ten seconds.
const COUNTED_AFTER: std::time::Duration = std::time::Duration::from_secs(12);

/// A connection that sees every tenant.
pub async fn postgres(installation: &Installation) -> anyhow::Result<Client> {
    let url = format!("{}?options=-c%20tronch.scope%3Dsystem", installation.database_url);
    let (client, connection) = tokio_postgres::connect(&url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

/// What was looked for in the index of keys by handle, as Postgres counts it.
#[derive(Clone, Copy)]
pub struct LookUps {
    /// Descents into the index: at least one a question, at most one a handle.
    pub descents: i64,
    /// Keys found.
    pub found: i64,
}

impl std::ops::Sub for LookUps {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self { descents: self.descents - earlier.descents, found: self.found - earlier.found }
    }
}

impl std::fmt::Display for LookUps {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} keys read in {} descents into their index", self.found, self.descents)
    }
}

/// Waits until Postgres has counted.
pub async fn look_ups(client: &Client) -> anyhow::Result<LookUps> {
    tokio::time::sleep(COUNTED_AFTER).await;
    let sql = "SELECT sum(idx_scan)::bigint, sum(idx_tup_fetch)::bigint FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid) \
               WHERE relname = 'keys' AND pg_get_indexdef(indexrelid) LIKE '%(handle)%'";
    let row = client.query_one(sql, &[]).await?;
    Ok(LookUps { descents: row.get(0), found: row.get(1) })
}

/// The sum of a counter over its labels.
pub async fn counter(running: &Running, name: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("{}/metrics", running.ops_url)).await?.text().await?;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name).map(|line| line.rsplit_once(' ').context("no value").map(|pair| pair.1));
    values.map(|value| Ok(value?.parse::<f64>()?)).sum()
}
