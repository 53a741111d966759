//! The product and the bare handler at a rate that neither has trouble with: what is compared is how late the latest are.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::open_loop::{Answers, Stream};
use crate::product::{Installation, Running, Start};
use crate::report::spread;
use crate::{Measured, client, fill};

/// Connections of the stream.
pub const CONNECTIONS: u32 = 64;

/// Turns at `per_second`, with so many sign-ins a second beside the product's.
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
pub async fn run(measured: &Measured, per_second: u32, sign_ins: u32) -> anyhow::Result<()> {
    let installation = Installation::prepare(&measured.tronch, &measured.database_url)?;
    let keys = fill::keys(&installation, measured.keys).await?;
    let asked = &keys[..measured.asked.min(keys.len())];
    let product = Running::product(&installation, &Start::default())?;
    let bare = Running::bare()?;
    product.wait_until_ready().await?;
    product.warm(&installation.token, asked).await?;
    let requests: Arc<Vec<_>> = Arc::new(asked.iter().map(|key| client::verify(&installation.token, key)).collect());
    let stream = |running: &Running| Stream {
        url: running.url.clone(),
        requests: Arc::clone(&requests),
        per_second,
        connections: CONNECTIONS,
        from: 0,
    };
    let time = Duration::from_secs(measured.seconds.into());
    let mut turns: Vec<(Answers, Answers)> = Vec::new();
    for pair in 0..measured.pairs {
        let theirs = stream(&bare).run_for(time).await?;
        let signing_in = sign_in_beside(&product, sign_ins);
        let ours = stream(&product).run_for(time).await?;
        signing_in.abort();
        println!("pair {}: product {ours}", pair + 1);
        println!("        bare    {theirs}");
        turns.push((ours, theirs));
    }
    for percent in [50.0, 99.0] {
        let of = |answers: &Answers| answers.percentile(percent).as_secs_f64();
        println!(
            "p{percent}, product ÷ bare: {}; product: {} ms",
            spread(turns.iter().map(|(ours, theirs)| of(ours) / of(theirs)).collect()),
            spread(turns.iter().map(|(ours, _)| of(ours) * 1_000.0).collect())
        );
    }
    Ok(())
}

/// People who sign in with a password that is wrong: the hash is computed all the same.
fn sign_in_beside(product: &Running, per_second: u32) -> JoinHandle<anyhow::Result<()>> {
    let url = product.url.clone();
    tokio::spawn(async move {
        if per_second == 0 {
            return Ok(());
        }
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        loop {
            ticks.tick().await;
            let form = [("email", "owner@acme.example"), ("password", "not the password")];
            client.post(format!("{url}/sign-in")).header("sec-fetch-site", "same-origin").form(&form).send().await?;
        }
    })
}
