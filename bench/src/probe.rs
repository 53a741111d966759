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

/// How often keys were looked for by their handle, as Postgres counts it. Waits until that is up to date.
pub async fn look_ups(client: &Client) -> anyhow::Result<i64> {
    tokio::time::sleep(COUNTED_AFTER).await;
    let sql = "SELECT sum(idx_scan)::bigint FROM pg_stat_user_indexes JOIN pg_index USING (indexrelid) \
               WHERE relname = 'keys' AND pg_get_indexdef(indexrelid) LIKE '%(handle)%'";
    Ok(client.query_one(sql, &[]).await?.get(0))
}

/// The sum of a counter over its labels.
pub async fn counter(running: &Running, name: &str) -> anyhow::Result<f64> {
    let text = reqwest::get(format!("{}/metrics", running.ops_url)).await?.text().await?;
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let values = text.lines().filter(of_name).map(|line| line.rsplit_once(' ').context("no value").map(|pair| pair.1));
    values.map(|value| Ok(value?.parse::<f64>()?)).sum()
}
