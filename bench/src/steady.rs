//! The product and the bare handler at a rate that neither has trouble with: what is compared is how late the latest are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::open_loop::{Answers, Stream};
use crate::product::{Installation, OWNER, PASSWORD, Running, Start};
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
    let signed_in = Arc::new(AtomicU32::new(0));
    for pair in 0..measured.pairs {
        let theirs = stream(&bare).run_for(time).await?;
        let signing_in = sign_in_beside(&product, sign_ins, &signed_in);
        let ours = stream(&product).run_for(time).await?;
        signing_in.abort();
        println!("pair {}: product {ours}", pair + 1);
        println!("        bare    {theirs}");
        turns.push((ours, theirs));
    }
    println!("{} sign-ins beside", signed_in.load(Ordering::Relaxed));
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

/// People who sign in, each with another session: the hash of the password is computed. How many did is counted.
fn sign_in_beside(product: &Running, per_second: u32, signed_in: &Arc<AtomicU32>) -> JoinHandle<anyhow::Result<()>> {
    let (url, signed_in) = (product.url.clone(), Arc::clone(signed_in));
    tokio::spawn(async move {
        if per_second == 0 {
            return Ok(());
        }
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build()?;
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / per_second);
        loop {
            ticks.tick().await;
            let form = [("email", OWNER), ("password", PASSWORD)];
            let form = client.post(format!("{url}/sign-in")).header("sec-fetch-site", "same-origin").form(&form);
            let signed_in = Arc::clone(&signed_in);
            // The next comes whether or not this one is answered.
            tokio::spawn(async move {
                match form.send().await {
                    Ok(answer) if answer.status() == reqwest::StatusCode::SEE_OTHER => {
                        signed_in.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok(answer) => eprintln!("a sign-in was answered {}", answer.status()),
                    Err(error) => eprintln!("a sign-in had no answer: {error}"),
                }
            });
        }
    })
}
